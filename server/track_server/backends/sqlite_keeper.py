"""Checking, copying and exchanging the files of SQLite stores."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import apsw

from track_protocol.errors import StoreCorrupt
from track_server.backends.sqlite import SqliteStore
from track_server.backends.sqlite_check import check_sqlite, log_of, opened_to_read
from track_server.backends.sqlite_errors import translated
from track_server.backends.sqlite_schema import check_engine, inspect
from track_server.backends.storelock import StoreLock
from track_server.keeping import Checked

__all__ = ["SqliteKeeper"]

_ALONE: Final = "PRAGMA journal_mode=DELETE; PRAGMA synchronous=EXTRA;"


class SqliteKeeper:
    """Looks after SQLite stores; see `track_server.keeping.Keeper`."""

    companion = "-wal"

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
        at_rest = _copy(path, target)
        if at_rest and (log_of(path).exists() or path.stat().st_mtime_ns != before):
            _copy(path, target)  # somebody has begun to use it while it was taken to be at rest
        _sync(target)

    def renew(self, path: Path) -> str:
        """Give a store that nobody has open a new generation, durably; returns it."""
        generation = secrets.token_hex(16)
        with _opened_alone(path) as db:
            db.execute(_ALONE).fetchall()
            db.execute("UPDATE meta SET value = ? WHERE key = 'generation'", (generation,))
        _sync(path)
        return generation

    def settle(self, path: Path) -> None:
        """Bring the main file up to date and leave no log, as far as the store can still be opened."""
        with suppress(StoreCorrupt):  # then it is put aside as it is
            SqliteStore(path, f"sqlite:{path}", exclusive=True).close()

    @contextmanager
    def held(self, path: Path) -> Iterator[None]:
        """Keep everybody else out of the store."""
        lock = StoreLock(path, exclusive=True)
        try:
            yield
        finally:
            lock.release()


def _copy(path: Path, target: Path) -> bool:
    with opened_to_read(path) as (source, at_rest), _opened_alone(target) as copy:
        with copy.backup("main", source, "main") as backup:
            backup.step(-1)
        copy.execute(_ALONE).fetchall()
    return at_rest


@contextmanager
def _opened_alone(path: Path) -> Iterator[apsw.Connection]:
    with translated(str(path)):
        db = apsw.Connection(str(path), apsw.SQLITE_OPEN_READWRITE)
        try:
            yield db
        finally:
            db.close()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
