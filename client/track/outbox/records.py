"""What log calls leave behind, and the batches that are made of it.

A *record* is one log call: ``(shape, step, time, values by name)`` for points, or one that starts with
`CALL` or `FUTURE`.  Records are plain tuples because one is made in every `log_metrics`.
"""

from __future__ import annotations

import struct
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from itertools import chain, islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from track_protocol.errors import BadValue
from track_protocol.model.steps import as_step
from track_protocol.model.values import normalise
from track_protocol.wire.batch import Batch, CallOp, Op, PointsOp
from track_protocol.wire.codec import encode
from track_protocol.wire.columns import Column, pack, to_bytes, unpack

if TYPE_CHECKING:
    # A process that never spools does not load what it takes.
    from track.spool.writer import Location

__all__ = [
    "BATCH_BYTES",
    "BATCH_RECORDS",
    "CALL",
    "FUTURE",
    "RECORD_BYTES_LIMIT",
    "Drained",
    "Found",
    "Record",
    "Shape",
    "batch_of",
    "coalesced",
    "drain",
    "drop_invalid",
    "estimate_size",
    "plain_step",
    "trial_of",
    "values_in",
]

BATCH_RECORDS: Final = 8_192
BATCH_BYTES: Final = 512 * 1024
"""A batch takes no record that would make it larger than about so many bytes, unless it is empty."""

RECORD_BYTES_LIMIT: Final = 384 * 1024
"""A single record larger than this is refused: with the names of its series, it must fit a frame."""

Record = tuple[Any, ...]

_Series = tuple[bytes, str, str]
"""Trial, kind and name."""

_SCALARS: Final = frozenset({float, int, bool, type(None)})
_HEAD: Final = itemgetter(0)
_STEP: Final = itemgetter(1)
_TIME: Final = itemgetter(2)
_VALUES: Final = itemgetter(3)


class Shape:
    """What many records of points have in common; records of one shape become one operation.

    Args:
        trial: the trial's 16-byte id.
        kind: metric or chrono.
        names: of the series.
        aggregators: wire form of how each reads back, or None.

    Attributes:
        head_bytes: about how many bytes each operation of it adds to a batch, however many records it has.
        record_bytes: about how many each record of numbers adds.
    """

    __slots__ = ("aggregators", "head_bytes", "kind", "names", "record_bytes", "trial")

    def __init__(self, trial: bytes, kind: str, names: Sequence[str], aggregators: list[Any] | None) -> None:
        self.trial = trial
        self.kind = kind
        self.names = list(names)
        self.aggregators = aggregators
        self.head_bytes = 64 + sum(map(estimate_size, self.names)) + estimate_size(aggregators)
        self.record_bytes = 16 + 8 * len(self.names)


