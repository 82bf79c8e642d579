"""What was written to disk bit by bit is sent in bulk.

With ``spool_sync=always`` each log call is a record of its own.  Sent like that, an outage of an hour would
take minutes of the training process's time, and as much of the server's, to be caught up with.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from track.outbox.records import BATCH_BYTES, BATCH_ROWS, CALL, Row, Shape, batch_of
from track.spool.writer import Place
from track_protocol.wire.batch import Batch, CallOp
from track_protocol.wire.columns import unpack

__all__ = ["Found", "joined"]

_SMALL: Final = 16 * 1024
"""Bytes from which on a batch is sent as it is: joining it would save nothing."""

_Shapes = dict[tuple[bytes, str, tuple[str, ...], str], Shape]


class Found(NamedTuple):
    """A batch as it was found on disk, or several of them in one.

    Attributes:
        batch: itself.
        place: where it lies.
        records: how many records it is there.
    """

    batch: Batch
    place: Place
    records: int = 1


def joined(found: Iterable[Found]) -> Iterator[Found]:
    """The same log calls, with the numbers that they have, in few batches.

    Args:
        found: of one session, in order.  Only neighbours are joined, and only those in which each number is
            that of a log call.
    """
    shapes: _Shapes = {}
    group: _Group | None = None
    for each in found:
        rows = _rows_of(each.batch, shapes) if each.place.length < _SMALL else None
        if group is not None and rows is not None and group.takes(each, rows):
            continue
        if group is not None:
            yield group.found()
        group = None if rows is None else _Group(each, rows)
        if group is None:
            yield each
    if group is not None:
        yield group.found()


class _Group:
    """Neighbours that become one batch."""

    def __init__(self, first: Found, rows: list[Row]) -> None:
        self._first = first
        self._rows = rows
        self._last = first.batch.last
        self._place = first.place
        self._records = first.records

    def takes(self, found: Found, rows: list[Row]) -> bool:
        """Add a batch, if it is the next one and there is room; whether it was added."""
        place = self._place.joined(found.place, self._records + found.records)
        if (
            place is None
            or place.length > BATCH_BYTES
            or found.batch.first != self._last + 1
            or len(self._rows) + len(rows) > BATCH_ROWS
        ):
            return False
        self._rows += rows
        self._last, self._place = found.batch.last, place
        self._records += found.records
        return True

    def found(self) -> Found:
        """All in one batch."""
        if self._records == self._first.records:
            return self._first
        return Found(batch_of(self._first.batch.first, self._rows), self._place, self._records)


def _rows_of(batch: Batch, shapes: _Shapes) -> list[Row] | None:
    """What `batch_of` makes the batch of; None if some of its numbers are those of nothing."""
    rows: dict[int, Row] = {}
    for op in batch.ops:
        if isinstance(op, CallOp):
            rows[op.offset] = (CALL, op.method, 0.0, op.arguments, 0)
            continue
        key = (op.trial, op.kind, tuple(op.names), repr(op.aggregators))
        shape = shapes.get(key)
        if shape is None:
            shape = shapes[key] = Shape(op.trial, op.kind, op.names, op.aggregators)
        offsets = op.offsets if isinstance(op.offsets, array) else range(op.offsets, op.offsets + len(op))
        values = zip(*map(unpack, op.values), strict=True)
        for offset, step, time, row in zip(offsets, unpack(op.steps), unpack(op.times), values, strict=True):
            rows[offset] = (shape, step, time, dict(zip(op.names, row, strict=True)))
    return [rows[offset] for offset in range(batch.count)] if len(rows) == batch.count else None
