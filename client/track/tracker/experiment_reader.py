"""Reading the runs of the experiment that was chosen."""

from __future__ import annotations

from typing import Any

from track.tracker.experiment_db import ExperimentDBManager
from track.tracker.records import RecordInfo, RunInfo
from track_protocol.errors import UsageError

__all__ = ["ExperimentReader"]


class ExperimentReader:
    """Part of `track.tracker.Tracker`.

    Attributes:
        db_manager: the runs of the current experiment; None before one was chosen.
    """

    db_manager: ExperimentDBManager | None

    def get_all_runs(self) -> list[RunInfo]:
        """The experiment's runs, newest first."""
        return self._manager.get_all_runs()

    def get_run(self, run_id: int) -> RunInfo | None:
        """A run, or None."""
        return self._manager.get_run(run_id)

    def get_metrics(self, run_id: int) -> list[str]:
        """Names of a run's metrics."""
        return self._manager.get_metrics(run_id)

    def get_records(self, run_id: int, metric_name: str) -> list[RecordInfo]:
        """The points of a metric, by step."""
        return self._manager.get_records(run_id, metric_name)

    def get_results(self, run_id: int) -> dict[str, list[RecordInfo]]:
        """The points of every metric of a run."""
        return {name: self.get_records(run_id, name) for name in self.get_metrics(run_id)}

    def get_comp_graph(self, graph_id: int) -> dict[str, Any] | None:
        """A computation graph by its id, or None."""
        return self._manager.get_comp_graph(graph_id)

    def get_comp_graphs(self, run_id: int) -> list[dict[str, Any]]:
        """The computation graphs of a run, oldest first: ``id``, ``graph`` and ``created_at``."""
        return self._manager.get_comp_graphs(run_id)

    @property
    def _manager(self) -> ExperimentDBManager:
        if self.db_manager is None:
            raise UsageError("no experiment was chosen: call set_experiment(NAME) first")
        return self.db_manager
