"""The backlog: what is numbered and not yet known to be durable at the store, in order.

Each record has one sequence number for life.  Whatever the connection does, the backlog can be sent
again from where the store says it stands, and the store trims what it has already.  A batch that has a
place on disk may leave memory until it is sent, and neighbours on disk are one item here: during an outage
of days there may be millions of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from track.outbox.futures import Call
from track_protocol.errors import RemoteProtocolError
from track_protocol.wire.batch import Batch
from track_protocol.wire.counts import Counts

if TYPE_CHECKING:
    # A process that never spools does not load what it takes.
    from track.spool.reader import Extent
    from track.spool.writer import Location

__all__ = ["Backlog", "Entry", "Numbered", "NumberedCall", "fill"]

_MAX_EMPTY_BATCH: Final = 2**20
"""Log calls that one batch may have."""

_NOTHING: Final = Counts()


@dataclass(frozen=True, slots=True)
class NumberedCall:
    """A call that changes something, with its place among the records."""

    first: int
    call: Call

    @property
    def last(self) -> int:
        """Its sequence number."""
        return self.first


Numbered = Batch | NumberedCall


@dataclass(slots=True)
class Entry:
    """One batch or call, or a extent of batches that lie one behind the other on disk only.

    Attributes:
        item: itself; None while it is on disk only.
        first, last: numbers of its log calls.
        counts: what was logged by it.
        nbytes: about how much memory it takes, or took.
        location: where it is on disk; None while it is not.  That of an extent reaches to the end of its last
            record.
        records: how many records it is on disk.
    """

    item: Numbered | None
    first: int
    last: int
    counts: Counts
    nbytes: int
    location: Location | None = None
    records: int = 1

    @classmethod
    def on_disk(cls, extent: Extent) -> Entry:
        """What is on disk only."""
        location = extent.location
        return cls(None, extent.first, extent.last, extent.counts, location.length, location, extent.records)

    @property
    def is_extent(self) -> bool:
        """Whether it has to be read before it can be sent, and becomes several then."""
        return self.item is None and self.records > 1

    @property
    def call(self) -> Call | None:
        """The call that it is; None if it is a batch."""
        return self.item.call if isinstance(self.item, NumberedCall) else None


class Backlog:
    """Batches and numbered calls in order, and how far they were sent and stored.

    Attributes:
        next_seq: number of the next record.
        acked: the last record that is known to be durable.
        nbytes: about how much memory the backlog holds.
        sent: how many items, from the oldest, were sent on the present link.
        sent_nbytes: about how many bytes these are.
        highest: the last record that was ever sent, on any link.
        located: how many items, from the oldest, have a place on disk.
    """

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self.next_seq = 1
        self.acked = 0
        self.nbytes = 0
        self.sent = 0
        self.sent_nbytes = 0
        self.highest = 0
        self.located = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    @property
    def cancelled(self) -> int:
        """How many calls in it have a caller who gave up; any thread may ask."""
        calls = [entry.call for entry in list(self._entries)]
        return sum(call is not None and call.cancelled for call in calls)

    @property
    def counts(self) -> Counts:
        """How much it has that is not known to be durable; any thread may ask."""
        return sum((self._not_durable(entry) for entry in list(self._entries)), Counts())

    def _not_durable(self, entry: Entry) -> Counts:
        item = entry.item
        if entry.first <= self.acked and isinstance(item, Batch):
            return item.counts_after(self.acked)
        return entry.counts

    @property
    def resolved_through(self) -> int:
        """The last record before the first that is not durable and that somebody cares for."""
        for entry in self._entries:
            given_up = entry.call is not None and entry.call.cancelled
            if entry.last > self.acked and not given_up:
                return max(self.acked, entry.first - 1)
        return self.next_seq - 1

    @property
    def horizon(self) -> int:
        """Sequence number of the last record that was sent on the present link, or needs no sending."""
        entry = self.unsent
        return self.next_seq - 1 if entry is None else entry.first - 1

    @property
    def unsent(self) -> Entry | None:
        """The oldest item that was not sent on the present link."""
        return self._entries[self.sent] if self.sent < len(self._entries) else None

    # -- what comes in ---------------------------------------------------------------------------

    def add(self, item: Numbered, nbytes: int, counts: Counts = _NOTHING) -> None:
        """Put an item of about that size, numbered from `next_seq`, at the end."""
        self._entries.append(Entry(item, item.first, item.last, counts, nbytes))
        self.next_seq = item.last + 1
        self.nbytes += nbytes

    def adopt(self, extent: Extent) -> None:
        """Put batches at the end that are on disk only; what is missing before them counts as nothing."""
        if self.next_seq == 1:
            self.acked, self.next_seq = extent.first - 1, extent.first
        holes: list[Entry] = []
        fill(holes, self.next_seq, extent.first)
        self._entries.extend([*holes, Entry.on_disk(extent)])
        self.located = len(self._entries)
        self.next_seq = extent.last + 1
        self.highest = extent.last

    # -- the copy on disk ------------------------------------------------------------------------

    def unlocated(self) -> list[Entry]:
        """The items that have no place on disk, oldest first."""
        return [self._entries[index] for index in range(self.located, len(self._entries))]

    def put(self, entry: Entry, location: Location) -> None:
        """The oldest item without a place has one now."""
        entry.location, entry.records = location, 1
        self.located += 1

    def unmark(self, after: int) -> Counts:
        """Items with records after that number have no place any more.

        Returns:
            How much was nowhere else; batches of nothing use up its numbers.
        """
        gone = Counts()
        while self.located and self._entries[self.located - 1].last > after:
            self.located -= 1
            entry = self._entries[self.located]
            entry.location = None
            if entry.item is None:
                gone += entry.counts
                self._empty(entry)
        return gone

    def unload(self, entry: Entry) -> None:
        """Let a batch that has a place on disk leave memory."""
        if isinstance(entry.item, Batch) and entry.location is not None:
            entry.item = None
            self.nbytes -= entry.nbytes

    def coalesce(self, count: int) -> None:
        """Of the `count` newest items, make one of each few that lie one behind the other on disk only."""
        if self.located < len(self._entries):
            return
        newest = [self._entries.pop() for _ in range(min(count, len(self._entries) - self.sent))]
        for entry in reversed(newest):
            # What was sent is counted item by item.
            before = self._entries[-1] if len(self._entries) > self.sent else None
            if before is None or not _absorb(before, entry):
                self._entries.append(entry)
        self.located = len(self._entries)

    def expand(self, parts: Sequence[Entry]) -> None:
        """Put these items in the place of the oldest unsent one, which stands for them."""
        parts = [part for part in parts if part.last > self.acked]
        self._entries.rotate(-self.sent)
        self._entries.popleft()
        self._entries.extendleft(reversed(parts))
        self._entries.rotate(self.sent)
        self._have_come(parts)

    def _have_come(self, parts: Sequence[Entry]) -> None:
        self.located += len(parts) - 1
        self.nbytes += sum(part.nbytes for part in parts if part.item is not None)

    # -- what is sent and answered ---------------------------------------------------------------

    def mark_sent(self) -> None:
        """The oldest unsent item is on its way."""
        entry = self._entries[self.sent]
        self.highest = max(self.highest, entry.last)
        self.sent_nbytes += entry.nbytes
        self.sent += 1

    def skip_unsent(self) -> None:
        """Put nothing in the place of the oldest unsent item, so that its numbers are used up."""
        self._empty(self._entries[self.sent])

    def ack(self, last_seq: int) -> None:
        """All up to `last_seq` is durable: forget it, but for a call whose answer is missing.

        It may be more than was sent on this link: the store also works off what came on the one before.

        Raises:
            RemoteProtocolError: that much was never sent at all.
        """
        if last_seq > self.highest:
            raise RemoteProtocolError(
                f"the server acknowledged record {last_seq}, but the last one sent is {self.highest}"
            )
        self._forget(last_seq)
        self.acked = max(self.acked, last_seq)

    def answered(self, item: NumberedCall) -> None:
        """The call has its answer, so it and everything before it is durable."""
        self.ack(item.last)
        self._pop()
        self.ack(self.acked)

    # -- links -----------------------------------------------------------------------------------

    def attach(self, last_seq: int, kept: Sequence[Entry] = ()) -> int:
        """Start over on a new link, whose store has this session up to `last_seq`, below `next_seq`.

        A call that was sent stays, even when the store has executed it: its answer is still missing,
        and the store gives the same one again.

        Args:
            last_seq: the session's last record in the store.
            kept: items with records behind it that were durable once, and that a store which was set
                back to an older state has no more; oldest first.

        Returns:
            How many records are gone, from the store and from here; batches of nothing use up their numbers.
        """
        self.detach()
        for entry in self._entries:
            if entry.call is not None and entry.call.cancelled:
                self._empty(entry)
        self._forget(last_seq)
        expected = self._entries[0].first if self._entries else self.next_seq
        if expected <= last_seq + 1:
            # Of a batch a part may be there; a call stays until it is answered.
            waits = self._entries and self._entries[0].call is not None
            self.acked = max(self.acked, expected - 1 if waits else last_seq)
            return 0
        front: list[Entry] = []
        gone = 0
        for entry in [each for each in kept if each.first < expected]:
            gone += fill(front, last_seq + 1, entry.first)
            front.append(entry)
        gone += fill(front, last_seq + 1, expected)
        self._entries.extendleft(reversed(front))
        self.located += len(front)
        self.acked = last_seq
        return gone

    def detach(self) -> None:
        """The link is gone: nothing counts as sent."""
        self.sent = self.sent_nbytes = 0

    def renumber(self) -> None:
        """Number everything from 1 again, for a new session; nothing of it is on disk then."""
        entries, self._entries = self._entries, deque()
        self.next_seq, self.acked, self.highest, self.nbytes, self.located = 1, 0, 0, 0, 0
        self.detach()
        for entry in entries:
            assert entry.item is not None, "what is on disk only cannot be numbered again"
            self.add(replace(entry.item, first=self.next_seq), entry.nbytes, entry.counts)

    def become(self, other: Backlog) -> None:
        """Have what another one has, in its place."""
        self._entries = other._entries
        self.next_seq, self.acked, self.highest = other.next_seq, other.acked, other.highest
        self.nbytes, self.located = other.nbytes, other.located
        self.detach()

    def clear(self) -> list[Entry]:
        """Give everything up; the numbers are used again."""
        entries = list(self._entries)
        self._entries.clear()
        self.nbytes = self.located = 0
        self.detach()
        self.next_seq = self.acked + 1
        self.highest = self.acked
        return entries

    def _forget(self, last_seq: int) -> None:
        while self._entries and self._entries[0].last <= last_seq and self._entries[0].call is None:
            self._pop()

    def _pop(self) -> None:
        entry = self._entries.popleft()
        if entry.item is not None:
            self.nbytes -= entry.nbytes
        if self.located:
            self.located -= 1
        if self.sent:
            self.sent -= 1
            self.sent_nbytes -= entry.nbytes

    def _empty(self, entry: Entry) -> None:
        if entry.item is None:
            self.nbytes += entry.nbytes
        entry.item = Batch(entry.first, entry.last - entry.first + 1, [])
        entry.counts, entry.records = _NOTHING, 1


def _absorb(before: Entry, entry: Entry) -> bool:
    """Let an item stand for its neighbour, too, if both are on disk only; returns whether it does."""
    first, second = before.location, entry.location
    if before.item is not None or entry.item is not None or first is None or second is None:
        return False
    coalesced = (
        first.coalesced(second, before.records + entry.records) if before.last + 1 == entry.first else None
    )
    if coalesced is None:
        return False
    before.last, before.location = entry.last, coalesced
    before.counts += entry.counts
    before.nbytes += entry.nbytes
    before.records += entry.records
    return True


def fill(entries: list[Entry], first: int, end: int) -> int:
    """Batches of nothing for the numbers from `first`, or behind the entries, to before `end`."""
    first = entries[-1].last + 1 if entries else first
    for start in range(first, end, _MAX_EMPTY_BATCH):
        count = min(_MAX_EMPTY_BATCH, end - start)
        entries.append(Entry(Batch(start, count, []), start, start + count - 1, _NOTHING, 0))
    return max(0, end - first)