class _Mark:
    """First item of a record that is no points."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


CALL: Final = _Mark("call")
"""``(CALL, method, time, arguments, bytes)``: a log call other than points."""

FUTURE: Final = _Mark("future")
"""``(FUTURE, future)``: a caller waits for the records before it."""


class Drained(NamedTuple):
    """What `drain` removed.

    Attributes:
        records: of one batch.
        future: the future that ended them, if one did.
        nbytes: about how large the batch becomes.
        sized_bytes: the bytes of those records that were measured one by one.
    """

    records: list[Record]
    future: Any
    nbytes: int
    sized_bytes: int


def drain(records: deque[Record]) -> Drained:
    """Remove the records of the next batch from the left."""
    ahead = list(islice(records, BATCH_RECORDS))
    shape = _only_shape(ahead)
    if shape is not None:
        return _drained_rows(records, shape, ahead)
    drained: list[Record] = []
    popleft, nbytes, sized_bytes = records.popleft, 0, 0
    known: set[Shape] = set()
    series: set[_Series] = set()
    while records and nbytes < BATCH_BYTES and len(drained) < BATCH_RECORDS:
        record = popleft()
        head = record[0]
        if head is FUTURE:
            return Drained(drained, record[1], nbytes, sized_bytes)
        size = 0 if len(record) == 4 else record[4]
        added = size or head.record_bytes
        if head is CALL:
            known.clear()
            series.clear()
        elif head not in known:
            # An operation of its own, as in `batch_of`.
            if _admit(head, series):
                known.clear()
            known.add(head)
            added += head.head_bytes
        if drained and nbytes + added > BATCH_BYTES:
            records.appendleft(record)
            break
        nbytes += added
        sized_bytes += size
        drained.append(record)
    return Drained(drained, None, nbytes, sized_bytes)


def _only_shape(records: Sequence[Record]) -> Shape | None:
    """The shape of all the records, if they are plain points of one: what nearly all training loops log.

    It is found without a look at each of them in Python, and so are their columns, which takes half the time.
    """
    heads = set(map(_HEAD, records))
    if len(heads) != 1 or set(map(len, records)) != {4}:
        return None
    (head,) = heads
    return head if type(head) is Shape else None


def _drained_rows(records: deque[Record], shape: Shape, ahead: list[Record]) -> Drained:
    """Remove the first records, all of one shape, as far as they fit a batch."""
    room = max(1, (BATCH_BYTES - shape.head_bytes) // shape.record_bytes)
    drained, popleft = ahead[:room], records.popleft
    for position in range(len(drained)):
        try:
            popleft()
        except IndexError:  # a log call that found no room has taken its own back
            del drained[position:]
            break
    return Drained(drained, None, shape.head_bytes + len(drained) * shape.record_bytes, 0)


def values_in(record: Record) -> int:
    """How many values a record carries, as losses are counted: a call that is no points is one."""
    return 1 if record[0] is CALL else len(record[3])


def trial_of(record: Record) -> bytes | str | None:
    """The trial that a record is about; None for a call about something else."""
    if record[0] is not CALL:
        trial: bytes = record[0].trial
        return trial
    found = record[3].get("trial")
    return found if isinstance(found, bytes | str) else None


def estimate_size(value: Any) -> int:
    """Most bytes that a plain value can take on the wire, without encoding it."""
    kind = type(value)
    if kind is str:
        return 5 + (len(value) if value.isascii() else 4 * len(value))
    if kind is bytes:
        return 5 + len(value)
    if kind is dict:
        return 5 + sum(estimate_size(key) + estimate_size(item) for key, item in value.items())
    if kind in (list, tuple):
        only_scalars = _SCALARS.issuperset(map(type, value))
        return 8 + (9 * len(value) if only_scalars else sum(map(estimate_size, value)))
    return 9


def plain_step(step: Any) -> Any:
    """The plain form of a step.

    Raises:
        BadValue: it cannot be stored, or cannot be a key.
    """
    return as_step(normalise(step, "step"))


def batch_of(first: int, records: Sequence[Record]) -> Batch:
    """The batch of some records, packed column-wise.

    Records of one shape become one operation; a shape that shares a series with an earlier one begins a new
    set of operations, so that the points of each series stay in the order in which they were logged.

    Args:
        first: sequence number of the first record.
        records: at least one.

    Raises:
        BadValue: a record holds something that cannot be stored; `drop_invalid` finds it.
    """
    ops: list[Op] = []
    groups: dict[Shape, list[int]] = {}
    series: set[_Series] = set()
    shape = _only_shape(records)
    if shape is not None:
        return Batch(first, len(records), [*_points({shape: range(len(records))}, records)])
    for offset, record in enumerate(records):
        head = record[0]
        if head is CALL:
            ops += _points(groups, records)
            groups.clear()
            series.clear()
            ops.append(CallOp(offset, record[1], record[3]))
        elif head in groups:
            groups[head].append(offset)
        else:
            if _admit(head, series):
                ops += _points(groups, records)
                groups.clear()
            groups[head] = [offset]
    ops += _points(groups, records)
    return Batch(first, len(records), ops)


def _admit(shape: Shape, series: set[_Series]) -> bool:
    """Add a shape's series to the ones collected so far; True if one was among them, which clears them."""
    own = {(shape.trial, shape.kind, name) for name in shape.names}
    shared = not series.isdisjoint(own)
    if shared:
        series.clear()
    series |= own
    return shared


def _points(groups: Mapping[Shape, Sequence[int]], records: Sequence[Record]) -> Iterable[PointsOp]:
    for shape, offsets in groups.items():
        start, count = offsets[0], len(offsets)
        if offsets[-1] - start + 1 == count:
            chosen = records[start : start + count]
            where: int | array[int] = start
        else:
            chosen = [records[offset] for offset in offsets]
            where = array("I", offsets)
        yield PointsOp(
            shape.trial,
            shape.kind,
            shape.names,
            shape.aggregators,
            where,
            _column(list(map(_STEP, chosen))),
            _column(list(map(_TIME, chosen))),
            _value_columns(len(shape.names), list(map(_VALUES, chosen))),
        )


def _value_columns(width: int, rows: Sequence[Mapping[str, Any]]) -> list[Column]:
    if set(map(len, rows)) != {width}:
        raise ValueError("a mapping of values was changed after it was logged")
    values = list(chain.from_iterable([row.values() for row in rows]))
    if set(map(type, values)) != {float}:
        return [_column(values[start::width]) for start in range(width)]
    numbers = array("d")
    # Twice as fast as the array's own constructor.
    numbers.frombytes(struct.pack(f"{len(values)}d", *values))
    return [Column("d", to_bytes(numbers[start::width])) for start in range(width)]


