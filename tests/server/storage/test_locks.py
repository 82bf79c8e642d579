from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from track_protocol.errors import StoreError, StoreInUse, StoreReadOnly
from track_server.storage.locks import StoreLock, check_local, filesystem_of

HOLD = """
import sys
from track_server.storage.locks import StoreLock
lock = StoreLock(sys.argv[1], sys.argv[2] == "exclusive", sys.argv[3] or None)
print("held", flush=True)
sys.stdin.read()
"""

FORK = """
import os, sys
from track_server.storage.locks import StoreLock
lock = StoreLock(sys.argv[1], True)
ready, reported = os.pipe()
if os.fork() == 0:
    os.write(reported, b"x")
    sys.stdin.read()
    os._exit(0)
os.read(ready, 1)
print("forked", flush=True)
sys.stdin.read()
"""

MOUNTS = r"""
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
23 22 0:40 / /home rw,relatime shared:1 - nfs4 server:/home rw
24 23 0:41 / /home/ann/my\040disk rw - xfs /dev/vdb rw
25 22 0:42 / /data rw - ext4 /dev/vdc rw
26 25 0:43 / /data rw - fuse.sshfs ann@far:/ rw
""".lstrip()


@contextmanager
def holder(store: Path, mode: str, served_as: str = "") -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of a store."""
    command = [sys.executable, "-c", HOLD, str(store), mode, served_as]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    path = tmp_path / "mountinfo"
    path.write_text(MOUNTS)
    return path


def test_a_second_server_learns_who_serves_the_store_and_where(store: Path) -> None:
    with (
        holder(store, "exclusive", "socket://localhost:8123") as process,
        pytest.raises(StoreInUse, match=rf"pid {process.pid}: use socket://localhost:8123"),
    ):
        StoreLock(store, exclusive=True)


def test_an_embedded_process_is_sent_to_the_server(store: Path) -> None:
    with (
        holder(store, "exclusive", "socket://localhost:8123") as process,
        pytest.raises(StoreInUse, match=rf"served by pid {process.pid}: use socket://localhost:8123"),
    ):
        StoreLock(store, exclusive=False)


def test_a_holder_without_an_address_is_named_by_its_pid(store: Path) -> None:
    with holder(store, "exclusive") as process, pytest.raises(StoreInUse, match=rf"pid {process.pid}"):
        StoreLock(store, exclusive=False)


def test_a_server_learns_which_process_has_the_store_open(store: Path) -> None:
    with (
        holder(store, "shared") as process,
        pytest.raises(StoreInUse, match=rf"pid {process.pid}, which opened it"),
    ):
        StoreLock(store, exclusive=True)


def test_embedded_processes_share_a_store(store: Path) -> None:
    with holder(store, "shared"):
        StoreLock(store, exclusive=False).release()


def test_a_killed_holder_leaves_nothing_to_clean(store: Path) -> None:
    with holder(store, "exclusive", "socket://localhost:8123") as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        StoreLock(store, exclusive=True).release()


def test_what_a_killed_server_wrote_is_not_believed(store: Path) -> None:
    with holder(store, "exclusive", "socket://localhost:8123") as process:
        process.kill()
        process.wait()
    shared = StoreLock(store, exclusive=False)
    with pytest.raises(StoreInUse, match=rf"pid {os.getpid()}, which opened it"):
        StoreLock(store, exclusive=True)
    shared.release()


def test_a_released_lock_is_free(store: Path) -> None:
    lock = StoreLock(store, exclusive=True)
    lock.release()
    lock.release()
    StoreLock(store, exclusive=True).release()


def test_the_lock_file_stays(store: Path) -> None:
    StoreLock(store, exclusive=True).release()
    assert store.with_name("runs.db.lock").exists()


def test_a_link_to_a_store_has_the_same_lock(store: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(store)
    lock = StoreLock(store, exclusive=True)
    with pytest.raises(StoreInUse):
        StoreLock(link, exclusive=True)
    lock.release()


def test_a_forked_child_does_not_hold_the_lock(store: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", FORK, str(store)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "forked\n"
        process.kill()
        process.wait()
        # The child lives on until its input ends.
        StoreLock(store, exclusive=True).release()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="nowhere does not exist: create it"):
        StoreLock(tmp_path / "nowhere" / "runs.db", exclusive=True)


def test_a_folder_that_takes_no_files_is_refused() -> None:
    with pytest.raises(StoreReadOnly, match="give this user access"):
        StoreLock("/proc/self/runs.db" if os.geteuid() else "/sys/runs.db", exclusive=True)


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/srv", "ext4"),
        ("/home", "nfs4"),
        ("/home/ann", "nfs4"),
        ("/homes", "ext4"),
        ("/home/ann/my disk/runs", "xfs"),
        ("/data/runs", "fuse.sshfs"),
    ],
)
def test_the_innermost_and_latest_mount_counts(mounts: Path, folder: str, kind: str) -> None:
    assert filesystem_of(Path(folder), mounts) == kind


def test_without_a_list_of_mounts_nothing_is_known(tmp_path: Path) -> None:
    assert filesystem_of(tmp_path, tmp_path / "missing") is None


def test_a_network_file_system_is_refused(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"22 1 0:40 / / rw - ext4 x rw\n23 22 0:41 / {tmp_path} rw - nfs4 server:/ rw\n")
    with pytest.raises(StoreError, match=r"network file system \(nfs4\)"):
        check_local(tmp_path / "runs.db", mounts)


def test_a_local_disk_is_welcome(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text("22 1 0:40 / / rw - ext4 x rw\n")
    check_local(tmp_path / "runs.db", mounts)
