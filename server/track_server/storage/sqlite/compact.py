"""Merging small chunks into large compressed ones, in the background.

Chunks arrive at level 0.  `_FAN` chunks of one level at the end of a series become one of the next
level, so that a point is rewritten as often as its chunk has levels and not once for each arrival.
A chunk that is *full* is never touched again.  At the end of a series that has come to rest, small
chunks are merged unless a much larger one would have to be rewritten for them.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import apsw

from track_protocol.errors import StoreCorrupt
from track_server.storage.chunk_columns import encode_column, size_of
from track_server.storage.chunks import assemble, join_columns
from track_server.storage.sqlite.read import read_chunk

__all__ = ["Merger"]

_FULL: Final = 9
_FULL_POINTS: Final = 8_192
_FULL_SIZE: Final = 2**19
"""A chunk is full with so many points, or bytes when decoded; when it is made, up to twice as many."""

_FAN: Final = 16
_RATIO: Final = 8
_REST: Final = 2.0
"""Seconds without a new point after which a series is at rest."""

_WORTH: Final = 32
"""Points in a single chunk that are worth compressing at rest."""

_VACUUM: Final = 256
"""Pages given back to the file system in one step."""

_LEFT: Final = "SELECT series, count(*), sum(count) FROM chunk WHERE level = 0 GROUP BY series"
_TAIL: Final = "SELECT id, seq, count, level, size FROM chunk WHERE series = ? ORDER BY seq DESC"
_READ: Final = """
SELECT step_min, step_max, time_min, time_max, value_min, value_max, data FROM chunk WHERE id = ?
"""
_INSERT: Final = """
INSERT INTO chunk(series, seq, count, level, size, step_min, step_max, time_min, time_max,
value_min, value_max, data) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


@dataclass(frozen=True, slots=True)
class _Chunk:
    id: int
    seq: int
    count: int
    level: int
    size: int


class Merger:
    """Knows which series have small chunks and merges them.

    Args:
        db: the connection that writes; no transaction is open while `work` is called.
        path: of the store, for messages.
    """

    def __init__(self, db: apsw.Connection, path: str) -> None:
        self._db = db
        self._path = path
        self._looked = False
        self._damage: StoreCorrupt | None = None
        self._ready: dict[int, None] = {}
        # Series with new chunks, longest at rest first: chunks, points, time of the last ones.
        self._grown: OrderedDict[int, tuple[int, int, float]] = OrderedDict()

    def grew(self, written: Mapping[int, tuple[int, int]]) -> None:
        """Take note of (chunks, points) that a commit added to series."""
        now = time.monotonic()
        for series, (chunks, points) in written.items():
            before = self._grown.pop(series, (0, 0, now))
            self._grown[series] = total = (before[0] + chunks, before[1] + points, now)
            if total[0] >= _FAN or total[1] >= 2 * _FULL_POINTS:
                self._ready[series] = None

    @property
    def expects_more(self) -> bool:
        """Whether there are series that are left to rest before they are merged."""
        return bool(self._grown)

    def work(self, seconds: float, thorough: bool) -> bool:
        """Merge, then give free pages back, for about so many seconds.

        Args:
            seconds: the time there is.
            thorough: also merge what may still grow.

        Returns:
            whether there is more to do.

        Raises:
            StoreCorrupt: a series is damaged; it is left as it is, and told once.
        """
        deadline = time.monotonic() + seconds
        self._look_once()
        if self._next(thorough) is not None:
            self._merge_until(deadline, thorough)
        damage, self._damage = self._damage, None
        if damage is not None:
            raise damage
        if self._next(thorough) is not None:
            return True
        return self._vacuum_until(deadline, thorough or not self._grown)

    def _look_once(self) -> None:
        """Find what an earlier process left to do."""
        if self._looked:
            return
        self._looked = True
        rows: list[tuple[Any, ...]] = self._db.execute(_LEFT).fetchall()
        self.grew({series: (chunks, points) for series, chunks, points in rows})

    def _next(self, thorough: bool) -> tuple[int, bool] | None:
        """A series to merge, and whether it is at rest."""
        if self._grown:
            series, (_, _, last) = next(iter(self._grown.items()))
            if thorough or time.monotonic() - last >= _REST:
                return series, True
        return next(((series, False) for series in self._ready), None)

    def _merge_until(self, deadline: float, thorough: bool) -> None:
        done: dict[int, tuple[int, int, float]] = {}
        self._db.execute("BEGIN IMMEDIATE")
        try:
            while (found := self._next(thorough)) is not None:
                series, rests = found
                self._ready.pop(series, None)
                done[series] = known = self._grown.pop(series)
                rest = self._merge(series, rests)
                if rest and not rests:
                    self._grown[series] = (len(rest), sum(chunk.count for chunk in rest), known[2])
                if time.monotonic() >= deadline:
                    break
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            self._grown = OrderedDict({**done, **self._grown})
            raise

    def _merge(self, series: int, rests: bool) -> list[_Chunk]:
        """Merge what is due of a series; gives back the chunks that stay as they arrived."""
        tail = self._tail(series)
        merged = 0
        try:
            for run, level in _plan(tail, rests):
                self._replace(series, run, level)
                merged = run[-1].seq + 1
        except StoreCorrupt as error:
            self._damage = error  # the others are merged first
            return []
        return [chunk for chunk in tail if chunk.seq >= merged and chunk.level == 0]

    def _tail(self, series: int) -> list[_Chunk]:
        """The chunks behind the last full one."""
        rows = self._db.execute(_TAIL, (series,))
        tail = []
        for row in rows:
            chunk = _Chunk(*map(int, row))
            if chunk.level == _FULL:
                break
            tail.append(chunk)
        rows.close()
        return tail[::-1]

    def _replace(self, series: int, run: Sequence[_Chunk], level: int) -> None:
        ids = [(chunk.id,) for chunk in run]
        rows: list[tuple[Any, ...]] = self._db.executemany(_READ, ids).fetchall()
        chunks = zip(run, rows, strict=True)
        parts = [read_chunk(self._path, series, chunk.seq, row[-1]) for chunk, row in chunks]
        steps, times, values = (join_columns(columns) for columns in zip(*parts, strict=True))
        count = len(times)
        encoded = (
            encode_column(steps, packed=True),
            encode_column(times, packed=True, smooth=True),
            encode_column(values, packed=True),
        )
        size = sum(size_of(each, count) for each in encoded)
        self._db.executemany("DELETE FROM chunk WHERE id = ?", ids)
        row = (series, run[0].seq, count, level, size, *_extremes(rows), assemble(count, *encoded))
        self._db.execute(_INSERT, row)

    def _vacuum_until(self, deadline: float, all_of_them: bool) -> bool:
        """Give free pages back; while a store grows it keeps some, which it needs again soon."""
        kept = 0 if all_of_them else self._pragma("page_count") // 4
        while (free := self._pragma("freelist_count")) > kept:
            self._db.execute(f"PRAGMA incremental_vacuum({min(free - kept, _VACUUM)})").fetchall()
            if time.monotonic() >= deadline:
                return self._pragma("freelist_count") > kept
        return False

    def _pragma(self, name: str) -> int:
        return int(self._db.execute(f"PRAGMA {name}").get)


