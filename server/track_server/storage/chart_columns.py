"""Points of a series cut into columns of equal extent, for charts.

A window of an axis is cut into columns, and each point is in exactly one of them.  Least and greatest
value of each column draw the same pixels as all of its points, so that no spike is lost.

Points may come one by one or as `Buckets`, groups of consecutive points that were summed up before (see
`track_server.storage.outlines`).  A bucket is in the column of its last point.

Only the standard library's arrays are used, and in few calls: a server has no numpy.
"""

from __future__ import annotations

import math
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from enum import IntFlag
from itertools import chain
from operator import mul, sub, truediv
from typing import Any, Final, NamedTuple

from track_protocol.query.tree import is_number
from track_protocol.wire.columns import Column, unpack

__all__ = ["ARRAYS", "Buckets", "ChartColumns", "Grid", "Traits", "as_float_bytes", "as_floats", "traits_of"]

ARRAYS: Final = ("x", "step", "time", "last", "min", "max", "mean", "count_of", "nonfinite", "odd")
"""What is known of each column that has a point, in ascending order of x: place, step and time of its last
point (NaN for a step that is no number), last value, least, greatest and mean of its finite values (NaN
without any), how many points it has, how many of them are not finite, and the last of those (0 without)."""


class Grid:
    """A window that is cut into columns of equal extent.

    A column contains its lower edge and not its upper one; the last one contains both.

    Attributes:
        low, high: the window, whose ends belong to it.
        extent: of one column.
        edges: lower edge of each column.
    """

    __slots__ = ("edges", "extent", "high", "low")

    def __init__(self, low: float, high: float, width: int) -> None:
        # By halves, so that the extent of any window is a number.
        half = (high / 2 - low / 2) / width
        self.low, self.high = low, high
        self.extent = 2 * half
        self.edges = [low, *(2 * (low / 2 + half * i) for i in range(1, width))]

    @property
    def width(self) -> int:
        """How many columns there are."""
        return len(self.edges)

    def divide(self, x: Sequence[float]) -> tuple[list[int], list[int]]:
        """Columns that have an item, in order, and the index of the first item of each.

        Args:
            x: places within the window, in ascending order.
        """
        edges, final, count = self.edges, len(self.edges) - 1, len(x)
        columns: list[int] = []
        starts: list[int] = []
        at = column = 0
        while at < count:
            column = bisect_right(edges, x[at], column) - 1
            columns.append(column)
            starts.append(at)
            at = count if column == final else bisect_left(x, edges[column + 1], at + 1)
        return columns, starts


class Traits(IntFlag):
    """What steps and times of some consecutive points are like, which decides what may be an axis."""

    STEPS_ASCEND = 1
    """All steps are finite numbers, none smaller than the one before."""
    TIMES_ARE_FINITE = 2
    TIMES_ASCEND = 4
    """All times are finite, none smaller than the one before."""


def traits_of(steps: Sequence[float], times: Sequence[float]) -> Traits:
    """The traits of points, whose steps are NaN where they are no numbers."""
    found = Traits(0)
    if _are_finite(steps) and _ascend(steps):
        found |= Traits.STEPS_ASCEND
    if _are_finite(times):
        found |= Traits.TIMES_ARE_FINITE
        if _ascend(times):
            found |= Traits.TIMES_ASCEND
    return found


def _are_finite(numbers: Sequence[float]) -> bool:
    # A sum of finite numbers may be none.
    return math.isfinite(sum(numbers)) or all(map(math.isfinite, numbers))


def _ascend(numbers: Sequence[float]) -> bool:
    # Sorting what is sorted is one comparison for each of them, and never leaves C.
    return sorted(numbers) == list(numbers)


class Buckets(NamedTuple):
    """Groups of consecutive points: equally long columns with an item for each group.

    Attributes:
        steps, times, lasts: of its last point.
        lows, highs, means: of its finite values; an infinity above, one below and 0 without any.
        nonfinite: how many of its values are not finite.
        odds: the last of those, 0 without any.
        counts: of its points.
    """

    steps: Sequence[float]
    times: Sequence[float]
    lasts: Sequence[float]
    lows: Sequence[float]
    highs: Sequence[float]
    means: Sequence[float]
    nonfinite: Sequence[float]
    odds: Sequence[float]
    counts: Sequence[int]

    @classmethod
    def of(
        cls, steps: Sequence[float], times: Sequence[float], values: Sequence[float], starts: Sequence[int]
    ) -> Buckets:
        """The groups of points that begin at `starts`, of which the first is 0."""
        count = len(values)
        ends = [*starts[1:], count]
        lasts = [end - 1 for end in ends]
        parts = [values[start:end] for start, end in zip(starts, ends, strict=True)]
        counts = list(map(len, parts))
        sums = list(map(sum, parts))
        lows, highs, means = list(map(min, parts)), list(map(max, parts)), list(map(truediv, sums, counts))
        nonfinite, odds = [0] * len(parts), [0.0] * len(parts)
        if not math.isfinite(sum(sums)):
            for i, part in enumerate(parts):
                if not math.isfinite(sums[i]):
                    lows[i], highs[i], means[i], nonfinite[i], odds[i] = _of_mixed(part)
        return cls(
            [steps[i] for i in lasts],
            [times[i] for i in lasts],
            [values[i] for i in lasts],
            *(lows, highs, means, nonfinite, odds, counts),
        )

    def joined(self, starts: Sequence[int]) -> Buckets:
        """Larger groups: those of these groups that begin at `starts`, of which the first is 0."""
        ends = [*starts[1:], len(self.counts)]
        lasts = [end - 1 for end in ends]
        spans = list(map(slice, starts, ends))
        counts = [sum(self.counts[span]) for span in spans]
        finite, nonfinite, odds = self.counts, [0.0] * len(spans), [0.0] * len(spans)
        finite_counts = counts
        if any(self.nonfinite):
            finite = list(map(sub, self.counts, map(int, self.nonfinite)))
            nonfinite = [sum(self.nonfinite[span]) for span in spans]
            finite_counts = list(map(sub, counts, map(int, nonfinite)))
            odds = [
                next(
                    (self.odds[i] for i in range(span.stop - 1, span.start - 1, -1) if self.nonfinite[i]), 0.0
                )
                for span in spans
            ]
        sums = list(map(mul, self.means, finite))
        means = [
            sum(sums[span]) / count if count else 0.0
            for span, count in zip(spans, finite_counts, strict=True)
        ]
        if not math.isfinite(sum(means)):
            means = [
                sum(mean * (each / count) for mean, each in zip(self.means[span], finite[span], strict=True))
                if count
                else 0.0
                for span, count in zip(spans, finite_counts, strict=True)
            ]
        return Buckets(
            [self.steps[i] for i in lasts],
            [self.times[i] for i in lasts],
            [self.lasts[i] for i in lasts],
            [min(self.lows[span]) for span in spans],
            [max(self.highs[span]) for span in spans],
            *(means, nonfinite, odds, counts),
        )

    def taken(self, order: Sequence[int]) -> Buckets:
        """The groups in another order."""
        columns: Any = [[column[i] for i in order] for column in self]
        return Buckets(*columns)


