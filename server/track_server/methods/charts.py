"""Reads for charts: columns of many series over one window, and their newest points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from track_protocol.errors import BadArguments, TrackError
from track_server.methods.read import Listing
from track_server.storage.contract import ChartWindow, Document, SeriesKey, Snapshot

__all__ = ["chart_window", "fetch_columns", "fetch_tails"]

_MAX_SERIES: Final = 1_024
_MAX_WIDTH: Final = 4_096
_MAX_COLUMNS: Final = 262_144
"""Limits of one call: series, columns of each, and columns of all of them."""

_MAX_POINTS: Final = 65_536
"""Points of one tail."""

_AT_ONCE: Final = 4
"""Series that are read before it is looked how long the page is."""


def fetch_columns(
    view: Snapshot, series: list[Any], axis: str, low: float | None, high: float | None, width: int
) -> Listing:
    """The columns of each series; None for one that does not exist, an error for one that cannot be read."""
    _check_number("fetch_columns", "series", series)
    if width * len(series) > _MAX_COLUMNS:
        raise BadArguments(
            f"fetch_columns: {width:,} columns of {len(series):,} series are more than {_MAX_COLUMNS:,}: ask "
            "for less at once"
        )
    keys = [(trial, kind, name) for trial, kind, name in series]
    window = chart_window("fetch_columns", view, keys, axis, low, high, width)
    return Listing(keys, lambda view, some: view.chart_columns(some, window), _AT_ONCE)


def chart_window(
    method: str,
    view: Snapshot,
    keys: Sequence[SeriesKey],
    axis: str,
    low: float | None,
    high: float | None,
    width: int,
) -> ChartWindow:
    """The window that a call asks for.

    Raises:
        BadArguments: there is no such window.
    """
    if not 1 <= width <= _MAX_WIDTH:
        raise BadArguments(f"{method}: argument 'width' is {width:,}: ask for 1 to {_MAX_WIDTH:,} columns")
    if low is not None and high is not None and low > high:
        raise BadArguments(f"{method}: the window from {low} to {high} ends before it begins")
    return view.chart_window(
        keys, axis, None if low is None else float(low), None if high is None else float(high), width
    )


def fetch_tails(view: Snapshot, tails: list[Any], limit: int) -> Listing:
    """The points of each series from an ordinal on; None and errors as in `fetch_columns`."""
    _check_number("fetch_tails", "tails", tails)
    most = min(limit, _MAX_POINTS)

    def read(view: Snapshot, tail: Sequence[Any]) -> Document | None:
        trial, kind, name, start = tail
        return view.tail((trial, kind, name), start, most)

    return Listing(tails, partial(_each, read), _AT_ONCE)


def _check_number(method: str, argument: str, given: Sequence[Any]) -> None:
    if len(given) > _MAX_SERIES:
        raise BadArguments(
            f"{method}: argument {argument!r} names {len(given):,} series, more than {_MAX_SERIES:,}: ask "
            "for fewer at once"
        )


def _each(read: Callable[[Snapshot, Any], Any], view: Snapshot, keys: Sequence[Any]) -> list[Any]:
    found: list[Any] = []
    for key in keys:
        try:
            found.append(read(view, key))
        except TrackError as error:
            found.append(error)
    return found
