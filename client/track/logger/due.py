"""Trials about which something was said, and which are not created yet.

A trial is created late, because its parameters are part of its identity and may come last.  But a program may
end without them: then it is created at the end, with what was said.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from typing import Final
from weakref import WeakSet

from track.process.lifecycle import LifecycleHook, register
from track_protocol.errors import TrackError

__all__ = ["Due", "due"]

_log: Final = logging.getLogger("track")


class Due(ABC):
    """Creates a trial."""

    @abstractmethod
    def create_if_due(self) -> None:
        """Create the trial if something was said about it."""

    @abstractmethod
    def will_fork(self) -> None:
        """The process is about to fork: a child that creates the trial must create the same one."""


class _DueTrials(LifecycleHook):
    """Those of this process, also when the program has dropped its client."""

    def __init__(self) -> None:
        self._waiting: dict[int, Due] = {}
        self._shared: WeakSet[Due] = WeakSet()
        register(self)

    def share(self, trial: Due) -> None:
        """A child that is forked before it is created logs into the same trial."""
        self._shared.add(trial)

    def add(self, trial: Due) -> None:
        """Something was said about it."""
        self._waiting[id(trial)] = trial

    def discard(self, trial: Due) -> None:
        """It is created."""
        self._waiting.pop(id(trial), None)

    def waits_for(self, trial: Due) -> bool:
        """Whether something was said about it in this process."""
        return id(trial) in self._waiting

    def before_fork(self) -> None:
        """Let the trials that are shared know."""
        for trial in list(self._shared):
            trial.will_fork()

    def before_exit(self) -> None:
        """Create the rest, while that can still be sent."""
        for trial in list(self._waiting.values()):
            try:
                trial.create_if_due()
            except TrackError as error:
                _log.error("a trial could not be created at the end of the program: %s", error)

    def after_fork_in_child(self) -> None:
        """They are the parent's."""
        self._waiting = {}


due: Final = _DueTrials()
