"""What log calls leave behind, and the batches that are made of it.

A *row* is one log call: ``(shape, step, time, values by name)`` for points, or one that starts with
`CALL` or `TICKET`.  Rows are plain tuples because one is made in every `log_metrics`.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple

from track_protocol.errors import BadValue
from track_protocol.model.steps import as_step
from track_protocol.model.values import normalise
from track_protocol.wire.batch import Batch, CallOp, Op, PointsOp
from track_protocol.wire.codec import encode
from track_protocol.wire.columns import Column, pack

__all__ = [
    "BATCH_BYTES",
    "BATCH_ROWS",
    "CALL",
    "ROW_BYTES_LIMIT",
    "TICKET",
    "Row",
    "Shape",
    "Taken",
    "batch_of",
    "plain_step",
    "salvaged",
    "take",
    "trial_of",
    "values_in",
    "weigh",
]

BATCH_ROWS: Final = 8_192
BATCH_BYTES: Final = 512 * 1024
"""A batch takes no row that would make it larger than about so many bytes, unless it is empty."""

ROW_BYTES_LIMIT: Final = 384 * 1024
"""A single row larger than this is refused: with the names of its series, it must fit a frame."""

Row = tuple[Any, ...]

_Series = tuple[bytes, str, str]
"""Trial, kind and name."""

_SCALARS: Final = frozenset({float, int, bool, type(None)})


class Shape:
    """What many rows of points have in common; rows of one shape become one operation.

    Args:
        trial: the trial's 16-byte id.
        kind: metric or chrono.
        names: of the series.
        aggregators: wire form of how each reads back, or None.

    Attributes:
        head_bytes: about how many bytes each operation of it adds to a batch, however many rows it has.
        row_bytes: about how many each row of numbers adds.
    """

    __slots__ = ("aggregators", "head_bytes", "kind", "names", "row_bytes", "trial")

    def __init__(self, trial: bytes, kind: str, names: Sequence[str], aggregators: list[Any] | None) -> None:
        self.trial = trial
        self.kind = kind
        self.names = list(names)
        self.aggregators = aggregators
        self.head_bytes = 64 + sum(map(weigh, self.names)) + weigh(aggregators)
        self.row_bytes = 16 + 8 * len(self.names)


class _Mark:
    """First item of a row that is no points."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


CALL: Final = _Mark("call")
"""``(CALL, method, time, arguments, bytes)``: a log call other than points."""

TICKET: Final = _Mark("ticket")
"""``(TICKET, ticket)``: somebody waits for what stands before it."""


class Taken(NamedTuple):
    """What `take` removed.

    Attributes:
        rows: of one batch.
        ticket: the ticket that ended them, if one did.
        nbytes: about how large the batch becomes.
        heavy: the bytes of those rows that were weighed one by one.
    """

    rows: list[Row]
    ticket: Any
    nbytes: int
    heavy: int


def take(rows: deque[Row]) -> Taken:
    """Remove the rows of the next batch from the left."""
    taken: list[Row] = []
    popleft, nbytes, heavy = rows.popleft, 0, 0
    known: set[Shape] = set()
    series: set[_Series] = set()
    while rows and nbytes < BATCH_BYTES and len(taken) < BATCH_ROWS:
        row = popleft()
        head = row[0]
        if head is TICKET:
            return Taken(taken, row[1], nbytes, heavy)
        weighed = 0 if len(row) == 4 else row[4]
        added = weighed or head.row_bytes
        if head is CALL:
            known.clear()
            series.clear()
        elif head not in known:
            # An operation of its own, as in `batch_of`.
            if _admit(head, series):
                known.clear()
            known.add(head)
            added += head.head_bytes
        if taken and nbytes + added > BATCH_BYTES:
            rows.appendleft(row)
            break
        nbytes += added
        heavy += weighed
        taken.append(row)
    return Taken(taken, None, nbytes, heavy)


def values_in(row: Row) -> int:
    """How many values a row carries, as losses are counted: a call that is no points is one."""
    return 1 if row[0] is CALL else len(row[3])


def trial_of(row: Row) -> bytes | str | None:
    """The trial that a row is about; None for a call about something else."""
    if row[0] is not CALL:
        trial: bytes = row[0].trial
        return trial
    found = row[3].get("trial")
    return found if isinstance(found, bytes | str) else None


