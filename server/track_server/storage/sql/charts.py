"""Reading series of a SQL store for charts: columns of a window, and the points behind an ordinal."""

from __future__ import annotations

import time
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from operator import sub
from typing import Any, Final, TypeVar

from track_protocol.errors import StoreCorrupt, TooBusy, TrackError
from track_server.storage.chart_columns import (
    EXACT,
    ChartColumns,
    Grid,
    Traits,
    traits_of,
)
from track_server.storage.chunks import BadChunk, decode_chunk_numbers
from track_server.storage.contract import ChartMeans, ChartWindow, Document, SeriesKey
from track_server.storage.numbers import as_float_bytes, as_floats
from track_server.storage.outlines import BadOutline, Outline
from track_server.storage.sql.chunk_rows import damaged_chunk
from track_server.storage.sql.known_charts import KnownCharts, identity_of
from track_server.storage.sql.source import Source
from track_server.storage.sql.tables import KnownSummaries
from track_server.storage.sql.view import SqlView

__all__ = ["SqlSnapshot"]

_IN_FULL_POINTS: Final = 300_000
"""Points in the window of all series together up to which every one of them is read."""

_RUN_POINTS: Final = 65_536
"""Points that are divided at once."""

_LARGE_POINTS: Final = 1_024
"""Points from which on a chunk is divided by itself."""

_DECODED_POINTS: Final = 131_072
"""Points of a series that are kept decoded until it is known what its axis is."""

_BUCKETS_PER_COLUMN: Final = 4
"""Buckets of a column where outlines stand for points: a chunk of 16 may be four columns wide."""

_SECONDS: Final = 5.0
"""How long the columns of one series may take."""

_SERIES: Final = """
SELECT trial.key, series.kind, series.name, series.id, series.count, series.stepped, trial.started
FROM trial JOIN series ON series.trial = trial.id
WHERE trial.key {0} AND series.kind {1} AND series.name {2}
"""
_BOUNDS: Final = """
SELECT series, min(step_min), max(step_max), min(time_min), max(time_max) FROM chunk
WHERE series {0} GROUP BY series
"""
_PLACES: Final = "SELECT series, count, {1}_min, {1}_max FROM chunk WHERE series {0}"
_CHUNKS: Final = """
SELECT series, id, seq, count, step_min, step_max, time_min, time_max, outline.data,
CASE WHEN size <= ? THEN chunk.data END
FROM chunk LEFT JOIN outline ON outline.chunk = chunk.id WHERE series {0} ORDER BY series, seq
"""
_SMALL_BYTES: Final = 4_096
"""Bytes of a decoded chunk up to which it is read together with its row."""

_TIMES: Final = frozenset({"time", "relative"})
"""Axes that are made of the times of points."""


@dataclass(frozen=True, slots=True)
class _Series:
    """The row of a series.

    Attributes:
        id: its number.
        count: of its points.
        stepped: whether any of them has a step.
        started: the time at which its trial began; None if it was never started.
    """

    id: int
    count: int
    stepped: int
    started: float | None


@dataclass(frozen=True, slots=True)
class _Extent:
    """A series, and where its points lie.

    Attributes:
        series: the series.
        steps, times: bounds of those that are finite numbers; None without any.
        origin: the time at which its trial began.
    """

    series: _Series
    steps: tuple[float, float] | None
    times: tuple[float, float] | None
    origin: float

    @classmethod
    def of(
        cls,
        series: _Series,
        step_min: float | None,
        step_max: float | None,
        time_min: float | None,
        time_max: float | None,
    ) -> _Extent:
        """The extent of a series from the bounds of its chunks."""
        return cls(
            series,
            None
            if not series.stepped or step_min is None or step_max is None
            else (float(step_min), float(step_max)),
            None if time_min is None or time_max is None else (time_min, time_max),
            _origin(series, time_min),
        )

    def on(self, axis: str) -> tuple[float, float] | None:
        """The ends of the series on an axis; None where its points have no place there."""
        if axis == "ordinal":
            return 0, self.series.count - 1
        if axis == "step" or self.times is None:
            return self.steps if axis == "step" else None
        origin = self.origin if axis == "relative" else 0.0
        return self.times[0] - origin, self.times[1] - origin


