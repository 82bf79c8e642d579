"""Reading the runs of an experiment, wherever it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Protocol

from track.tracker.records import RecordInfo, RunInfo

__all__ = ["RunReader", "Runs"]


class Runs(Protocol):
    """What can be asked of an experiment, wherever it is."""

    def get_all_runs(self) -> list[RunInfo]: ...
    def get_run(self, run_id: int) -> RunInfo | None: ...
    def get_metrics(self, run_id: int) -> list[str]: ...
    def get_records(self, run_id: int, metric_name: str) -> list[RecordInfo]: ...
    def get_metric_summary(self, run_id: int) -> dict[str, dict[str, Any]]: ...
    def get_metric_summaries(self) -> dict[int, dict[str, dict[str, Any]]]: ...
    def get_comp_graph(self, graph_id: int) -> dict[str, Any] | None: ...
    def get_comp_graphs(self, run_id: int) -> list[dict[str, Any]]: ...
    def get_histograms(self, run_id: int) -> dict[str, list[dict[str, Any]]]: ...
    def get_images(self, run_id: int) -> dict[str, list[dict[str, Any]]]: ...
    def get_texts(self, run_id: int) -> dict[str, list[dict[str, Any]]]: ...


class RunReader(ABC):
    """The part of `Tracker` and `ExperimentDBManager` that reads."""

    @property
    @abstractmethod
    def runs(self) -> Runs:
        """The experiment that is read."""

    def get_all_runs(self) -> list[RunInfo]:
        """Every run, newest first."""
        return self.runs.get_all_runs()

    def get_run(self, run_id: int) -> RunInfo | None:
        """A run, or None."""
        return self.runs.get_run(run_id)

    def get_metrics(self, run_id: int) -> list[str]:
        """Names of a run's metrics."""
        return self.runs.get_metrics(run_id)

    def get_records(self, run_id: int, metric_name: str) -> list[RecordInfo]:
        """The points of a metric, by step; none when the run has no such metric."""
        return self.runs.get_records(run_id, metric_name)

    def get_results(self, run_id: int) -> dict[str, list[RecordInfo]]:
        """The points of every metric of a run."""
        return {name: self.get_records(run_id, name) for name in self.get_metrics(run_id)}

    def get_metric_summary(self, run_id: int) -> dict[str, dict[str, Any]]:
        """Statistics of each metric: min, max, mean, std, last, n, first_step and last_step.

        `last` is the value at the greatest step; the least and the greatest step are `first_step` and
        `last_step`, whatever the order of logging.  NaN and infinities count in `n` only.
        """
        return self.runs.get_metric_summary(run_id)

    def get_comp_graph(self, graph_id: int) -> dict[str, Any] | None:
        """A computation graph by its id, as `get_comp_graphs` returns it, or None."""
        return self.runs.get_comp_graph(graph_id)

    def get_comp_graphs(self, run_id: int) -> list[dict[str, Any]]:
        """The computation graphs of a run, oldest first: ``id``, ``graph`` and ``created_at``."""
        return self.runs.get_comp_graphs(run_id)

    def get_histograms(self, run_id: int) -> dict[str, list[dict[str, Any]]]:
        """The histograms of a run by name: ``step``, ``log_time`` (also as ``wall_time``), ``bucket_edges``,
        ``bucket_counts``."""
        return self.runs.get_histograms(run_id)

    def get_images(self, run_id: int) -> dict[str, list[dict[str, Any]]]:
        """The images of a run by name: ``step``, ``log_time`` (also as ``wall_time``), sizes, and the raw
        bytes as ``image_data`` and, in base64, as ``data_b64``."""
        return self.runs.get_images(run_id)

    def get_texts(self, run_id: int) -> dict[str, list[dict[str, Any]]]:
        """The texts of a run by name: ``step``, ``log_time`` (also as ``wall_time``) and ``content``."""
        return self.runs.get_texts(run_id)
