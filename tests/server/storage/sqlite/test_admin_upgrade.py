"""Old SQLite stores are copied, then migrated; whatever happens in between, one version of them is whole.

There is one version so far: the next one is made up here, with one step to it.

Negative controls, each of which makes a test here fail:

* `upgrade` without its ``BEGIN IMMEDIATE``: half a step stays, and two processes take the same one.
* `upgrade` without `copied_before_migration`: there is no copy.
* `_OpenAdmin.copy` as `SqliteAdmin.copy`: this process loses its locks on the store.
"""

from __future__ import annotations

import logging
import signal
import stat
import subprocess
import sys
from inspect import getfile
from pathlib import Path

import apsw
import pytest

from sqlite_tables import rows
from stored_trials import add_trials, committed_values, log_points, points_of
from track_protocol.errors import StoreCorrupt
from track_server.storage.admin import restore
from track_server.storage.sqlite import admin as sqlite_admin
from track_server.storage.sqlite.admin import SqliteAdmin
from track_server.storage.sqlite.migrations import MIGRATIONS
from track_server.storage.sqlite.schema import take_step
from track_server.storage.sqlite.store import open_store
from track_server.storage.unit_of_work import begin
from track_server.testing.store_rejected import rejected
from waiting import wait_until

SECONDS = 30.0
OLD = len(MIGRATIONS)
NEXT = OLD + 1
STEP = ("ALTER TABLE trial ADD COLUMN made_up TEXT", "UPDATE trial SET made_up = 'by a step'")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store of this version, which is an old one from now on."""
    path = tmp_path / "runs.db"
    store = open_store(path)
    add_trials(store, 1, 2)
    log_points(store, points_of(VALUES))
    tx = begin(store)
    tx.put_rejected(rejected())
    tx.commit()
    store.close()
    return path


VALUES = [0.1 * number for number in range(5_000)]


@pytest.fixture(autouse=True)
def _next_version(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MIGRATIONS, OLD, STEP)


def check_holds_everything(path: Path) -> None:
    """Fail unless a store holds what the old one held."""
    store = open_store(path)
    assert committed_values(store) == VALUES
    store.close()
    seen = SqliteAdmin().check(path)
    assert (seen.findings, seen.trials, seen.rejected) == ((), 2, 1)


def version_of(path: Path) -> int:
    return int.from_bytes(path.read_bytes()[60:64], "big")


def copies(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{path.name}.v*.bak"))


def opened_elsewhere(path: Path, patch: str) -> subprocess.Popen[str]:
    """Another process that opens the store, with a changed part, and ends."""
    program = f"""
import os, pathlib, signal, sys
sys.path.append({str(Path(getfile(wait_until)).parent)!r})
from waiting import wait_until
from track_server.storage.sqlite import admin as sqlite_admin
from track_server.storage.sqlite.store import open_store
from track_server.storage.sqlite.migrations import MIGRATIONS
MIGRATIONS[{OLD}] = {STEP!r}
folder = pathlib.Path({str(path.parent)!r})
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
def meet(mine, other):
    (folder / mine).touch()
    wait_until((folder / other).exists, other)
