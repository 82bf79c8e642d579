"""Points of a series cut into columns of equal extent, for charts.

A window of an axis is cut into columns, and each point is in exactly one of them.  Least and greatest
value of each column draw the same pixels as all of its points, so that no spike is lost.

Points may come one by one or as `Buckets`, groups of consecutive points that were summed up before (see
`track_server.storage.outlines`).  A bucket is in the column of its last point.

Only the standard library's arrays are used, and in few calls: a server has no numpy.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from enum import IntFlag
from functools import cached_property
from operator import mul, sub, truediv
from typing import Any, Final, NamedTuple

from track_server.storage.numbers import as_float_bytes, taken

__all__ = ["ARRAYS", "EXACT", "Buckets", "ChartColumns", "Grid", "Traits", "traits_of"]

ARRAYS: Final = ("x", "step", "time", "last", "min", "max", "mean", "count_of", "nonfinite", "odd")
"""What is known of each column that has a point, in ascending order of x: place, step and time of its last
point (NaN for a step that is no number), last value, least, greatest and mean of its finite values (NaN
without any), how many points it has, how many of them are not finite, and the last of those (0 without)."""


EXACT: Final = 2**53
"""Up to here each integer is a float."""
_KNOWN: Final = 64
"""Divisions that a grid remembers."""
_SORTED: Final = 256
"""Points of a group up to which sorting them is the fastest way to the least and the greatest."""
_LOOKS: Final = 12
"""About how many items a search looks at; other sequences than lists make each of them anew at each look."""


class Grid:
    """A window that is cut into columns of equal extent.

    A column contains its lower edge and not its upper one; the last one contains both.

    Attributes:
        low, high: the window, whose ends belong to it.
        width: how many columns there are.
        extent: of one column.
    """

    def __init__(self, low: float, high: float, width: int) -> None:
        # By halves, so that the extent of any window is a number.
        self._half = (high / 2 - low / 2) / width
        self.low, self.high, self.width = low, high, width
        self.extent = 2 * self._half
        self._known: dict[range, tuple[list[int], list[int]]] = {}

    @cached_property
    def edges(self) -> list[float]:
        """Lower edge of each column."""
        start, half = self.low / 2, self._half
        edges = [2 * (start + half * i) for i in range(self.width)]
        edges[0] = self.low
        return edges

    def divide(self, x: Sequence[float]) -> tuple[Sequence[int], Sequence[int]]:
        """Columns that have an item, in order, and the index of the first item of each.

        Args:
            x: one or more places within the window, in ascending order.
        """
        if not isinstance(x, range):
            return self._divided(x)
        # Series of one chart mostly have the same steps.
        known = self._known.get(x)
        if known is None:
            if len(self._known) >= _KNOWN:
                self._known.clear()
            known = self._known[x] = self._divided(x)
        return known

    def _divided(self, x: Sequence[float]) -> tuple[list[int], list[int]]:
        edges, count = self.edges, len(x)
        first, last = bisect_right(edges, x[0]) - 1, bisect_right(edges, x[-1]) - 1
        if last - first < count:
            cuts = [0, *_first_from(x, edges[first + 1 : last + 1]), count]
            filled = [at for at in range(last - first + 1) if cuts[at] < cuts[at + 1]]
            return [first + at for at in filled], [cuts[at] for at in filled]
        found = [bisect_right(edges, place) - 1 for place in x]
        starts = [at for at in range(count) if not at or found[at - 1] != found[at]]
        return [found[at] for at in starts], starts


def _first_from(x: Sequence[float], edges: Sequence[float]) -> list[int]:
    """The index of the first item that is not below each edge, all of which are above the first item."""
    if isinstance(x, range) and x.start >= 0 and x[-1] < EXACT:
        # Such a difference of an integer and an edge above it is exact.
        start, stride = x.start, x.step
        return [-int((start - edge) // stride) for edge in edges]
    if not isinstance(x, list) and len(edges) * _LOOKS > len(x):
        x = list(x)
    return [bisect_left(x, edge) for edge in edges]


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
        if len(starts) == count and math.isfinite(sum(values)):
            zeros: list[float] = [0.0] * count
            return cls(steps, times, values, values, values, values, zeros, zeros, [1] * count)
        ends = [*starts[1:], count]
        lasts = [end - 1 for end in ends]
        parts = [values[start:end] for start, end in zip(starts, ends, strict=True)]
        counts = list(map(len, parts))
        sums = list(map(sum, parts))
        if count <= _SORTED * len(parts):
            ordered = list(map(sorted, parts))
            lows, highs = [each[0] for each in ordered], [each[-1] for each in ordered]
        else:
            lows, highs = list(map(min, parts)), list(map(max, parts))
        means = list(map(truediv, sums, counts))
        nonfinite, odds = [0] * len(parts), [0.0] * len(parts)
        if not math.isfinite(sum(sums)):
            for i, part in enumerate(parts):
                if not math.isfinite(sums[i]):
                    lows[i], highs[i], means[i], nonfinite[i], odds[i] = _of_mixed(part)
        return cls(
            taken(steps, lasts),
            taken(times, lasts),
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
        self._found: list[list[Any]] = [[] for _ in Buckets._fields]
        self._in_order = True

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

    def _add(self, x: Sequence[float], columns: Sequence[int], starts: Sequence[int], found: Buckets) -> None:
        places = [x[start - 1] for start in starts[1:]]
        places.append(x[-1])
        if self._columns and columns[0] == self._columns[-1] and places[0] >= self._x[-1]:
            # What was added before ends in the column in which this begins.
            before = [[column.pop(), more[0]] for column, more in zip(self._found, found, strict=True)]
            both = Buckets._make(before).joined([0])
            self._columns.pop()
            self._x.pop()
            found = Buckets._make([[*one, *more[1:]] for one, more in zip(both, found, strict=True)])
        elif self._columns and columns[0] <= self._columns[-1]:
            self._in_order = False
        self._columns += columns
        self._x += places
        for column, more in zip(self._found, found, strict=True):
            column.extend(more)

    def result(self) -> tuple[dict[str, bytes], int, bool]:
        """The arrays, how many points there are, and whether each column has one of them at most."""
        self._order()
        x, whole = self._x, Buckets._make(self._found)
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

    def finite(self) -> tuple[Any, ...]:
        """What `track_server.storage.contract.ChartMeans` has behind its axis."""
        self._order()
        whole = Buckets._make(self._found)
        counts: Sequence[float] = whole.counts
        columns: Sequence[Sequence[float]] = (self._columns, self._x, whole.lows, whole.highs, whole.means)
        if not any(whole.nonfinite):
            return (*columns, counts)
        counts = list(map(sub, counts, whole.nonfinite))
        known = [i for i, count in enumerate(counts) if count]
        described = zip(self._columns, self._x, whole.steps, whole.odds, whole.nonfinite, strict=True)
        odd = [each for each in described if each[-1]]
        return (*(taken(each, known) for each in (*columns, counts)), odd)

    def _order(self) -> None:
        """Put the columns in order, if places do not ascend from one run of points to the next."""
        if self._in_order:
            return
        columns, x = self._columns, self._x
        order = sorted(range(len(x)), key=lambda i: (columns[i], x[i]))
        columns, x = [columns[i] for i in order], [x[i] for i in order]
        starts = [i for i, column in enumerate(columns) if not i or columns[i - 1] != column]
        self._x = [x[end - 1] for end in [*starts[1:], len(x)]]
        self._columns = [columns[start] for start in starts]
        self._found = [list(each) for each in Buckets._make(self._found).taken(order).joined(starts)]
        self._in_order = True


def _blanked(numbers: Sequence[float], is_empty: Sequence[bool]) -> list[float]:
    return [math.nan if empty else each for each, empty in zip(numbers, is_empty, strict=True)]
