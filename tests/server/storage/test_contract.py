"""Every backend passes the suite that is shipped to authors of backends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ephemeral import EphemeralStore
from track_server.storage.contract import Lease, Points, SessionState
from track_server.storage.file import FileStore
from track_server.storage.sqlite.store import open_store
from track_server.testing import StoreContract


class Contract(StoreContract):
    """The suite with this server's own data classes."""

    points_type = Points
    session_type = SessionState
    lease_type = Lease


class TestMemory(Contract):
    persistent = False

    def open_store(self, path: Path) -> Any:
        return EphemeralStore("ephemeral:")


class TestFileOfAServer(Contract):
    def open_store(self, path: Path) -> Any:
        return FileStore(path, f"file:{path}", exclusive=True)


class TestFileWithoutAServer(Contract):
    def open_store(self, path: Path) -> Any:
        return FileStore(path, f"file:{path}", exclusive=False)


class TestFileFromItsJournal(Contract):
    """Reopening is done by a second process's worth of store, which has only the journal to go by."""

    def open_store(self, path: Path) -> Any:
        return FileStore(path, f"file:{path}", exclusive=False)

    def reopened(self, store: Any, path: Path) -> Any:
        return self.open_store(path)


class TestSqliteOfAServer(Contract):
    def open_store(self, path: Path) -> Any:
        return open_store(path, exclusive=True)


class TestSqliteWithoutAServer(Contract):
    def open_store(self, path: Path) -> Any:
        return open_store(path, exclusive=False)
