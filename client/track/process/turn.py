"""A lock around what one thread does for all of a process."""

from __future__ import annotations

import threading
from types import TracebackType

from track.process.lifecycle import enroll

__all__ = ["Turn"]


class Turn:
    """A reentrant lock that a forked child finds free, whatever the parent's other threads were doing.

    As a context manager it says whether this is the thread's outermost turn: a signal handler or a destructor
    may come in the middle of one.
    """

    def __init__(self) -> None:
        self._begin()
        enroll(self)

    def _begin(self) -> None:
        self._lock = threading.RLock()
        self._depth = 0

    def __enter__(self) -> bool:
        self._lock.acquire()
        self._depth += 1
        return self._depth == 1

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        self._depth -= 1
        self._lock.release()

    def before_fork(self) -> None:
        """Nothing: to wait for whoever has it could be to wait for each other."""

    def after_fork_in_parent(self) -> None:
        """Nothing changes here."""

    def after_fork_in_child(self) -> None:
        """Whoever had it is not here."""
        self._begin()

    def leave(self, timeout: float) -> None:
        """There is nothing to save."""
