"""A batch of very many calls, in portions: the writer thread turns to others between two of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

from track_protocol.wire.batch import Batch, CallOp, Op, first_offset

__all__ = ["PORTION", "portions"]

PORTION: Final = 16
"""Most calls in one portion.  Points are packed, and cost little beside them."""


def portions(batch: Batch, last_seq: int) -> Iterator[tuple[int, list[tuple[int, Op]]]]:
    """What of a batch is new to who has all up to `last_seq`, in portions that follow each other.

    A portion holds all that is new up to a record, so that the session can end there for some time.

    Returns:
        (sequence number of the portion's last record, (sequence number of the operation's first record,
        operation) pairs) of each portion; at least one.
    """
    new = batch.after(last_seq)
    calls = sorted(op.offset for _, op in new if isinstance(op, CallOp))
    waiting = deque(sorted(new, key=lambda each: each[0]) if len(calls) > PORTION else new)
    begun: list[Op] = []
    for end in dict.fromkeys(calls[PORTION::PORTION]):
        ops = begun
        while waiting and waiting[0][0] < batch.first + end:
            ops.append(waiting.popleft()[1])
        heads = [head for op in ops if (head := op.before(end)) is not None]
        begun = [tail for op in ops if (tail := op.after(end)) is not None]
        if heads:
            yield batch.first + end - 1, _numbered(batch, heads)
    yield batch.last, [*_numbered(batch, begun), *waiting]


def _numbered(batch: Batch, ops: list[Op]) -> list[tuple[int, Op]]:
    return [(batch.first + first_offset(op), op) for op in ops]
