"""Copies of SQLite stores."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from stored_trials import add_trials, log_points, points_of
from track_protocol.errors import StoreCorrupt
from track_server.storage.admin import back_up
from track_server.storage.sqlite.admin import SqliteAdmin
from track_server.storage.sqlite.store import open_store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "runs.db"
    store = open_store(path, exclusive=True)
    add_trials(store, 1)
    log_points(store, points_of([0.5] * 10))
    store.close()
    return path


def test_a_damage_that_sqlite_copies_without_noticing_gives_no_backup(path: Path) -> None:
    db = apsw.Connection(str(path))
    db.execute("UPDATE chunk SET data = zeroblob(length(data))")
    db.close()
    with pytest.raises(StoreCorrupt, match=r"no backup: .*checksum"):
        back_up(SqliteAdmin(), path, path.with_name("copy"))
    assert [each.name for each in path.parent.iterdir() if "copy" in each.name] == []


def test_a_copy_is_the_state_of_its_moment_and_the_writer_continues(path: Path) -> None:
    store = open_store(path, exclusive=True)
    admin = SqliteAdmin()
    target = path.with_name("copy")
    target.touch()
    log_points(store, points_of([0.5], first=10))
    admin.copy(path, target)
    log_points(store, points_of([0.5], first=11))
    store.close()
    assert (admin.check(target).points, admin.check(path).points) == (11, 12)
