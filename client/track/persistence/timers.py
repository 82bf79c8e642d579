"""Timers that run, by trial and name; each thread has its own."""

from __future__ import annotations

import threading
from typing import Final, Generic, TypeVar

from track.persistence.calls import key_of
from track_protocol.model.entities import Trial

__all__ = ["Timers"]

T = TypeVar("T")

_Key = tuple[bytes | str, str, int]


class Timers(Generic[T]):
    """Started timers; those of one trial, name and thread nest.

    A trial is known by its id: its uid changes when the store changes its revision.
    """

    def __init__(self) -> None:
        self._started: Final[dict[_Key, list[T]]] = {}

    def start(self, trial: Trial, name: str, timer: T) -> None:
        """Hold a timer until `stop`."""
        self._started.setdefault((key_of(trial), name, threading.get_ident()), []).append(timer)

    def stop(self, trial: Trial, name: str) -> T | None:
        """The timer that this thread started last, or else the only one of another thread, or else None.

        So a trial's runtime may end in another thread than it began in.
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
        return timer
