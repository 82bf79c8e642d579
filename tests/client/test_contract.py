"""Every backend that ships serves any client: they all pass the one suite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from running_server import Served, serving
from track.persistence import get_protocol
from track.persistence.protocol import Protocol
from track_protocol.testing import BackendContract
from track_protocol.wire.roles import Role
from track_server.app import Settings


class TestSqlite(BackendContract):
    def open_protocol(self, path: Path) -> Protocol:
        return get_protocol(f"sqlite:{path}/runs.db")


class TestFile(BackendContract):
    def open_protocol(self, path: Path) -> Protocol:
        return get_protocol(f"file:{path}/runs.json")


class TestEphemeral(BackendContract):
    shared = False

    def open_protocol(self, path: Path) -> Protocol:
        return get_protocol("ephemeral:")


class TestPostgres(BackendContract):
    @pytest.fixture(autouse=True)
    def schemas(self, postgres_schemas: Callable[[object], str]) -> None:
        """Each path is a schema."""
        self._uri_of = postgres_schemas

    def open_protocol(self, path: Path) -> Protocol:
        return get_protocol(self._uri_of(path))


class _Socket(BackendContract):
    """Over a real server; a user of its own for each client."""

    store: str

    @pytest.fixture(autouse=True)
    def served(self, tmp_path: Path) -> Iterator[Served]:
        (tmp_path / "server").mkdir()
        store = self.store.format(folder=tmp_path / "server")
        with serving(Settings(backend=store, home=tmp_path / "home")) as self._served:
            self._users = iter(range(100))
            yield self._served

    def open_protocol(self, path: Path) -> Protocol:
        return get_protocol(self._served.join(f"user{next(self._users)}", Role.WRITER))


class TestSocketOverSqlite(_Socket):
    store = "sqlite:{folder}/runs.db"


class TestSocketOverPostgres(_Socket):
    @pytest.fixture(autouse=True)
    def served(self, tmp_path: Path, postgres_uri: str) -> Iterator[Served]:
        with serving(Settings(backend=postgres_uri, home=tmp_path / "home")) as self._served:
            self._users = iter(range(100))
            yield self._served


@pytest.mark.torture  # the conversation is that of SQLite's, the store that of `TestFile`
class TestSocketOverFile(_Socket):
    store = "file:{folder}/runs.json"


@pytest.mark.torture  # what is inside TLS is the same; tests of the connection have both
class TestSocketInPlainText(_Socket):
    store = "ephemeral:"

    @pytest.fixture(autouse=True)
    def served(self, tmp_path: Path) -> Iterator[Served]:
        settings = Settings(backend=self.store, home=tmp_path / "home", plaintext=True)
        with serving(settings) as self._served:
            self._users = iter(range(100))
            yield self._served
