"""A read sees all that its session wrote before it, though reads and writes take different ways."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

__all__ = ["ReadAfterWrite"]


class ReadAfterWrite:
    """Holds reads back until the writes before them are done.  For one thread."""

    def __init__(self) -> None:
        self.started = 0
        self.finished = 0
        self._held: deque[tuple[int, Callable[[], None]]] = deque()

    @property
    def pending(self) -> int:
        """Writes that are under way."""
        return self.started - self.finished

    def write_started(self) -> None:
        """A write was handed in."""
        self.started += 1

    def write_finished(self) -> None:
        """The oldest write under way is done; lets the reads go that waited for it."""
        self.finished += 1
        while self._held and self._held[0][0] <= self.finished:
            self._held.popleft()[1]()

    def read(self, run: Callable[[], None]) -> None:
        """Call `run` once all writes handed in so far are done: at once if they are."""
        if self.started == self.finished:
            run()
        else:
            self._held.append((self.started, run))
