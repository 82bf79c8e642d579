"""A batch of very many operations, in portions: the writer thread turns to others between two of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

from track_protocol.batch import Batch, Op, first_offset

__all__ = ["PORTION", "portions"]

PORTION: Final = 16
"""Most operations that begin in one portion; what clients log all the time fits into one."""


def portions(batch: Batch, last_seq: int) -> Iterator[tuple[int, list[tuple[int, Op]]]]:
    """What of a batch is new to who has all up to `last_seq`, in portions that follow each other.

    A portion holds all that is new up to a record, so that the session can end there for some time.

    Returns:
        (sequence number of the portion's last record, (sequence number of the operation's first record,
        operation) pairs) of each portion; at least one.
    """
    new = batch.after(last_seq)
    if len(new) <= PORTION:
        yield batch.last, new
        return
    waiting = deque(sorted(new, key=lambda each: each[0]))
    begun: list[Op] = []
    while waiting:
        ops = [*begun, *(waiting.popleft()[1] for _ in range(min(PORTION, len(waiting))))]
        while waiting and waiting[0][0] == batch.first + first_offset(ops[-1]):
            ops.append(waiting.popleft()[1])
        end = waiting[0][0] - batch.first if waiting else batch.count
        heads = [head for op in ops if (head := op.before(end)) is not None]
        begun = [tail for op in ops if (tail := op.after(end)) is not None]
        yield batch.first + end - 1, [(batch.first + first_offset(head), head) for head in heads]
