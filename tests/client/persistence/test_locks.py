"""Locks for scripts that guard files of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from track.persistence.local import (
    ConcurrentWrite,
    FileProtocol,
    LockFileRemover,
    MultiLock,
    lock_atomic_write,
    lock_guard,
    lock_read,
    lock_write,
    make_lock,
)
from track.persistence.storage import LocalStorage, load_database
from track_protocol.errors import UsageError
from track_protocol.model.entities import Project

HOLD = """
import sys
from track.persistence.local import make_lock
make_lock(sys.argv[1], True).acquire()
print("held", flush=True)
sys.stdin.read()
"""
COUNT = """
import sys
from pathlib import Path
from track.persistence.local import make_lock
path = Path(sys.argv[1])
for _ in range(200):
    with make_lock(path, sys.argv[2] == "True"):
        count = int(path.read_text() or 0)
        path.write_text(str(count + 1))
"""


def counted(path: Path, eager: bool) -> int:
    path.write_text("0")
    workers = [subprocess.Popen([sys.executable, "-c", COUNT, str(path), str(eager)]) for _ in range(4)]
    for worker in workers:
        worker.wait(60)
    return int(path.read_text() or 0)


def test_processes_exclude_each_other(tmp_path: Path) -> None:
    assert counted(tmp_path / "count", eager=True) == 800


def test_a_lock_that_is_not_eager_excludes_no_process(tmp_path: Path) -> None:
    make_lock(tmp_path / "count", eager=False).acquire()
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_releases_its_lock(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        holder.kill()
    with make_lock(path, eager=True):
        pass


def test_threads_exclude_each_other_and_the_lock_is_reentrant(tmp_path: Path) -> None:
    lock = MultiLock(tmp_path / "x")
    taken = threading.Event()

    def take() -> None:
        MultiLock(tmp_path / "x").acquire()
        taken.set()

    other = threading.Thread(target=take)
    with lock, MultiLock([tmp_path / "y", tmp_path / "x"]):
        other.start()
        assert not taken.wait(0.05)
    assert taken.wait(20)
    other.join()


def test_a_store_in_a_file_may_be_named_itself(tmp_path: Path) -> None:
    protocol = FileProtocol(f"file:{tmp_path}/runs.json")
    with MultiLock(protocol):
        protocol.new_project(Project(name="p"))
    protocol.close()
    assert (tmp_path / "runs.json.guard").exists()


def test_a_store_without_a_file_has_no_lock() -> None:
    from track.persistence import get_protocol

    with pytest.raises(UsageError, match="is in no file"):
        MultiLock(get_protocol("none"))


class StoreAdmin:
    """As scripts have it: a lock, and a storage in a file."""

    def __init__(self, path: Path) -> None:
        self.lock = make_lock(path, eager=True)
        self.storage = LocalStorage(str(path))

    @lock_write
    def add(self, name: str) -> None:
        self.storage._add(Project(name=name), self.storage.projects, self.storage.project_names)

    @lock_read
    def names(self) -> set[str]:
        return set(self.storage.project_names)

    @lock_atomic_write
    def add_while(self, name: str, meanwhile: Any) -> None:
        self.storage._add(Project(name=name), self.storage.projects, self.storage.project_names)
        meanwhile()


def test_a_guarded_call_reads_before_and_saves_afterwards(tmp_path: Path) -> None:
    first, second = StoreAdmin(tmp_path / "x.json"), StoreAdmin(tmp_path / "x.json")
    first.add("a")
    second.add("b")
    assert first.names() == {"a", "b"}
    assert set(load_database(tmp_path / "x.json").project_names) == {"a", "b"}


def test_a_guarded_call_detects_a_write_without_the_lock(tmp_path: Path) -> None:
    admin = StoreAdmin(tmp_path / "x.json")
    admin.add_while("a", lambda: None)
    with pytest.raises(ConcurrentWrite, match="was changed by others during add_while"):
        admin.add_while("b", lambda: os.utime(tmp_path / "x.json", (0, 0)))
    assert admin.names() == {"a"}


def test_a_guarded_call_that_raises_saves_nothing(tmp_path: Path) -> None:
    admin = StoreAdmin(tmp_path / "x.json")

    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        admin.add_while("a", fail)
    assert admin.names() == set()


def test_an_object_without_a_storage_is_committed() -> None:
    class Committed:
        lock = make_lock("", eager=False)
        commits = 0

        def commit(self) -> None:
            self.commits += 1

        @lock_guard(readonly=False)
        def write(self) -> None: ...

        @lock_guard(readonly=True)
        def read(self) -> None: ...

    each = Committed()
    each.write()
    each.read()
    assert each.commits == 1


def test_a_remover_removes_its_own_file_only(tmp_path: Path) -> None:
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    mine.touch()
    theirs.touch()
    removers = [LockFileRemover(mine), LockFileRemover(theirs)]
    theirs.rename(tmp_path / "kept")  # which keeps its number from being given out again
    theirs.touch()
    for remover in removers:
        remover.sigterm(15, None)
        remover.sigint(2, None)
        remover.atexit()
    assert (mine.exists(), theirs.exists()) == (False, True)


def test_a_remover_leaves_its_file_in_a_forked_child(tmp_path: Path) -> None:
    path = tmp_path / "mine"
    path.touch()
    program = (
        "import os, sys\nfrom track.persistence.local import LockFileRemover\n"
        "remover = LockFileRemover(sys.argv[1])\n"
        "if (child := os.fork()) == 0:\n    remover.remove()\n    os._exit(0)\n"
        "os.waitpid(child, 0)\nsys.exit(0 if os.path.exists(sys.argv[1]) else 1)\n"
    )
    assert subprocess.run([sys.executable, "-c", program, str(path)]).returncode == 0


def test_a_lock_that_another_thread_holds_at_a_fork_is_not_held_by_the_child(tmp_path: Path) -> None:
    # Fails when a forked child does not close its copy of the lock's file, and so holds the lock.
    lock = MultiLock(tmp_path / "file")
    read, write = os.pipe()
    held, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            leave.wait(30.0)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(10.0)
    child = os.fork()
    if child == 0:
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    os.close(read)
    leave.set()
    holder.join()
    try:
        taken = subprocess.run(
            [sys.executable, "-c", HOLD, str(tmp_path / "file")], input="", timeout=20, check=False
        )
        assert taken.returncode == 0
    finally:
        os.close(write)
        os.waitpid(child, 0)


def test_a_child_that_is_forked_under_a_lock_waits_for_its_parent_to_release_it(tmp_path: Path) -> None:
    # Fails when a forked child takes its parent's lock for its own.
    path, order = tmp_path / "file", tmp_path / "order"
    read, write = os.pipe()
    with MultiLock(path) as lock:
        child = os.fork()
        if child == 0:
            lock.release()
            os.write(write, b"!")
            with lock, order.open("a") as reported:
                reported.write("child")
            os._exit(0)
        os.read(read, 1)
        with order.open("a") as reported:
            reported.write("parent ")
    assert os.waitpid(child, 0)[1] == 0
    assert order.read_text() == "parent child"
    os.close(read)
    os.close(write)
