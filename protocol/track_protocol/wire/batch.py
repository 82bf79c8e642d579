"""Batches: consecutive records of one session, packed column-wise.

A *record* is one log call and owns one sequence number.  A batch holds the records
``first … first + count - 1`` as operations in an order that preserves their meaning: log calls that
commute (points of different series) are gathered into columns, any other call is an operation of its own
between them.  Each operation knows the offsets of its records within the batch, so a receiver that
already has the beginning of a batch can trim exactly that.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from track_protocol.errors import RemoteProtocolError
from track_protocol.wire.codec import encode_own
from track_protocol.wire.columns import Column, column_from_wire
from track_protocol.wire.counts import Counts

__all__ = [
    "CHRONO",
    "METRIC",
    "SUPERSEDED",
    "Batch",
    "CallOp",
    "Op",
    "PointsOp",
    "batch_from_wire",
    "batch_to_wire",
    "first_offset",
]

METRIC: Final = "metric"
CHRONO: Final = "chrono"
SUPERSEDED: Final = "superseded"
"""Kind of the metrics' points that a rewind took out of their series; it is read, never logged."""

_KINDS: Final = frozenset({METRIC, CHRONO})
_POINTS: Final = 0
_CALL: Final = 1
_OP_BYTES: Final = 64
_MAX_SERIES: Final = 65_536
_MAX_RECORDS: Final = 2**20
_MAX_CELLS: Final = 2**20
_LAST_SEQ: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class PointsOp:
    """Points of one trial: rows of the same names, logged by the records at `offsets`.

    Attributes:
        trial: the trial's 16-byte id.
        kind: `METRIC` or `CHRONO`; the two have name spaces of their own.
        names: the series' names, one for each column of `values`.
        aggregators: wire form of how each series reads back, or None for the default of its kind.
        offsets: each row's record, counted from the batch's first one: the first row's offset when
            the rows are consecutive, else an array of uint32, ascending.
        steps: one step a row; times: seconds since the epoch; values: one column a name.
    """

    trial: bytes
    kind: str
    names: list[str]
    aggregators: list[Any] | None
    offsets: int | array[int]
    steps: Column
    times: Column
    values: list[Column]

    def __len__(self) -> int:
        return len(self.times)

    @property
    def counts(self) -> Counts:
        """How many points it has."""
        return Counts(len(self) * len(self.names))

    def rows_from(self, offset: int) -> int:
        """How many of its rows come from records at or after `offset`."""
        start = self.offsets
        if isinstance(start, int):
            return min(len(self), max(0, start + len(self) - offset))
        return len(start) - bisect_left(start, offset)

    def after(self, offset: int) -> PointsOp | None:
        """The rows whose records come at or after `offset`, or None when there are none."""
        rows = self._rows()
        return self._only([i for i, at in enumerate(rows) if at >= offset], rows)

    def before(self, offset: int) -> PointsOp | None:
        """The rows whose records come before `offset`, or None when there are none."""
        rows = self._rows()
        return self._only([i for i, at in enumerate(rows) if at < offset], rows)

    def _rows(self) -> Sequence[int]:
        start = self.offsets
        return range(start, start + len(self)) if isinstance(start, int) else start

    def _only(self, keep: list[int], rows: Sequence[int]) -> PointsOp | None:
        if len(keep) == len(self):
            return self
        if not keep:
            return None
        offsets = array("I", [rows[i] for i in keep])
        return replace(
            self,
            offsets=offsets,
            steps=self.steps.take(keep),
            times=self.times.take(keep),
            values=[column.take(keep) for column in self.values],
        )


@dataclass(frozen=True, slots=True)
class CallOp:
    """A log call that is not points: `method` of the method table and its arguments."""

    offset: int
    method: str
    arguments: dict[str, Any]

    @property
    def counts(self) -> Counts:
        """It is one log call, and no point."""
        return Counts(0, 1)

    def after(self, offset: int) -> CallOp | None:
        """Itself, or None when its record comes before `offset`."""
        return self if self.offset >= offset else None

    def before(self, offset: int) -> CallOp | None:
        """Itself, or None when its record does not come before `offset`."""
        return self if self.offset < offset else None


