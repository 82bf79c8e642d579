"""Writing once more what the system only seems to have on the disk."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from faulty_disk import Fault, FaultyDisk
from recording_vfs import Disk, Event, SyncFailed, Write
from track_protocol.errors import StoreFailed, StoreFull, StoreReadOnly
from track_server.storage.durable_files import rewrite, store_error


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
def test_a_disk_that_fails_is_told(path: Path, call: str) -> None:
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
