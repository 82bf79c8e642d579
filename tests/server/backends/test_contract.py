"""Every backend passes the suite that is shipped to authors of backends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from track_protocol.testing import StoreContract
from track_server.backends.file import FileStore
from track_server.backends.memory import MemoryStore
from track_server.backends.sqlite import open_store
from track_server.store import Lease, Points, SessionState


class Contract(StoreContract):
    """The suite with this server's own data classes."""

    points_type = Points
    session_type = SessionState
    lease_type = Lease


class TestMemory(Contract):
    persistent = False

    def open_store(self, path: Path) -> Any:
        return MemoryStore("ephemeral:")


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
