"""Checking, backing up and restoring stores of both kinds."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from stored_trials import add_trials, committed_values, log_points, points_of, trial_id
from track_protocol.errors import (
    ItemNotFound,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreInUse,
    StoreReadOnly,
    UsageError,
)
from track_protocol.wire.batch import METRIC
from track_protocol.wire.columns import pack
from track_server.app import admin_of
from track_server.network.runtime import ServerRecord, write_server_record
from track_server.storage.admin import Checked, Restored, StoreAdmin, back_up, check, restore
from track_server.storage.contract import Points
from track_server.storage.unit_of_work import begin
from track_server.stores import open_store

VALUES = [float(value) for value in range(100)]


@pytest.fixture(params=["sqlite:{}/runs.db", "file:{}/runs.json"], ids=["sqlite", "file"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    text = str(request.param).format(tmp_path)
    store = open_store(text, exclusive=False)
    add_trials(store, 1, 2)
    log_points(store, points_of(VALUES))
    store.close()
    return text


def admin_and_path(uri: str) -> tuple[StoreAdmin, Path]:
    return admin_of(uri, None)


def checked(uri: str) -> Checked:
    return check(*admin_and_path(uri))


def backed_up(uri: str, target: Path) -> Checked:
    return back_up(*admin_and_path(uri), target)


def restored(backup: Path, uri: str) -> Restored:
    admin, path = admin_and_path(uri)
    return restore(admin, backup, path)


def main_of(uri: str) -> Path:
    """The SQLite file that holds a store."""
    admin, path = admin_and_path(uri)
    return admin.main(path)


def values_of(uri: str) -> list[float]:
    store = open_store(uri, exclusive=False)
    found = committed_values(store)
    store.close()
    return found


def log_more(uri: str) -> None:
    store = open_store(uri, exclusive=False)
    log_points(store, points_of([0.25], first=100))
    store.close()


# -- checking ------------------------------------------------------------------------------------


def test_a_store_at_rest_is_checked_and_its_folder_left_as_it_was(uri: str, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    seen = checked(uri)
    assert (seen.trials, seen.series, seen.points, seen.findings) == (2, 1, 100, ())
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_a_check_sees_what_is_only_in_the_log_of_an_open_store(uri: str) -> None:
    store = open_store(uri, exclusive=True)
    log_points(store, points_of([1.0, 2.0], first=100))
    assert (checked(uri).points, checked(uri).findings) == (102, ())
    log_points(store, points_of([3.0], first=102))
    store.close()
    assert checked(uri).points == 103


def test_a_store_that_is_not_there_is_not_found(uri: str, tmp_path: Path) -> None:
    with pytest.raises(ItemNotFound, match="no store"):
        checked(f"{uri.partition(':')[0]}:{tmp_path}/missing")
    assert not (tmp_path / "missing").exists()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("scheme", ["sqlite", "file"])
def test_a_pipe_is_no_store_and_is_not_waited_for(scheme: str, tmp_path: Path) -> None:
    # Hangs, until its time limit, when `_find` or a store takes whatever exists.
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    uri = f"{scheme}:{pipe}"
    for attempt in (
        lambda: checked(uri),
        lambda: backed_up(uri, tmp_path / "backup"),
        lambda: restored(pipe, f"{scheme}:{tmp_path / 'runs'}"),
        lambda: open_store(uri, exclusive=True),
    ):
        with pytest.raises(StoreError, match=f"{pipe} is not a file"):
            attempt()


def test_a_file_that_was_cut_is_found_damaged(uri: str) -> None:
    path = main_of(uri)
    os.truncate(path, path.stat().st_size // 2)
    assert checked(uri).findings


# -- backing up ----------------------------------------------------------------------------------


def test_a_backup_of_an_open_store_is_one_file_with_all_that_is_committed(uri: str, tmp_path: Path) -> None:
    target = tmp_path / "copies" / "copy"
    target.parent.mkdir()
    store = open_store(uri, exclusive=True)
    log_points(store, points_of([1.0], first=100))
    seen = backed_up(uri, target)
    store.close()
    assert (seen.points, seen.generation) == (101, store.generation)
    assert list(target.parent.iterdir()) == [target]
    assert values_of(f"sqlite:{target}") == [*VALUES, 1.0]


def test_a_backup_overwrites_nothing(uri: str, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    target.write_text("mine")
    with pytest.raises(UsageError, match="not overwritten"):
        backed_up(uri, target)
    assert target.read_text() == "mine"


def test_a_damaged_store_gives_no_backup(uri: str, tmp_path: Path) -> None:
    path = main_of(uri)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(StoreError):
        backed_up(uri, tmp_path / "copy")
    assert not [name for name in os.listdir(tmp_path) if "copy" in name]


def test_a_backup_into_a_folder_that_is_missing_says_so(uri: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="does not exist"):
        backed_up(uri, tmp_path / "nowhere" / "copy")


def test_a_backup_may_be_read_by_its_owner_only_whoever_may_read_the_store(uri: str, tmp_path: Path) -> None:
    main_of(uri).chmod(0o644)
    backed_up(uri, tmp_path / "copy")
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600


# -- restoring -----------------------------------------------------------------------------------


def test_a_restored_store_is_the_backup_with_a_new_generation(uri: str, tmp_path: Path) -> None:
    backup = tmp_path / "copy"
    before = backed_up(uri, backup).generation
    log_more(uri)
    done = restored(backup, uri)
    store = open_store(uri, exclusive=True)
    assert committed_values(store) == VALUES
    assert store.generation == done.generation != before
    store.close()


def test_what_was_replaced_is_retained_and_opens(uri: str, tmp_path: Path) -> None:
    backup = tmp_path / "copy"
    backed_up(uri, backup)
    log_more(uri)
    aside = restored(backup, uri).aside
    assert aside is not None
    assert ".replaced-20" in aside.name
    assert values_of(f"sqlite:{aside}") == [*VALUES, 0.25]


@pytest.mark.parametrize("exclusive", [True, False], ids=["server", "embedded"])
def test_a_store_in_use_is_not_replaced(uri: str, tmp_path: Path, exclusive: bool) -> None:
    backup = tmp_path / "copy"
    backed_up(uri, backup)
    store = open_store(uri, exclusive=exclusive)
    log_points(store, points_of([0.25], first=100))
    with pytest.raises(StoreInUse, match=f"pid {os.getpid()}"):
        restored(backup, uri)
    assert committed_values(store) == [*VALUES, 0.25]
    store.close()


def test_a_damaged_backup_replaces_nothing(uri: str, tmp_path: Path) -> None:
    backup = tmp_path / "copy"
    backed_up(uri, backup)
    os.truncate(backup, backup.stat().st_size // 2)
    with pytest.raises(StoreCorrupt, match="nothing was changed"):
        restored(backup, uri)
    assert values_of(uri) == VALUES


def test_a_store_that_is_damaged_can_be_replaced(uri: str, tmp_path: Path) -> None:
    backup = tmp_path / "copy"
    backed_up(uri, backup)
    main_of(uri).write_bytes(b"nonsense" * 100)
    aside = restored(backup, uri).aside
    assert aside is not None
    assert aside.read_bytes() == b"nonsense" * 100
    assert values_of(uri) == VALUES


def test_changes_that_a_crash_left_are_not_applied_to_the_restored_store(uri: str, tmp_path: Path) -> None:
    backup, crashed = tmp_path / "copy", tmp_path / "crashed"
    backed_up(uri, backup)
    _, path = admin_and_path(uri)
    store = open_store(uri, exclusive=True)
    log_points(store, points_of([0.25] * 50, first=100))
    crashed.mkdir()
    for found in tmp_path.glob("*runs*"):  # as they would be found after a crash now
        shutil.copy(found, crashed)
    store.close()
    again = f"{uri.partition(':')[0]}:{crashed / path.name}"
    assert checked(again).points == 150
    aside = restored(backup, again).aside
    assert aside is not None
    assert values_of(again) == VALUES
    assert values_of(f"sqlite:{aside}") == [*VALUES, *[0.25] * 50]


def test_changes_beside_a_store_that_cannot_be_opened_are_put_aside_with_it(uri: str, tmp_path: Path) -> None:
    backup = tmp_path / "copy"
    backed_up(uri, backup)
    main = main_of(uri)
    main.write_bytes(b"nonsense" * 100)
    main.with_name(f"{main.name}-wal").write_bytes(b"changes")
    aside = restored(backup, uri).aside
    assert aside is not None
    assert aside.with_name(f"{aside.name}-wal").read_bytes() == b"changes"
    assert values_of(uri) == VALUES


def test_a_store_is_restored_where_there_is_none(uri: str, tmp_path: Path) -> None:
    backup = tmp_path / "copy"
    backed_up(uri, backup)
    elsewhere = f"{uri.partition(':')[0]}:{tmp_path}/elsewhere"
    assert restored(backup, elsewhere).aside is None
    assert values_of(elsewhere) == VALUES


def test_a_store_is_not_its_own_backup(uri: str) -> None:
    _, path = admin_and_path(uri)
    with pytest.raises(UsageError, match="itself"):
        restored(path, uri)


def test_a_backup_that_is_not_there_is_not_found(uri: str, tmp_path: Path) -> None:
    with pytest.raises(ItemNotFound, match="no backup"):
        restored(tmp_path / "missing", uri)


# -- which store ---------------------------------------------------------------------------------


def test_the_store_is_that_of_the_homes_last_server_or_its_own(tmp_path: Path) -> None:
    assert admin_of(None, tmp_path)[1] == tmp_path / "track.db"
    write_server_record(tmp_path, ServerRecord("127.0.0.1", 1, None, "sha256:x", 1, "file:/data/runs.json"))
    assert admin_of(None, tmp_path)[1] == Path("/data/runs.json")


def test_a_store_in_memory_cannot_be_looked_after() -> None:
    with pytest.raises(UsageError, match="only while its server runs"):
        admin_of("ephemeral:", None)


def test_a_store_of_a_newer_version_is_replaced_and_retained_as_it_is(uri: str, tmp_path: Path) -> None:
    # As after going back to an older Track, with the copy that the newer one made before its migration.
    path = main_of(uri)
    backed_up(uri, tmp_path / "backup")
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    newer = path.read_bytes()
    aside = restored(tmp_path / "backup", uri).aside
    assert values_of(uri) == VALUES
    assert aside is not None
    assert aside.read_bytes() == newer


@pytest.mark.parametrize("suffix", ["-wal", "-journal", ".lock"])
def test_a_backup_does_not_take_the_name_of_one_of_the_stores_own_files(uri: str, suffix: str) -> None:
    path = main_of(uri)
    taken = path.with_name(path.name + suffix)
    taken.unlink(missing_ok=True)
    with pytest.raises(UsageError, match="is the name of a file of the store"):
        backed_up(uri, taken)
    assert not taken.exists()


def test_what_is_left_of_a_store_whose_file_is_removed_is_retained_by_a_restore(
    uri: str, tmp_path: Path
) -> None:
    main = main_of(uri)
    backed_up(uri, tmp_path / "backup")
    main.unlink()
    main.with_name(f"{main.name}-wal").write_bytes(b"what was written last")
    aside = restored(tmp_path / "backup", uri).aside
    assert values_of(uri) == VALUES
    assert aside is not None
    assert aside.with_name(f"{aside.name}-wal").read_bytes() == b"what was written last"


def test_a_backup_without_room_says_so_and_promises_nothing(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin, _ = admin_and_path(uri)

    def no_room(path: Path, target: Path) -> None:
        raise StoreFull("no space is left, and writing resumes by itself")

    monkeypatch.setattr(type(admin), "copy", staticmethod(no_room))
    with pytest.raises(StoreFull, match=r"no space is left for the backup .* then try again"):
        backed_up(uri, tmp_path / "backup")
    assert list(tmp_path.glob("*backup*")) == []


# -- documents of file stores --------------------------------------------------------------------


@pytest.fixture
def document(tmp_path: Path) -> Path:
    """The document of a file store."""
    path = tmp_path / "runs.json"
    store = open_store(f"file:{path}", exclusive=False)
    add_trials(store, 1, 2)
    log_points(store, points_of(VALUES))
    store.close()
    return path


def test_a_document_without_its_sidecar_is_checked_and_backed_up_and_stays_alone(
    document: Path, tmp_path: Path
) -> None:
    alone = tmp_path / "alone" / "runs.json"
    alone.parent.mkdir()
    document.rename(alone)
    assert checked(f"file:{alone}").points == 100
    assert backed_up(f"file:{alone}", tmp_path / "backup").points == 100
    assert list(alone.parent.iterdir()) == [alone]
    assert values_of(f"sqlite:{tmp_path}/backup") == VALUES


def test_a_document_that_cannot_be_read_is_found(document: Path) -> None:
    document.write_text("nonsense")
    (finding,) = checked(f"file:{document}").findings
    assert f"{document} is not valid JSON" in finding


def test_a_document_is_restored_too(document: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.json"
    shutil.copy(document, copy)
    log_more(f"file:{document}")
    restored(copy, f"file:{document}")
    assert values_of(f"file:{document}") == VALUES


def test_a_restored_store_has_its_document_and_the_old_one_is_retained(
    document: Path, tmp_path: Path
) -> None:
    backed_up(f"file:{document}", tmp_path / "backup")
    log_more(f"file:{document}")
    before = document.read_bytes()
    restored(tmp_path / "backup", f"file:{document}")
    (series,) = [trial["metrics"] for trial in json.loads(document.read_text())["trials"] if trial["metrics"]]
    assert series["loss"]["values"] == VALUES
    (old,) = tmp_path.glob("runs.json.replaced-*")
    assert old.read_bytes() == before


def test_what_was_stored_beside_an_edited_document_is_retained_as_the_message_says(document: Path) -> None:
    store = open_store(f"file:{document}", exclusive=False)
    log_points(store, points_of([0.25], first=100))
    store.abandon()
    document.write_text(document.read_text().replace("hash2", "edited"))
    with pytest.raises(StoreError, match="'track restore"):
        open_store(f"file:{document}", exclusive=False)
    restored(main_of(f"file:{document}"), f"file:{document}")
    assert values_of(f"file:{document}") == [*VALUES, 0.25]


def test_a_client_whose_clock_says_nan_hinders_no_backup(uri: str, tmp_path: Path) -> None:
    store = open_store(uri, exclusive=False)
    tx = begin(store)
    tx.append_points(trial_id(), METRIC, "loss", None, Points(pack([100]), pack([math.nan]), pack([1.0])))
    tx.commit()
    store.close()
    assert checked(uri).findings == ()
    assert backed_up(uri, tmp_path / "backup").points == 101


def test_a_folder_that_takes_no_writes_gets_no_backup_and_the_reason_is_reported(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(StoreReadOnly, match="Read-only file system"):
        backed_up(uri, tmp_path / "backup")
