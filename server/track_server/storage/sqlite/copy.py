"""Reading and copying the files of SQLite stores, of any version, beside whoever uses them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import apsw

from track_server.storage.admin import Checked
from track_server.storage.durable_files import sync_file
from track_server.storage.sqlite.check import check_sqlite, log_of, opened_to_read
from track_server.storage.sqlite.errors import translated
from track_server.storage.sqlite.schema import check_engine, inspect

__all__ = ["ALONE", "SqliteCopier", "copy_pages", "opened_alone"]

ALONE: Final = "PRAGMA journal_mode=DELETE; PRAGMA synchronous=EXTRA;"
"""Makes a store one file, which every change of it reaches."""


class SqliteCopier:
    """Checks and copies SQLite stores; see `track_server.storage.admin.Copier`."""

    def check(self, path: Path) -> Checked:
        """Read everything and compare it; whoever uses the store goes on with it meanwhile."""
        return check_sqlite(path)

    def copy(self, path: Path, target: Path) -> None:
        """Write one committed state of a store to an empty file, which is one file then, durably.

        The pages are copied within one read transaction, beside which a writer goes on.
        """
        check_engine()
        inspect(str(path))
        before = path.stat().st_mtime_ns
        at_rest = copy_pages(path, target)
        if at_rest and (log_of(path).exists() or path.stat().st_mtime_ns != before):
            copy_pages(path, target)  # somebody has begun to use it while it was taken to be at rest


def copy_pages(path: Path, target: Path) -> bool:
    """Copy what is committed of a store to an empty file, durably; whether it was taken to be at rest."""
    with opened_to_read(path) as (source, at_rest), opened_alone(target) as copy:
        with copy.backup("main", source, "main") as backup:
            backup.step(-1)
        copy.execute(ALONE).fetchall()
    sync_file(target)
    return at_rest


@contextmanager
def opened_alone(path: Path) -> Iterator[apsw.Connection]:
    """A connection to a store that nobody else has open, or to a file that becomes one."""
    with translated(str(path)):
        db = apsw.Connection(str(path), apsw.SQLITE_OPEN_READWRITE)
        try:
            yield db
        finally:
            db.close()
