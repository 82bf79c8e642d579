"""Series as they read back: names and summaries at once, points when they are asked for."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, ItemsView, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from track_protocol.model.aggregators import aggregator_from_spec
from track_protocol.wire.batch import CHRONO, METRIC
from track_protocol.wire.columns import column_from_wire, unpack

__all__ = ["PAGE", "Fetch", "Series", "SeriesMapping", "StoredSeries", "fetch_series", "series_pages"]

PAGE: Final = 65_536
"""Points asked for at once."""

_AHEAD: Final = 2
"""Pages asked for beyond the one that is read, so that the store makes them meanwhile."""

Fetch = Callable[[str, str, int, int], Callable[[], Mapping[str, Any]]]
"""Asks for a page, given name, kind, start and limit; the result waits for its columns, as they travel."""

_NO_POINTS: Final = {"count": 0}
_DEFAULTS: Final[Mapping[str, list[Any]]] = {METRIC: ["series"], CHRONO: ["stat", 0]}


@dataclass(frozen=True, slots=True)
class Series:
    """Points of one series: equally long columns, arrays where all values are numbers of one type.

    Attributes:
        steps: None for a point without a step.
        times: seconds since the epoch.
        values: what was logged.
    """

    steps: Sequence[Any]
    times: Sequence[float]
    values: Sequence[Any]

    def __len__(self) -> int:
        return len(self.times)

    def by_step(self) -> dict[Any, Any] | list[Any]:
        """``{step: value}``, the later of two points of a step; a list when no point has a step."""
        if all(step is None for step in self.steps):
            return list(self.values)
        return dict(zip(self.steps, self.values, strict=True))


def _joined(parts: list[Sequence[Any]]) -> Sequence[Any]:
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    if isinstance(first, array) and all(
        isinstance(part, array) and part.typecode == first.typecode for part in parts
    ):
        for part in parts[1:]:
            first.extend(part)
        return first
    return [value for part in parts for value in part]


def fetch_series(fetch: Fetch, name: str, kind: str, start: int = 0, known: int = 0) -> Series:
    """All points of a series from ordinal `start`, page by page; arguments as of `series_pages`.

    Raises:
        ItemNotFound: there is no such series.
    """
    pages = [(page.steps, page.times, page.values) for page in series_pages(fetch, name, kind, start, known)]
    return Series(*(_joined(list(column)) for column in zip(*pages, strict=True)))


def series_pages(fetch: Fetch, name: str, kind: str, start: int = 0, known: int = 0) -> Iterator[Series]:
    """The points of a series from ordinal `start`, one or more pages of them.

    Args:
        fetch: asks for a page.
        name, kind: of the series.
        start: the first ordinal.
        known: how many points it had a while ago, so that their pages are asked for at once.

    Raises:
        ItemNotFound: there is no such series.
    """
    asked = deque([fetch(name, kind, start, PAGE)])
    while start + PAGE < known and len(asked) <= _AHEAD:
        start += PAGE
        asked.append(fetch(name, kind, start, PAGE))
    while True:
        page = asked.popleft()()
        count = len(page["times"][1]) // 8
        # Most series end on their first page, or where they ended a while ago: beyond it, and behind a full
        # page, there may be more.
        while count == PAGE and len(asked) < (_AHEAD if start + PAGE < known or not known else 1):
            start += PAGE
            asked.append(fetch(name, kind, start, PAGE))
        yield Series(*(unpack(column_from_wire(page[part], count)) for part in ("steps", "times", "values")))
        if count < PAGE:
            return


class SeriesMapping(Mapping[str, Any]):
    """A trial's metrics or chronos by name, each as its aggregator says, fetched when first read.

    Args:
        kind: metric or chrono.
        summaries: what the store says of each series without its points.
        fetch: gets a page of points.
    """

    def __init__(self, kind: str, summaries: Mapping[str, Mapping[str, Any]], fetch: Fetch) -> None:
        self.kind = kind
        self._summaries = summaries
        self._fetch = fetch
        self._read: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._read:
            summary = self._summaries[name]
            kind, *options = summary.get("aggregator") or _DEFAULTS[self.kind]
            self._read[name] = _READINGS[kind](self, name, summary, *options)
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._summaries)

    def __len__(self) -> int:
        return len(self._summaries)

    def __repr__(self) -> str:
        return f"<{self.kind}s {', '.join(self._summaries)}>"

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy in another process has no connection to fetch with.
        return dict, (dict(self),)

    def summary(self, name: str) -> Mapping[str, Any]:
        """What is known without the points: count, first_step, last_step, last, min, max, mean, sd."""
        return self._summaries[name]

    def points(self, name: str, start: int = 0) -> Series:
        """The points themselves, from ordinal `start`."""
        return fetch_series(self._fetch, name, self.kind, start, self.known_points(name))

    def pages(self, name: str, start: int = 0) -> Iterator[Series]:
        """The points from ordinal `start`, page by page, for what does not fit in memory."""
        return series_pages(self._fetch, name, self.kind, start, self.known_points(name))

    def known_points(self, name: str) -> int:
        """How many points a series had when this was read; 0 if there was none of that name."""
        count: int = self._summaries.get(name, _NO_POINTS)["count"]
        return count


class StoredSeries(Mapping[str, Any]):
    """The metrics of a trial that goes on, as they are stored at the moment in which they are read.

    Args:
        read: fetches the mapping of this moment.
    """

    def __init__(self, read: Callable[[], Mapping[str, Any]]) -> None:
        self._read = read

    def __getitem__(self, name: str) -> Any:
        return self._read()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def items(self) -> ItemsView[str, Any]:
        """One read for all names."""
        return self._read().items()

    def __repr__(self) -> str:
        # A debugger or a log line must not wait for a server.
        return "<metrics, read from the store>"

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, ()


def _series(mapping: SeriesMapping, name: str, summary: Mapping[str, Any]) -> Any:
    return mapping.points(name).by_step()


def _value(mapping: SeriesMapping, name: str, summary: Mapping[str, Any]) -> Any:
    return summary["last"]


def _stat(mapping: SeriesMapping, name: str, summary: Mapping[str, Any], skip: int) -> dict[str, Any]:
    if skip == 0 and not summary["nonfinite"] and summary["mean"] is not None:
        return {
            "avg": summary["mean"],
            "min": summary["min"],
            "max": summary["max"],
            "sd": summary["sd"],
            "count": summary["count"],
            "unit": "s",
        }
    aggregator = aggregator_from_spec(["stat", skip])
    for value in mapping.points(name).values:
        if isinstance(value, (int, float)):
            aggregator.append(value)
    report: dict[str, Any] = aggregator.to_json(short=True)
    return report


def _sum(mapping: SeriesMapping, name: str, summary: Mapping[str, Any]) -> float:
    if not summary["nonfinite"] and summary["mean"] is not None:
        return float(summary["mean"] * summary["count"])
    return sum(value for value in mapping.points(name).values if isinstance(value, (int, float)))


def _ring(mapping: SeriesMapping, name: str, summary: Mapping[str, Any], n: int, dtype: str) -> list[Any]:
    return list(mapping.points(name, max(0, summary["count"] - n)).values)


_READINGS: Final[Mapping[str, Callable[..., Any]]] = {
    "ring": _ring,
    "series": _series,
    "stat": _stat,
    "sum": _sum,
    "value": _value,
}
