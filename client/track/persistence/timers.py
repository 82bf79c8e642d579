"""Timers that run, by trial and name; each thread has its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from track.persistence.calls import key_of
from track_protocol.model.entities import Trial

__all__ = ["Stopped", "Timers"]

_Key = tuple[bytes | str, str, int]


class Stopped(NamedTuple):
    """A timer that has run.

    Attributes:
        seconds: how long.
        spec: what it was started with.
    """

    seconds: float
    spec: Any


class _Running(NamedTuple):
    started: float
    end_callback: Callable[[], Any] | None
    spec: Any


class Timers:
    """Started timers; those of one trial, name and thread nest.

    A trial is known by its id: its uid changes when the store changes its revision.
    """

    def __init__(self) -> None:
        self._started: Final[dict[_Key, list[_Running]]] = {}

    def start(
        self,
        trial: Trial,
        name: str,
        start_callback: Callable[[], Any] | None = None,
        end_callback: Callable[[], Any] | None = None,
        spec: Any = None,
    ) -> None:
        """Start a timer.

        Args:
            trial: the trial.
            name: of the timer.
            start_callback: called before the clock starts.
            end_callback: called before the clock stops.
            spec: returned by `stop`.
        """
        if start_callback is not None:
            start_callback()
        key = (key_of(trial), name, threading.get_ident())
        self._started.setdefault(key, []).append(_Running(time.perf_counter(), end_callback, spec))

    def runs(self, trial: Trial, name: str) -> bool:
        """Whether a timer runs, in whatever thread it was started."""
        key = (key_of(trial), name)
        return any(each[:2] == key for each in list(self._started))

    def stop(self, trial: Trial, name: str) -> Stopped | None:
        """Stop the timer that this thread started last, or else the only one of another thread.

        So a trial's runtime may end in another thread than it began in.

        Returns:
            None when there is no such timer.
        """
        key = (key_of(trial), name, threading.get_ident())
        if key not in self._started:
            others = [each for each in list(self._started) if each[:2] == key[:2]]
            if len(others) != 1:
                return None
            (key,) = others
        timers = self._started[key]
        timer = timers.pop()
        if not timers:
            self._started.pop(key, None)
        if timer.end_callback is not None:
            timer.end_callback()
        return Stopped(time.perf_counter() - timer.started, timer.spec)
