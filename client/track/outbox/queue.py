"""The rows that wait for the sender: a queue with bounds, which makes log calls wait a little and then drop.

As long as there is room, a log call takes no lock and makes no system call here.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from track.outbox.drops import Losses
from track.outbox.limits import Gate, Limits
from track.outbox.records import TICKET, Row, trial_of, values_in

__all__ = ["RowQueue"]

_WAITS_FOR_ROOM: Final = 1.0
"""Seconds without any progress after which a log call that found no room drops what it has."""


_BREATH: Final = 0.02
"""Seconds without a row taken after which the sender is held up, and nobody waits for it to take some."""


class RowQueue:
    """What was logged and not yet taken by the sender.

    It outlives a fork, since the functions that log hold on to it; `begin` empties it for the child.

    Args:
        limits: how much may wait.
        name: of the store, for messages.
        wake: makes the sender look at the rows.
        progress: grows with everything the store has answered.

    Attributes:
        rows: themselves, oldest on the left.
        gate: told from how many rows on the sender wants to be woken.
        losses: where what found no room is counted.
    """

    def __init__(
        self, limits: Limits, name: str, wake: Callable[[], bool], progress: Callable[[], int]
    ) -> None:
        self._limits = limits
        self._ready_bytes = min(limits.ready_bytes, limits.row_bytes)
        self._name = name
        self._wake = wake
        self._progress = progress
        self.rows: deque[Row] = deque()
        self.gate = Gate()
        self.begin(Losses())

    def begin(self, losses: Losses) -> None:
        """A new process starts with an empty one."""
        self.losses = losses
        self.rows.clear()
        self.gate.mark = 0
        # Its lock, too, is reentrant: a signal handler or a destructor may log in the middle of a log call.
        self._room = threading.Condition()
        self._waiting_for_room = 0
        self._hopeless = False
        self._held_up = False
        self._heavy = 0

    def append(self, row: Row) -> None:
        """Leave a row for the sender."""
        self.rows.append(row)
        if len(self.rows) >= self.gate.mark:
            self.crossed()

    def append_heavy(self, row: Row) -> bool:
        """The same for a row that ends with its own weight in bytes; whether there was room for it."""
        with self._room:
            self._heavy += row[4]
        self.rows.append(row)
        most = self._limits.row_bytes if self._held_up else self._ready_bytes
        if len(self.rows) >= self.gate.mark or self._heavy > most:
            return self.crossed()
        return True

    def put_first(self, rows: Iterable[Row]) -> None:
        """Put rows that end with their own weight before all others, in their order."""
        rows = list(rows)
        with self._room:
            self._heavy += sum(row[4] for row in rows)
        self.rows.extendleft(reversed(rows))

    # -- room ------------------------------------------------------------------------------------

    def crossed(self) -> bool:
        """The rows are as many as the sender wanted to be told of, or too many; whether all have room."""
        limits = self._limits
        if self._is_full(limits.row_bytes):
            self.gate.hurry = True
            self._wake()
            if self._wait_for_room():
                return True
            self._drop_newest()
            return False
        self._hopeless = False
        is_watched = self._wake()
        if self._is_full(self._ready_bytes):
            self.gate.hurry = True
            self._wait_for_the_sender()
        # Following calls need not wake the sender again: it sets the mark anew when it has looked.
        most = limits.row_bytes if self._held_up else self._ready_bytes
        self.gate.mark = self._capacity(most) if is_watched else 0
        return True

    def _capacity(self, nbytes: int) -> int:
        """How many rows so many bytes hold, judged by the newest one."""
        try:
            width = values_in(self.rows[-1]) if len(self.rows[-1]) > 2 else 1
        except IndexError:
            width = 1
        # A row is a tuple, a dict, a float for the time, and an object for each value.
        return min(self._limits.rows, nbytes // (320 + 48 * width))

    def _is_full(self, nbytes: int) -> bool:
        return len(self.rows) >= self._capacity(nbytes) or self._heavy > nbytes

    def _wait_for_the_sender(self) -> None:
        """Wait as long as it takes rows."""
        with self._room:
            self._waiting_for_room += 1
            try:
                while not self._held_up and self._is_full(self._ready_bytes):
                    self._held_up = not self._room.wait(_BREATH)
            finally:
                self._waiting_for_room -= 1

    def _wait_for_room(self) -> bool:
        """Wait as long as there is progress; after having waited in vain, not again until there is room."""
        if self._hopeless:
            return False
        with self._room:
            self._waiting_for_room += 1
            try:
                while self._is_full(self._limits.row_bytes):
                    seen = self._progress()
                    self._room.wait(_WAITS_FOR_ROOM)
                    if self._is_full(self._limits.row_bytes) and self._progress() == seen:
                        self._hopeless = True
                        return False
            finally:
                self._waiting_for_room -= 1
        return True

    def _drop_newest(self) -> None:
        try:
            row = self.rows.pop()
        except IndexError:
            return
        if row[0] is TICKET:
            self.rows.append(row)
            return
        if len(row) == 5:
            self._lighter(row[4])
        reason = f"{self._name} does not keep up or is away, and no room is left"
        self.losses.drop(values_in(row), reason, trial_of(row))

    def made_room(self, nbytes: int) -> None:
        """Rows were taken; `nbytes` is what those took that were weighed one by one."""
        self._held_up = False
        if nbytes:
            self._lighter(nbytes)
        if self._waiting_for_room:
            with self._room:
                self._room.notify_all()

    def _lighter(self, nbytes: int) -> None:
        with self._room:
            self._heavy -= nbytes