def weigh(value: Any) -> int:
    """Most bytes that a plain value can take on the wire, without encoding it."""
    kind = type(value)
    if kind is str:
        return 5 + (len(value) if value.isascii() else 4 * len(value))
    if kind is bytes:
        return 5 + len(value)
    if kind is dict:
        return 5 + sum(weigh(key) + weigh(item) for key, item in value.items())
    if kind in (list, tuple):
        only_scalars = _SCALARS.issuperset(map(type, value))
        return 8 + (9 * len(value) if only_scalars else sum(map(weigh, value)))
    return 9


def plain_step(step: Any) -> Any:
    """The plain form of a step.

    Raises:
        BadValue: it cannot be kept, or is nothing that could be a key.
    """
    return as_step(normalise(step, "step"))


def batch_of(first: int, rows: Sequence[Row]) -> Batch:
    """The batch of some rows, packed column-wise.

    Rows of one shape become one operation; a shape that shares a series with an earlier one begins a new
    set of operations, so that the points of each series stay in the order in which they were logged.

    Args:
        first: sequence number of the first row.
        rows: at least one.

    Raises:
        BadValue: a row holds something that cannot be stored; `salvaged` finds it.
    """
    ops: list[Op] = []
    groups: dict[Shape, list[int]] = {}
    series: set[_Series] = set()
    for offset, row in enumerate(rows):
        head = row[0]
        if head is CALL:
            ops += _points(groups, rows)
            groups.clear()
            series.clear()
            ops.append(CallOp(offset, row[1], row[3]))
        elif head in groups:
            groups[head].append(offset)
        else:
            if _admit(head, series):
                ops += _points(groups, rows)
                groups.clear()
            groups[head] = [offset]
    ops += _points(groups, rows)
    return Batch(first, len(rows), ops)


def _admit(shape: Shape, series: set[_Series]) -> bool:
    """Add a shape's series to those gathered so far; True if one was among them, which then are forgotten."""
    own = {(shape.trial, shape.kind, name) for name in shape.names}
    shared = not series.isdisjoint(own)
    if shared:
        series.clear()
    series |= own
    return shared


def _points(groups: Mapping[Shape, list[int]], rows: Sequence[Row]) -> Iterable[PointsOp]:
    for shape, offsets in groups.items():
        start, count = offsets[0], len(offsets)
        if offsets[-1] - start + 1 == count:
            chosen = rows[start : start + count]
            where: int | array[int] = start
        else:
            chosen = [rows[offset] for offset in offsets]
            where = array("I", offsets)
        yield PointsOp(
            shape.trial,
            shape.kind,
            shape.names,
            shape.aggregators,
            where,
            _column([row[1] for row in chosen]),
            _column([row[2] for row in chosen]),
            [_column(values) for values in zip(*[row[3].values() for row in chosen], strict=True)],
        )


def _column(values: Sequence[Any]) -> Column:
    column = pack(values)
    if column.code == "o":
        for value in column.payload:
            normalise(value)
    return column


def salvaged(row: Row, complain: Callable[[BadValue], None]) -> Row | None:
    """The row without what cannot be stored, or None when nothing is left.

    Args:
        row: the row.
        complain: told why, once for each value that is left out.
    """
    if row[0] is CALL:
        return _kept(row, lambda: encode(row[3]), complain)
    if _kept(row, lambda: plain_step(row[1]), complain) is None:
        return None
    shape, values = row[0], row[3]
    good = {
        name: value
        for name, value in values.items()
        if _kept(row, partial(normalise, value, name), complain) is not None
    }
    if len(good) == len(values):
        return row
    if not good:
        return None
    return (_part_of(shape, tuple(good)), row[1], row[2], good, *row[4:])


def _kept(row: Row, check: Callable[[], Any], complain: Callable[[BadValue], None]) -> Row | None:
    try:
        check()
    except BadValue as error:
        complain(error)
        return None
    return row


@lru_cache(256)
def _part_of(shape: Shape, names: tuple[str, ...]) -> Shape:
    """The same one each time, so that the parts of many rows become one operation again."""
    known = shape.aggregators
    aggregators = None if known is None else [known[shape.names.index(name)] for name in names]
    return Shape(shape.trial, shape.kind, names, aggregators)