@dataclass(frozen=True, slots=True)
class _Decoded:
    """Points as numbers."""

    steps: Sequence[float]
    times: Sequence[float]
    values: Sequence[float]

    def part(self, first: int, stop: int) -> _Decoded:
        """The points from one on up to another."""
        if stop - first == len(self.values):
            return self
        return _Decoded(self.steps[first:stop], self.times[first:stop], self.values[first:stop])

    def at(self, rows: Sequence[int]) -> _Decoded:
        """Some of the points."""
        return _Decoded(*([column[i] for i in rows] for column in (self.steps, self.times, self.values)))


@dataclass(slots=True)
class _Chunk:
    """A chunk: its row, and what was read of it."""

    id: int
    first: int
    count: int
    step_min: float | None
    step_max: float | None
    time_min: float | None
    time_max: float | None
    data: bytes | None = None
    outline: Outline | None = None
    traits: Traits | None = None
    decoded: _Decoded | None = None

    @classmethod
    def of(cls, outline: bytes | None, data: bytes | None, *row: Any) -> _Chunk:
        """A chunk with its outline, if there is one; from one that is damaged nothing is taken."""
        chunk = cls(*row)
        chunk.data = data
        if outline is not None:
            with suppress(BadOutline):
                chunk.outline = Outline(outline, chunk.count)
                chunk.traits = chunk.outline.traits
        return chunk


class SqlSnapshot(SqlView):
    """What a connection sees within its transaction, charts included.

    Args:
        source, known: see `SqlView`.
        charts: columns that snapshots of the store share.
    """

    def __init__(
        self, source: Source, known: KnownSummaries | None = None, charts: KnownCharts | None = None
    ) -> None:
        super().__init__(source, known)
        self._charts = charts or KnownCharts()

    def chart_window(
        self, series: Sequence[SeriesKey], axis: str, low: float | None, high: float | None, width: int
    ) -> ChartWindow:
        """The window of some series; see `track_server.storage.contract.Snapshot.chart_window`."""
        found = self._extents(series)
        ordinals = (0, max((each.series.count for each in found), default=1) - 1)
        places = [ends for each in found if (ends := each.on(axis)) is not None] or [ordinals]
        ends = min(first for first, _ in places), max(last for _, last in places)
        whole = low is None and high is None
        points = sum(each.series.count for each in found) if whole else self._count(found, axis, low, high)
        return ChartWindow(
            axis,
            _grid(low, high, ends, width),
            _grid(low, high, ordinals, width),
            points <= _IN_FULL_POINTS,
        )

    def chart_columns(
        self, series: Sequence[SeriesKey], window: ChartWindow
    ) -> list[Document | TrackError | None]:
        """The columns of some series; see `track_server.storage.contract.Snapshot.chart_columns`."""
        return [
            None if each is None else _outcome(partial(each.known_columns, self._charts))
            for each in self._readings(series, window)
        ]

    def chart_means(
        self, series: Sequence[SeriesKey], window: ChartWindow
    ) -> list[ChartMeans | TrackError | None]:
        """The means of some series; see `track_server.storage.contract.Snapshot.chart_means`."""
        return [None if each is None else _outcome(each.means) for each in self._readings(series, window)]

    def tail(self, series: SeriesKey, start: int, limit: int) -> Document | None:
        """Up to `limit` points of a series from ordinal `start`, as numbers; None if there is no such series.

        Raises:
            StoreCorrupt: a chunk is damaged or missing.
        """
        found = self._series([series]).get(series)
        points = self.points(*series, start, limit)
        if found is None or points is None:
            return None
        columns = (points.steps, points.times, points.values)
        steps, times, values = (as_float_bytes(as_floats(column)) for column in columns)
        return {"start": start, "total": found.count, "steps": steps, "times": times, "values": values}

    def _series(self, keys: Sequence[SeriesKey]) -> dict[SeriesKey, _Series]:
        """Those series that exist."""
        if not keys:
            return {}
        source = self._source
        trials, kinds, names = (list(dict.fromkeys(part)) for part in zip(*keys, strict=True))
        parts = source.among_keys(trials), source.among(kinds), source.among(names)
        rows = source.rows(_SERIES.format(*(sql for sql, _ in parts)), chain(*(given for _, given in parts)))
        return {(trial, kind, name): _Series(*row) for trial, kind, name, *row in rows}

    def _readings(self, keys: Sequence[SeriesKey], window: ChartWindow) -> list[_Reading | None]:
        found = self._series(keys)
        chunks: dict[int, list[tuple[Any, ...]]] = {series.id: [] for series in found.values()}
        among, params = self._source.among(list(chunks))
        for series, *row in self._source.rows(_CHUNKS.format(among), [_SMALL_BYTES, *params]):
            chunks[series].append(tuple(row))
        return [
            _Reading(self._source, known, chunks[known.id], window) if (known := found.get(key)) else None
            for key in keys
        ]

    def _extents(self, keys: Sequence[SeriesKey]) -> list[_Extent]:
        """Where the points of those series lie that exist."""
        found = self._series(keys).values()
        among, params = self._source.among([each.id for each in found])
        bounds = {id: ends for id, *ends in self._source.rows(_BOUNDS.format(among), params)}
        return [_Extent.of(each, *bounds.get(each.id, (None,) * 4)) for each in found]

    def _count(self, extents: Sequence[_Extent], axis: str, low: float | None, high: float | None) -> int:
        """How many points the chunks have that overlap a window."""
        count = 0
        windows: dict[int, tuple[float, float]] = {}
        for each in extents:
            known = each.on(axis)
            first, last = known or (0, each.series.count - 1)
            first, last = first if low is None else low, last if high is None else high
            if known is None or axis == "ordinal":
                count += max(0, int(min(last, each.series.count - 1) - max(first, 0)) + 1)
            else:
                origin = each.origin if axis == "relative" else 0.0
                windows[each.series.id] = first + origin, last + origin
        among, params = self._source.among(list(windows))
        places = _PLACES.format(among, "step" if axis == "step" else "time")
        for series, points, least, greatest in self._source.rows(places, params):
            first, last = windows[series]
            if least is not None and greatest >= first and least <= last:
                count += points
        return count


