"""The backlog: what is numbered and not yet known to be durable at the store, in order.

Each record has one sequence number for life.  Whatever the connection does, the backlog can be sent
again after the store's last number, and the store trims what it has already.

It has three parts, in this order: the *window*, which is sent or about to be; *unread* extents,
which are on disk only; and *recent* items, which are in memory and perhaps not on disk yet.  `cursor` is
the next number after the window.  During an outage of days, millions of records are a few unread extents.
Numbers in no part are those of dropped records: empty batches use them up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Final

from track.outbox.futures import Call
from track_protocol.errors import RemoteProtocolError
from track_protocol.wire.batch import Batch
from track_protocol.wire.counts import Counts

if TYPE_CHECKING:
    # A process that never spools does not load what it takes.
    from track.spool.reader import Extent

__all__ = ["Backlog", "Entry", "Numbered", "NumberedCall"]

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
    """One batch or call in memory.

    Attributes:
        item: itself.
        nbytes: about how much memory it takes.
        counts: what was logged by it.
        extent: where it was written on disk; None before.
    """

    item: Numbered
    nbytes: int = 0
    counts: Counts = _NOTHING
    extent: Extent | None = None

    @property
    def first(self) -> int:
        """Number of its first record."""
        return self.item.first

    @property
    def last(self) -> int:
        """Number of its last record."""
        return self.item.last

    @property
    def call(self) -> Call | None:
        """The call that it is; None if it is a batch."""
        return self.item.call if isinstance(self.item, NumberedCall) else None


class Backlog:
    """Batches and numbered calls in order, and how far they were sent and stored.

    Attributes:
        next_seq: number of the next record.
        acked: the last record that is known to be durable.
        cursor: number of the first record after the window.
        sent: how many items of the window were sent on the present link.
        sent_nbytes: about how many bytes these are.
        window_nbytes: about how much memory the window takes.
        recent_nbytes: about how much memory the recent items take.
        highest: the last record that was ever sent, on any link.
        calls: those that are not answered, by their numbers.
    """

    def __init__(self) -> None:
        self._window: deque[Entry] = deque()
        self._unread: deque[Extent] = deque()
        self._recent: deque[Entry] = deque()
        self.calls: dict[int, Call] = {}
        self.next_seq = self.cursor = 1
        self.acked = self.highest = 0
        self.window_nbytes = self.recent_nbytes = 0
        self.sent = self.sent_nbytes = 0

    def __len__(self) -> int:
        return len(self._window) + len(self._unread) + len(self._recent)

    def __iter__(self) -> Iterator[Entry | Extent]:
        return chain(self._window, self._unread, self._recent)

    @property
    def nbytes(self) -> int:
        """About how much memory it takes."""
        return self.window_nbytes + self.recent_nbytes

    @property
    def cancelled(self) -> int:
        """How many of its calls are cancelled; any thread may ask."""
        return sum(call.cancelled for call in list(self.calls.values()))

    @property
    def counts(self) -> Counts:
        """How much it has that is not known to be durable; any thread may ask."""
        held: list[Entry | Extent] = [*self._window, *self._unread, *self._recent]
        return sum(map(self._not_durable, held), Counts())

    def _not_durable(self, item: Entry | Extent) -> Counts:
        if item.first <= self.acked and isinstance(item, Entry) and isinstance(item.item, Batch):
            return item.item.counts_after(self.acked)
        return item.counts

    @property
    def resolved_through(self) -> int:
        """The last record before the first that is not durable and has a waiting caller."""
        seq = self.acked
        while (call := self.calls.get(seq + 1)) is not None and call.cancelled:
            seq += 1
        return seq

    @property
    def horizon(self) -> int:
        """Sequence number of the last record that was sent on the present link, or needs no sending."""
        return (self._window[self.sent].first if self.sent < len(self._window) else self.cursor) - 1

    @property
    def begin(self) -> int:
        """The oldest number that it holds."""
        return self._window[0].first if self._window else self.cursor

    # -- what comes in ---------------------------------------------------------------------------

    def add(self, item: Numbered, nbytes: int, counts: Counts = _NOTHING) -> None:
        """Put an item of about that size, numbered from `next_seq`, at the end."""
        self._recent.append(Entry(item, nbytes, counts))
        self.recent_nbytes += nbytes
        self.next_seq = item.last + 1
        if isinstance(item, NumberedCall):
            self.calls[item.first] = item.call

    def adopt(self, extents: Sequence[Extent], first: int) -> None:
        """Begin with extents that are on disk only; missing numbers from `first` to their end are dropped."""
        self._unread.extend(extents)
        self.cursor, self.acked = first, first - 1
        self.highest = extents[-1].last
        self.next_seq = self.highest + 1

    # -- the queue on disk -----------------------------------------------------------------------

    def in_memory_after(self, seq: int) -> list[Entry]:
        """The newest items in memory, back to the one with the record behind `seq`; oldest first."""
        found: list[Entry] = []
        for entry in chain(reversed(self._recent), reversed(self._window)):
            if entry.last <= seq:
                break
            found.append(entry)
        return found[::-1]

    def evict(self, synced: int) -> None:
        """Let recent items leave memory that are durable on disk, where records up to `synced` are."""
        while self._recent and self._recent[0].last <= synced:
            extent = self._pop_recent().extent
            if extent is not None and not (self._unread and self._unread[-1].absorb(extent)):
                self._unread.append(extent)

    def load(self, extent: Extent, entries: Sequence[Entry]) -> None:
        """The unread extent at the cursor was read: this is what it holds."""
        if self._unread and self._unread[0] is extent:
            self._unread.popleft()
            for entry in entries:
                if entry.last >= self.cursor:
                    self._fill(entry.first)
                    self._append_to_window(entry)

    def discard_unread(self) -> Counts:
        """Drop the records that are on disk only; returns their counts."""
        discarded = sum((extent.counts for extent in self._unread), Counts())
        self._unread.clear()
        return discarded

    # -- what is sent and answered ---------------------------------------------------------------

    def next(self) -> Entry | Extent | None:
        """What is to be sent next on this link; an extent has to be read first."""
        if self.sent == len(self._window):
            rest = self._unread or self._recent
            begin = rest[0].first if rest else self.next_seq
            if self.cursor < begin:
                self._fill(begin)
            elif self._unread:
                return self._unread[0]
            elif self._recent:
                self._append_to_window(self._pop_recent())
            else:
                return None
        return self._window[self.sent]

    def mark_sent(self) -> None:
        """What is to be sent next is on its way."""
        entry = self._window[self.sent]
        self.highest = max(self.highest, entry.last)
        self.sent_nbytes += entry.nbytes
        self.sent += 1

    def skip(self) -> None:
        """Put nothing in the place of what is to be sent next, so that its numbers are used up."""
        if self.sent == len(self._window):
            self._unread.popleft()
            return
        entry = self._window[self.sent]
        self.calls.pop(entry.first, None)
        entry.item = Batch(entry.first, entry.last - entry.first + 1, [])
        entry.counts, entry.extent = _NOTHING, None

    def ack(self, last_seq: int) -> None:
        """All up to `last_seq` is durable: remove it, except calls without an answer.

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
        self.calls.pop(item.first, None)
        self.ack(max(item.last, self.acked))

    # -- links -----------------------------------------------------------------------------------

    def attach(self, last_seq: int, stored: Sequence[Extent] = ()) -> int:
        """Start over on a new link, whose store has this session up to `last_seq`, below `next_seq`.

        A call that was sent stays, even when the store has executed it: its answer is still missing,
        and the store gives the same one again.

        Args:
            last_seq: the session's last record in the store.
            stored: extents on disk with records behind it that were durable once, and that a store which
                was set back to an older state has no more; oldest first.

        Returns:
            How many records neither the store nor this process has.
        """
        self.detach()
        for seq in [seq for seq, call in self.calls.items() if call.cancelled]:
            del self.calls[seq]
        begin = self.begin
        if begin <= last_seq + 1:
            self.acked = max(self.acked, self._forget(last_seq))
            return 0
        lost, expected = 0, last_seq + 1
        for extent in stored:
            lost += max(0, extent.first - expected)
            expected = extent.last + 1
        self._rewind(last_seq, stored)
        return lost + max(0, begin - expected)

    def _rewind(self, last_seq: int, stored: Sequence[Extent]) -> None:
        """Set the cursor back; of the window, whatever comes before unread extents is on disk, too."""
        if self._unread:
            extents = [entry.extent for entry in self._window if entry.extent is not None]
            self._unread.extendleft(reversed(extents))
        else:
            self._recent.extendleft(reversed(self._window))
            self.recent_nbytes += self.window_nbytes
        self._unread.extendleft(reversed(stored))
        self._window.clear()
        self.window_nbytes = 0
        self.acked, self.cursor = last_seq, last_seq + 1

    def detach(self) -> None:
        """The link is closed: nothing counts as sent."""
        self.sent = self.sent_nbytes = 0

    def renumber(self) -> None:
        """Number everything from 1 again, for a new session; nothing of it is on disk only."""
        fresh = Backlog()
        for entry in (*self._window, *self._recent):
            fresh.add(replace(entry.item, first=fresh.next_seq), entry.nbytes, entry.counts)
        self.become(fresh)

    def become(self, other: Backlog) -> None:
        """Have what another one has, in its place."""
        vars(self).update(vars(other))

    def clear(self) -> Counts:
        """Give everything up, and return how much that is; the numbers are used again."""
        counts, fresh = self.counts, Backlog()
        fresh.acked = fresh.highest = self.acked
        fresh.next_seq = fresh.cursor = self.acked + 1
        self.become(fresh)
        return counts

    def _forget(self, last_seq: int) -> int:
        """Remove what is durable before the first call without an answer; returns its last number."""
        last_seq = min(last_seq, next(iter(self.calls), self.next_seq) - 1)
        while self._window and self._window[0].last <= last_seq:
            entry = self._window.popleft()
            self.window_nbytes -= entry.nbytes
            if self.sent:
                self.sent -= 1
                self.sent_nbytes -= entry.nbytes
        if not self._window:
            while self._unread and self._unread[0].last <= last_seq:
                self._unread.popleft()
            while self._recent and self._recent[0].last <= last_seq:
                self._pop_recent()
            self.cursor = max(self.cursor, last_seq + 1)
        return last_seq

    def _fill(self, end: int) -> None:
        """Use up the numbers of dropped records from the cursor to before `end`; calls are still here."""
        while self.cursor < end:
            if (call := self.calls.get(self.cursor)) is not None:
                self._append_to_window(Entry(NumberedCall(self.cursor, call)))
                continue
            stop = min([end, *(seq for seq in self.calls if seq > self.cursor)])
            count = min(_MAX_EMPTY_BATCH, stop - self.cursor)
            self._append_to_window(Entry(Batch(self.cursor, count, [])))

    def _append_to_window(self, entry: Entry) -> None:
        self._window.append(entry)
        self.window_nbytes += entry.nbytes
        self.cursor = entry.last + 1

    def _pop_recent(self) -> Entry:
        entry = self._recent.popleft()
        self.recent_nbytes -= entry.nbytes
        return entry
