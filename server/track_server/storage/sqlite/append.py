"""Appending points: gathered in memory, written once per transaction.

Within a transaction the points of a series are only put aside.  Before it commits, or reads what it
wrote, each series that grew gets one chunk row (more if they are very many) and one update of its
row of statistics.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import apsw

from track_protocol.errors import ItemNotFound
from track_protocol.model.stat import Summary
from track_protocol.wire.columns import Column
from track_server.methods.rewinds import rewinds_in
from track_server.storage import exactjson
from track_server.storage.chunk_columns import Encoded, encode_column, range_of, size_of
from track_server.storage.chunks import assemble, join_columns, slice_column, value_at
from track_server.storage.contract import Points, Rewind
from track_server.storage.statistics import Bounds, bounds_of, summary_of

__all__ = ["UPDATE_SERIES", "Appender", "KnownSeries", "KnownTrial", "is_stepped"]

_CHUNK_POINTS: Final = 16_384
_WAITING_BYTES: Final = 2**19
"""Points whose times take more are written even before the transaction ends, to bound the memory."""

_CACHED: Final = 16_384
"""Series that are remembered between transactions; beyond it all are forgotten and read again."""

_KEY = tuple[bytes, str, str]

_FIND_TRIAL: Final = """
SELECT id, CASE WHEN instr(metadata, '"rewinds"') THEN metadata END FROM trial WHERE key = ?
"""
"""Only metadata that may tell of rewinds is read."""

_FIND: Final = """
SELECT id, count, first_step, last_step, last, last_time, stepped, finite, nonfinite, min, max, mean, m2
FROM series WHERE trial = ? AND kind = ? AND name = ?
"""
_CREATE: Final = """
INSERT INTO series(trial, kind, name, aggregator, count, stepped, finite, nonfinite)
VALUES(?, ?, ?, ?, 0, 0, 0, 0)
"""
UPDATE_SERIES: Final = """
UPDATE series SET count = ?, first_step = ?, last_step = ?, last = ?, last_time = ?, stepped = ?,
finite = ?, nonfinite = ?, min = ?, max = ?, mean = ?, m2 = ? WHERE id = ?
"""
_INSERT: Final = """
INSERT INTO chunk(series, seq, count, level, size, step_min, step_max, time_min, time_max,
value_min, value_max, data) VALUES(?, ?, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?)
"""


@dataclass(slots=True, eq=False)
class KnownSeries:
    """What is known of a series without reading it; `first_step`, `last_step` and `last` as JSON."""

    id: int
    count: int = 0
    first_step: str | None = None
    last_step: str | None = None
    last: str | None = None
    last_time: float | None = None
    stepped: bool = False
    numbers: Summary = field(default_factory=Summary)
    pending: list[Points] = field(default_factory=list)

    def row(self) -> tuple[Any, ...]:
        """The parameters of `UPDATE_SERIES`."""
        known = self.numbers
        statistics = (known.min, known.max, known.mean, known.m2) if known.finite else (None,) * 4
        return (
            *(self.count, self.first_step, self.last_step, self.last, self.last_time, self.stepped),
            *(known.finite, known.nonfinite, *statistics, self.id),
        )


class KnownTrial(NamedTuple):
    """What is known of a trial without reading it: its row, and its rewinds."""

    row: int
    rewinds: tuple[Rewind, ...]


class _Piece(NamedTuple):
    """Steps and times of one chunk to be."""

    start: int
    stop: int
    steps: Encoded
    times: Encoded
    bounds: tuple[float | None, ...]


class _Axis(NamedTuple):
    """Steps and times that several series may have in common."""

    first_step: str
    last_step: str
    last_time: float
    stepped: bool
    pieces: list[_Piece]


class Appender:
    """Adds points to the series of a store.

    Args:
        db: the connection that writes.
    """

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db
        self._trials: dict[bytes, KnownTrial] = {}
        self._series: dict[_KEY, KnownSeries] = {}
        self._new_trials: list[bytes] = []
        self._grown: dict[_KEY, KnownSeries] = {}
        self._waiting: list[KnownSeries] = []
        self._waiting_bytes = 0
        self._written: dict[int, tuple[int, int]] = {}

    def append(
        self, trial: bytes, kind: str, name: str, aggregator: list[Any] | None, points: Points
    ) -> None:
        """Put points behind those of a series, which is created if need be.

        Raises:
            ItemNotFound: there is no such trial.
        """
        key = (trial, kind, name)
        series = self._series.get(key) or self._found(key, aggregator)
        if not series.pending:
            self._waiting.append(series)
            self._grown[key] = series
        series.pending.append(points)
        self._waiting_bytes += len(points.times.payload)
        if self._waiting_bytes > _WAITING_BYTES:
            self.flush()

    def trial(self, id: bytes) -> int | None:
        """The row of a trial, None if there is no such trial."""
        known = self.known_trial(id)
        return None if known is None else known.row

    def known_trial(self, id: bytes) -> KnownTrial | None:
        """A trial, None if there is no such trial."""
        known = self._trials.get(id)
        if known is None:
            found: Any = self._db.execute(_FIND_TRIAL, (id,)).fetchone()
            if found is not None:
                row, metadata = found
                rewinds = () if metadata is None else rewinds_in(exactjson.loads(metadata))
                known = self._trials[id] = KnownTrial(row, rewinds)
                self._new_trials.append(id)
        return known

    def forget_trial(self, id: bytes) -> None:
        """Read again what is known of a trial: its metadata was changed."""
        self._trials.pop(id, None)

    def forget_deleted(self, id: bytes) -> None:
        """Forget a trial and its series, which are deleted, after `flush`."""
        self.forget_trial(id)
        for key in [key for key in self._series if key[0] == id]:
            del self._series[key]

    def forget_series(self, trial: bytes, kind: str, name: str) -> None:
        """Read again what is known of a series: its rows were changed, after `flush`."""
        self._series.pop((trial, kind, name), None)

    def go_back(self) -> None:
        """Forget what came after `flush`, to which the tables were rolled back."""
        self._waiting, self._waiting_bytes = [], 0
        self.forget()

    def flush(self) -> None:
        """Write what was put aside."""
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        if not waiting:
            return
        axes: dict[tuple[int, ...], _Axis] = {}
        self._db.executemany(_INSERT, [row for series in waiting for row in self._chunks(series, axes)])
        self._db.executemany(UPDATE_SERIES, [series.row() for series in waiting])
        for series in waiting:
            # Only now: the keys of `axes` are addresses, and these hold the objects in place.
            series.pending = []

    def committed(self) -> dict[int, tuple[int, int]]:
        """After the commit: how many (chunks, points) each series got."""
        written, self._written = self._written, {}
        self._grown = {}
        self._new_trials = []
        if len(self._series) > _CACHED or len(self._trials) > _CACHED:
            self.forget()
        return written

    def rolled_back(self) -> None:
        """Forget everything that the transaction may have changed."""
        for key in self._grown:
            self._series.pop(key, None)
        for id in self._new_trials:
            self._trials.pop(id, None)
        self._grown, self._new_trials, self._written = {}, [], {}
        self._waiting, self._waiting_bytes = [], 0

    def forget(self) -> None:
        """Forget all that is remembered of the tables: somebody else may have changed them."""
        self._series.clear()
        self._trials.clear()

    def _found(self, key: _KEY, aggregator: list[Any] | None) -> KnownSeries:
        trial = self.trial(key[0])
        if trial is None:
            raise ItemNotFound(f"no trial has the id {key[0].hex()}: create it with new_trial first")
        row = self._db.execute(_FIND, (trial, *key[1:])).fetchone()
        series = self._created(trial, key, aggregator) if row is None else _loaded(*row)
        self._series[key] = self._grown[key] = series
        return series

    def _created(self, trial: int, key: _KEY, aggregator: list[Any] | None) -> KnownSeries:
        spec = None if aggregator is None else exactjson.dumps(aggregator)
        self._db.execute(_CREATE, (trial, *key[1:], spec))
        return KnownSeries(self._db.last_insert_rowid())

    def _chunks(self, series: KnownSeries, axes: dict[tuple[int, ...], _Axis]) -> Iterator[tuple[Any, ...]]:
        """The rows of a series' new chunks; brings what is known of it up to date."""
        parts = series.pending
        shared = tuple([id(column) for part in parts for column in (part.steps, part.times)])
        axis = axes.get(shared)
        if axis is None:
            axis = axes[shared] = _axis(parts)
        values = join_columns([part.values for part in parts])
        for piece in axis.pieces:
            column = values if len(axis.pieces) == 1 else slice_column(values, piece.start, piece.stop)
            numbers = summary_of(column)
            encoded, count = encode_column(column, packed=False), piece.stop - piece.start
            size = sum(size_of(each, count) for each in (piece.steps, piece.times, encoded))
            data = assemble(count, piece.steps, piece.times, encoded)
            yield (series.id, series.count, count, size, *piece.bounds, *_bounds(numbers), data)
            series.count += count
            series.numbers = series.numbers.merge(numbers)
            chunks, points = self._written.get(series.id, (0, 0))
            self._written[series.id] = chunks + 1, points + count
        series.last = exactjson.dumps(value_at(values, -1))
        series.first_step = axis.first_step if series.first_step is None else series.first_step
        series.last_step, series.last_time = axis.last_step, axis.last_time
        series.stepped = series.stepped or axis.stepped