copied = sqlite_admin.copied_before_migration
step, version = sqlite_admin.take_step, sqlite_admin.version_of
{patch}
open_store({str(path)!r}).close()
"""
    return subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("exclusive", [True, False])
def test_an_old_store_is_migrated_when_it_is_opened(path: Path, exclusive: bool) -> None:
    store = open_store(path, exclusive=exclusive)
    assert rows(path, "SELECT made_up FROM trial") == [("by a step",)] * 2
    store.close()
    assert version_of(path) == NEXT
    check_holds_everything(path)


def test_a_new_store_takes_all_steps(path: Path) -> None:
    new = path.with_name("new.db")
    open_store(new).close()
    assert version_of(new) == NEXT
    assert copies(new) == []


def test_before_that_it_is_copied_as_it_was(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        open_store(path).close()
    (copy,) = copies(path)
    assert (version_of(copy), stat.S_IMODE(copy.stat().st_mode)) == (OLD, 0o600)
    assert SqliteAdmin().check(copy).findings == ()
    assert [record.name for record in caplog.records] == ["track_server.storage.admin"] * 2
    before, behind = caplog.messages
    assert before.startswith(f"{path} is of version {OLD}: it is copied (0.")
    assert behind == f"migrating {path} from version {OLD} to {NEXT}; the previous version is {copy}"
    check_holds_everything(copy)


def test_a_store_of_this_version_is_not_copied(path: Path) -> None:
    for _ in range(3):
        open_store(path).close()
    assert len(copies(path)) == 1


def test_an_old_store_can_be_checked_and_copied_without_being_migrated(path: Path, tmp_path: Path) -> None:
    admin = SqliteAdmin()
    seen = admin.check(path)
    assert (seen.findings, seen.trials, seen.rejected) == ((), 2, 1)
    (tmp_path / "copy").touch()
    admin.copy(path, tmp_path / "copy")
    assert version_of(tmp_path / "copy") == version_of(path) == OLD


def test_the_copy_can_be_restored(path: Path) -> None:
    open_store(path).close()
    restore(SqliteAdmin(), copies(path)[0], path)
    assert version_of(path) == OLD
    check_holds_everything(path)
    assert (version_of(path), len(copies(path))) == (NEXT, 2)


def test_a_damaged_store_is_not_migrated(path: Path) -> None:
    data = bytearray(path.read_bytes())
    at = data.index(b"CREATE TABLE")
    page = at // 8192 * 8192
    data[page : page + 8] = b"\xff" * 8
    path.write_bytes(data)
    with pytest.raises(StoreCorrupt, match="damaged"):
        open_store(path)
    assert (version_of(path), copies(path)) == (OLD, [])


def test_a_step_that_fails_changes_nothing_and_takes_its_copy_along(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(db: apsw.Connection, version: int) -> None:
        take_step(db, version)
        raise RuntimeError("a fault of the step")

    monkeypatch.setattr(sqlite_admin, "take_step", fail)
    with pytest.raises(RuntimeError, match="a fault of the step"):
        open_store(path)
    monkeypatch.undo()
    assert (version_of(path), copies(path)) == (OLD, [])
    check_holds_everything(path)


KILLS = {
    "before the copy": ("sqlite_admin.copied_before_migration = die", OLD, 0),
    "while the copy is made": ("sqlite_admin.sync_file = die", OLD, 0),
    "with the copy made": ("sqlite_admin.take_step = die", OLD, 1),
    "within a step": (
        "sqlite_admin.take_step = lambda db, version: (db.execute(MIGRATIONS[version][0]), die())",
        OLD,
        1,
    ),
    "before the commit": ("sqlite_admin.take_step = lambda *args: (step(*args), die())", OLD, 1),
    "behind the commit": (
        f"sqlite_admin.version_of = lambda db: die() if version(db) == {NEXT} else version(db)",
        NEXT,
        1,
    ),
}


@pytest.mark.parametrize(("patch", "version", "copied"), KILLS.values(), ids=KILLS)
def test_a_kill_leaves_one_version_intact(path: Path, patch: str, version: int, copied: int) -> None:
    process = opened_elsewhere(path, patch)
    _, reported = process.communicate(timeout=SECONDS)
    assert process.returncode == -signal.SIGKILL, reported
    assert SqliteAdmin().check(path).findings == ()
    assert len(copies(path)) == copied
    check_holds_everything(path)
    assert version_of(path) == NEXT
    assert len(copies(path)) == (copied if version == NEXT else copied + 1)
    assert all(SqliteAdmin().check(copy).findings == () for copy in copies(path))


def test_two_processes_that_open_an_old_store_at_once_migrate_it_once(path: Path) -> None:
    first = opened_elsewhere(
        path,
        "sqlite_admin.copied_before_migration = lambda *args: (meet('copying', 'go'), copied(*args))[1]",
    )
    wait_until((path.parent / "copying").exists, "the first is at work")
    second = opened_elsewhere(
        path,
        "seen = []\n"
        "def looked(db):\n"
        "    seen.append(version(db))\n"
        "    (folder / f'saw{seen[-1]}').touch()\n"
        "    return seen[-1]\n"
        "sqlite_admin.version_of = looked\n"
        "from track_server.storage.sqlite import schema as sqlite_schema\n"
        "secure = sqlite_schema._secure_log\n"
        "def waiting(db, path):\n"
        "    (folder / 'waits').touch()\n"
        "    secure(db, path)\n"
        "sqlite_schema._secure_log = waiting\n",
    )
    wait_until((path.parent / "waits").exists, "the second wants to have the old store")
    (path.parent / "go").touch()
    for process in (first, second):
        _, reported = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, reported
    assert (path.parent / f"saw{NEXT}").exists()
    assert (version_of(path), len(copies(path))) == (NEXT, 1)
    check_holds_everything(path)


def test_a_process_that_migrates_keeps_its_locks(path: Path) -> None:
    store = open_store(path)
    locked = [line for line in Path("/proc/locks").read_text().splitlines() if " POSIX " in line]
    inode = path.stat().st_ino
    assert any(f":{inode} " in line for line in locked)
    store.close()
