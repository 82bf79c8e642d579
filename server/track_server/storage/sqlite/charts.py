"""Reading series of a SQLite store for charts: columns of a window, and the points behind an ordinal."""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from operator import sub
from typing import Any, Final

import apsw

from track_protocol.errors import StoreCorrupt, TooBusy
from track_server.storage.chart_columns import (
    ChartColumns,
    Grid,
    Traits,
    as_float_bytes,
    as_floats,
    traits_of,
)
from track_server.storage.contract import ChartWindow, Document, SeriesKey
from track_server.storage.outlines import BadOutline, Outline
from track_server.storage.sqlite.read import SqliteView, read_chunk
from track_server.storage.sqlite.schema import translated

__all__ = ["SqliteSnapshot"]

_IN_FULL_POINTS: Final = 300_000
"""Points in the window of all series together up to which every one of them is read."""

_RUN_POINTS: Final = 65_536
"""Points that are divided at once."""

_DECODED_POINTS: Final = 131_072
"""Points of a series that are kept decoded until it is known what its axis is."""

_BUCKETS_PER_COLUMN: Final = 4
"""Buckets of a column where outlines stand for points: a chunk of 16 may be four columns wide."""

_SECONDS: Final = 5.0
"""How long the columns of one series may take."""

_SERIES: Final = """
SELECT series.id, series.count, series.stepped, trial.started
FROM trial JOIN series ON series.trial = trial.id WHERE trial.key = ? AND series.kind = ? AND series.name = ?
"""
_BOUNDS: Final = (
    "SELECT min(step_min), max(step_max), min(time_min), max(time_max) FROM chunk WHERE series = ?"
)
_COUNTS: Final = {
    "step": "SELECT coalesce(sum(count), 0) FROM chunk WHERE series = ? AND step_max >= ? AND step_min <= ?",
    "time": "SELECT coalesce(sum(count), 0) FROM chunk WHERE series = ? AND time_max >= ? AND time_min <= ?",
}
_CHUNKS: Final = """
SELECT id, seq, count, step_min, step_max, time_min, time_max, outline.data
FROM chunk LEFT JOIN outline ON outline.chunk = chunk.id WHERE series = ? ORDER BY seq
"""
_TIMES: Final = frozenset({"time", "relative"})
"""Axes that are made of the times of points."""


@dataclass(frozen=True, slots=True)
class _Series:
    """A series, and where its points lie.

    Attributes:
        id: its row.
        count: of its points.
        steps, times: bounds of those that are finite numbers; None without any.
        origin: the time at which its trial began.
    """

    id: int
    count: int
    steps: tuple[float, float] | None
    times: tuple[float, float] | None
    origin: float

    def bounds(self, axis: str) -> tuple[float, float] | None:
        """The ends of the series on an axis; None where its points have no place there."""
        if axis == "step":
            return self.steps
        if axis == "ordinal" or self.times is None:
            return (0, self.count - 1) if axis == "ordinal" else None
        origin = self.origin if axis == "relative" else 0.0
        return self.times[0] - origin, self.times[1] - origin


@dataclass(slots=True)
class _Decoded:
    """Points of a chunk as numbers."""

    steps: list[float]
    times: list[float]
    values: list[float]


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
    outline: Outline | None = None
    traits: Traits | None = None
    decoded: _Decoded | None = None

    def take_outline(self, data: bytes | None) -> None:
        """Take the outline, if there is one; from one that is damaged nothing is taken."""
        if data is not None:
            with suppress(BadOutline):
                self.outline = Outline(data, self.count)
                self.traits = self.outline.traits