def _loaded(
    id: int,
    count: int,
    first_step: str | None,
    last_step: str | None,
    last: str | None,
    last_time: float | None,
    stepped: int,
    finite: int,
    nonfinite: int,
    low: float | None,
    high: float | None,
    mean: float | None,
    m2: float | None,
) -> KnownSeries:
    numbers = Summary(finite + nonfinite, nonfinite)
    if finite:
        # SQLite keeps a NaN, which an overflow may have left, as NULL.
        known = [math.nan if each is None else each for each in (mean, m2, low, high)]
        numbers = Summary(finite + nonfinite, nonfinite, *known)
    return KnownSeries(id, count, first_step, last_step, last, last_time, bool(stepped), numbers)


def _axis(parts: Sequence[Points]) -> _Axis:
    steps = join_columns([part.steps for part in parts])
    times = join_columns([part.times for part in parts])
    count = len(times)
    pieces = []
    for start in range(0, count, _CHUNK_POINTS):
        stop = min(count, start + _CHUNK_POINTS)
        pieces.append(_piece(start, stop, slice_column(steps, start, stop), slice_column(times, start, stop)))
    first, last = exactjson.dumps(value_at(steps, 0)), exactjson.dumps(value_at(steps, -1))
    return _Axis(first, last, value_at(times, -1), is_stepped(steps), pieces)


def is_stepped(steps: Column) -> bool:
    """Whether any of some points has a step."""
    return steps.code in "dq" or (steps.code == "o" and any(step is not None for step in steps.payload))


def _piece(start: int, stop: int, steps: Column, times: Column) -> _Piece:
    encoded = encode_column(steps, packed=False)
    of_steps = range_of(encoded, stop - start) or bounds_of(steps)
    return _Piece(start, stop, encoded, encode_column(times, packed=False), (*of_steps, *bounds_of(times)))


def _bounds(numbers: Summary) -> Bounds:
    return (numbers.min, numbers.max) if numbers.finite else (None, None)