def _of_mixed(values: Sequence[float]) -> tuple[float, float, float, int, float]:
    """Least, greatest and mean finite value, how many others there are, and the last of them."""
    finite = list(filter(math.isfinite, values))
    others = len(values) - len(finite)
    odd = next((each for each in reversed(values) if not math.isfinite(each)), 0.0)
    if not finite:
        return math.inf, -math.inf, 0.0, others, odd
    return min(finite), max(finite), _mean(finite), others, odd


def _mean(values: Sequence[float]) -> float:
    """Of finite numbers, whose sum may be none."""
    total, count = sum(values), len(values)
    return total / count if math.isfinite(total) else sum([each / count for each in values])


class ChartColumns:
    """Collects the columns of one series.

    Args:
        grid: the window.
    """

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._columns: list[int] = []
        self._x: list[float] = []
        self._found: list[Buckets] = []

    def add_points(
        self,
        x: Sequence[float],
        steps: Sequence[float],
        times: Sequence[float],
        values: Sequence[float],
    ) -> None:
        """Add points.

        Args:
            x: their places, within the window and in ascending order.
            steps, times, values: the points.
        """
        if len(x):
            columns, starts = self._grid.divide(x)
            self._add(x, columns, starts, Buckets.of(steps, times, values, starts))

    def add_buckets(self, x: Sequence[float], buckets: Buckets) -> None:
        """Add groups of points.

        Args:
            x: places of their last points, within the window and in ascending order.
            buckets: the groups.
        """
        if len(x):
            columns, starts = self._grid.divide(x)
            self._add(x, columns, starts, buckets.joined(starts))

    def _add(self, x: Sequence[float], columns: list[int], starts: list[int], found: Buckets) -> None:
        self._columns += columns
        self._x += [x[start - 1] for start in starts[1:]]
        self._x.append(x[-1])
        self._found.append(found)

    def result(self) -> tuple[dict[str, bytes], int, bool]:
        """The arrays, how many points there are, and whether each column has one of them at most."""
        columns, x = self._columns, self._x
        whole = self._found[0] if len(self._found) == 1 else _chained(self._found)
        if any(map(int.__ge__, columns, columns[1:])):
            # Runs of points meet in a column, or their places do not ascend from one run to the next.
            order = sorted(range(len(x)), key=lambda i: (columns[i], x[i]))
            whole = whole.taken(order)
            columns, x = [columns[i] for i in order], [x[i] for i in order]
            starts = [i for i, column in enumerate(columns) if not i or columns[i - 1] != column]
            x = [x[end - 1] for end in [*starts[1:], len(x)]]
            whole = whole.joined(starts)
        is_empty = [count == others for count, others in zip(whole.counts, whole.nonfinite, strict=True)]
        lows, highs, means = whole.lows, whole.highs, whole.means
        if any(is_empty):
            lows, highs, means = (_blanked(each, is_empty) for each in (lows, highs, means))
        arrays = (x, whole.steps, whole.times, whole.lasts, lows, highs, means)
        found = (*arrays, whole.counts, whole.nonfinite, whole.odds)
        count = sum(whole.counts)
        return (
            {name: as_float_bytes(each) for name, each in zip(ARRAYS, found, strict=True)},
            count,
            count == len(x),
        )


def _chained(found: Iterable[Buckets]) -> Buckets:
    parts: Any = list(zip(*found, strict=True)) or [()] * len(Buckets._fields)
    return Buckets(*(list(chain.from_iterable(column)) for column in parts))


def _blanked(numbers: Sequence[float], is_empty: Sequence[bool]) -> list[float]:
    return [math.nan if empty else each for each, empty in zip(numbers, is_empty, strict=True)]


def as_floats(column: Column) -> list[float]:
    """The values of a column as floats; NaN for what is no number."""
    values: Any = unpack(column)
    if column.code == "d":
        return list(values)
    if column.code == "q":
        return list(map(float, values))
    if column.code == "n":
        return [math.nan] * len(column)
    return [float(each) if is_number(each) else math.nan for each in values]


def as_float_bytes(values: Sequence[float]) -> bytes:
    """Numbers as float64, little-endian."""
    return struct.pack(f"<{len(values)}d", *values)