class SqliteSnapshot(SqliteView):
    """What a connection sees within its transaction, charts included."""

    def chart_window(
        self, series: Sequence[SeriesKey], axis: str, low: float | None, high: float | None, width: int
    ) -> ChartWindow:
        """The window of some series; see `track_server.storage.contract.Snapshot.chart_window`."""
        found = [each for key in series if (each := self._series(key)) is not None]
        ordinals = (0, max((each.count for each in found), default=1) - 1)
        known = [bounds for each in found if (bounds := each.bounds(axis)) is not None]
        if known:
            least, greatest = min(bounds[0] for bounds in known), max(bounds[1] for bounds in known)
        else:
            least, greatest = ordinals
        points = 0
        for each in found:
            points += each.count if low is None and high is None else self._count(each, axis, low, high)
        return ChartWindow(
            axis,
            _grid(low, high, (least, greatest), width),
            _grid(low, high, ordinals, width),
            points <= _IN_FULL_POINTS,
        )

    def chart_columns(self, series: SeriesKey, window: ChartWindow) -> Document | None:
        """The columns of a series; see `track_server.storage.contract.Snapshot.chart_columns`.

        Raises:
            StoreCorrupt: a chunk is damaged or missing.
            TooBusy: it takes too long.
        """
        found = self._series(series)
        return None if found is None else _Reading(self._db, self._path, found, window).columns()

    def tail(self, series: SeriesKey, start: int, limit: int) -> Document | None:
        """Up to `limit` points of a series from ordinal `start`, as numbers; None if there is no such series.

        Raises:
            StoreCorrupt: a chunk is damaged or missing.
        """
        rows = self._rows(_SERIES, series)
        points = self.points(*series, start, limit)
        if not rows or points is None:
            return None
        ((_, total, _, _),) = rows
        return {
            "start": start,
            "total": total,
            "steps": as_float_bytes(as_floats(points.steps)),
            "times": as_float_bytes(as_floats(points.times)),
            "values": as_float_bytes(as_floats(points.values)),
        }

    def _series(self, key: SeriesKey) -> _Series | None:
        rows = self._rows(_SERIES, key)
        if not rows:
            return None
        ((id, count, stepped, started),) = rows
        ((step_min, step_max, time_min, time_max),) = self._rows(_BOUNDS, [id])
        steps = (float(step_min), float(step_max)) if stepped and step_min is not None else None
        times = None if time_min is None else (time_min, time_max)
        origin = started if started is not None else time_min
        return _Series(id, count, steps, times, 0.0 if origin is None else origin)

    def _count(self, series: _Series, axis: str, low: float | None, high: float | None) -> int:
        """How many points the chunks have that overlap a window."""
        bounds = series.bounds(axis)
        first = bounds[0] if low is None and bounds else low
        last = bounds[1] if high is None and bounds else high
        if bounds is None or first is None or last is None or axis == "ordinal":
            least, greatest = (
                max(0, first or 0),
                min(series.count - 1, series.count if last is None else last),
            )
            return max(0, int(greatest - least) + 1)
        origin = series.origin if axis == "relative" else 0.0
        sql = _COUNTS["step" if axis == "step" else "time"]
        ((count,),) = self._rows(sql, [series.id, first + origin, last + origin])
        return int(count)


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

    def __init__(self, db: apsw.Connection, path: str, series: _Series, window: ChartWindow) -> None:
        self._db = db
        self._path = path
        self._series = series
        self._window = window
        self._deadline = time.monotonic() + _SECONDS
        self._decoded = 0
        # Decoded points that are not divided yet.
        self._x: list[float] = []
        self._run = _Decoded([], [], [])

    def columns(self) -> Document:
        """The answer."""
        chunks = self._chunks()
        axis = self._window.axis if self._suits(chunks, self._window.axis) else "ordinal"
        grid = self._window.ordinals if axis == "ordinal" else self._window.grid
        columns = ChartColumns(grid)
        for chunk in chunks:
            bounds = self._bounds(chunk, axis)
            if bounds[0] <= grid.high and bounds[1] >= grid.low:
                self._add(columns, chunk, axis, grid)
        self._divide(columns, axis)
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

    def _chunks(self) -> list[_Chunk]:
        with translated(self._path):
            rows: list[Any] = self._db.execute(_CHUNKS, (self._series.id,)).fetchall()
        expected = 0
        for _, first, count, *_ in rows:
            if first != expected:
                break
            expected = first + count
        if expected != self._series.count:
            raise StoreCorrupt(
                f"{self._path}: series {self._series.id} has no point {expected}, which its summary counts: "
                "restore a backup"
            )
        chunks = []
        for *known, outline in rows:
            chunks.append(_Chunk(*known))
            chunks[-1].take_outline(outline)
        return chunks

    def _suits(self, chunks: Sequence[_Chunk], axis: str) -> bool:
        """Whether every point of the series has a place on an axis, and steps ascend.

        All of them, not those in the window alone, or the axis would change while one zooms.
        """
        if axis == "ordinal":
            return True
        if axis in _TIMES:
            return all(Traits.TIMES_ARE_FINITE in self._traits(chunk) for chunk in chunks)
        if self._series.steps is None:
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

    def _decode(self, chunk: _Chunk) -> _Decoded:
        if chunk.decoded is not None:
            return chunk.decoded
        if time.monotonic() > self._deadline:
            raise TooBusy(
                f"the columns of a series of {self._series.count:,} points took longer than {_SECONDS:g} s: "
                "ask for a smaller window or for fewer columns"
            )
        with translated(self._path):
            data = self._db.execute("SELECT data FROM chunk WHERE id = ?", (chunk.id,)).get
        columns = read_chunk(self._path, self._series.id, chunk.first, data)
        if len(columns[1]) != chunk.count:
            raise StoreCorrupt(
                f"{self._path}: the chunk of series {self._series.id} from point {chunk.first} on has "
                f"{len(columns[1])} points, not {chunk.count}: restore a backup"
            )
        return _Decoded(*map(as_floats, columns))

    def _bounds(self, chunk: _Chunk, axis: str) -> tuple[float, float]:
        """Places of the first and of the last point of a chunk on an axis that suits the series."""
        if axis == "ordinal":
            return chunk.first, chunk.first + chunk.count - 1
        low, high = (chunk.step_min, chunk.step_max) if axis == "step" else (chunk.time_min, chunk.time_max)
        assert low is not None, "its points have places"
        assert high is not None, "its points have places"
        return float(low) - self._origin(axis), float(high) - self._origin(axis)

    def _origin(self, axis: str) -> float:
        return self._series.origin if axis == "relative" else 0.0

    def _add(self, columns: ChartColumns, chunk: _Chunk, axis: str, grid: Grid) -> None:
        """Add the points of a chunk that are in the window."""
        if not self._window.in_full and self._add_outline(columns, chunk, axis, grid):
            return
        points = self._decode(chunk)
        chunk.decoded = None
        x: Sequence[float]
        if axis == "ordinal":
            x = range(chunk.first, chunk.first + chunk.count)
        elif axis == "step":
            x = points.steps
        else:
            origin = self._origin(axis)
            x = [each - origin for each in points.times] if origin else points.times
        run = self._run
        if axis not in _TIMES or Traits.TIMES_ASCEND in self._traits(chunk):
            part = slice(bisect_left(x, grid.low), bisect_right(x, grid.high))
            self._x += x[part]
            run.steps += points.steps[part]
            run.times += points.times[part]
            run.values += points.values[part]
        else:
            within = [i for i, each in enumerate(x) if grid.low <= each <= grid.high]
            self._x += [x[i] for i in within]
            run.steps += [points.steps[i] for i in within]
            run.times += [points.times[i] for i in within]
            run.values += [points.values[i] for i in within]
        if len(self._x) >= _RUN_POINTS:
            self._divide(columns, axis)

    def _add_outline(self, columns: ChartColumns, chunk: _Chunk, axis: str, grid: Grid) -> bool:
        """Add the outline of a chunk, if it has one that is fine enough; whether it was added."""
        outline = chunk.outline
        low, high = self._bounds(chunk, axis)
        if outline is None or low < grid.low or high > grid.high:
            return False
        if high - low > grid.extent * len(outline) / _BUCKETS_PER_COLUMN:
            return False
        if axis in _TIMES and Traits.TIMES_ASCEND not in outline.traits:
            return False
        try:
            buckets = outline.buckets()
        except BadOutline:
            return False
        x: Sequence[float]
        if axis == "ordinal":
            x = [chunk.first + end for end in outline.ends()]
        elif axis == "step":
            x = buckets.steps
        else:
            origin = self._origin(axis)
            x = [each - origin for each in buckets.times] if origin else buckets.times
        # A bucket is in the column of its last point: where its points are far from each other, most of them
        # would be in a wrong one.
        if max(map(sub, x, (low, *x))) > grid.extent:
            return False
        self._divide(columns, axis)
        columns.add_buckets(x, buckets)
        return True

    def _divide(self, columns: ChartColumns, axis: str) -> None:
        """Put the points that were collected into their columns."""
        x, run = self._x, self._run
        if axis in _TIMES and (ordered := sorted(x)) != x:
            order = sorted(range(len(x)), key=x.__getitem__)
            x, run = (
                ordered,
                _Decoded(*([each[i] for i in order] for each in (run.steps, run.times, run.values))),
            )
        columns.add_points(x, run.steps, run.times, run.values)
        self._x, self._run = [], _Decoded([], [], [])
