"""Looking after the files of SQLite stores: what changes them as a whole."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from track_protocol.errors import StoreCorrupt, StoreTooNew
from track_server.storage.locks import StoreLock
from track_server.storage.sqlite.copy import ALONE, SqliteCopier, opened_alone, sync_file
from track_server.storage.sqlite.schema import set_generation
from track_server.storage.sqlite.store import SqliteStore

__all__ = ["SqliteKeeper"]


class SqliteKeeper(SqliteCopier):
    """Looks after SQLite stores; see `track_server.storage.admin.Keeper`."""

    companion = "-wal"

    def main(self, path: Path) -> Path:
        """The file that holds the store."""
        return path

    def renew(self, part: Path, path: Path) -> str:
        """Give what becomes the store at `path` a new generation, durably; returns it."""
        generation = secrets.token_hex(16)
        with opened_alone(part) as db:
            db.execute(ALONE).fetchall()
            set_generation(db, generation)
        sync_file(part)
        return generation

    def settle(self, path: Path) -> None:
        """Bring the main file up to date and leave no log, as far as the store can still be opened."""
        with suppress(StoreCorrupt, StoreTooNew):  # then it is put aside as it is
            SqliteStore(path, f"sqlite:{path}", exclusive=True).close()

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
