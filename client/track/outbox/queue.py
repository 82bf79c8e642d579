"""The records that wait for the sender: a bounded queue, which makes log calls wait a little and then drop.

As long as there is room, a log call takes no lock and makes no system call here.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from track.outbox.drops import DropAccount
from track.outbox.records import FUTURE, Record, trial_of, values_in

__all__ = ["Gate", "Limits", "RecordQueue"]


_STALL_TIMEOUT_S: Final = 0.02
"""Seconds without a record taken after which the sender counts as blocked, and callers do not wait for it."""


class RecordQueue:
    """What was logged and not yet taken by the sender.

    It outlives a fork, since the functions that log hold on to it; `begin` empties it for the child.

    Args:
        limits: how much may wait.
        name: of the store, for messages.
        wake: makes the sender look at the records.
        progress: grows with everything the store has answered.

    Attributes:
        records: themselves, oldest on the left.
        gate: receives the record count from which the sender is woken.
        drops: where what found no room is counted.
    """

    def __init__(
        self, limits: Limits, name: str, wake: Callable[[], bool], progress: Callable[[], int]
    ) -> None:
        self._limits = limits
        self._ready_bytes = min(limits.ready_bytes, limits.record_bytes)
        self._name = name
        self._wake = wake
        self._progress = progress
        self.records: deque[Record] = deque()
        self.gate = Gate()
        self.begin(DropAccount())

    def begin(self, drops: DropAccount) -> None:
        """A new process starts with an empty one."""
        self.drops = drops
        self.records.clear()
        self.gate.watermark = 0
        # Its lock, too, is reentrant: a signal handler or a destructor may log in the middle of a log call.
        self._room = threading.Condition()
        self._waiting_for_room = 0
        self._hopeless = False
        self._held_up = False
        self._sized_bytes = 0

    def append(self, record: Record) -> None:
        """Leave a record for the sender."""
        self.records.append(record)
        if len(self.records) >= self.gate.watermark:
            self.on_watermark()

    def append_sized(self, record: Record) -> bool:
        """The same for a record that ends with its own size in bytes; whether there was room for it."""
        with self._room:
            self._sized_bytes += record[4]
        self.records.append(record)
        most = self._limits.record_bytes if self._held_up else self._ready_bytes
        if len(self.records) >= self.gate.watermark or self._sized_bytes > most:
            return self.on_watermark()
        return True

    def put_first(self, records: Iterable[Record]) -> None:
        """Put records that end with their own size before all others, in their order."""
        records = list(records)
        with self._room:
            self._sized_bytes += sum(record[4] for record in records)
        self.records.extendleft(reversed(records))

    # -- room ------------------------------------------------------------------------------------

    def on_watermark(self) -> bool:
        """The queue has reached the watermark, or its limit; whether all records have room."""
        limits = self._limits
        if self._is_full(limits.record_bytes):
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
        most = limits.record_bytes if self._held_up else self._ready_bytes
        self.gate.watermark = self._capacity(most) if is_watched else 0
        return True

    def _capacity(self, nbytes: int) -> int:
        """How many records fit in that many bytes, estimated by the newest one."""
        try:
            width = values_in(self.records[-1]) if len(self.records[-1]) > 2 else 1
        except IndexError:
            width = 1
        # A record is a tuple, a dict, a float for the time, and an object for each value.
        return min(self._limits.records, nbytes // (320 + 48 * width))

    def _is_full(self, nbytes: int) -> bool:
        return len(self.records) >= self._capacity(nbytes) or self._sized_bytes > nbytes

    def _wait_for_the_sender(self) -> None:
        """Wait as long as it takes records."""
        with self._room:
            self._waiting_for_room += 1
            try:
                while not self._held_up and self._is_full(self._ready_bytes):
                    self._held_up = not self._room.wait(_STALL_TIMEOUT_S)
            finally:
                self._waiting_for_room -= 1

    def _wait_for_room(self) -> bool:
        """Wait as long as there is progress; after having waited in vain, not again until there is room."""
        if self._hopeless:
            return False
        with self._room:
            self._waiting_for_room += 1
            try:
                while self._is_full(self._limits.record_bytes):
                    seen = self._progress()
                    self._room.wait(self._limits.room_timeout)
                    if self._is_full(self._limits.record_bytes) and self._progress() == seen:
                        self._hopeless = True
                        return False
            finally:
                self._waiting_for_room -= 1
        return True

    def _drop_newest(self) -> None:
        try:
            record = self.records.pop()
        except IndexError:
            return
        if record[0] is FUTURE:
            self.records.append(record)
            return
        if len(record) == 5:
            self._lighter(record[4])
        reason = f"{self._name} is too slow or unreachable, and the queue is full"
        self.drops.drop(values_in(record), reason, trial_of(record))

    def made_room(self, nbytes: int) -> None:
        """Records were taken; `nbytes` is what those took that were measured one by one."""
        self._held_up = False
        if nbytes:
            self._lighter(nbytes)
        if self._waiting_for_room:
            with self._room:
                self._room.notify_all()

    def _lighter(self, nbytes: int) -> None:
        with self._room:
            self._sized_bytes -= nbytes


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may wait, and where.

    Attributes:
        records: log calls that were not packed yet.
        record_bytes: their memory, about.
        ready_bytes: the same while the sender takes records: a loop that logs faster waits for it, so that
            its process grows by less than 50 MB.  While the sender is held up, by a slow disk for example, it
            does not.
        backlog_bytes: packed and not yet stored.
        batches_in_flight: sent and not yet acknowledged.
        bytes_in_flight: the same in bytes.
        linger: minimum seconds between batches that are not full, unless a caller waits.
        room_timeout: seconds without any progress after which a log call that found no room drops what it
            has.
    """

    records: int = 1_000_000
    record_bytes: int = 24 * 1024 * 1024
    ready_bytes: int = 3 * 1024 * 1024
    backlog_bytes: int = 128 * 1024 * 1024
    batches_in_flight: int = 64
    bytes_in_flight: int = 4 * 1024 * 1024
    linger: float = 0.05
    room_timeout: float = 1.0


class Gate:
    """What a log call compares the number of waiting records with.

    Attributes:
        watermark: the record count from which a log call wakes the sender, or waits.
        hurry: whether there is no room for more records, so that those there must leave now.
    """

    __slots__ = ("hurry", "watermark")

    def __init__(self) -> None:
        self.hurry = False
        self.watermark = 0
