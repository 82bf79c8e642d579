"""The backlog: what is numbered and not yet known to be durable, in order.

Each record has one sequence number for life.  Whatever the connection does, the backlog can be sent
again from where the store says it stands, and the store trims what it has already.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

from track.tickets import Call
from track_protocol.batch import Batch
from track_protocol.errors import RemoteProtocolError

__all__ = ["Backlog", "Numbered", "NumberedCall"]


@dataclass(frozen=True, slots=True)
class NumberedCall:
    """A call that changes something, with its place among the records."""

    first: int
    call: Call

    @property
    def last(self) -> int:
        """Its sequence number."""
        return self.first

    @property
    def count(self) -> int:
        """It is one record."""
        return 1


Numbered = Batch | NumberedCall


class Backlog:
    """Batches and numbered calls in order, and how far they were sent and stored.

    Attributes:
        next_seq: number of the next record.
        acked: the last record that is known to be durable.
        nbytes: about how much memory the backlog holds.
        sent: how many items, from the oldest, were sent on the present link.
        sent_nbytes: about how many bytes these are.
        highest: the last record that was ever sent, on any link.
    """

    def __init__(self) -> None:
        self._items: deque[tuple[Numbered, int]] = deque()
        self.next_seq = 1
        self.acked = 0
        self.nbytes = 0
        self.sent = 0
        self.sent_nbytes = 0
        self.highest = 0

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Numbered]:
        return (item for item, _ in self._items)

    @property
    def abandoned(self) -> int:
        """How many calls in it have a caller who gave up; any thread may ask."""
        items = list(self._items)
        return sum(isinstance(item, NumberedCall) and item.call.abandoned for item, _ in items)

    @property
    def settled(self) -> int:
        """The last record before the first that is not durable and that somebody cares for."""
        for item, _ in self._items:
            given_up = isinstance(item, NumberedCall) and item.call.abandoned
            if item.last > self.acked and not given_up:
                return max(self.acked, item.first - 1)
        return self.next_seq - 1

    @property
    def horizon(self) -> int:
        """Sequence number of the last record that was sent on the present link, or needs no sending."""
        item = self.unsent
        return self.next_seq - 1 if item is None else item.first - 1

    @property
    def unsent(self) -> Numbered | None:
        """The oldest item that was not sent on the present link."""
        return self._items[self.sent][0] if self.sent < len(self._items) else None

    def add(self, item: Numbered, nbytes: int) -> None:
        """Put an item of about that size, numbered from `next_seq`, at the end."""
        self._items.append((item, nbytes))
        self.next_seq = item.last + 1
        self.nbytes += nbytes

    def mark_sent(self) -> None:
        """The oldest unsent item is on its way."""
        item, nbytes = self._items[self.sent]
        self.highest = max(self.highest, item.last)
        self.sent_nbytes += nbytes
        self.sent += 1

    def skip_unsent(self) -> None:
        """Put nothing in the place of the oldest unsent item, so that its numbers are used up."""
        self._empty(self.sent)

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
        while self._items and isinstance(oldest := self._items[0][0], Batch) and oldest.last <= last_seq:
            self._pop()
        self.acked = max(self.acked, last_seq)

    def answered(self, item: NumberedCall) -> None:
        """The call has its answer, so it and everything before it is durable."""
        self.ack(item.last)
        self._pop()
        self.ack(self.acked)

    def attach(self, last_seq: int) -> bool:
        """Start over on a new link, whose store has this session up to `last_seq`.

        A call that was sent stays, even when the store has executed it: its answer is still missing,
        and the store gives the same one again.

        Returns:
            False if the store's end and this backlog do not meet, so that the session cannot go on.
        """
        self.detach()
        if last_seq > self.highest:
            return False
        for index, (item, _) in enumerate(self._items):
            if isinstance(item, NumberedCall) and item.call.abandoned:
                self._empty(index)
        while self._items and isinstance(oldest := self._items[0][0], Batch) and oldest.last <= last_seq:
            self._pop()
        expected = self._items[0][0].first if self._items else self.next_seq
        if expected > last_seq + 1:
            return False
        self.acked = max(self.acked, expected - 1)
        return True

    def detach(self) -> None:
        """The link is gone: nothing counts as sent."""
        self.sent = self.sent_nbytes = 0

    def renumber(self) -> None:
        """Number everything from 1 again, for a new session."""
        items, self._items = self._items, deque()
        self.next_seq, self.acked, self.highest, self.nbytes = 1, 0, 0, 0
        self.detach()
        for item, nbytes in items:
            self.add(replace(item, first=self.next_seq), nbytes)

    def clear(self) -> list[Numbered]:
        """Give everything up; the numbers are used again."""
        items = list(self)
        self._items.clear()
        self.nbytes = 0
        self.detach()
        self.next_seq = self.acked + 1
        self.highest = self.acked
        return items

    def _pop(self) -> None:
        nbytes = self._items.popleft()[1]
        self.nbytes -= nbytes
        if self.sent:
            self.sent -= 1
            self.sent_nbytes -= nbytes

    def _empty(self, index: int) -> None:
        item, nbytes = self._items[index]
        self._items[index] = (Batch(item.first, item.count, []), nbytes)
