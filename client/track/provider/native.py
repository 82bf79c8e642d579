"""Runs as trials in a store of our own."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final, Self

from track.client import TrackClient
from track.logger import TrialLogger
from track.provider.base import BaseTracker, BaseTrackerRun, RunConfig
from track.provider.configs import TrackConfig
from track.provider.null import NullRun
from track.provider.ranks import from_first, is_first, rank, several
from track.provider.series import LabelledRun
from track.structure import CONTINUED
from track_protocol.errors import ItemNotFound, TrackError, UsageError
from track_protocol.model.seriesname import labelled
from track_protocol.uri import redact

__all__ = ["NativeRun", "NativeTracker"]

_log: Final = logging.getLogger("track.provider")

_LOST_STATE: Final = (
    "the loaded state resumes the trial {trial}, which is not in {store}: it was deleted, or the uri is "
    "that of another store; begin a new run by leaving the tracker out of the state that is loaded"
)


class NativeRun(LabelledRun):
    """Logs into one trial.

    Args:
        logger: of the trial, which runs.
        step: the last one of the loaded state.
    """

    def __init__(self, logger: TrialLogger, step: int | None) -> None:
        super().__init__()
        self.logger = logger
        self.step = step or 0
        self._write = logger.protocol.metric_writer(logger.trial)

    def write_scalar(self, name: str, value: Any, labels: dict[str, str]) -> None:
        """See `LabelledRun.write_scalar`."""
        try:
            values = labelled({name: value}, labels)
        except Exception as error:  # noqa: BLE001  # names of foreign types may not even have a hash
            self.lose(name, error)
            return
        self._write(self.step, values)

    def lose(self, name: Any, error: Exception) -> None:
        """See `LabelledRun.lose`; the trial counts it."""
        shown = name if issubclass(type(name), str) else type(name).__name__
        self.logger.count_dropped(1, f"{shown}: {error}")

    def write_bins(self, name: str, values: Any, labels: dict[str, str]) -> None:
        """See `LabelledRun.write_bins`."""
        self.logger.log_histogram(name, values, step=self.step, context=labels)


class NativeTracker(BaseTracker[TrackConfig]):
    """Opens trials; its state is the trial's id and uid, and the last step that was set.

    Args:
        config: where the trials are stored.
    """

    def __init__(self, config: TrackConfig) -> None:
        self._config = config
        self._id: str | None = None
        self._uid: str | None = None
        self._step: int | None = None
        self._resumes = False
        self._run: NativeRun | None = None

    @classmethod
    def from_config(cls, config: TrackConfig) -> Self:
        """See `BaseTracker.from_config`."""
        return cls(config)

    @property
    def _logs(self) -> bool:
        """Whether this rank logs; only one that does has state."""
        return self._config.ranks == "all" or is_first()

    @contextmanager
    def open(self, properties: RunConfig) -> Iterator[BaseTrackerRun]:
        """See `BaseTracker.open`.

        Raises:
            ItemNotFound: the trial of the loaded state is not in the store any more.
            UsageError: all ranks are to log, and there is no process group to agree on the trial; or this
                tracker has a run open.
            TrackError: the trial cannot be created.
        """
        if not self._logs:
            yield NullRun()
            return
        self._refuse_if_open("call open() after it has ended")
        with ExitStack() as stack:
            logger = stack.enter_context(self._attached(stack, properties))
            self._run = NativeRun(logger, self._step if self._resumes else None)
            self._resumes = False
            try:
                yield self._run
            finally:
                self._remember(self._run)
                self._run = None

    def state_dict(self) -> dict[str, Any]:
        """See `BaseTracker.state_dict`; empty on ranks that do not log, so that rank 0's is saved."""
        if not self._logs:
            return {}
        if self._run is not None:
            self._remember(self._run)
        return {"trial_id": self._id, "trial_uid": self._uid, "step": self._step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See `BaseTracker.load_state_dict`.

        Raises:
            UsageError: a run is open, which could not be left for another one.
        """
        self._refuse_if_open("load the state before open()")
        self._id = state_dict.get("trial_id")
        self._uid = state_dict.get("trial_uid")
        self._step = state_dict.get("step")
        self._resumes = bool(self._id or self._uid)

    def _refuse_if_open(self, remedy: str) -> None:
        if self._run is not None:
            raise UsageError(f"a run of this tracker is open: {remedy}")

    def _remember(self, run: NativeRun) -> None:
        trial = run.logger.trial
        self._id = None if trial.id is None else trial.id.hex()
        # The id of a trial that was created while the server was unreachable is only final later.
        self._uid = trial.uid
        self._step = run.step

    def _attached(self, stack: ExitStack, properties: RunConfig) -> TrialLogger:
        """The trial of the state, or else a new one; for all ranks the one that rank 0 says."""
        if self._config.ranks != "all" or not several():
            if not (is_first() or self._resumes or os.environ.get(CONTINUED)):
                raise UsageError(
                    "all ranks are to log into one run, and rank 0 has no way to say which: call torch."
                    f"distributed.init_process_group() before open(), set {CONTINUED}, or give ranks='first'"
                )
            return self._first(self._client(stack), properties)
        if not is_first():
            answer = from_first(None)
            if "failed" in answer:
                raise TrackError(f"rank 0 could not open the run: {answer['failed']}")
            return self._stored(self._client(stack), answer["trial"])
        try:
            client = self._client(stack)
            logger = self._first(client, properties)
            # The other ranks must find it, and log nothing that its rewind could take.
            client.protocol.persist(None)
        except BaseException as error:
            # Without this the others would wait for as long as the process group lets them.
            from_first({"failed": f"{type(error).__name__}: {error}"})
            raise
        from_first({"trial": logger.trial.id.hex() if logger.trial.id else logger.trial.uid})
        return logger

    def _client(self, stack: ExitStack) -> TrackClient:
        client = TrackClient(self._config.uri, rank=rank())
        stack.callback(_close, client)
        return client

    def _first(self, client: TrackClient, properties: RunConfig) -> TrialLogger:
        known = self._id or self._uid
        if known is None or not self._resumes:
            return self._created(client, properties)
        logger = self._stored(client, known)
        if properties.hparams:
            logger.log_arguments(**properties.hparams)
        if self._config.rewind and self._step is not None:
            logger.rewind(self._step)
        return logger

    def _created(self, client: TrackClient, properties: RunConfig) -> TrialLogger:
        config = self._config
        if config.project is not None:
            client.set_project(name=config.project)
        if config.group is not None:
            client.set_group(name=config.group)
        logger = client.new_trial(
            name=properties.name,
            description=properties.description,
            parameters=dict(properties.hparams),
            tags=dict(config.tags),
        )
        logger.ensure()
        return logger

    def _stored(self, client: TrackClient, known: str) -> TrialLogger:
        try:
            return client.set_trial(uid=known)
        except ItemNotFound as error:
            lost = _LOST_STATE.format(trial=self._uid or known, store=redact(self._config.uri))
            raise ItemNotFound(lost) from error


def _close(client: TrackClient) -> None:
    try:
        client.close()
    except TrackError as error:
        # The training is done and must not fail for this, nor hide why it failed.
        _log.error("the run is not saved yet: %s", error)