_Found = TypeVar("_Found")


def _outcome(read: Callable[[], _Found]) -> _Found | TrackError:
    try:
        return read()
    except TrackError as error:
        return error


def _origin(series: _Series, first_time: float | None) -> float:
    """The time at which the trial of a series began, or else the series."""
    started = series.started if series.started is not None else first_time
    return 0.0 if started is None else started


def _grid(low: float | None, high: float | None, bounds: tuple[float, float], width: int) -> Grid:
    """The columns of a window, of which an end that is not given is that of the points."""
    least = bounds[0] if low is None else low
    greatest = bounds[1] if high is None else high
    # Behind all points, or before them, there is none to show.
    return (
        Grid(least, max(least, greatest), width)
        if high is None
        else Grid(min(least, greatest), greatest, width)
    )


class _Reading:
    """Reads the columns of one series."""

    def __init__(
        self, source: Source, series: _Series, chunks: Sequence[tuple[Any, ...]], window: ChartWindow
    ) -> None:
        self._source = source
        self._name = source.name
        self._rows = chunks
        self._series = series
        self._window = window
        self._deadline = time.monotonic() + _SECONDS
        self._decoded = 0
        self._origin = 0.0
        self._clear()

    def _clear(self) -> None:
        """Forget decoded points that were divided."""
        self._x: list[float] = []
        self._steps: list[float] = []
        self._times: list[float] = []
        self._values: list[float] = []

    def known_columns(self, known: KnownCharts) -> Document:
        """All that is known of each column, from what was read before if the series is as it was."""
        series = self._series
        described = (series.id, series.count, series.stepped, series.started)
        identity = identity_of(described, self._rows, self._window)
        if identity is None:
            return self.columns()
        found = known.get(identity)
        if found is None:
            found = self.columns()
            known.add(identity, found)
        return found

    def columns(self) -> Document:
        """All that is known of each column."""
        columns, axis, grid = self._divided()
        arrays, count, exact = columns.result()
        return {
            "exact": exact,
            "axis": axis,
            "low": grid.low,
            "high": grid.high,
            "count": count,
            "total": self._series.count,
            **arrays,
        }

    def means(self) -> ChartMeans:
        """The finite values of each column."""
        columns, axis, _ = self._divided()
        return ChartMeans(axis, *columns.finite())

    def _divided(self) -> tuple[ChartColumns, str, Grid]:
        """The points in the window in their columns, along which axis, and which columns that are."""
        chunks = self._chunks()
        axis = self._window.axis if self._suits(chunks, self._window.axis) else "ordinal"
        if axis == "relative":
            times = [chunk.time_min for chunk in chunks if chunk.time_min is not None]
            self._origin = _origin(self._series, min(times, default=None))
        grid = self._window.ordinals if axis == "ordinal" else self._window.grid
        columns = ChartColumns(grid)
        for chunk in chunks:
            bounds = self._bounds(chunk, axis)
            if bounds[0] <= grid.high and bounds[1] >= grid.low:
                self._add(columns, chunk, axis, grid)
        self._divide(columns, axis)
        return columns, axis, grid

    def _chunks(self) -> list[_Chunk]:
        expected = 0
        for _, first, count, *_ in self._rows:
            if first != expected:
                break
            expected = first + count
        if expected != self._series.count:
            raise StoreCorrupt(
                f"{self._name}: series {self._series.id} has no point {expected}, which its summary counts: "
                "restore a backup"
            )
        return [_Chunk.of(outline, data, *row) for *row, outline, data in self._rows]

    def _suits(self, chunks: Sequence[_Chunk], axis: str) -> bool:
        """Whether every point of the series has a place on an axis, and steps ascend.

        All of them, not those in the window alone, or the axis would change while one zooms.
        """
        if axis == "ordinal":
            return True
        if axis in _TIMES:
            return all(Traits.TIMES_ARE_FINITE in self._traits(chunk) for chunk in chunks)
        if not self._series.stepped:
            return False
        last = -float("inf")
        for chunk in chunks:
            if (
                Traits.STEPS_ASCEND not in self._traits(chunk)
                or chunk.step_min is None
                or chunk.step_min < last
            ):
                return False
            assert chunk.step_max is not None, "it has a least one"
            last = chunk.step_max
        return True

    def _traits(self, chunk: _Chunk) -> Traits:
        if chunk.traits is None:
            decoded = self._decode(chunk)
            chunk.traits = traits_of(decoded.steps, decoded.times)
            if self._decoded + chunk.count <= _DECODED_POINTS:
                self._decoded += chunk.count
                chunk.decoded = decoded
        return chunk.traits

    def _decode(self, chunk: _Chunk, *, sparse: bool = False) -> _Decoded:
        """The points of a chunk; `sparse` if few of the steps and times will be looked at."""
        if chunk.decoded is not None:
            return chunk.decoded
        if time.monotonic() > self._deadline:
            raise TooBusy(
                f"the columns of a series of {self._series.count:,} points took longer than {_SECONDS:g} s: "
                "ask for a smaller window or for fewer columns"
            )
        data = chunk.data
        if data is None:
            ((data,),) = self._source.rows("SELECT data FROM chunk WHERE id = ?", [chunk.id])
        try:
            steps, times, values = decode_chunk_numbers(data, sparse=sparse)
        except BadChunk as error:
            raise damaged_chunk(self._name, self._series.id, chunk.first, error) from None
        if len(values) != chunk.count:
            raise StoreCorrupt(
                f"{self._name}: the chunk of series {self._series.id} from point {chunk.first} on has "
                f"{len(values)} points, not {chunk.count}: restore a backup"
            )
        # A list has its numbers as objects already, where an array makes them anew at each pass.
        return _Decoded(steps, times, values.tolist() if isinstance(values, array) else list(values))

    def _bounds(self, chunk: _Chunk, axis: str) -> tuple[float, float]:
        """Places of the first and of the last point of a chunk on an axis that suits the series."""
        if axis == "ordinal":
            return chunk.first, chunk.first + chunk.count - 1
        low, high = (chunk.step_min, chunk.step_max) if axis == "step" else (chunk.time_min, chunk.time_max)
        assert low is not None, "its points have places"
        assert high is not None, "its points have places"
        return float(low) - self._origin, float(high) - self._origin

    def _add(self, columns: ChartColumns, chunk: _Chunk, axis: str, grid: Grid) -> None:
        """Add the points of a chunk that are in the window."""
        if not self._window.in_full and self._add_outline(columns, chunk, axis, grid):
            return
        ascends = axis not in _TIMES or Traits.TIMES_ASCEND in self._traits(chunk)
        is_large = ascends and chunk.count >= _LARGE_POINTS
        points = self._decode(chunk, sparse=is_large and axis not in _TIMES)
        chunk.decoded = None
        x = self._places(chunk, axis, points.steps, points.times)
        if ascends:
            first, stop = bisect_left(x, grid.low), bisect_right(x, grid.high)
            x, points = x[first:stop], points.part(first, stop)
        else:
            within = [i for i, each in enumerate(x) if grid.low <= each <= grid.high]
            x, points = [x[i] for i in within], points.at(within)
        if is_large:
            self._divide(columns, axis)
            columns.add_points(x, points.steps, points.times, points.values)
            return
        # Small chunks are divided together.
        self._x += x
        self._steps += points.steps
        self._times += points.times
        self._values += points.values
        if len(self._x) >= _RUN_POINTS:
            self._divide(columns, axis)

    def _places(
        self, chunk: _Chunk, axis: str, steps: Sequence[float], times: Sequence[float]
    ) -> Sequence[float]:
        """Where points of a chunk lie on an axis."""
        if axis == "ordinal":
            return range(chunk.first, chunk.first + chunk.count)
        if axis == "step":
            # A place is a float: what is beyond its 53 bits is rounded to one, as the window's ends are.
            is_exact = steps[0] >= -EXACT and steps[-1] <= EXACT
            return steps if is_exact else list(map(float, steps))
        return [each - self._origin for each in times] if self._origin else times

    def _add_outline(self, columns: ChartColumns, chunk: _Chunk, axis: str, grid: Grid) -> bool:
        """Add the outline of a chunk, if it has one that is fine enough; whether it was added."""
        outline = chunk.outline
        low, high = self._bounds(chunk, axis)
        if outline is None or low < grid.low or high > grid.high:
            return False
        is_coarse = self._window.is_coarse
        if not is_coarse and high - low > grid.extent * len(outline) / _BUCKETS_PER_COLUMN:
            return False
        if axis in _TIMES and Traits.TIMES_ASCEND not in outline.traits:
            return False
        try:
            buckets = outline.buckets()
        except BadOutline:
            return False
        x = self._places(chunk, axis, buckets.steps, buckets.times)
        if axis == "ordinal":
            x = [x[end] for end in outline.ends()]
        # A bucket is in the column of its last point: where its points are far from each other, most of them
        # would be in a wrong one.
        if not is_coarse and max(map(sub, x, (low, *x))) > grid.extent:
            return False
        self._divide(columns, axis)
        columns.add_buckets(x, buckets)
        return True

    def _divide(self, columns: ChartColumns, axis: str) -> None:
        """Put the points that were collected into their columns."""
        x, points = self._x, _Decoded(self._steps, self._times, self._values)
        if axis in _TIMES and (ordered := sorted(x)) != x:
            order = sorted(range(len(x)), key=x.__getitem__)
            x, points = ordered, points.at(order)
        columns.add_points(x, points.steps, points.times, points.values)
        self._clear()
