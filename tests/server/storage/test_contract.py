"""Every backend passes the suite that is shipped to authors of backends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from track_server.storage.contract import Lease, Points, SessionState
from track_server.storage.ephemeral import EphemeralStore
from track_server.storage.json_file import FileStore
from track_server.storage.postgres.store import PostgresStore
from track_server.storage.sqlite.store import open_store
from track_server.testing import StoreContract


class Contract(StoreContract):
    """The suite with this server's own data classes."""

    points_type = Points
    session_type = SessionState
    lease_type = Lease


class TestEphemeral(Contract):
    persistent = False

    def open_store(self, path: Path) -> Any:
        return EphemeralStore()


class TestFile(Contract):
    """Without a server; a store is opened again from its document alone, which so proves to be complete."""

    def open_store(self, path: Path) -> Any:
        return FileStore(path, f"file:{path}", exclusive=False)

    def reopened(self, store: Any, path: Path) -> Any:
        store.close()
        path.with_name(f".{path.name}.db").unlink()
        return self.open_store(path)


class TestSqlite(Contract):
    def open_store(self, path: Path) -> Any:
        return open_store(path, exclusive=True)


class TestPostgres(Contract):
    @pytest.fixture(autouse=True)
    def schemas(self, postgres_schemas: Callable[[Path], str]) -> None:
        """Each path is a schema."""
        self._uri_of = postgres_schemas

    def open_store(self, path: Path) -> Any:
        return PostgresStore(self._uri_of(path))
