"""Series of several trials summed up as one, column by column, for charts of groups.

A series takes part in each column from its first one to its last: with the mean of its points there, or,
where it has none, with what lies on the straight line between its neighbouring columns.  So runs that log
at different steps have their means compared at the same ones, and a run that ended earlier takes no part
behind its end.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from operator import add
from typing import Final, NamedTuple

from track_server.storage.contract import ChartMeans
from track_server.storage.numbers import as_float_bytes

__all__ = ["GROUP_ARRAYS", "GroupColumns"]

GROUP_ARRAYS: Final = ("x", "runs", "count_of", "mean", "median", "sd", "min", "max")
"""What is known of each column in which a series of the group has a finite value, in ascending order of x:
the greatest place of a point, how many series take part, how many points they have there, mean, median and
standard deviation (of a sample) of the means of those that take part, least and greatest value of all."""


class _Alike(NamedTuple):
    """Series that have values in the same columns.

    Attributes:
        means: of each series.
        x, counts, lows, highs: of all of them together.
    """

    means: list[array[float]]
    x: list[float]
    counts: list[float]
    lows: list[float]
    highs: list[float]


class _Column(NamedTuple):
    """One column, as `GROUP_ARRAYS`."""

    x: float
    runs: int
    count_of: float
    mean: float
    median: float
    sd: float
    min: float
    max: float


class GroupColumns:
    """Collects the series of one group."""

    def __init__(self) -> None:
        self._alike: dict[tuple[int, ...], _Alike] = {}
        self._columns: list[_Column] = []
        self._odd: dict[int, list[float]] = {}

    def add(self, found: ChartMeans) -> None:
        """Add a series."""
        for column, x, step, value, count in found.odd:
            described = self._odd.setdefault(column, [x, step, value, 0.0])
            described[-1] += count
        if not found.columns:
            return
        columns, means = tuple(found.columns), array("d", found.means)
        known = self._alike.get(columns)
        if known is None:
            parts = (found.x, found.counts, found.lows, found.highs)
            self._alike[columns] = _Alike([means], *map(list, parts))
            return
        known.means.append(means)
        known.x[:] = map(max, known.x, found.x)
        known.counts[:] = map(add, known.counts, found.counts)
        known.lows[:] = map(min, known.lows, found.lows)
        known.highs[:] = map(max, known.highs, found.highs)

    def filled(self) -> list[int]:
        """The columns in which any series has a value, in order."""
        return sorted(set().union(*self._alike))

    def sum_up(self, column: int) -> None:
        """Sum up the next one of those columns."""
        there = [
            (at, alike)
            for columns, alike in self._alike.items()
            if (at := bisect_left(columns, column)) < len(columns) and columns[at] == column
        ]
        means = sorted(
            value for columns, alike in self._alike.items() for value in _at(columns, alike, column)
        )
        mean = _mean(means)
        count = len(means)
        sd = math.dist(means, [mean] * count) / math.sqrt(count - 1) if count > 1 else 0.0
        half = count // 2
        median = means[half] if count % 2 else means[half - 1] / 2 + means[half] / 2
        self._columns.append(
            _Column(
                max(alike.x[at] for at, alike in there),
                count,
                sum(alike.counts[at] for at, alike in there),
                *(mean, median, sd),
                min(means[0], *(alike.lows[at] for at, alike in there)),
                max(means[-1], *(alike.highs[at] for at, alike in there)),
            )
        )

    def odd(self) -> list[list[float]]:
        """Of each column that has values that are not finite: place and step of the last point of the first
        series that has some there, the last of these, and how many all series have."""
        return [self._odd[column] for column in sorted(self._odd)]

    def arrays(self) -> dict[str, bytes]:
        """The columns that were summed up: float64, little-endian."""
        return {
            name: as_float_bytes([column[at] for column in self._columns])
            for at, name in enumerate(GROUP_ARRAYS)
        }


def _at(columns: Sequence[int], alike: _Alike, column: int) -> list[float]:
    """The means with which series take part in a column."""
    if not columns[0] <= column <= columns[-1]:
        return []
    right = bisect_left(columns, column)
    if columns[right] == column:
        return [means[right] for means in alike.means]
    left = right - 1
    share = (column - columns[left]) / (columns[right] - columns[left])
    rest = 1.0 - share
    return [means[left] * rest + means[right] * share for means in alike.means]


def _mean(numbers: Sequence[float]) -> float:
    """Of finite numbers, whose sum may be none."""
    try:
        return math.fsum(numbers) / len(numbers)
    except OverflowError:
        return math.fsum(each / len(numbers) for each in numbers)
