"""Charts of groups: one series of very many trials, summed up by values of these trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, groupby
from typing import Any, Final

from track_protocol.errors import BadArguments, TrackError
from track_protocol.query.columns import parse_columns
from track_protocol.query.parse import parse_query
from track_protocol.query.tables import grouped
from track_server.methods.charts import chart_window
from track_server.methods.read import Listing
from track_server.methods.tables import MAX_BY, check_most
from track_server.storage.chart_groups import GroupColumns
from track_server.storage.contract import ChartWindow, Document, SeriesKey, Snapshot

__all__ = ["fetch_grouped_columns"]

_MAX_GROUPS: Final = 100
_MAX_VALUES: Final = 2_097_152
"""Columns of all series together, the means of which are in memory for as long as their group is read."""

_AT_ONCE: Final = 16
"""Steps before it is looked how long the page is."""


def fetch_grouped_columns(
    view: Snapshot,
    query: Document,
    by: list[str],
    name: str,
    kind: str,
    axis: str,
    low: float | None,
    high: float | None,
    width: int,
    limit: int,
) -> Listing:
    """The series of that name of the trials that match, grouped by values; the largest groups first."""
    check_most("limit", limit, _MAX_GROUPS)
    keys, values = view.series_of(parse_query(query), kind, name, parse_columns(by, "by", MAX_BY))
    if width * len(keys) > _MAX_VALUES:
        raise BadArguments(
            f"fetch_grouped_columns: {width:,} columns of {len(keys):,} series are more than "
            f"{_MAX_VALUES:,}: ask for fewer columns, or narrow the query"
        )
    window = replace(
        chart_window("fetch_grouped_columns", view, keys, axis, low, high, width), is_coarse=True
    )
    rows = zip(*values, range(len(keys)), strict=True)
    groups = grouped(rows, len(by), limit)
    reading = _Reading([list(rows[0][: len(by)]) for rows in groups], window)
    steps: list[SeriesKey | int] = []
    for members in groups:
        steps += [keys[row[-1]] for row in members]
        steps += range(width + 1)
    return Listing(steps, reading.read, _AT_ONCE)


class _Reading:
    """An answer under way, whose pages are made one after the other.

    Of each group's series that cannot be read the first error stands in front of the group.

    Its steps are those of each group: first its series, which are read, then numbers from 0 on, with
    each of which a further column is summed up; with the last one of these the group is answered.

    Args:
        groups: the values by which they are grouped.
        window: of all series.
    """

    def __init__(self, groups: Sequence[list[Any]], window: ChartWindow) -> None:
        self._groups = iter(groups)
        self._window = window
        self._begin()

    def _begin(self) -> None:
        """Begin a group."""
        self._by_axis = {self._window.axis: GroupColumns(), "ordinal": GroupColumns()}
        self._runs = dict.fromkeys(self._by_axis, 0)
        self._faults: list[TrackError] = []
        self._filled: list[int] = []

    def read(self, view: Snapshot, steps: Sequence[SeriesKey | int]) -> list[Document | TrackError]:
        """Go some steps; the groups that these complete."""
        answered: list[Document | TrackError] = []
        for kind, some in groupby(steps, type):
            if kind is tuple:
                self._add(view, list(some))
            else:
                answered += chain.from_iterable(map(self._sum_up, some))
        return answered

    def _add(self, view: Snapshot, keys: Sequence[Any]) -> None:
        for found in view.chart_means(keys, self._window):
            if isinstance(found, TrackError):
                self._faults.append(found)
            elif found is not None:
                self._by_axis[found.axis].add(found)
                self._runs[found.axis] += 1

    def _sum_up(self, number: Any) -> list[Document | TrackError]:
        axis = self._window.axis if self._runs[self._window.axis] else "ordinal"
        columns = self._by_axis[axis]
        if number == 0:
            self._filled = columns.filled()
        if number < len(self._filled):
            columns.sum_up(self._filled[number])
        if number < self._window.grid.width:
            return []
        document = {
            "by": next(self._groups),
            "axis": axis,
            "series": self._runs[axis],
            "left_out": sum(self._runs.values()) - self._runs[axis],
            "faults": len(self._faults),
            "odd": columns.odd(),
            **columns.arrays(),
        }
        answered: list[Document | TrackError] = [*self._faults[:1], document]
        self._begin()
        return answered
