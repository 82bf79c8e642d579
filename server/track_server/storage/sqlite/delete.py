"""Deleting from a SQLite store: at once for whoever reads, a little at a time for the disk.

A deleted trial's row goes in the transaction of the call, and its series are *given up*: their column
``trial`` gets a negative number, which no trial has.  The number of the deleted row would not do, since
SQLite gives it to a later trial.  What is given up is swept in the background, chunks first, in
transactions of a few milliseconds; a process that is killed leaves the rest to whoever opens the store next.

Pages that become free are used for what is written next, and those that are left when writing pauses are
given back to the file system (`track_server.storage.sqlite.compact`).
"""

from __future__ import annotations

import time
from typing import Final

import apsw

__all__ = ["Sweeper", "tombstone"]

_SLICE: Final = 8
"""Chunks that are deleted before the time is looked at; each may have some hundred kilobytes."""

_TOMBSTONE: Final = """
UPDATE series SET trial = (SELECT min(0, min(trial)) - 1 FROM series) WHERE trial = ?
"""
_LEFT: Final = "SELECT id FROM series WHERE trial < 0 LIMIT 1"
_SWEEP: Final = "DELETE FROM chunk WHERE id IN (SELECT id FROM chunk WHERE series = ? LIMIT ?)"


def tombstone(db: apsw.Connection, key: bytes) -> None:
    """Delete an existing trial within the open transaction, and leave its series to the sweep.

    Args:
        db: the connection that writes; all points are flushed.
        key: the trial's internal id.
    """
    row = db.execute("DELETE FROM trial WHERE key = ? RETURNING id", (key,)).get
    db.execute("DELETE FROM group_trial WHERE trial = ?", (row,))
    db.execute("DELETE FROM lease WHERE trial = ?", (row,))
    db.execute("DELETE FROM blob_use WHERE trial = ?", (row,))
    db.execute(_TOMBSTONE, (row,))


class Sweeper:
    """Deletes the points of series that were given up.

    Args:
        db: the connection that writes; no transaction is open while `work` is called.
    """

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db

    def work(self, seconds: float) -> bool:
        """Sweep for about so many seconds; whether there was anything to do."""
        series = self._next()
        if series is None:
            return False
        deadline = time.monotonic() + seconds
        self._db.execute("BEGIN IMMEDIATE")
        try:
            while series is not None:
                self._db.execute(_SWEEP, (series, _SLICE))
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
        """A series that was given up."""
        found = self._db.execute(_LEFT).fetchone()
        return None if found is None else int(found[0])
