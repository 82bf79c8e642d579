"""Files that are replaced atomically, and what only seems to be on the disk."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from faulty_disk import Fault, FaultyDisk
from recording_vfs import Disk, Event, SyncFailed, Write
from track_protocol.errors import StoreError, StoreFailed, StoreFull, StoreReadOnly
from track_server.storage import durable_files
from track_server.storage.durable_files import (
    create_private,
    locked,
    replace_file,
    rewrite,
    store_error,
    sync,
)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
SOMEBODY = 12345

COUNT = """
import sys
from pathlib import Path
from track_server.storage.durable_files import locked, replace_file

folder = Path(sys.argv[1])
for _ in range(20):
    with locked(folder / "lock"):
        count = int((folder / "count").read_text()) if (folder / "count").exists() else 0
        replace_file(folder / "count", [str(count + 1).encode()])
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "log"
    file.write_bytes(bytes(range(256)) * 10_000)
    return file


def test_a_file_that_is_rewritten_stays_as_it_is(path: Path) -> None:
    before = path.read_bytes()
    rewrite(path)
    assert path.read_bytes() == before


def test_what_a_failed_flush_has_left_in_memory_is_on_the_disk_afterwards(path: Path) -> None:
    trace: list[Event] = [Write("log", 0, path.read_bytes()), SyncFailed("log", reached=False)]
    with FaultyDisk(trace.append).installed():
        rewrite(path)
    disk = Disk({"log": b""})
    for event in trace:
        disk.take(event)
    assert disk.durable("log") == path.read_bytes()


def test_a_file_that_is_not_there_needs_no_writing(tmp_path: Path) -> None:
    rewrite(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("call", ["sync", "write", "truncate"])
def test_a_disk_that_fails_is_reported(path: Path, call: str) -> None:
    before = path.read_bytes()
    disk = FaultyDisk(lambda event: None)
    disk.arm(Fault(call, at=1))
    with disk.installed(), pytest.raises(StoreFailed, match="log cannot be written: Input/output error"):
        rewrite(path)
    assert path.read_bytes()[: len(before)] == before


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.EIO, StoreFailed), (errno.ENOSPC, StoreFull), (errno.EROFS, StoreReadOnly)],
)
def test_what_the_system_says_has_its_class(number: int, kind: type[Exception]) -> None:
    error = store_error(Path("/data/runs.json"), "written", OSError(number, "why"))
    assert type(error) is kind
    assert "/data/runs.json cannot be written: why" in str(error)


# -- replacing -----------------------------------------------------------------------------------


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_a_replaced_file_may_be_read_by_its_owner_only(tmp_path: Path, umask: int) -> None:
    replace_file(tmp_path / "file", [b"one"])
    replace_file(tmp_path / "file", [b"t", b"wo"])
    assert (tmp_path / "file").read_bytes() == b"two"
    assert mode_of(tmp_path / "file") == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_it_has_the_permissions_that_are_asked_for(tmp_path: Path, umask: int) -> None:
    replace_file(tmp_path / "file", [], mode=0o644)
    assert mode_of(tmp_path / "file") == 0o644
    replace_file(tmp_path / "file", [], mode=None)
    assert mode_of(tmp_path / "file") == 0o644
    replace_file(tmp_path / "other", [], mode=None)
    assert mode_of(tmp_path / "other") == 0o600


def test_a_private_file_is_made_once(tmp_path: Path, umask: int) -> None:
    create_private(tmp_path / "file")
    assert mode_of(tmp_path / "file") == 0o600
    (tmp_path / "file").write_bytes(b"content")
    create_private(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"content"


def test_a_file_that_is_left_unfinished_is_overwritten_and_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "unfinished").symlink_to(tmp_path / "victim")
    replace_file(tmp_path / "file", [b"new"], unfinished=tmp_path / "unfinished")
    assert (tmp_path / "victim").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "victim"]


@needs_root
def test_what_root_writes_belongs_to_the_folders_owner(tmp_path: Path) -> None:
    os.chown(tmp_path, SOMEBODY, SOMEBODY)
    replace_file(tmp_path / "file", [])
    assert (tmp_path / "file").stat().st_uid == SOMEBODY
    with locked(tmp_path / "lock"):
        assert (tmp_path / "lock").stat().st_uid == SOMEBODY


def test_a_link_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError), locked(tmp_path / "lock"):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="gone"):
        replace_file(tmp_path / "gone" / "file", [])


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    with pytest.raises(StoreError):
        replace_file(tmp_path / "target", [])
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_processes_that_hold_the_lock_do_not_overwrite_each_other(tmp_path: Path) -> None:
    started = [subprocess.Popen([sys.executable, "-c", COUNT, str(tmp_path)]) for _ in range(3)]
    assert [process.wait(60) for process in started] == [0, 0, 0]
    assert (tmp_path / "count").read_bytes() == b"60"


def test_a_system_that_flushes_further_is_asked_to_and_need_not_be_able_to(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The number of no request of Linux's, as a file system of macOS may not know ``F_FULLFSYNC``.
    monkeypatch.setattr(durable_files, "_FULL_SYNC", 51_234)
    with path.open("rb") as file:
        sync(file.fileno())
