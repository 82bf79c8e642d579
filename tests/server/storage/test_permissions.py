"""Only its owner may read a store, its backups and its remains, whatever the umask."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from stored_trials import add_trials, log_points, points_of, save
from track_protocol.errors import StoreError
from track_server.app import admin_of
from track_server.storage.admin import back_up, restore
from track_server.storage.contract import Store
from track_server.storage.sqlite.migrations import MIGRATIONS
from track_server.stores import open_store

URIS = ["sqlite:{}/runs.db", "file:{}/runs.json"]


@pytest.fixture(params=[0, 0o022, 0o077], ids=oct, autouse=True)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


class _Watch(apsw.VFS):
    """Reports the permissions of each file as soon as SQLite has opened it."""

    def __init__(self) -> None:
        self.seen: dict[str, int] = {}
        self._base = apsw.vfs_names()[0]
        super().__init__("watching", self._base)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - APSW's name
        file = apsw.VFSFile(self._base, name, flags)
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        if path:
            self.seen[Path(path).name] = stat.S_IMODE(os.stat(path).st_mode)
        return file


@pytest.fixture
def watch() -> Iterator[_Watch]:
    before = apsw.vfs_names()[0]
    watch = _Watch()
    apsw.set_default_vfs("watching")
    yield watch
    apsw.set_default_vfs(before)
    watch.unregister()


def modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()}


def filled(uri: str) -> Store:
    store = open_store(uri, exclusive=False)
    add_trials(store, 1)
    log_points(store, points_of([0.5, 0.25]))
    return store


@pytest.mark.parametrize("uri", URIS)
def test_every_file_of_a_store_is_closed_to_others_from_its_first_moment(
    tmp_path: Path, uri: str, watch: _Watch
) -> None:
    store = filled(uri.format(tmp_path))
    save(store)
    found = modes(tmp_path)
    store.close()
    assert {"-wal", "-shm", "lock"} <= {name[-4:] for name in found}
    assert set(found.values()) | set(watch.seen.values()) == {0o600}
    assert set(modes(tmp_path).values()) == {0o600}


def test_an_ephemeral_store_is_in_a_folder_of_its_owners(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    store = filled("ephemeral:")
    (folder,) = tmp_path.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert set(modes(folder).values()) == {0o600}
    store.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("uri", URIS)
def test_backups_and_what_a_restore_replaces_are_closed_to_others(
    tmp_path: Path, uri: str, watch: _Watch
) -> None:
    admin, path = admin_of(uri.format(tmp_path), None)
    filled(uri.format(tmp_path)).close()
    back_up(admin, path, tmp_path / "backup")
    restore(admin, tmp_path / "backup", path)
    found = modes(tmp_path)
    assert "backup" in found
    assert any("replaced" in name for name in found)
    assert set(found.values()) | set(watch.seen.values()) == {0o600}


def test_what_is_quarantined_is_closed_to_others(tmp_path: Path) -> None:
    uri = f"file:{tmp_path}/runs.json"
    filled(uri).close()
    (tmp_path / "runs.json").unlink()
    open_store(uri, exclusive=False).close()
    found = modes(tmp_path)
    assert any("deleted" in name for name in found)
    assert set(found.values()) == {0o600}


def test_the_copy_that_is_made_before_a_migration_is_closed_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(f"sqlite:{tmp_path}/runs.db").close()
    monkeypatch.setitem(MIGRATIONS, len(MIGRATIONS), ("CREATE TABLE made_up(x)",))
    open_store(f"sqlite:{tmp_path}/runs.db", exclusive=False).close()
    found = modes(tmp_path)
    assert any(name.endswith(".bak") for name in found)
    assert set(found.values()) == {0o600}


SOMEBODY = 12345


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
@pytest.mark.parametrize("uri", URIS)
def test_a_store_of_another_user_is_refused_but_for_root(uri: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        uri = uri.format(folder)
        filled(uri).close()
        for file in folder.iterdir():
            os.chown(file, SOMEBODY, SOMEBODY)
            file.chmod(0o666)
        os.seteuid(SOMEBODY + 1)
        try:
            with pytest.raises(StoreError, match=f"belongs to user {SOMEBODY}, and this is user"):
                open_store(uri, exclusive=False)
        finally:
            os.seteuid(0)
        store = open_store(uri, exclusive=False)
        log_points(store, points_of([0.125], first=2))
        if sys.platform == "linux":
            made = {path.name: path.stat().st_uid for path in folder.iterdir() if path.name.endswith("-wal")}
            assert set(made.values()) == {SOMEBODY}
        store.close()
