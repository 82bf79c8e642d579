"""The backlog: what is numbered and not yet known to be durable, in order.

Each record has one sequence number for life.  Whatever the connection does, the backlog can be sent
again from where the store says it stands, and the store trims what it has already.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

from track_protocol.batch import Batch
from track_protocol.errors import RemoteProtocolError

from track.tickets import Call

__all__ = ["Backlog", "Numbered", "NumberedCall"]


@dataclass(frozen=True, slots=True)
class NumberedCall:
    """A call that changes something, with its place among the records."""

    first: int
    call: Call
    nbytes: int = 1024

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
    """

    def __init__(self) -> None:
        self._items: deque[Numbered] = deque()
        self.next_seq = 1
        self.acked = 0
        self.nbytes = 0
        self.sent = 0
        self.sent_nbytes = 0

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Numbered]:
        return iter(self._items)

    @property
    def horizon(self) -> int:
        """Sequence number of the last record that was sent on the present link, or needs no sending."""
        item = self.unsent
        return self.next_seq - 1 if item is None else item.first - 1

    @property
    def unsent(self) -> Numbered | None:
        """The oldest item that was not sent on the present link."""
        return self._items[self.sent] if self.sent < len(self._items) else None

    def add(self, item: Numbered) -> None:
        """Put an item, numbered from `next_seq`, at the end."""
        self._items.append(item)
        self.next_seq = item.last + 1
        self.nbytes += item.nbytes

    def mark_sent(self) -> None:
        """The oldest unsent item is on its way."""
        self.sent_nbytes += self._items[self.sent].nbytes
        self.sent += 1

    def skip_unsent(self) -> None:
        """Put nothing in the place of the oldest unsent item, so that its numbers are used up."""
        self._replace(self.sent, _nothing(self._items[self.sent]))

    def ack(self, last_seq: int) -> None:
        """All up to `last_seq` is durable: forget it.

        Raises:
            RemoteProtocolError: that much was never sent.
        """
        if last_seq > self.horizon:
            raise RemoteProtocolError(
                f"the server acknowledged record {last_seq}, but the last one sent is {self.horizon}"
            )
        while self._items and self.sent and self._items[0].last <= last_seq:
            self.sent -= 1
            self.sent_nbytes -= self._pop().nbytes
        self.acked = max(self.acked, last_seq)

    def attach(self, last_seq: int) -> bool:
        """Start over on a new link, whose store has this session up to `last_seq`.

        A call that was sent stays, even when the store has executed it: its answer is still missing,
        and the store gives the same one again.

        Returns:
            False if the store's end and this backlog do not meet, so that the session cannot go on.
        """
        self.detach()
        for index, item in enumerate(self._items):
            if isinstance(item, NumberedCall) and item.call.abandoned:
                self._replace(index, _nothing(item))
        while self._items and isinstance(self._items[0], Batch) and self._items[0].last <= last_seq:
            self._pop()
        expected = self._items[0].first if self._items else self.next_seq
        if expected > last_seq + 1 or last_seq >= self.next_seq:
            return False
        self.acked = max(self.acked, expected - 1)
        return True

    def detach(self) -> None:
        """The link is gone: nothing counts as sent."""
        self.sent = self.sent_nbytes = 0

    def renumber(self) -> None:
        """Number everything from 1 again, for a new session."""
        items, self._items = self._items, deque()
        self.next_seq, self.acked, self.nbytes = 1, 0, 0
        self.detach()
        for item in items:
            self.add(replace(item, first=self.next_seq))

    def clear(self) -> list[Numbered]:
        """Give everything up; the numbers are used again."""
        items = list(self._items)
        self._items.clear()
        self.nbytes = 0
        self.detach()
        self.next_seq = self.acked + 1
        return items

    def _pop(self) -> Numbered:
        item = self._items.popleft()
        self.nbytes -= item.nbytes
        return item

    def _replace(self, index: int, item: Numbered) -> None:
        self.nbytes += item.nbytes - self._items[index].nbytes
        self._items[index] = item


def _nothing(item: Numbered) -> Batch:
    return Batch(item.first, item.count, [])