def _extremes(rows: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Bounds of all rows from the bounds of each: minimum and maximum in turn."""
    found = []
    for column, extreme in zip(range(6), (min, max) * 3, strict=True):
        known = [row[column] for row in rows if row[column] is not None]
        found.append(extreme(known) if known else None)
    return found


def _plan(tail: Sequence[_Chunk], rests: bool) -> list[tuple[list[_Chunk], int]]:
    """Runs of chunks to merge, and the level of what each becomes."""
    groups: list[list[_Chunk]] = []
    points = size = 0
    for chunk in tail:
        full = points >= _FULL_POINTS or size >= _FULL_SIZE
        beyond = points + chunk.count > 2 * _FULL_POINTS or size + chunk.size > 2 * _FULL_SIZE
        if not groups or (full and beyond):
            groups.append([])
            points = size = 0
        groups[-1].append(chunk)
        points, size = points + chunk.count, size + chunk.size
    plan = [(group, _FULL) for group in groups[:-1]]
    if points >= _FULL_POINTS or size >= _FULL_SIZE:
        plan.append((groups[-1], _FULL))
    elif groups:
        rest = _at_rest(groups[-1]) if rests else _by_level(groups[-1])
        plan += [rest] if rest else []
    return plan


def _by_level(chunks: list[_Chunk]) -> tuple[list[_Chunk], int] | None:
    """The last chunks up to the highest level of which there are enough."""
    for level in range(_FULL - 2, -1, -1):
        start = len(chunks)
        while start and chunks[start - 1].level <= level:
            start -= 1
        run = chunks[start:]
        if sum(chunk.level == level for chunk in run) >= _FAN:
            return run, level + 1
    return None


def _at_rest(chunks: list[_Chunk]) -> tuple[list[_Chunk], int] | None:
    """The last chunks, as far as none is much larger than all behind it."""
    start = len(chunks) - 1
    points = chunks[start].count
    while start and (chunks[start - 1].level == 0 or chunks[start - 1].count <= _RATIO * points):
        start -= 1
        points += chunks[start].count
    run = chunks[start:]
    if len(run) < 2 and (run[0].level or points < _WORTH):
        return None
    return run, min(_FULL - 1, 1 + max(chunk.level for chunk in run))
