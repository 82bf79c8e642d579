"""Background work on a PostgreSQL store: small chunks are merged, deleted series and old changes removed.

Any number of processes do so.  Whoever merges chunks of a series, or rewinds it, holds its row; what
another holds is left for later.  Which series have small chunks each process knows of its own writes, and
looks for once.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from track_protocol.errors import StoreCorrupt
from track_server.storage.outlines import outline_of
from track_server.storage.postgres.connection import PostgresConnection, Statement
from track_server.storage.postgres.types import decimals
from track_server.storage.sql.compaction import FULL, LEAST_POINTS, Candidates, SmallChunk, merge, plan

__all__ = ["Housekeeping"]

_SLICE_CHUNKS: Final = 64
_MAX_CHANGES: Final = 10_000
_CHANGES_PRUNED: Final = 500
"""Commits that the log of changes keeps, and after how many of this process it is pruned."""

# All that a series has in one short chunk stays as it is: of very many such series, none is looked at.
_SMALL: Final = f"""
SELECT series, count(*), sum(count)::bigint FROM chunk WHERE level = 0 GROUP BY series
HAVING count(*) > 1 OR sum(count) >= {LEAST_POINTS} OR min(seq) > 0
"""  # noqa: S608 # all ours
_BEGIN: Final[Statement] = ("BEGIN", ())
_COMMIT: Final[Statement] = ("COMMIT", ())
_HOLD: Final = "SELECT 1 FROM series WHERE id = ? FOR NO KEY UPDATE SKIP LOCKED"
_TAIL: Final = f"""
SELECT id, seq, count, level, size FROM chunk WHERE series = ?1
AND seq > coalesce((SELECT max(seq) FROM chunk WHERE series = ?1 AND level = {FULL}), -1) ORDER BY seq
"""  # noqa: S608 # all ours
_READ: Final = """
SELECT step_min, step_max, time_min, time_max, value_min, value_max, data FROM chunk
WHERE id = ANY(?::bigint[]) ORDER BY seq
"""
_DELETE: Final = "DELETE FROM chunk WHERE id = ANY(?::bigint[])"
_INSERT: Final = """
WITH merged AS (
    INSERT INTO chunk(series, seq, count, level, size, step_min, step_max, time_min, time_max,
    value_min, value_max, data) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id
) INSERT INTO outline(chunk, data) SELECT id, ?::bytea FROM merged WHERE ?::boolean
"""
_DEAD: Final = "SELECT id FROM series WHERE trial < 0 LIMIT 1"
_COLLECT: Final = "DELETE FROM chunk WHERE id IN (SELECT id FROM chunk WHERE series = ? LIMIT ?)"
_FORGET: Final = (
    "DELETE FROM series WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM chunk WHERE chunk.series = ?1)"
)
_PRUNE: Final = """
WITH old AS (
    DELETE FROM change_log WHERE number <= (SELECT max(number) FROM change_log) - ?::bigint RETURNING xid
) UPDATE meta SET value = greatest(value::bigint, (SELECT max(xid::text::bigint) FROM old))::text
WHERE key = 'pruned' AND EXISTS (SELECT 1 FROM old)
"""


class Housekeeping:
    """Does background work; `work` on one thread, `grew` on any."""

    def __init__(self) -> None:
        self._written: queue.SimpleQueue[Mapping[int, tuple[int, int]]] = queue.SimpleQueue()
        self._candidates = Candidates()
        self._looked = False
        self._sweeps = True
        self._unpruned = 0
        self._damage: StoreCorrupt | None = None

    def grew(self, written: Mapping[int, tuple[int, int]]) -> None:
        """Record the (chunks, points) that a commit added to each series."""
        self._written.put(written)

    def look_for_deleted(self) -> None:
        """Some series may have been deleted."""
        self._sweeps = True

    def work(self, db: PostgresConnection, seconds: float, thorough: bool) -> bool:
        """Work for about `seconds`.

        Args:
            db: a connection outside of any transaction.
            seconds: the time there is.
            thorough: also merge chunks of series that are not idle.

        Returns:
            whether there is more to do.

        Raises:
            StoreCorrupt: a series is damaged; it is left as it is, and reported once.
        """
        deadline = time.monotonic() + seconds
        self._take_written(db)
        if self._sweeps and self._sweep(db, deadline):
            return True
        while (found := self._candidates.next(thorough)) is not None:
            self._merge(db, *found)
            if time.monotonic() >= deadline:
                break
        damage, self._damage = self._damage, None
        if damage is not None:
            raise damage
        return self._candidates.next(thorough) is not None

    def _take_written(self, db: PostgresConnection) -> None:
        if not self._looked:
            self._looked = True
            ((rows, _),) = db.run((_SMALL, ()))
            self._candidates.grew({series: (chunks, points) for series, chunks, points in rows})
        while not self._written.empty():
            self._candidates.grew(self._written.get())
            self._unpruned += 1
        if self._unpruned >= _CHANGES_PRUNED:
            self._unpruned = 0
            db.run((_PRUNE, [_MAX_CHANGES]))

    def _sweep(self, db: PostgresConnection, deadline: float) -> bool:
        """Delete what is left of deleted series; whether there is more."""
        while time.monotonic() < deadline:
            ((rows, _),) = db.run((_DEAD, ()))
            if not rows:
                self._sweeps = False
                return False
            ((id,),) = rows
            db.run((_COLLECT, [id, _SLICE_CHUNKS]), (_FORGET, [id]))
        return True

    def _merge(self, db: PostgresConnection, series: int, is_idle: bool) -> None:
        known = self._candidates.take(series)
        try:
            rest = self._merged(db, series, is_idle)
        except BaseException:
            if not db.usable:
                db.roll_back()
            self._candidates.put_back({series: known})
            raise
        if rest and not is_idle:
            self._candidates.leave(series, rest, known)

    def _merged(self, db: PostgresConnection, series: int, is_idle: bool) -> list[SmallChunk]:
        """Merge what is due of a series; return the chunks that stay as they arrived."""
        _, held, found = db.run(_BEGIN, (_HOLD, [series]), (_TAIL, [series]))
        if not held.rows:  # another process holds it, or it is gone
            db.run(_COMMIT)
            return []
        tail = [SmallChunk(*row) for row in found.rows]
        merged = 0
        try:
            for run, level in plan(tail, is_idle):
                self._replace(db, series, run, level)
                merged = run[-1].seq + 1
        except StoreCorrupt as error:
            self._damage = error  # the others are merged first
            db.run(_COMMIT)
            return []
        db.run(_COMMIT)
        return [chunk for chunk in tail if chunk.seq >= merged and chunk.level == 0]

    def _replace(self, db: PostgresConnection, series: int, run: Sequence[SmallChunk], level: int) -> None:
        ids = [chunk.id for chunk in run]
        ((rows, _),) = db.run((_READ, [ids]))
        merged = merge(db.name, series, run, rows)
        bounds: list[Any] = [*decimals(merged.bounds[:2]), *merged.bounds[2:]]
        outline = outline_of(*merged.columns)
        row = [series, run[0].seq, merged.count, level, merged.size, *bounds, merged.data]
        db.run((_DELETE, [ids]), (_INSERT, [*row, outline or b"", outline is not None]))
