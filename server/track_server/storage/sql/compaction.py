"""Which chunks of a series are merged, and into what: the same on every store.

Chunks arrive at level 0.  `FAN` chunks of one level at the end of a series become one of the next
level, so that a point is rewritten as often as its chunk has levels and not once for each arrival.
A chunk that is *full* is never touched again.  At the end of an idle series, small chunks are merged
unless a much larger one would have to be rewritten for them.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from track_protocol.wire.columns import Column
from track_server.storage.chunk_columns import encode_column, encode_times, size_of
from track_server.storage.chunks import assemble, join_columns
from track_server.storage.sql.chunk_rows import read_chunk

__all__ = ["FAN", "FULL", "LEAST_POINTS", "Candidates", "Growth", "Merged", "SmallChunk", "merge", "plan"]

FULL: Final = 9
_FULL_POINTS: Final = 8_192
_FULL_SIZE: Final = 2**19
"""Points, or decoded bytes, of a full chunk; a new one has up to twice as many."""

FAN: Final = 16
_RATIO: Final = 8

LEAST_POINTS: Final = 32
"""Points in a single chunk of an idle series that are worth compressing."""

_IDLE_S: Final = 2.0
"""Seconds without a new point after which a series is idle."""

Growth = tuple[int, int, float]
"""Small chunks that a series has, their points, and the time of the last ones."""


class Candidates:
    """The series that have small chunks."""

    def __init__(self) -> None:
        self._ready: dict[int, None] = {}
        # Longest idle first.
        self._grown: OrderedDict[int, Growth] = OrderedDict()

    def grew(self, written: Mapping[int, tuple[int, int]]) -> None:
        """Record the (chunks, points) that a commit added to each series."""
        now = time.monotonic()
        for series, (chunks, points) in written.items():
            before = self._grown.pop(series, (0, 0, now))
            self._grown[series] = total = (before[0] + chunks, before[1] + points, now)
            if total[0] >= FAN or total[1] >= 2 * _FULL_POINTS:
                self._ready[series] = None

    @property
    def expects_more(self) -> bool:
        """Whether some series are not idle yet, and are compacted later."""
        return bool(self._grown)

    def next(self, thorough: bool) -> tuple[int, bool] | None:
        """A series to compact, if there is one, and whether it is idle; `thorough` as if all were."""
        if self._grown:
            series, (_, _, last) = next(iter(self._grown.items()))
            if thorough or time.monotonic() - last >= _IDLE_S:
                return series, True
        return next(((series, False) for series in self._ready), None)

    def take(self, series: int) -> Growth:
        """Take a series that is about to be compacted off the list; returns what was known of it."""
        self._ready.pop(series, None)
        return self._grown.pop(series)

    def leave(self, series: int, rest: Sequence[SmallChunk], known: Growth) -> None:
        """Put a series back of which some chunks stay as they arrived."""
        self._grown[series] = (len(rest), sum(chunk.count for chunk in rest), known[2])

    def put_back(self, taken: Mapping[int, Growth]) -> None:
        """Put series back that could not be compacted."""
        self._grown = OrderedDict({**taken, **self._grown})


@dataclass(frozen=True, slots=True)
class SmallChunk:
    """A chunk that may be merged: its row without its data."""

    id: int
    seq: int
    count: int
    level: int
    size: int


@dataclass(frozen=True, slots=True)
class Merged:
    """What some chunks become.

    Attributes:
        count: of its points.
        size: bytes when it is decoded, about.
        bounds: of its steps, times and values.
        data: what is stored.
        columns: its points.
    """

    count: int
    size: int
    bounds: list[Any]
    data: bytes
    columns: tuple[Column, Column, Column]


def merge(name: str, series: int, run: Sequence[SmallChunk], rows: Sequence[tuple[Any, ...]]) -> Merged:
    """Merge consecutive chunks of a series.

    Args:
        name: of the store, for messages.
        series: its row.
        run: the chunks.
        rows: of each the bounds and the data.

    Raises:
        StoreCorrupt: one of them is damaged.
    """
    chunks = zip(run, rows, strict=True)
    parts = [read_chunk(name, series, chunk.seq, row[-1]) for chunk, row in chunks]
    steps, times, values = (join_columns(columns) for columns in zip(*parts, strict=True))
    count = len(times)
    encoded = (
        encode_column(steps, packed=True),
        encode_times(times),
        encode_column(values, packed=True),
    )
    size = sum(size_of(each, count) for each in encoded)
    return Merged(count, size, _extremes(rows), assemble(count, *encoded), (steps, times, values))


def _extremes(rows: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Bounds of all rows from the bounds of each: minimum and maximum in turn."""
    found = []
    for column, extreme in zip(range(6), (min, max) * 3, strict=True):
        known = [row[column] for row in rows if row[column] is not None]
        found.append(extreme(known) if known else None)
    return found


def plan(tail: Sequence[SmallChunk], is_idle: bool) -> list[tuple[list[SmallChunk], int]]:
    """Runs of chunks to compact, and the level of what each becomes."""
    groups: list[list[SmallChunk]] = []
    points = size = 0
    for chunk in tail:
        full = points >= _FULL_POINTS or size >= _FULL_SIZE
        beyond = points + chunk.count > 2 * _FULL_POINTS or size + chunk.size > 2 * _FULL_SIZE
        if not groups or (full and beyond):
            groups.append([])
            points = size = 0
        groups[-1].append(chunk)
        points, size = points + chunk.count, size + chunk.size
    plan = [(group, FULL) for group in groups[:-1]]
    if points >= _FULL_POINTS or size >= _FULL_SIZE:
        plan.append((groups[-1], FULL))
    elif groups:
        rest = _idle_run(groups[-1]) if is_idle else _by_level(groups[-1])
        plan += [rest] if rest else []
    return plan


def _by_level(chunks: list[SmallChunk]) -> tuple[list[SmallChunk], int] | None:
    """The last chunks up to the highest level of which there are enough."""
    for level in range(FULL - 2, -1, -1):
        start = len(chunks)
        while start and chunks[start - 1].level <= level:
            start -= 1
        run = chunks[start:]
        if sum(chunk.level == level for chunk in run) >= FAN:
            return run, level + 1
    return None


def _idle_run(chunks: list[SmallChunk]) -> tuple[list[SmallChunk], int] | None:
    """The last chunks, as far as none is much larger than all behind it."""
    start = len(chunks) - 1
    points = chunks[start].count
    while start and (chunks[start - 1].level == 0 or chunks[start - 1].count <= _RATIO * points):
        start -= 1
        points += chunks[start].count
    run = chunks[start:]
    if len(run) < 2 and (run[0].level or points < LEAST_POINTS):
        return None
    return run, min(FULL - 1, 1 + max(chunk.level for chunk in run))
