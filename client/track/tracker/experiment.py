"""An experiment in any store: a project, whose trials are its runs, known by their numbers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from track.client import TrackClient
from track.logger import TrialLogger
from track.persistence.protocol import Protocol
from track.persistence.series import SeriesMapping
from track.recording.parameters import as_mapping
from track.tracker.media import graphs_of, histograms_of, images_of, run_of_graph, texts_of
from track.tracker.records import RecordInfo, RunInfo, by_step, ends_of, time_shown
from track.tracker.run_ids import LAST_COUNTED, RUN_ID, number_of, take_number, uncounted
from track.tracker.statuses import status_of_run
from track_protocol.errors import ItemNotFound
from track_protocol.model.entities import Project, Trial, TrialGroup, new_id
from track_protocol.wire.batch import METRIC

__all__ = ["COUNTER", "CREATED_AT", "Experiment", "created_at"]

CREATED_AT: Final = "created_at"
"""Metadata of a trial: when it was made, in seconds since the epoch."""

COUNTER: Final = "run numbers"
"""Name of the group that counts an experiment's runs; it has no trials, so that reading it stays cheap."""

_HEARTBEAT: Final = "heartbeat"
_TOGETHER: Final = 1_024
"""Series that are asked for at once."""


class Experiment:
    """The runs of one experiment.

    Args:
        protocol: the store.
        name: of the project; it is made when the first run is.
    """

    def __init__(self, protocol: Protocol, name: str) -> None:
        self.protocol = protocol
        self.name = name
        self._project = Project(name=name)
        self._counter = TrialGroup(name=COUNTER, project_id=self._project.uid)
        self._client: TrackClient | None = None
        self._trials: dict[int, Trial] = {}
        self._ids: dict[int, bytes] = {}
        """Of the trials that were listed: a number that follows from an id cannot be asked for."""

    # -- making runs -----------------------------------------------------------------------------

    def ensure(self) -> TrackClient:
        """The client that makes trials in the experiment's project, which exists from then on."""
        if self._client is None:
            client = TrackClient(self.protocol)
            client.set_project(self._project)
            self.protocol.new_trial_group(self._counter)
            self._client = client
        return self._client

    def create_run(self, name: str | None, config: object, default_name: Callable[[int], str]) -> TrialLogger:
        """Make a run that has not started; the logger's trial is stored.

        Args:
            name: of the run.
            config: its hyper-parameters: values by name, a parser, or what one returned.
            default_name: its name when none is given, from its number.

        Raises:
            BadArguments: `config` gives no parameters.
        """
        client, parameters = self.ensure(), as_mapping(config)
        number = take_number(self.protocol, self._counter)
        # Without a counted number, one that is drawn here as ids are.
        number = uncounted(new_id()) if number is None else number
        logger = client.new_trial(
            force=True,
            resume=False,
            name=name or default_name(number),
            metadata={RUN_ID: number, CREATED_AT: time.time()},
            arguments=parameters,
        )
        trial = logger.ensure()
        self._trials[number_of(trial)] = trial
        return logger

    # -- finding them ----------------------------------------------------------------------------

    def known(self, run_id: int) -> Trial:
        """A run's trial, to log into.

        Raises:
            ItemNotFound: there is no such run.
        """
        found = self._trials.get(run_id) or self.trial(run_id)
        if found is None:
            raise ItemNotFound(f"experiment {self.name!r} has no run {run_id}: get_all_runs() lists them")
        self._trials[run_id] = found
        return found

    def trial(self, run_id: int) -> Trial | None:
        """A run's trial as it is stored now, or None."""
        known = self._trials.get(run_id)
        if known is not None:
            return self.protocol.current_trial(known)
        id = self._ids.get(run_id)
        named = {f"metadata.{RUN_ID}": run_id} if id is None else {"id": id}
        found = self.protocol.fetch_trials(self._within(named))
        if not found and id is None and run_id > LAST_COUNTED:
            found = [trial for trial in self.trials() if number_of(trial) == run_id]
        return found[0] if found else None

    def trials(self) -> list[Trial]:
        """The experiment's trials, oldest first."""
        found = self.protocol.fetch_trials(self._within({}))
        self._ids = {number_of(trial): trial.id for trial in found if trial.id is not None}
        return found

    def forget(self, run_id: int) -> None:
        """The run was deleted."""
        self._trials.pop(run_id, None)

    def _within(self, query: Mapping[str, Any]) -> dict[str, Any]:
        return {"project_id": self._project.uid, **query}

    # -- as `ExperimentDBManager` shows it -------------------------------------------------------

    def get_all_runs(self) -> list[RunInfo]:
        """Every run, newest first."""
        newest_first = self.trials()[::-1]
        # A stable sort: of two runs of one moment the later one comes first.
        newest_first.sort(key=lambda trial: created_at(trial) or 0.0, reverse=True)
        return [_info(trial) for trial in newest_first]

    def get_run(self, run_id: int) -> RunInfo | None:
        """A run, or None."""
        trial = self.trial(run_id)
        return None if trial is None else _info(trial)

    def get_metrics(self, run_id: int) -> list[str]:
        """Names of a run's metrics."""
        trial = self.trial(run_id)
        return [] if trial is None else list(trial.metrics)

    def get_records(self, run_id: int, metric_name: str) -> list[RecordInfo]:
        """The points of a metric, by step."""
        trial = self.trial(run_id)
        if trial is None or metric_name not in trial.metrics:
            return []
        series = self.protocol.fetch_metrics(trial, metric_name)
        columns = zip(series.steps, series.values, series.times, strict=True)
        records = [
            RecordInfo(step=ordinal if step is None else step, value=value, log_time=at)
            for ordinal, (step, value, at) in enumerate(columns)
        ]
        return sorted(records, key=by_step)

    def get_metric_summary(self, run_id: int) -> dict[str, dict[str, Any]]:
        """Statistics of each metric of a run."""
        trial = self.trial(run_id)
        return {} if trial is None else self._summaries([trial])[number_of(trial)]

    def get_metric_summaries(self) -> dict[int, dict[str, dict[str, Any]]]:
        """The same of every run."""
        return self._summaries(self.trials())

    def _summaries(self, trials: Sequence[Trial]) -> dict[int, dict[str, dict[str, Any]]]:
        """Statistics of each metric of some runs; the points are read of those whose steps do not ascend."""
        metrics = [
            (trial, trial.metrics if isinstance(trial.metrics, SeriesMapping) else {}) for trial in trials
        ]
        keys = [(trial.id, METRIC, name) for trial, series in metrics for name in series if trial.id]
        ascending = set()
        for at in range(0, len(keys), _TOGETHER):
            some = keys[at : at + _TOGETHER]
            for key, found in zip(some, self.protocol.fetch_columns(some, width=1), strict=True):
                if found is not None and found.get("axis") == "step":
                    ascending.add(key)
        return {
            number_of(trial): {
                name: _told(series, name, (trial.id, METRIC, name) in ascending) for name in series
            }
            for trial, series in metrics
        }

    def get_comp_graph(self, graph_id: int) -> dict[str, Any] | None:
        """The graph of that id, or None."""
        for found in self.get_comp_graphs(run_of_graph(graph_id)):
            if found["id"] == graph_id:
                graph: dict[str, Any] = found["graph"]
                return graph
        return None

    def get_comp_graphs(self, run_id: int) -> list[dict[str, Any]]:
        """The computation graphs of a run, oldest first."""
        trial = self.trial(run_id)
        return [] if trial is None else graphs_of(self.protocol, trial)

    def get_histograms(self, run_id: int) -> dict[str, list[dict[str, Any]]]:
        """The histograms of a run by name."""
        trial = self.trial(run_id)
        return {} if trial is None else histograms_of(self.protocol, trial)

    def get_images(self, run_id: int) -> dict[str, list[dict[str, Any]]]:
        """The images of a run by name."""
        trial = self.trial(run_id)
        return {} if trial is None else images_of(self.protocol, trial)

    def get_texts(self, run_id: int) -> dict[str, list[dict[str, Any]]]:
        """The texts of a run by name."""
        trial = self.trial(run_id)
        return {} if trial is None else texts_of(self.protocol, trial)


