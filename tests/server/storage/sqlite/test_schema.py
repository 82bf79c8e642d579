from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from stored_trials import add_trials, committed_values, log_points, points_of, trial_id
from track_protocol.errors import StoreCorrupt, StoreError, StoreFailed, StoreFull, StoreReadOnly, StoreTooNew
from track_protocol.wire.batch import METRIC
from track_server.storage.sqlite.migrations import current_version
from track_server.storage.sqlite.schema import APPLICATION_ID, check_engine, store_error, translated
from track_server.storage.sqlite.store import SqliteStore, open_store
from track_server.storage.unit_of_work import begin

NOBODY = 65_534


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A folder for a user to whom permissions apply, whoever runs the tests."""
    folder = Path(tempfile.mkdtemp())
    changes = os.geteuid() == 0
    if changes:
        os.chown(folder, NOBODY, NOBODY)
        os.seteuid(NOBODY)
    yield folder
    if changes:
        os.seteuid(0)
    folder.chmod(0o700)
    shutil.rmtree(folder)


def made(path: Path) -> Path:
    open_store(path).close()
    return path


def changed(path: Path, sql: str) -> None:
    db = apsw.Connection(str(path))
    db.execute(sql).fetchall()
    db.close()


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def refused(path: Path, kind: type[StoreError], match: str) -> None:
    """Opening fails so, and changes nothing on disk."""
    before = contents(path.parent)
    with pytest.raises(kind, match=match) as caught:
        open_store(path)
    assert type(caught.value) is kind
    assert contents(path.parent) == before


def test_a_store_is_marked_as_ours(path: Path) -> None:
    made(path)
    header = path.read_bytes()[:100]
    assert int.from_bytes(header[68:72], "big") == APPLICATION_ID
    assert int.from_bytes(header[60:64], "big") == current_version()


def test_commits_reach_the_disk_before_they_return(path: Path) -> None:
    store = open_store(path)
    settings = {
        name: store._db.execute(f"PRAGMA {name}").get
        for name in ("journal_mode", "synchronous", "auto_vacuum")
    }
    store.close()
    assert settings == {"journal_mode": "wal", "synchronous": 2, "auto_vacuum": 2}


def test_an_empty_file_becomes_a_store(path: Path) -> None:
    path.touch()
    made(path)


def test_a_database_without_tables_becomes_a_store(path: Path) -> None:
    changed(path, "VACUUM")
    made(path)


def test_text_is_no_database(path: Path) -> None:
    path.write_text("loss,0.1\n" * 100)
    refused(path, StoreCorrupt, "is not a SQLite database")


def test_a_short_file_is_no_database(path: Path) -> None:
    path.write_text("{}")
    refused(path, StoreCorrupt, "is not a SQLite database")


def test_a_folder_is_no_database(path: Path) -> None:
    path.mkdir()
    with pytest.raises(StoreError, match="is not a file: give the path of a store"):
        open_store(path)


def test_a_file_that_was_cut_off_is_refused(path: Path) -> None:
    made(path)
    with path.open("r+b") as file:
        file.truncate(20_000)
    with pytest.raises(StoreCorrupt, match="damaged"):
        open_store(path)


def test_a_store_without_its_tables_is_refused(path: Path) -> None:
    changed(made(path), "DROP TABLE meta")
    with pytest.raises(StoreCorrupt, match="restore a backup"):
        open_store(path)


def test_a_newer_store_is_refused(path: Path) -> None:
    changed(made(path), "PRAGMA user_version = 7")
    refused(path, StoreTooNew, rf"version 7, and this Track knows version {current_version()}: upgrade Track")


def test_a_newer_version_that_is_only_in_the_log_is_refused(path: Path) -> None:
    db = apsw.Connection(str(made(path)))
    db.execute("PRAGMA user_version = 7")
    with pytest.raises(StoreTooNew):
        open_store(path)
    db.close()


def test_the_database_of_another_program_is_refused(path: Path) -> None:
    changed(path, "CREATE TABLE bookmarks(url)")
    refused(path, StoreError, "another program")


def test_the_marked_database_of_another_program_is_refused(path: Path) -> None:
    changed(path, "PRAGMA application_id = 1; PRAGMA user_version = 1; CREATE TABLE bookmarks(url)")
    refused(path, StoreError, "another program")


def test_a_database_of_another_program_in_wal_mode_stays_as_it_is(path: Path) -> None:
    changed(path, "PRAGMA journal_mode = WAL; CREATE TABLE bookmarks(url)")
    refused(path, StoreError, "another program")


def test_a_database_of_another_program_that_is_still_in_its_log_is_refused(path: Path) -> None:
    db = apsw.Connection(str(path))
    db.execute("PRAGMA journal_mode = WAL; CREATE TABLE bookmarks(url)").fetchall()
    with pytest.raises(StoreError, match="another program"):
        open_store(path)
    assert db.execute("SELECT name FROM sqlite_schema").fetchall() == [("bookmarks",)]
    db.close()


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="does not exist: create it"):
        open_store(tmp_path / "nowhere" / "runs.db")


def test_a_read_only_file_is_refused(unprivileged: Path) -> None:
    made(unprivileged / "runs.db").chmod(0o400)
    refused(unprivileged / "runs.db", StoreReadOnly, "cannot be written: give this user")


def test_a_read_only_folder_is_refused(unprivileged: Path) -> None:
    unprivileged.chmod(0o500)
    refused(unprivileged / "runs.db", StoreReadOnly, "cannot be written")


def test_an_unreadable_file_is_refused(unprivileged: Path) -> None:
    made(unprivileged / "runs.db").chmod(0o000)
    with pytest.raises(StoreReadOnly, match="cannot be read"):
        open_store(unprivileged / "runs.db")


def test_an_old_sqlite_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.51.2")
    with pytest.raises(StoreError, match=r"SQLite 3.51.2 .* install apsw 3.51.3 or newer"):
        check_engine()


def test_a_refused_store_is_not_locked(path: Path) -> None:
    changed(made(path), "DROP TABLE meta")
    for _ in range(2):
        with pytest.raises(StoreCorrupt):
            open_store(path, exclusive=True)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux lists what is locked")
def test_a_store_that_is_opened_twice_keeps_the_locks_of_the_first(path: Path) -> None:
    # Fails when `inspect` reads the header by other means than SQLite: a process that closes a file once
    # gives up all its locks on it (fcntl(2)), and another process could then take this one's log away.
    first = open_store(path)
    open_store(path).close()
    inode = path.stat().st_ino
    locks = [line for line in Path("/proc/locks").read_text().splitlines() if " POSIX " in line]
    assert any(f":{inode} " in line for line in locks)
    first.close()


# -- failures of SQLite ------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    opened = open_store(tmp_path / "runs.db", exclusive=True)
    add_trials(opened, 1)
    log_points(opened, points_of([1.0, 2.0]))
    yield opened
    opened.close()


@pytest.fixture
def full(store: SqliteStore) -> SqliteStore:
    """A store whose disk is as good as full."""
    pages = store._db.execute("PRAGMA page_count").get
    store._db.execute(f"PRAGMA max_page_count = {pages}").fetchall()
    return store


def test_a_full_disk_is_reported_as_that(full: SqliteStore) -> None:
    tx = begin(full)
    tx.append_points(trial_id(), METRIC, "loss", None, points_of(["x" * 1000] * 1000, first=2))
    with pytest.raises(StoreError, match=r"no space is left for .*runs.db: free some"):
        tx.commit()
    tx.rollback()


def test_after_a_full_disk_the_store_continues_where_it_was(full: SqliteStore) -> None:
    tx = begin(full)
    tx.append_points(trial_id(), METRIC, "loss", None, points_of(["x" * 1000] * 1000, first=2))
    with pytest.raises(StoreError):
        tx.commit()
    tx.rollback()
    assert committed_values(full) == [1.0, 2.0]
    full._db.execute("PRAGMA max_page_count = 1000000").fetchall()
    log_points(full, points_of([3.0], first=2))
    assert committed_values(full) == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (apsw.FullError("full"), StoreFull),
        (apsw.ReadOnlyError("readonly"), StoreReadOnly),
        (apsw.CorruptError("malformed"), StoreCorrupt),
        (apsw.NotADBError("no database"), StoreCorrupt),
        (apsw.BusyError("locked"), StoreError),
        (apsw.IOError("disk I/O error"), StoreFailed),
    ],
)
def test_a_failure_at_a_store_has_its_class_and_names_the_file(
    raised: apsw.Error, expected: type[StoreError]
) -> None:
    error = store_error("/data/runs.db", raised)
    assert type(error) is expected
    assert "/data/runs.db" in str(error)


def test_a_bug_of_the_program_stays_what_it_is() -> None:
    with pytest.raises(apsw.SQLError), translated("/data/runs.db"):
        raise apsw.SQLError("no such column")


def test_a_disk_without_room_for_the_shared_memory_is_full_and_not_failed() -> None:
    error = apsw.IOError("disk I/O error")
    vars(error)["extendedresult"] = apsw.SQLITE_IOERR_SHMSIZE
    found = store_error("runs.db", error)
    assert isinstance(found, StoreFull)
    assert "free some" in str(found)
