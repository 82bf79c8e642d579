"""Bringing a SQLite store of an older version up to date: a copy first, then one transaction a step."""

from __future__ import annotations

from pathlib import Path

import apsw

from track_server.storage.sqlite.copy import SqliteCopier, copy_pages
from track_server.storage.sqlite.errors import translated
from track_server.storage.sqlite.migrations import current_version
from track_server.storage.sqlite.schema import take_step, version_of
from track_server.storage.upgrading import copied_before_migration

__all__ = ["upgrade"]


class _OpenCopier(SqliteCopier):
    """Copies a store that this process has open.

    Whoever opens the file by other means than SQLite's and closes it again takes away the locks that
    SQLite holds on it for the whole process (fcntl(2)).
    """

    def copy(self, path: Path, target: Path) -> None:
        """See `SqliteCopier.copy`."""
        copy_pages(path, target)


def upgrade(db: apsw.Connection, path: str) -> None:
    """Take the steps that a store lacks; of several processes that want to, each step is taken by one.

    Args:
        db: the connection that writes, without a transaction.
        path: of the store.

    Raises:
        StoreError: the store could not be copied or changed; it is as it was, or some steps further.
    """
    first = True
    while version_of(db) < current_version():
        with translated(path):
            db.execute("BEGIN IMMEDIATE")
            try:
                _step(db, Path(path), first)
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")
        first = False


def _step(db: apsw.Connection, path: Path, first: bool) -> None:
    """Take one step, and end the transaction."""
    version = version_of(db)
    if version >= current_version():
        return  # another process has taken it while this one waited for the transaction
    copy = copied_before_migration(_OpenCopier(), path, version, current_version()) if first else None
    try:
        take_step(db, version)
        db.execute("COMMIT")
    except BaseException:
        if copy is not None:
            copy.unlink(missing_ok=True)  # nothing was changed, and it takes room
        raise
