"""`ExperimentDBManager`: the runs of one experiment by their numbers, on a store or on an old database."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from track.persistence import get_protocol
from track.persistence.protocol import MetricWriter
from track.tracker.experiment import Experiment
from track.tracker.legacy import LegacyDatabase
from track.tracker.media import GRAPH_NAME, graph_media, histogram_media, image_media
from track.tracker.reader import RunReader, Runs
from track.tracker.run_ids import number_of
from track.tracker.statuses import status_of_trial
from track_protocol.errors import StoreReadOnly, TrackError
from track_protocol.model.media import GRAPH, HISTOGRAM, IMAGE, TEXT
from track_protocol.uri import Uri

__all__ = ["ExperimentDBManager", "store_at"]


def store_at(path: Path) -> str:
    """URI of the store in a file."""
    return Uri("sqlite", path=os.fspath(path)).to_text()


class ExperimentDBManager(RunReader):
    """The runs of one experiment, each known by its number.

    A database that an older system wrote is only read, also from read-only media.

    Args:
        db_path: of the experiment's file; its name without the ending is that of the experiment.
        experiment: one in a store that is open; `db_path` is None then.
    """

    def __init__(
        self, db_path: str | os.PathLike[str] | None = None, *, experiment: Experiment | None = None
    ) -> None:
        if (db_path is None) == (experiment is None):
            raise TypeError("ExperimentDBManager takes the path of an experiment's file")
        self.db_path = None if db_path is None else Path(db_path)
        self._experiment = experiment
        self._legacy: LegacyDatabase | None = None
        self._writers: dict[int, MetricWriter] = {}

    # -- the store -------------------------------------------------------------------------------

    def check_connection(self) -> bool:
        """Whether the experiment is there and can be read; nothing is created by asking."""
        if self.db_path is not None and not self.db_path.exists():
            return False
        try:
            self.runs.get_run(0)
        except TrackError:
            return False
        return True

    def init_exp_db(self) -> None:
        """Create the experiment, if it does not exist."""
        self.experiment.ensure()

    @property
    def name(self) -> str:
        """Of the experiment."""
        if self.db_path is not None:
            return self.db_path.stem
        assert self._experiment is not None
        return self._experiment.name

    @property
    def is_read_only(self) -> bool:
        """Whether an older system wrote it."""
        return isinstance(self.runs, LegacyDatabase)

    @property
    def experiment(self) -> Experiment:
        """The experiment in its store, to be written to.

        Raises:
            StoreReadOnly: an older system wrote it.
        """
        runs = self.runs
        if isinstance(runs, LegacyDatabase):
            raise StoreReadOnly(
                f"{self.db_path} was written by an older system and is only read here: log into another "
                f"experiment, or copy it with: track import {self.db_path}"
            )
        assert self._experiment is not None
        return self._experiment

    @property
    def runs(self) -> Runs:
        """The experiment, in whatever it is stored."""
        if self._legacy is not None:
            return self._legacy
        if self._experiment is None:
            assert self.db_path is not None
            if LegacyDatabase.is_at(self.db_path):
                self._legacy = LegacyDatabase(self.db_path)
                return self._legacy
            self._experiment = Experiment(get_protocol(store_at(self.db_path)), self.db_path.stem)
        return self._experiment

    def close(self) -> None:
        """Save what was logged, and release the file."""
        if self._experiment is not None and self.db_path is not None:
            experiment, self._experiment = self._experiment, None
            self._writers.clear()
            experiment.protocol.close()

    def __enter__(self) -> ExperimentDBManager:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # -- writing ---------------------------------------------------------------------------------

    def create_run(self, name: str | None = None, config: Any = None) -> int:
        """Make a run, which is running from then on; returns its number.

        Args:
            name: of the run, by default ``run_`` and the seconds since the epoch.
            config: its hyper-parameters by name.
        """
        experiment = self.experiment
        logger = experiment.create_run(name, config, lambda _: f"run_{int(time.time())}")
        experiment.protocol.log_trial_start(logger.trial)
        return number_of(logger.trial)

    def update_run_status(self, run_id: int, status: str) -> None:
        """Change a run's status.

        Args:
            run_id: the run.
            status: ``'running'``, ``'completed'`` or ``'failed'``.

        Raises:
            BadArguments: it is another word.
            ItemNotFound: there is no such run.
        """
        experiment, wanted = self.experiment, status_of_trial(status)
        experiment.protocol.set_trial_status(experiment.known(run_id), wanted)

    def delete_run(self, run_id: int, force: bool = False) -> None:
        """Delete a run and all its data; its space is freed in the background.

        Args:
            run_id: the run; one that does not exist is no error.
            force: also while another process still writes it.

        Raises:
            TrialInUse: another process writes it; the message says who.
        """
        experiment = self.experiment
        trial = experiment.trial(run_id)
        if trial is not None:
            experiment.protocol.delete_trial(trial, force)
        experiment.forget(run_id)
        self._writers.pop(run_id, None)

    def record(self, run_id: int, metric_name: str, step: int, value: float) -> None:
        """Log one point of a metric; returns at once.

        Raises:
            ItemNotFound: there is no such run.
        """
        write = self._writers.get(run_id)
        if write is None:
            experiment = self.experiment
            write = self._writers[run_id] = experiment.protocol.metric_writer(experiment.known(run_id))
        write(step, {metric_name: value})

    def save_comp_graph(self, run_id: int, graph_data: Mapping[str, Any]) -> None:
        """Keep a computation graph with a run; those before it stay.

        Raises:
            ItemNotFound: there is no such run.
            BadValue: it cannot be written as JSON.
        """
        self._keep(run_id, GRAPH, GRAPH_NAME, None, lambda: graph_media(graph_data))

    def save_histogram(
        self,
        run_id: int,
        name: str,
        step: int,
        bucket_edges: Sequence[float],
        bucket_counts: Sequence[int],
    ) -> None:
        """Keep a histogram that was counted already: one edge more than counts.

        Raises:
            ItemNotFound: there is no such run.
            BadValue: these are no edges and counts.
        """
        self._keep(run_id, HISTOGRAM, name, step, lambda: histogram_media(bucket_edges, bucket_counts))

    def save_image(
        self, run_id: int, name: str, step: int, width: int, height: int, channels: int, image_data: bytes
    ) -> None:
        """Keep an image: a byte for each of 1, 3 or 4 channels of each pixel, row by row.

        Raises:
            ItemNotFound: there is no such run.
            BadValue: these bytes are no such image.
        """
        self._keep(run_id, IMAGE, name, step, lambda: image_media(width, height, channels, image_data))

    def save_text(self, run_id: int, name: str, step: int, content: str) -> None:
        """Keep a text.

        Raises:
            ItemNotFound: there is no such run.
        """
        self._keep(run_id, TEXT, name, step, lambda: content)

    def _keep(self, run_id: int, kind: str, name: str, step: Any, make: Callable[[], Any]) -> None:
        experiment = self.experiment
        experiment.protocol.log_trial_media(experiment.known(run_id), kind, name, make(), step)
