"""A batch of very many calls or series, in slices: the writer thread turns to others between two of them.

A slice ends behind a record, so that a session can stop there for some time.  Only a record of very many
series is divided itself: the session then records how many of them are stored (`SessionState.partial`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from track_protocol.wire.batch import Batch, CallOp, Op, PointsOp, first_offset
from track_protocol.wire.columns import Column
from track_server.storage.chunks import slice_column

__all__ = ["MAX_CALLS", "MAX_SERIES", "Slice", "slices"]

MAX_CALLS: Final = 4
"""Most calls in one slice.  Points are packed, and cost little beside them."""

_ALONE: Final = frozenset({"rewind_trial"})
"""Calls that may take long, and are a slice each."""

MAX_SERIES: Final = 1_024
"""Approximate limit of series in one slice; a row of more is divided, by itself."""


@dataclass(frozen=True, slots=True)
class Slice:
    """Something of a batch that is applied in one transaction.

    Attributes:
        ops: what to apply.
        last_seq: sequence number of the last record of which all is applied then.
        partial: how many series of the record behind it are applied then.
        whole: the complete row of which this is the first part, to be checked before any part is applied.
    """

    ops: list[Op]
    last_seq: int
    partial: int = 0
    whole: PointsOp | None = None


def slices(batch: Batch, last_seq: int, partial: int = 0) -> Iterator[Slice]:
    """What of a batch is new to who has all up to `last_seq`, in slices that follow each other.

    Args:
        batch: the batch.
        last_seq: the session's last record that is stored completely.
        partial: how many series of the next one are stored.

    Returns:
        at least one; the last one ends with the batch.
    """
    new = [op for _, op in batch.after(last_seq)]
    calls = sorted([op.offset for op in new if isinstance(op, CallOp)])
    wide = {offset for op in new if _is_wide(op) for offset in _offsets(op)}
    alone = {op.offset for op in new if isinstance(op, CallOp) and op.method in _ALONE}
    single = wide | alone
    cuts = sorted(
        {*calls[MAX_CALLS::MAX_CALLS], *single, *(at + 1 for at in single), *_after_many_series(new)}
    )
    if not cuts:
        yield Slice(new, batch.last)
        return
    waiting = deque(sorted(new, key=first_offset))
    begun: list[tuple[Op, int]] = []  # operations, and how many of their rows are in slices
    for end in sorted({*cuts, batch.count}):
        ops = begun
        while waiting and first_offset(waiting[0]) < end:
            ops.append((waiting.popleft(), 0))
        stops = [(op, start, _rows_before(op, end)) for op, start in ops]
        heads = [_rows(op, start, stop) for op, start, stop in stops if stop > start]
        begun = [(op, stop) for op, _, stop in stops if stop < _length(op)]
        last = batch.first + end - 1
        rows = [op for op in heads if _is_wide(op)]
        for op in rows:
            assert isinstance(op, PointsOp)
            done = partial if last == last_seq + 1 else 0
            yield from _parts(op, done, last)
        heads = [op for op in heads if not _is_wide(op)]
        if heads or (end == batch.count and not rows):
            yield Slice(heads, last)


def _after_many_series(ops: Sequence[Op]) -> Iterator[int]:
    """Offsets before which very many series are in operations of a few each."""
    count = 0
    for op in sorted(ops, key=first_offset):
        count += len(op.names) if isinstance(op, PointsOp) else 0
        if count > MAX_SERIES:
            yield first_offset(op)
            count = 0


def _is_wide(op: Op) -> bool:
    return isinstance(op, PointsOp) and len(op.names) > MAX_SERIES


def _offsets(op: Op) -> Sequence[int]:
    assert isinstance(op, PointsOp)
    return range(op.offsets, op.offsets + len(op)) if isinstance(op.offsets, int) else op.offsets


def _length(op: Op) -> int:
    return len(op) if isinstance(op, PointsOp) else 1


def _rows_before(op: Op, end: int) -> int:
    """How many of its rows come before the record at an offset."""
    return bisect_left(_offsets(op), end) if isinstance(op, PointsOp) else int(op.offset < end)


def _rows(op: Op, start: int, stop: int) -> Op:
    """Some rows of an operation, at the cost of these only: a batch may be cut very often."""
    if not isinstance(op, PointsOp) or stop - start == len(op):
        return op

    def some(column: Column) -> Column:
        return slice_column(column, start, stop)

    offsets = op.offsets + start if isinstance(op.offsets, int) else op.offsets[start:stop]
    values = [some(column) for column in op.values]
    return replace(op, offsets=offsets, steps=some(op.steps), times=some(op.times), values=values)


def _parts(row: PointsOp, done: int, seq: int) -> Iterator[Slice]:
    """The parts of a wide row of the record `seq`, of which this many series are stored."""
    for start in range(done, len(row.names), MAX_SERIES):
        stop = start + MAX_SERIES
        aggregators = None if row.aggregators is None else row.aggregators[start:stop]
        part = replace(
            row, names=row.names[start:stop], aggregators=aggregators, values=row.values[start:stop]
        )
        is_last = stop >= len(row.names)
        yield Slice([part], seq if is_last else seq - 1, 0 if is_last else stop, None if start else row)