def created_at(trial: Trial) -> float | None:
    """When a trial was made, in seconds since the epoch, or else its last heartbeat, or None."""
    for name in (CREATED_AT, _HEARTBEAT):
        moment = trial.metadata.get(name)
        if isinstance(moment, int | float):
            return float(moment)
    return None


def _info(trial: Trial) -> RunInfo:
    summary = getattr(trial.metrics, "summary", None)
    counts = [summary(name)["count"] if summary else len(trial.metrics[name]) for name in trial.metrics]
    return RunInfo(
        run_id=number_of(trial),
        name=trial.name or "",
        created_at=time_shown(created_at(trial)),
        status=status_of_run(trial.status),
        config=dict(trial.parameters),
        num_records=counts,
        metrics=list(trial.metrics),
        full_status=None if trial.status is None else trial.status.name,
    )


def _told(series: Any, name: str, ascends: bool) -> dict[str, Any]:
    summary = series.summary(name)
    last, first_step, last_step = summary["last"], summary["first_step"], summary["last_step"]
    if not ascends:
        points = series.points(name)
        last, first_step, last_step = ends_of(points.steps, points.values)
    return {
        "min": summary["min"],
        "max": summary["max"],
        "mean": summary["mean"],
        "std": summary["sd"],
        "last": last,
        "n": summary["count"],
        "first_step": first_step,
        "last_step": last_step,
    }