Op = PointsOp | CallOp


@dataclass(frozen=True, slots=True)
class Batch:
    """Records ``first … first + count - 1`` of a session, in operations."""

    first: int
    count: int
    ops: list[Op]

    @property
    def last(self) -> int:
        """Sequence number of the last record."""
        return self.first + self.count - 1

    @property
    def nbytes(self) -> int:
        """Its approximate size in bytes."""
        irregular: list[Any] = [column.payload for column in self._columns() if column.code == "o"]
        irregular += [op.arguments for op in self.ops if isinstance(op, CallOp)]
        return self.nbytes_packed + len(encode_own(irregular))

    @property
    def nbytes_packed(self) -> int:
        """The part of it that needs no encoding to be known: operations, and columns of numbers and Nones."""
        packed = sum(8 * len(column) for column in self._columns() if column.code != "o")
        return _OP_BYTES * len(self.ops) + packed

    def _columns(self) -> Iterator[Column]:
        points = (op for op in self.ops if isinstance(op, PointsOp))
        return (column for op in points for column in (op.steps, op.times, *op.values))

    @property
    def counts(self) -> Counts:
        """How many points it has, and how many other log calls."""
        return self.counts_after(self.first - 1)

    def counts_after(self, last_seq: int) -> Counts:
        """How much of it comes after the record `last_seq`."""
        cut = last_seq + 1 - self.first
        points = calls = 0
        for op in self.ops:
            if isinstance(op, CallOp):
                calls += op.offset >= cut
            else:
                points += op.rows_from(cut) * len(op.names)
        return Counts(points, calls)

    def after(self, last_seq: int) -> list[tuple[int, Op]]:
        """The operations that are new to a receiver which has all up to `last_seq`.

        Returns:
            (sequence number of the operation's first new record, operation) pairs.
        """
        cut = last_seq + 1 - self.first
        new_ops = []
        for op in self.ops:
            new = op if cut <= 0 else op.after(cut)
            if new is not None:
                new_ops.append((self.first + first_offset(new), new))
        return new_ops


def first_offset(op: Op) -> int:
    """Offset of the operation's first record within its batch."""
    if isinstance(op, CallOp):
        return op.offset
    return op.offsets if isinstance(op.offsets, int) else op.offsets[0]


def _offsets_to_wire(offsets: int | array[int]) -> int | bytes:
    if isinstance(offsets, int):
        return offsets
    if sys.byteorder == "big":
        offsets = offsets[:]
        offsets.byteswap()
    return offsets.tobytes()


def batch_to_wire(batch: Batch) -> list[Any]:
    """The batch as a plain list for the codec."""
    ops: list[list[Any]] = []
    for op in batch.ops:
        if isinstance(op, CallOp):
            ops.append([_CALL, op.offset, op.method, op.arguments])
        else:
            offsets = _offsets_to_wire(op.offsets)
            values = [list(column) for column in op.values]
            ops.append(
                [
                    _POINTS,
                    op.trial,
                    op.kind,
                    op.names,
                    op.aggregators,
                    offsets,
                    list(op.steps),
                    list(op.times),
                    values,
                ]
            )
    return [batch.first, batch.count, ops]


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise RemoteProtocolError(f"malformed batch: {what}")


def _offsets_from_wire(raw: object, count: int) -> tuple[int | array[int], int]:
    if type(raw) is int:
        _require(0 <= raw < count, "an offset lies outside the batch")
        return raw, count - raw
    _require(isinstance(raw, bytes) and len(raw) > 0 and len(raw) % 4 == 0, "offsets are packed uint32")
    assert isinstance(raw, bytes)
    offsets = array("I")
    offsets.frombytes(raw)
    if sys.byteorder == "big":
        offsets.byteswap()
    ascending = offsets.tolist()
    _require(ascending == sorted(set(ascending)), "offsets ascend")
    _require(ascending[-1] < count, "an offset lies outside the batch")
    return offsets, len(offsets)


