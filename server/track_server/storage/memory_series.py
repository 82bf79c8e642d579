"""One series in memory: chunks of columns as they came, and what is known of all its points."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, Final

from track_protocol.model.stat import Summary
from track_protocol.query.tree import is_number
from track_protocol.wire.columns import Column, unpack
from track_server.methods.superseding import divided
from track_server.storage.contract import Document, Points
from track_server.storage.memory_versions import Grown

__all__ = ["FULL_CHUNK", "Series", "copied", "empty_series", "joined"]

FULL_CHUNK: Final = 4_096
"""Chunks of this many points are not merged any further."""

_MANY_SMALL: Final = 64
_NUMERIC: Final = frozenset("dq")


def copied(value: Any) -> Any:
    """A plain value that shares no list or dict with the given one."""
    if type(value) is dict:
        return {key: copied(item) for key, item in value.items()}
    if type(value) is list:
        return [copied(item) for item in value]
    if type(value) is tuple:
        return tuple([copied(item) for item in value])
    return value


@dataclass(frozen=True, slots=True)
class Series:
    """The points of one series at one moment; appending makes the next one and shares the chunks.

    Attributes:
        aggregator: as given when the series was created.
        chunks: the points, in order of arrival.
        ends: ordinal behind the last point of each chunk.
        small: how many chunks at the end are not full.
        numbers: of the values that are numbers; a bool is none.
        first_step: the step of the first point.
        last: (step, time, value) of the last point.
        stepped: whether any point has a step.
    """

    aggregator: list[Any] | None
    chunks: Grown[Points]
    ends: Grown[int]
    small: int
    numbers: Summary
    first_step: Any
    last: tuple[Any, Any, Any]
    stepped: bool

    def __len__(self) -> int:
        return self.ends.items[self.ends.count - 1] if self.ends.count else 0

    def append(self, points: Points) -> Series:
        """The series with `points` (one or more) behind its own."""
        new = Points(*map(_own, (points.steps, points.times, points.values)))
        first = _at(new.steps, 0) if not len(self) else self.first_step
        return replace(
            self,
            chunks=self.chunks.and_(new),
            ends=self.ends.and_(len(self) + len(new)),
            small=0 if len(new) >= FULL_CHUNK else self.small + 1,
            numbers=self.numbers.merge(_numbers(new.values)),
            first_step=first,
            last=(_at(new.steps, -1), _at(new.times, -1), _at(new.values, -1)),
            stepped=self.stepped or _stepped(new.steps),
        )

    def rewound(self, step: float, before: float | None) -> tuple[Series, list[Points]]:
        """The series without the points of later steps, and those, in order; see `divided`."""
        series, taken = empty_series(self.aggregator), []
        for points in self.chunks:
            kept, later = divided(points, step, before)
            if kept is not None:
                series = series.append(kept)
            if later is not None:
                taken.append(later)
        return (series, taken) if taken else (self, taken)

    def slice(self, start: int, limit: int) -> Points:
        """Up to `limit` points from ordinal `start`."""
        start = max(start, 0)
        stop = min(start + limit, len(self))
        if start >= stop:
            return Points(Column("o", []), Column("d", b""), Column("o", []))
        index = bisect_right(self.ends.items, start, 0, self.ends.count)
        parts = []
        while start < stop:
            chunk, end = self.chunks.items[index], self.ends.items[index]
            begin = end - len(chunk)
            parts.append(_cut_points(chunk, start - begin, min(stop, end) - begin))
            start, index = end, index + 1
        return joined(parts)

    def document(self) -> Document:
        """The summary that trial documents show; without a finite number, its statistics are None."""
        step, time, value = self.last
        known = self.numbers if self.numbers.finite else None
        return {
            "count": len(self),
            "first_step": self.first_step,
            "last_step": step,
            "last": value,
            "last_time": time,
            "min": known and known.min,
            "max": known and known.max,
            "mean": known and known.mean,
            "sd": known and known.sd,
            "nonfinite": self.numbers.nonfinite,
            "stepped": self.stepped,
            "aggregator": self.aggregator,
        }

    @property
    def fragmented(self) -> bool:
        """Whether so many small chunks are at the end that merging them pays."""
        return self.small >= _MANY_SMALL

    def merged(self) -> Series:
        """The same points, the small chunks at the end merged into fuller ones."""
        kept = self.chunks.count - self.small
        chunks = self.chunks.items[:kept]
        tail: list[Points] = []
        size = 0
        for chunk in self.chunks.items[kept : self.chunks.count]:
            if tail and (size >= FULL_CHUNK or _codes(chunk) != _codes(tail[0])):
                chunks.append(joined(tail))
                tail, size = [], 0
            tail.append(chunk)
            size += len(chunk)
        chunks.append(joined(tail))
        ends = list(accumulate(map(len, chunks)))
        # Small chunks of other kinds in between stay as they are: only the last one can grow.
        small = int(len(chunks[-1]) < FULL_CHUNK)
        return replace(self, chunks=Grown.of(*chunks), ends=Grown.of(*ends), small=small)


def empty_series(aggregator: list[Any] | None) -> Series:
    """A series before its first point."""
    return Series(copied(aggregator), Grown.of(), Grown.of(), 0, Summary(), None, (None, None, None), False)


def _own(column: Column) -> Column:
    return Column("o", copied(column.payload)) if column.code == "o" else column


def _codes(points: Points) -> tuple[str, str]:
    return points.steps.code, points.values.code


def _at(column: Column, index: int) -> Any:
    """One value of a column; `index` is 0 or -1."""
    if column.code == "n":
        return None
    if column.code == "o":
        return column.payload[index]
    one = column.payload[:8] if index == 0 else column.payload[-8:]
    return unpack(Column(column.code, one))[0]


def _numbers(column: Column) -> Summary:
    if column.code in _NUMERIC:
        return Summary.of(unpack(column))
    if column.code == "n":
        return Summary()
    return Summary.of([value for value in column.payload if is_number(value)])


def _stepped(steps: Column) -> bool:
    return steps.code in _NUMERIC or (steps.code == "o" and any(step is not None for step in steps.payload))


def _cut(column: Column, start: int, stop: int) -> Column:
    if column.code in _NUMERIC:
        return Column(column.code, column.payload[8 * start : 8 * stop])
    if column.code == "n":
        return Column("n", stop - start)
    return Column("o", copied(column.payload[start:stop]))


def _cut_points(points: Points, start: int, stop: int) -> Points:
    return Points(*(_cut(column, start, stop) for column in (points.steps, points.times, points.values)))


def _joined_columns(columns: Sequence[Column]) -> Column:
    if len(columns) == 1:
        return columns[0]
    codes = {column.code for column in columns}
    if codes <= {"n"}:
        return Column("n", sum(column.payload for column in columns))
    if len(codes) == 1 and codes <= _NUMERIC:
        return Column(codes.pop(), b"".join([column.payload for column in columns]))
    return Column("o", [value for column in columns for value in unpack(column)])


def joined(parts: Sequence[Points]) -> Points:
    """The points of several pieces (one or more), in order."""
    return Points(
        _joined_columns([part.steps for part in parts]),
        _joined_columns([part.times for part in parts]),
        _joined_columns([part.values for part in parts]),
    )