def _column(values: Sequence[Any]) -> Column:
    column = pack(values)
    if column.code == "o":
        for value in column.payload:
            normalise(value)
    return column


def drop_invalid(record: Record, complain: Callable[[BadValue], None]) -> Record | None:
    """The record without what cannot be stored, or None when nothing is left.

    Args:
        record: the record.
        complain: called with the reason, once for each value that is left out.
    """
    if record[0] is CALL:
        return _kept(record, lambda: encode(record[3]), complain)
    if _kept(record, lambda: plain_step(record[1]), complain) is None:
        return None
    shape, values = record[0], record[3]
    good = {
        name: value
        for name, value in values.items()
        if _kept(record, partial(normalise, value, name), complain) is not None
    }
    if len(good) == len(values):
        return record
    if not good:
        return None
    return (_part_of(shape, tuple(good)), record[1], record[2], good, *record[4:])


def _kept(record: Record, check: Callable[[], Any], complain: Callable[[BadValue], None]) -> Record | None:
    try:
        check()
    except BadValue as error:
        complain(error)
        return None
    return record


@lru_cache(256)
def _part_of(shape: Shape, names: tuple[str, ...]) -> Shape:
    """The same one each time, so that the parts of many records become one operation again."""
    known = shape.aggregators
    aggregators = None if known is None else [known[shape.names.index(name)] for name in names]
    return Shape(shape.trial, shape.kind, names, aggregators)


_COALESCED_BELOW_BYTES: Final = 16 * 1024
"""Bytes from which on a batch is sent as it is: joining it would save nothing."""

_Shapes = dict[tuple[bytes, str, tuple[str, ...], str], Shape]


class Found(NamedTuple):
    """A batch as it was found on disk, or several of them in one.

    Attributes:
        batch: itself.
        location: where it lies.
        records: how many records it is there.
    """

    batch: Batch
    location: Location
    records: int = 1


def coalesced(found: Iterable[Found]) -> Iterator[Found]:
    """The same log calls, with the numbers that they have, in few batches.

    Args:
        found: of one session, in order.  Only neighbours are joined, and only those in which each number is
            that of a log call.
    """
    shapes: _Shapes = {}
    group: _Group | None = None
    for each in found:
        records = _rows_of(each.batch, shapes) if each.location.length < _COALESCED_BELOW_BYTES else None
        if group is not None and records is not None and group.takes(each, records):
            continue
        if group is not None:
            yield group.found()
        group = None if records is None else _Group(each, records)
        if group is None:
            yield each
    if group is not None:
        yield group.found()


class _Group:
    """Neighbours that become one batch."""

    def __init__(self, first: Found, records: list[Record]) -> None:
        self._first = first
        self._records = records
        self._last = first.batch.last
        self._location = first.location
        self._count = first.records

    def takes(self, found: Found, records: list[Record]) -> bool:
        """Add a batch, if it is the next one and there is room; whether it was added."""
        location = self._location.coalesced(found.location, self._count + found.records)
        if (
            location is None
            or location.length > BATCH_BYTES
            or found.batch.first != self._last + 1
            or len(self._records) + len(records) > BATCH_RECORDS
        ):
            return False
        self._records += records
        self._last, self._location = found.batch.last, location
        self._count += found.records
        return True

    def found(self) -> Found:
        """All in one batch."""
        if self._count == self._first.records:
            return self._first
        return Found(batch_of(self._first.batch.first, self._records), self._location, self._count)


def _rows_of(batch: Batch, shapes: _Shapes) -> list[Record] | None:
    """What `batch_of` makes the batch of; None if some of its numbers are those of nothing."""
    records: dict[int, Record] = {}
    for op in batch.ops:
        if isinstance(op, CallOp):
            records[op.offset] = (CALL, op.method, 0.0, op.arguments, 0)
            continue
        key = (op.trial, op.kind, tuple(op.names), repr(op.aggregators))
        shape = shapes.get(key)
        if shape is None:
            shape = shapes[key] = Shape(op.trial, op.kind, op.names, op.aggregators)
        offsets = op.offsets if isinstance(op.offsets, array) else range(op.offsets, op.offsets + len(op))
        values = zip(*map(unpack, op.values), strict=True)
        for offset, step, time, record in zip(
            offsets, unpack(op.steps), unpack(op.times), values, strict=True
        ):
            records[offset] = (shape, step, time, dict(zip(op.names, record, strict=True)))
    return [records[offset] for offset in range(batch.count)] if len(records) == batch.count else None
