"""Locks of sessions, held by real processes that are killed, stopped and forked."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from other_user import OTHER_USER, as_other_user, needs_two_users, shared_folder
from track_protocol.errors import StoreError
from track_server.storage.session_locks import SessionLocks

SID = b"\x01" * 16
OTHER = b"\x02" * 16

HOLD = """
import sys
from track_server.storage.session_locks import SessionLocks
SessionLocks(sys.argv[1]).hold(bytes.fromhex(sys.argv[2]))
print("held", flush=True)
sys.stdin.read()
"""
FORK = """
import os, sys
from track_server.storage.session_locks import SessionLocks
SessionLocks(sys.argv[1]).hold(bytes.fromhex(sys.argv[2]))
ready, reported = os.pipe()
child = os.fork()
if child == 0:
    os.write(reported, b"x")
    sys.stdin.read()
    os._exit(0)
os.read(ready, 1)
print(child, flush=True)
signal = __import__("signal")
signal.pause()
"""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "runs.db"
    path.touch()
    return path


@pytest.fixture
def locks(store: Path) -> Iterator[SessionLocks]:
    locks = SessionLocks(store)
    yield locks
    for sid in (SID, OTHER):
        locks.release(sid)


@contextmanager
def holder(store: Path, sid: bytes = SID, program: str = HOLD) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another process that has a session, and what it said when it had it."""
    command = [sys.executable, "-c", program, str(store), sid.hex()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait(30)


def folder_of(store: Path) -> Path:
    return Path(f"{store}.sessions")


def test_a_session_lives_as_long_as_its_process(store: Path, locks: SessionLocks) -> None:
    before = time.time()
    with holder(store) as (process, _):
        assert locks.ended([SID]) == {}
        kill(process)
        (seen,) = locks.ended([SID]).values()
    assert before - 1 <= seen <= time.time()


def test_a_sign_of_life_is_remembered(store: Path, locks: SessionLocks) -> None:
    with holder(store) as (process, _):
        kill(process)
    path = folder_of(store) / SID.hex()
    os.utime(path, (1.0, 1.0))
    assert locks.ended([SID]) == {SID: 1.0}
    assert locks.hold(SID)
    os.utime(path, (1.0, 1.0))
    assert not locks.hold(SID)
    assert path.stat().st_mtime > 1.0


def test_a_stopped_process_is_alive(store: Path, locks: SessionLocks) -> None:
    with holder(store) as (process, _):
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        assert locks.ended([SID]) == {}


def test_a_session_that_never_had_a_lock_has_no_process(locks: SessionLocks) -> None:
    assert locks.ended([SID]) == {SID: 0.0}
    locks.hold(OTHER)
    assert locks.ended([SID, OTHER]) == {SID: 0.0}


def test_a_released_session_leaves_nothing(store: Path, locks: SessionLocks) -> None:
    locks.hold(SID)
    locks.release(SID)
    locks.release(SID)
    assert locks.ended([SID]) == {SID: 0.0}
    assert not folder_of(store).exists()


def test_a_forked_child_does_not_outlive_its_parent_s_session(store: Path, locks: SessionLocks) -> None:
    with holder(store, program=FORK) as (process, child):
        assert locks.ended([SID]) == {}
        kill(process)
        os.kill(int(child), 0)
        assert locks.ended([SID]).keys() == {SID}


def test_a_forked_child_that_ends_ends_nothing(store: Path, locks: SessionLocks) -> None:
    with holder(store, program=FORK) as (process, child):
        assert process.stdin is not None
        process.stdin.close()
        os.kill(int(child), signal.SIGKILL)
        assert locks.ended([SID]) == {}


def test_a_lock_that_the_program_has_closed_is_held_again(store: Path, locks: SessionLocks) -> None:
    locks.hold(SID)
    (number,) = [
        int(each)
        for each in os.listdir("/proc/self/fd")
        if os.path.realpath(f"/proc/self/fd/{each}") == str((folder_of(store) / SID.hex()).resolve())
    ]
    with open(store, "wb") as other:
        os.dup2(other.fileno(), number)
        assert locks.ended([SID]).keys() == {SID}
        assert locks.hold(SID)
        assert os.fstat(number).st_ino == store.stat().st_ino  # the program's own, which stays open
        os.close(number)
    assert locks.ended([SID]) == {}


def test_a_lock_whose_file_was_removed_is_held_again(store: Path, locks: SessionLocks) -> None:
    locks.hold(SID)
    (folder_of(store) / SID.hex()).unlink()
    folder_of(store).rmdir()
    assert locks.hold(SID)
    assert not locks.hold(SID)
    assert locks.ended([SID]) == {}


def test_a_store_whose_folder_was_removed_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be created"):
        SessionLocks(tmp_path / "removed" / "runs.db").hold(SID)


def test_only_what_ended_processes_left_is_removed(store: Path, locks: SessionLocks) -> None:
    left, needed = b"\x03" * 16, b"\x04" * 16
    for sid in (left, needed):
        with holder(store, sid) as (process, _):
            kill(process)
    locks.hold(SID)
    folder = folder_of(store)
    (folder / "a.new").touch()
    (folder / "b.new").touch()
    os.utime(folder / "b.new", (1.0, 1.0))
    with holder(store, OTHER):
        locks.tidy([needed])
        assert {each.name for each in folder.iterdir()} == {SID.hex(), OTHER.hex(), needed.hex(), "a.new"}


def test_only_the_owner_sees_who_is_alive(store: Path, locks: SessionLocks) -> None:
    before = os.umask(0)
    try:
        locks.hold(SID)
    finally:
        os.umask(before)
    folder = folder_of(store)
    found = [stat.S_IMODE(each.stat().st_mode) for each in (folder, folder / SID.hex())]
    assert found == [0o700, 0o600]


def test_a_folder_that_is_a_link_or_open_to_others_is_refused(
    store: Path, locks: SessionLocks, tmp_path: Path
) -> None:
    folder = folder_of(store)
    (tmp_path / "elsewhere").mkdir()
    folder.symlink_to(tmp_path / "elsewhere")
    for act in (locks.hold, lambda sid: locks.ended([sid])):
        with pytest.raises(StoreError, match=r"runs\.db\.sessions"):
            act(SID)
    folder.unlink()
    folder.mkdir()
    folder.chmod(0o777)
    for act in (locks.hold, lambda sid: locks.ended([sid])):
        with pytest.raises(StoreError, match="others could decide there which runs are alive"):
            act(SID)


def test_a_link_in_the_place_of_a_lock_says_nothing(store: Path, locks: SessionLocks) -> None:
    locks.hold(OTHER)
    (folder_of(store) / SID.hex()).symlink_to(store)
    assert locks.ended([SID]) == {}


@needs_two_users
def test_a_folder_of_another_user_is_refused() -> None:
    with shared_folder() as folder:
        locks = SessionLocks(folder / "runs.db")
        folder_of(folder / "runs.db").mkdir()
        folder_of(folder / "runs.db").chmod(0o755)

        def open_it() -> None:
            for act in (locks.hold, lambda sid: locks.ended([sid])):
                with pytest.raises(StoreError, match="belongs to user 0"):
                    act(SID)

        as_other_user(open_it)


@needs_two_users
def test_what_root_makes_belongs_to_the_owner_of_the_store() -> None:
    with shared_folder() as folder:
        store = folder / "runs.db"
        store.touch()
        os.chown(store, OTHER_USER, OTHER_USER)
        locks = SessionLocks(store)
        locks.hold(SID)
        try:
            as_other_user(lambda: SessionLocks(store).hold(OTHER))
            as_other_user(lambda: SessionLocks(store).tidy([]))
        finally:
            locks.release(SID)
