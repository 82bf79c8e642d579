"""Administration of SQLite stores, also while they are in use, and migration of old ones.

A store of an older version is copied first; then each step to the next version is one transaction.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import apsw

from track_protocol.errors import StoreCorrupt, StoreTooNew
from track_server.storage.admin import Checked, copied_before_migration
from track_server.storage.durable_files import sync_file
from track_server.storage.locks import StoreLock
from track_server.storage.sqlite.check import check_sqlite, log_of, opened_to_read
from track_server.storage.sqlite.migrations import current_version
from track_server.storage.sqlite.schema import (
    check_engine,
    inspect,
    open_writer,
    set_generation,
    take_step,
    translated,
    version_of,
)

__all__ = ["SqliteAdmin", "opened_alone", "upgrade"]

_ALONE: Final = "PRAGMA journal_mode=DELETE; PRAGMA synchronous=EXTRA;"
"""Makes a store one file, which every change of it reaches."""


class SqliteAdmin:
    """Looks after SQLite stores; see `track_server.storage.admin.StoreAdmin`."""

    def check(self, path: Path) -> Checked:
        """Read everything and compare it; the store stays in use meanwhile."""
        return check_sqlite(path)

    def copy(self, path: Path, target: Path) -> None:
        """Write one committed state of a store to an empty file, which is one file then, durably.

        The pages are copied within one read transaction, beside which writers continue.
        """
        check_engine()
        inspect(str(path))
        before = path.stat().st_mtime_ns
        at_rest = _copy_pages(path, target)
        if at_rest and (log_of(path).exists() or path.stat().st_mtime_ns != before):
            _copy_pages(path, target)  # a process has opened it meanwhile

    def main(self, path: Path) -> Path:
        """The file that holds the store."""
        return path

    def renew(self, part: Path, path: Path) -> str:
        """Give what becomes the store at `path` a new generation, durably; returns it."""
        generation = secrets.token_hex(16)
        with opened_alone(part) as db:
            db.execute(_ALONE).fetchall()
            set_generation(db, generation)
        sync_file(part)
        return generation

    def checkpoint(self, path: Path) -> None:
        """Bring the main file up to date and leave no log, as far as the store can still be opened."""
        with self.held(path), suppress(StoreCorrupt, StoreTooNew):  # then it is put aside as it is
            inspect(str(path))
            open_writer(str(path)).close()

    def finish(self, path: Path) -> None:
        """A store that was restored is ready."""

    @contextmanager
    def held(self, path: Path) -> Iterator[None]:
        """Keep everybody else out of the store."""
        lock = StoreLock(path, exclusive=True)
        try:
            yield
        finally:
            lock.release()


def _copy_pages(path: Path, target: Path) -> bool:
    """Copy what is committed of a store to an empty file, durably; whether it was taken to be at rest."""
    with opened_to_read(path) as (source, at_rest), opened_alone(target) as copy:
        with copy.backup("main", source, "main") as backup:
            backup.step(-1)
        copy.execute(_ALONE).fetchall()
    sync_file(target)
    return at_rest


@contextmanager
def opened_alone(path: Path) -> Iterator[apsw.Connection]:
    """A connection to a store that no other process has open, or to a file that becomes one."""
    with translated(str(path)):
        db = apsw.Connection(str(path), apsw.SQLITE_OPEN_READWRITE)
        try:
            yield db
        finally:
            db.close()


class _OpenAdmin(SqliteAdmin):
    """Copies a store that this process has open.

    Opening and closing the file by other means than SQLite's drops the locks that SQLite holds on it for
    the entire process (fcntl(2)).
    """

    def copy(self, path: Path, target: Path) -> None:
        """See `SqliteAdmin.copy`."""
        _copy_pages(path, target)


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
    copy = copied_before_migration(_OpenAdmin(), path, version, current_version()) if first else None
    try:
        take_step(db, version)
        db.execute("COMMIT")
    except BaseException:
        if copy is not None:
            copy.unlink(missing_ok=True)  # nothing was changed, and it takes room
        raise
