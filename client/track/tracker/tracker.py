"""`Tracker`: experiments and their runs, one at a time."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from track.logger import TrialLogger
from track.persistence import get_protocol
from track.persistence.protocol import MetricWriter, Protocol
from track.tracker.comp_graph import build_graph_data
from track.tracker.experiment import Experiment
from track.tracker.experiment_db import ExperimentDBManager
from track.tracker.media import numbers_in
from track.tracker.reader import RunReader, Runs
from track.tracker.run_ids import number_of
from track.tracker.statuses import COMPLETED, FAILED, status_of_trial
from track_protocol.errors import BadArguments, UsageError
from track_protocol.model.entities import Status
from track_protocol.model.media import HISTOGRAM, IMAGE, TEXT

__all__ = ["NoActiveRun", "RunFailed", "Tracker"]

_log: Final = logging.getLogger("track")
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+._-]+:")
"""A scheme has more letters than a drive."""

_ENDING: Final = ".db"
_NO_RUN: Final = "no run is active: call start_run() first, or log within: with tracker.run():"


class NoActiveRun(UsageError, RuntimeError):
    """Something was logged outside of a run."""

    code = "no-active-run"


class RunFailed(Exception):
    """What a run ended by, when only its status says that it failed."""


class Tracker(RunReader):
    """Tracks experiments: each has runs, and each run has metrics, media and computation graphs.

    Args:
        all_exp_dir: a folder in which each experiment has a database of its own, or the URI of one store
            for all experiments, such as ``socket://HOST:PORT``; a `Protocol` will do too.

    Attributes:
        all_exp_dir: the folder; None when there is one store.
        cur_exp_path: the current experiment's database; None without one.
        db_manager: the runs of the current experiment; None before `set_experiment`.
        current_run_id: number of the active run, or None.
        current_run_name: its name, or None.
    """

    def __init__(self, all_exp_dir: str | os.PathLike[str] | Protocol = "./experiments") -> None:
        self.all_exp_dir: Path | None = None
        self.cur_exp_path: Path | None = None
        self.db_manager: ExperimentDBManager | None = None
        self.current_run_id: int | None = None
        self.current_run_name: str | None = None
        self._store: Protocol | None = None
        self._logger: TrialLogger | None = None
        self._write: MetricWriter = self._no_run
        self._place(all_exp_dir)

    def __getstate__(self) -> dict[str, Any]:
        # The function that writes is made again: it belongs to the queue of one process.
        return {name: value for name, value in vars(self).items() if name != "_write"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        logger = self._logger
        self._write = self._no_run if logger is None else logger.protocol.metric_writer(logger.trial)

    # -- experiments -----------------------------------------------------------------------------

    def set_all_exp_dir(self, directory: str | os.PathLike[str] | Protocol) -> None:
        """Look for experiments somewhere else from now on; the current one is left.

        Raises:
            UsageError: a run is active.
        """
        self._leave()
        if self._store is not None:
            self._store.close()
            self._store = None
        self._place(directory)

    def get_all_exp_paths(self) -> list[Path]:
        """The databases in the folder of experiments, by name.

        Raises:
            UsageError: there is one store for all of them; `get_all_experiments` names them.
        """
        if self.all_exp_dir is None:
            raise UsageError("the experiments of one store have no files: call get_all_experiments()")
        return sorted(self.all_exp_dir.glob(f"*{_ENDING}"))

    def get_all_experiments(self) -> list[str]:
        """Names of all experiments."""
        if self._store is None:
            return [path.stem for path in self.get_all_exp_paths()]
        return [project.name for project in self._store.fetch_projects({}) if project.name is not None]

    def set_experiment(self, exp_name: str) -> None:
        """Choose the experiment, and create it if it does not exist.

        Args:
            exp_name: its name; an ending ``.db`` is left aside.

        Raises:
            UsageError: a run of another one is active, or the name is none of a file.
        """
        name = exp_name.removesuffix(_ENDING)
        if self.db_manager is not None and self.db_manager.name == name:
            return
        self._leave()
        if self._store is not None:
            manager = ExperimentDBManager(experiment=Experiment(self._store, name))
        else:
            path = self._path_of(name)
            manager = ExperimentDBManager(path)
            if path.exists():
                _log.info("experiment %s continues in %s", name, path)
        if not manager.is_read_only:
            manager.init_exp_db()
        self.db_manager, self.cur_exp_path = manager, manager.db_path

    @property
    def runs(self) -> Runs:
        """The runs of the current experiment.

        Raises:
            UsageError: none was chosen.
        """
        return self._manager.runs

    @property
    def _manager(self) -> ExperimentDBManager:
        if self.db_manager is None:
            raise UsageError("no experiment was chosen: call set_experiment(NAME) first")
        return self.db_manager

    def _path_of(self, name: str) -> Path:
        assert self.all_exp_dir is not None
        if not name or Path(name).name != name:
            raise UsageError(f"{name!r} cannot be the name of an experiment: use a valid file name")
        return self.all_exp_dir / f"{name}{_ENDING}"

    def _place(self, where: str | os.PathLike[str] | Protocol) -> None:
        if isinstance(where, Protocol):
            self._store, self.all_exp_dir = where, None
        elif isinstance(where, str) and _URI.match(where):
            self._store, self.all_exp_dir = get_protocol(where), None
        else:
            self.all_exp_dir = Path(where)
            self.all_exp_dir.mkdir(parents=True, exist_ok=True)

    def _leave(self) -> None:
        """Leave the current experiment, if there is one."""
        if self._logger is not None:
            raise UsageError(f"run {self.current_run_id} is active: call end_run() first")
        manager, self.db_manager, self.cur_exp_path = self.db_manager, None, None
        if manager is not None:
            manager.close()

    def close(self) -> None:
        """Save what was logged, and release the store; `set_experiment` begins anew.

        Raises:
            UsageError: a run is active.
        """
        self._leave()
        if self._store is not None:
            self._store.close()

    def __enter__(self) -> Tracker:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        if self._logger is not None:
            self._end(exc_type, exc_val, exc_tb)
        self.close()

    # -- runs ------------------------------------------------------------------------------------

    def start_run(
        self,
        name: str | None = None,
        config: Any = None,
        *,
        run_name: str | None = None,
        hparams: Any = None,
    ) -> int:
        """Start a run; returns its number.

        Args:
            name: of the run, by default ``run_`` and its number.
            config: its hyper-parameters: values by name, or an argument parser, or what one returned.
            run_name: the same as `name`.
            hparams: the same as `config`.

        Raises:
            UsageError: no experiment was chosen, or another run is active.
            BadArguments: both spellings of one argument were given.
        """
        if self._logger is not None:
            raise UsageError(f"run {self.current_run_id} is active: call end_run() before start_run()")
        experiment = self._manager.experiment
        logger = experiment.create_run(
            _one_of("name", name, "run_name", run_name),
            _one_of("config", config, "hparams", hparams),
            lambda number: f"run_{number}",
        )
        logger.start()
        self._logger = logger
        self._write = experiment.protocol.metric_writer(logger.trial)
        self.current_run_id, self.current_run_name = number_of(logger.trial), logger.trial.name
        return self.current_run_id

    def end_run(self, status: str = COMPLETED) -> int:
        """End the active run; returns its number.

        Args:
            status: ``'completed'``, ``'failed'`` or, for one that is to continue elsewhere, ``'running'``.
                Within an ``except`` block, a run that failed stores the exception.

        Raises:
            NoActiveRun: there is none.
            BadArguments: it is another word.
        """
        logger = self._active
        status_of_trial(status)
        if status == FAILED:
            error = sys.exception() or RunFailed("the run was ended as failed")
            return self._end(type(error), error, error.__traceback__)
        if status == COMPLETED:
            return self._end(None, None, None)
        ended = self._end(None, None, None)
        logger.set_status(Status.Suspended)
        return ended

    @contextmanager
    def run(
        self,
        name: str | None = None,
        config: Any = None,
        *,
        run_name: str | None = None,
        hparams: Any = None,
    ) -> Iterator[int]:
        """A run for the length of a block: completed at its end, failed when it raises.

        Args:
            name, config, run_name, hparams: see `start_run`.
        """
        started = self.start_run(name, config, run_name=run_name, hparams=hparams)
        try:
            yield started
        except BaseException as error:
            self._end_if_active(started, type(error), error, error.__traceback__)
            raise
        self._end_if_active(started, None, None, None)

    def _end_if_active(self, started: int, *ending: Any) -> None:
        """The block may have ended its run itself."""
        if self._logger is not None and self.current_run_id == started:
            self._end(*ending)

    def _end(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> int:
        logger, ended = self._active, self.current_run_id
        self._logger = self.current_run_id = self.current_run_name = None
        self._write = self._no_run
        assert ended is not None
        # As at the end of its block: what ended it is stored, all is saved, signal handlers are restored.
        logger.__exit__(exc_type, exc_val, exc_tb)
        return ended

    @property
    def _active(self) -> TrialLogger:
        if self._logger is None:
            raise NoActiveRun(_NO_RUN)
        return self._logger

    def _no_run(self, step: Any, metrics: Mapping[str, Any]) -> None:
        raise NoActiveRun(_NO_RUN)

    # -- what happens in a run -------------------------------------------------------------------

    def record(self, metric_name: str, value: Any, step: Any) -> None:
        """Log a point of a metric; returns at once.

        Raises:
            NoActiveRun: there is none.
        """
        if issubclass(type(metric_name), str):
            self._write(step, {metric_name: value})
        else:
            self._active.log_metrics(metric_name, value, step)

    def log(self, metrics: Any = None, step: Any = None, **kwargs: Any) -> None:
        """Log a point to each of some metrics; returns at once, and never raises for what it is given.

        Args:
            metrics: values by name.
            step: where in the training they were observed.
            kwargs: more values by name.

        Raises:
            NoActiveRun: there is none.
        """
        self._active.log_metrics(*([] if metrics is None else [metrics]), step=step, **kwargs)

    def histogram(self, name: str, tensor: Any, step: int, bins: int = 30) -> None:
        """Log how values are distributed; what cannot be counted is dropped with a warning.

        Args:
            name: of the histogram.
            tensor: an array, a tensor (also one that has its array as ``values``) or nested lists.  NaN and
                infinities are counted beside the bins.
            step: where in the training they were observed.
            bins: how many.

        Raises:
            NoActiveRun: there is none.
        """
        self._log_media(HISTOGRAM, name, numbers_in(tensor), step, bins=bins)

    def image(self, name: str, image_data: Any, step: int) -> None:
        """Log an image; it is compressed without a loss.

        Args:
            name: of the image.
            image_data: height x width, or height x width x channels with 1, 3 or 4 of them, as floats from 0
                to 1 or integers from 0 to 255.
            step: where in the training it was made.

        Raises:
            NoActiveRun: there is none.
        """
        self._log_media(IMAGE, name, numbers_in(image_data), step)

    def text(self, name: str, content: str, step: int) -> None:
        """Log a text of any length.

        Args:
            name: of the text.
            content: it.
            step: where in the training it was made.

        Raises:
            NoActiveRun: there is none.
        """
        self._log_media(TEXT, name, content, step)

    def save_comp_graph(self, tensor: Any, run_id: int | None = None) -> None:
        """Keep the graph of everything that a tensor was computed from.

        Args:
            tensor: see `build_graph_data`.
            run_id: of which run; the active one by default.

        Raises:
            NoActiveRun: no run was named, and none is active.
            BadValue: it has no computation graph.
            ItemNotFound: there is no such run.
        """
        chosen = self._chosen(run_id)
        _log.info("the computation graph of run %s is saved", chosen)
        self._manager.save_comp_graph(chosen, build_graph_data(tensor))

    def rename_run(self, name: str | None = None, description: str | None = None) -> None:
        """Change what the active run is called and how it is described; its id stays.

        Args:
            name: the new one; an empty text removes it, None leaves it as it is.
            description: likewise.

        Raises:
            NoActiveRun: `start_run` has not been called.
        """
        self._active.rename(name, description)

    def _log_media(self, kind: str, name: str, value: Any, step: int, **options: Any) -> None:
        logger = self._active
        logger.protocol.log_trial_media(logger.trial, kind, name, value, step, **options)

    def delete_run(self, run_id: int, force: bool = False) -> None:
        """See `ExperimentDBManager.delete_run`.

        Raises:
            UsageError: it is the active run.
            TrialInUse: another process writes it, and not `force`.
        """
        if self._logger is not None and run_id == self.current_run_id:
            raise UsageError(f"run {run_id} is active: call end_run() before delete_run()")
        self._manager.delete_run(run_id, force)

    def summary(self, run_id: int | None = None) -> dict[str, dict[str, Any]]:
        """Statistics of each metric: min, max, mean, std, last, n, first_step and last_step.

        Args:
            run_id: the run; the active one by default.

        Raises:
            NoActiveRun: none was named, and none is active.
        """
        return self._manager.get_metric_summary(self._chosen(run_id))

    def _chosen(self, run_id: int | None) -> int:
        return number_of(self._active.trial) if run_id is None else run_id


def _one_of(name: str, value: Any, other_name: str, other: Any) -> Any:
    if value is not None and other is not None:
        raise BadArguments(f"{name} and {other_name} are the same: give one of them")
    return other if value is None else value