def _points_from_wire(raw: list[Any], count: int) -> PointsOp:
    _require(len(raw) == 9, "points have nine fields")
    _, trial, kind, names, aggregators, raw_offsets, steps, times, values = raw
    _require(isinstance(trial, bytes) and len(trial) == 16, "a trial id has 16 bytes")
    _require(type(kind) is str and kind in _KINDS, "a series is a metric or a chrono")
    _require(
        isinstance(names, list) and 0 < len(names) <= _MAX_SERIES, f"1 to {_MAX_SERIES:,} series in one row"
    )
    _require(
        all(type(name) is str for name in names) and len(set(names)) == len(names), "names are unique strings"
    )
    _require(isinstance(values, list) and len(values) == len(names), "one column for each name")
    _require(
        aggregators is None or (isinstance(aggregators, list) and len(aggregators) == len(names)),
        "one aggregator for each name",
    )
    _require(isinstance(times, list) and len(times) == 2 and times[0] == "d", "times are float64")
    _require(
        isinstance(times[1], bytes) and len(times[1]) % 8 == 0 and times[1] != b"", "times are packed float64"
    )
    rows = len(times[1]) // 8
    _require(rows * len(names) <= _MAX_CELLS, f"one operation has at most {_MAX_CELLS:,} values")
    offsets, room = _offsets_from_wire(raw_offsets, count)
    _require(rows == room if isinstance(offsets, array) else rows <= room, "each row has its record")
    return PointsOp(
        trial,
        kind,
        names,
        aggregators,
        offsets,
        column_from_wire(steps, rows),
        column_from_wire(times, rows),
        [column_from_wire(column, rows) for column in values],
    )


def _op_from_wire(raw: object, count: int) -> Op:
    if not isinstance(raw, list) or not raw:
        raise RemoteProtocolError("malformed batch: an operation is a list")
    _require(type(raw[0]) is int and raw[0] in (_POINTS, _CALL), "an operation is points or a call")
    if raw[0] == _POINTS:
        return _points_from_wire(raw, count)
    _require(len(raw) == 4, "a call has four fields")
    _, offset, method, arguments = raw
    _require(type(offset) is int and 0 <= offset < count, "an offset lies outside the batch")
    _require(type(method) is str and isinstance(arguments, dict), "a call has a name and a map of arguments")
    return CallOp(offset, method, arguments)


def _own_records(ops: Sequence[Op], count: int) -> bool:
    """Whether calls ascend and no two operations share a record, which bounds what a record costs."""
    calls = [op.offset for op in ops if isinstance(op, CallOp)]
    if calls != sorted(set(calls)):
        return False
    total = sum(1 if isinstance(op, CallOp) else len(op) for op in ops)
    if total > count:
        return False
    if total < count // 64:  # a map of all records would be larger than the batch itself
        return len({offset for op in ops for offset in _offsets_of(op)}) == total
    taken = bytearray(count)
    for op in ops:
        for offset in _offsets_of(op):
            taken[offset] = 1
    return sum(taken) == total


def _offsets_of(op: Op) -> Sequence[int]:
    if isinstance(op, CallOp):
        return (op.offset,)
    return range(op.offsets, op.offsets + len(op)) if isinstance(op.offsets, int) else op.offsets


def batch_from_wire(raw: object) -> Batch:
    """Check and build a batch that a peer sent.

    Raises:
        RemoteProtocolError: the structure is not that of a batch.
    """
    if not isinstance(raw, list) or len(raw) != 3:
        raise RemoteProtocolError("malformed batch: it has three fields")
    first, count, ops = raw
    _require(type(first) is int and first >= 1, "sequence numbers start at 1")
    _require(type(count) is int and 1 <= count <= _MAX_RECORDS, f"a batch has 1 to {_MAX_RECORDS:,} records")
    _require(first + count - 1 <= _LAST_SEQ, "a sequence number does not fit 64 bits")
    _require(
        isinstance(ops, list) and len(ops) <= count, "operations are a list, one for each record at most"
    )
    checked = [_op_from_wire(op, count) for op in ops]
    _require(_own_records(checked, count), "each record is of one operation, and calls ascend")
    return Batch(first, count, checked)
