"""Background work on a SQLite store: compaction of small chunks, and garbage collection of deleted series.

`track_server.storage.sql.compaction` says which chunks become one.  Beside a chunk with enough points
stands its outline, for charts; one that is missing is made here.

Deleting a trial removes its row in the transaction of the call and leaves a *tombstone* on each of its
series: a negative number in their column ``trial``, which no trial has.  The number of the deleted row would
not do, since SQLite gives it to a later trial.  The garbage collector deletes these series, chunks first, in
transactions of a few milliseconds; what a killed process leaves is collected when the store is opened again.

Free pages are used for what is written next; those left when writing pauses go back to the file system.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

import apsw

from track_protocol.errors import StoreCorrupt
from track_protocol.wire.columns import Column
from track_server.storage.outlines import MIN_POINTS, outline_of
from track_server.storage.sql.chunk_rows import read_chunk
from track_server.storage.sql.compaction import (
    FULL,
    LEAST_POINTS,
    Candidates,
    Growth,
    SmallChunk,
    merge,
    plan,
)

__all__ = ["Compactor", "GarbageCollector", "tombstone", "write_outline"]


_VACUUM_PAGES: Final = 256
"""Pages given back to the file system in one step."""

_SLICE_CHUNKS: Final = 8
"""Chunks that are deleted between two looks at the clock; each may have some hundred kilobytes."""

# All that a series has in one short chunk stays as it is: of very many such series, none is looked at.
_SMALL: Final = f"""
SELECT series, count(*), sum(count) FROM chunk WHERE level = 0 GROUP BY series
HAVING count(*) > 1 OR sum(count) >= {LEAST_POINTS} OR min(seq) > 0
"""  # noqa: S608 # all ours
_TAIL: Final = "SELECT id, seq, count, level, size FROM chunk WHERE series = ? ORDER BY seq DESC"
_READ: Final = """
SELECT step_min, step_max, time_min, time_max, value_min, value_max, data FROM chunk WHERE id = ?
"""
_READ_POINTS: Final = "SELECT series, seq, data FROM chunk WHERE id = ?"
_INSERT: Final = """
INSERT INTO chunk(series, seq, count, level, size, step_min, step_max, time_min, time_max,
value_min, value_max, data) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id
"""
_UNOUTLINED: Final = f"""
SELECT id FROM chunk WHERE level > 0 AND count >= {MIN_POINTS}
AND NOT EXISTS (SELECT 1 FROM outline WHERE outline.chunk = chunk.id)
"""  # noqa: S608 # all ours
_TOMBSTONE: Final = """
UPDATE series SET trial = (SELECT min(0, min(trial)) - 1 FROM series) WHERE trial = ?
"""
_DEAD: Final = "SELECT id FROM series WHERE trial < 0 LIMIT 1"
_COLLECT: Final = "DELETE FROM chunk WHERE id IN (SELECT id FROM chunk WHERE series = ? LIMIT ?)"


class Compactor:
    """Compacts the series that have small chunks.

    Args:
        db: the connection that writes; no transaction is open while `work` is called.
        path: of the store, for messages.
    """

    def __init__(self, db: apsw.Connection, path: str) -> None:
        self._db = db
        self._path = path
        self._loaded = False
        self._damage: StoreCorrupt | None = None
        self.candidates = Candidates()
        # Chunks whose outlines an earlier process has not written.
        self._unoutlined: list[int] = []

    def work(self, seconds: float, thorough: bool) -> bool:
        """Compact, then give free pages back, for about `seconds`.

        Args:
            seconds: the time there is.
            thorough: also compact series that are not idle.

        Returns:
            whether there is more to do.

        Raises:
            StoreCorrupt: a series is damaged; it is left as it is, and reported once.
        """
        deadline = time.monotonic() + seconds
        self._load_once()
        if self.candidates.next(thorough) is not None:
            self._compact_until(deadline, thorough)
        elif self._unoutlined:
            self._outline_until(deadline)
        damage, self._damage = self._damage, None
        if damage is not None:
            raise damage
        if self.candidates.next(thorough) is not None or self._unoutlined:
            return True
        return self._vacuum_until(deadline, thorough or not self.candidates.expects_more)

    def _load_once(self) -> None:
        """Find the small chunks that an earlier process left."""
        if self._loaded:
            return
        self._loaded = True
        rows: list[tuple[Any, ...]] = self._db.execute(_SMALL).fetchall()
        self.candidates.grew({series: (chunks, points) for series, chunks, points in rows})
        found: list[tuple[Any, ...]] = self._db.execute(_UNOUTLINED).fetchall()
        self._unoutlined = [id for (id,) in found]

    def _compact_until(self, deadline: float, thorough: bool) -> None:
        done: dict[int, Growth] = {}
        self._db.execute("BEGIN IMMEDIATE")
        try:
            while (found := self.candidates.next(thorough)) is not None:
                series, is_idle = found
                done[series] = known = self.candidates.take(series)
                rest = self._compact(series, is_idle)
                if rest and not is_idle:
                    self.candidates.leave(series, rest, known)
                if time.monotonic() >= deadline:
                    break
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            self.candidates.put_back(done)
            raise

    def _compact(self, series: int, is_idle: bool) -> list[SmallChunk]:
        """Compact what is due of a series; return the chunks that stay as they arrived."""
        tail = self._tail(series)
        compacted = 0
        try:
            for run, level in plan(tail, is_idle):
                self._replace(series, run, level)
                compacted = run[-1].seq + 1
        except StoreCorrupt as error:
            self._damage = error  # the others are compacted first
            return []
        return [chunk for chunk in tail if chunk.seq >= compacted and chunk.level == 0]

    def _tail(self, series: int) -> list[SmallChunk]:
        """The chunks behind the last full one."""
        rows = self._db.execute(_TAIL, (series,))
        tail = []
        for row in rows:
            chunk = SmallChunk(*map(int, row))
            if chunk.level == FULL:
                break
            tail.append(chunk)
        rows.close()
        return tail[::-1]

    def _replace(self, series: int, run: Sequence[SmallChunk], level: int) -> None:
        ids = [(chunk.id,) for chunk in run]
        rows: list[tuple[Any, ...]] = self._db.executemany(_READ, ids).fetchall()
        merged = merge(self._path, series, run, rows)
        self._db.executemany("DELETE FROM chunk WHERE id = ?", ids)
        row = (series, run[0].seq, merged.count, level, merged.size, *merged.bounds, merged.data)
        inserted: list[tuple[Any, ...]] = self._db.execute(_INSERT, row).fetchall()
        ((id,),) = inserted
        write_outline(self._db, id, merged.columns)

    def _outline_until(self, deadline: float) -> None:
        """Write outlines that are missing."""
        left = list(self._unoutlined)
        self._db.execute("BEGIN IMMEDIATE")
        try:
            while left and time.monotonic() < deadline:
                id = left.pop()
                # It may have been compacted meanwhile.
                rows: list[tuple[Any, ...]] = self._db.execute(_READ_POINTS, (id,)).fetchall()
                for series, seq, data in rows:
                    try:
                        write_outline(self._db, id, read_chunk(self._path, series, seq, data))
                    except StoreCorrupt as error:
                        self._damage = error
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        self._unoutlined = left

    def _vacuum_until(self, deadline: float, entirely: bool) -> bool:
        """Give free pages back; a growing store keeps a quarter of its pages, which it needs again soon."""
        reserve = 0 if entirely else self._pragma("page_count") // 4
        while (free := self._pragma("freelist_count")) > reserve:
            self._db.execute(f"PRAGMA incremental_vacuum({min(free - reserve, _VACUUM_PAGES)})").fetchall()
            if time.monotonic() >= deadline:
                return self._pragma("freelist_count") > reserve
        return False

    def _pragma(self, name: str) -> int:
        return int(self._db.execute(f"PRAGMA {name}").get)


def write_outline(db: apsw.Connection, chunk: int, points: tuple[Column, Column, Column]) -> None:
    """Write the outline of a chunk, if it has enough points, within the open transaction.

    Args:
        db: the connection that writes.
        chunk: its row.
        points: its steps, times and values.
    """
    outline = outline_of(*points)
    if outline is not None:
        db.execute("INSERT OR REPLACE INTO outline VALUES(?, ?)", (chunk, outline))


def tombstone(db: apsw.Connection, key: bytes) -> None:
    """Delete an existing trial within the open transaction, and leave tombstones on its series.

    Args:
        db: the connection that writes; all points are flushed.
        key: the trial's internal id.
    """
    row = db.execute("DELETE FROM trial WHERE key = ? RETURNING id", (key,)).get
    db.execute("DELETE FROM group_trial WHERE trial = ?", (row,))
    db.execute("DELETE FROM lease WHERE trial = ?", (row,))
    db.execute("DELETE FROM blob_use WHERE trial = ?", (row,))
    db.execute(_TOMBSTONE, (row,))


class GarbageCollector:
    """Deletes the series that have a tombstone.

    Args:
        db: the connection that writes; no transaction is open while `work` is called.
    """

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db

    def work(self, seconds: float) -> bool:
        """Delete for about `seconds`; whether there was anything to do."""
        series = self._next()
        if series is None:
            return False
        deadline = time.monotonic() + seconds
        self._db.execute("BEGIN IMMEDIATE")
        try:
            while series is not None:
                self._db.execute(_COLLECT, (series, _SLICE_CHUNKS))
                if not self._db.changes():
                    self._db.execute("DELETE FROM series WHERE id = ?", (series,))
                if time.monotonic() >= deadline:
                    break
                series = self._next()
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        return True

    def _next(self) -> int | None:
        """A series with a tombstone."""
        found = self._db.execute(_DEAD).fetchone()
        return None if found is None else int(found[0])
