"""The journal: frames whole or not there, damage found, tails cut."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from faulty_disk import Fault, FaultyDisk
from track_protocol.errors import StoreCorrupt, StoreError, StoreFailed, StoreFull, StoreTooNew
from track_server.storage.journal import Header, Journal

HEADER = Header("5d41402abc4b2a76b9719d911017c592", 7)
PAYLOADS = [b"first", b"", b"third" * 100]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.json.journal"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    """A journal with three frames, numbered 8 to 10."""
    journal = Journal(path)
    journal.restart(HEADER)
    end = Journal.start
    for number, payload in enumerate(PAYLOADS, HEADER.base + 1):
        end = journal.append(end, number, payload)
    yield journal
    journal.close()


def read(journal: Journal) -> list[tuple[int, bytes]]:
    return [(frame.number, frame.payload) for frame in journal.frames(Journal.start)]


WHOLE = list(enumerate(PAYLOADS, 8))


def test_frames_read_back_in_order(journal: Journal) -> None:
    assert read(journal) == WHOLE


def test_a_frame_tells_where_the_next_one_starts(journal: Journal) -> None:
    first, *_ = journal.frames(Journal.start)
    assert [frame.number for frame in journal.frames(first.end)] == [9, 10]


def test_the_header_reads_back(journal: Journal) -> None:
    assert journal.header() == HEADER


def test_a_new_journal_has_no_header(path: Path) -> None:
    journal = Journal(path)
    assert journal.header() is None
    journal.close()


@pytest.mark.parametrize("length", [1, 8, 51])
def test_a_header_that_was_torn_while_it_was_made_counts_as_none(
    journal: Journal, path: Path, length: int
) -> None:
    os.truncate(path, length)
    assert journal.header() is None


def test_restarting_empties_the_journal(journal: Journal) -> None:
    journal.restart(Header(HEADER.generation, 10))
    assert read(journal) == []
    assert journal.header() == Header(HEADER.generation, 10)


def test_a_torn_tail_of_any_length_is_cut_off(journal: Journal, path: Path) -> None:
    whole = path.read_bytes()
    ends = [frame.end for frame in journal.frames(Journal.start)]
    for length in range(ends[1] + 1, ends[2]):
        path.write_bytes(whole[:length])
        assert read(journal) == WHOLE[:2]
        assert path.stat().st_size == ends[1]


@pytest.mark.parametrize("tail", [b"\0" * 4096, b"\xf5TxN" * 20, b"garbage"])
def test_bytes_that_are_no_frame_at_the_end_are_cut_off(journal: Journal, path: Path, tail: bytes) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole + tail)
    assert read(journal) == WHOLE
    assert path.read_bytes() == whole


def test_any_flipped_bit_before_the_last_frame_is_found_and_named(journal: Journal, path: Path) -> None:
    whole = path.read_bytes()
    ends = [Journal.start, *(frame.end for frame in journal.frames(Journal.start))]
    for offset in range(Journal.start, ends[2]):
        damaged = bytearray(whole)
        damaged[offset] ^= 1 << offset % 8
        path.write_bytes(damaged)
        start = max(end for end in ends if end <= offset)
        with pytest.raises(StoreCorrupt, match=rf"{path.name} is damaged at offset {start}: restore"):
            read(journal)
        assert path.read_bytes() == damaged


def test_any_flipped_bit_in_the_header_is_found(journal: Journal, path: Path) -> None:
    whole = path.read_bytes()
    for offset in range(Journal.start):
        damaged = bytearray(whole)
        damaged[offset] ^= 0x80
        path.write_bytes(damaged)
        with pytest.raises((StoreCorrupt, StoreTooNew)):
            journal.header()


def test_a_journal_of_a_newer_layout_is_refused(journal: Journal, path: Path) -> None:
    whole = bytearray(path.read_bytes())
    whole[7] += 1
    path.write_bytes(whole)
    with pytest.raises(StoreTooNew, match="newer software: update"):
        journal.header()


def test_an_append_that_fails_leaves_the_journal_as_it_was(journal: Journal, path: Path) -> None:
    whole = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 100, limits[1]))
    try:
        with pytest.raises(StoreError, match=r"runs\.json\.journal cannot be written: File too large"):
            journal.append(len(whole), 11, bytes(1000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "fault", [Fault("sync", 1), Fault("sync", 1, number=errno.ENOSPC), Fault("write", 1)]
)
def test_after_a_disk_has_failed_a_journal_is_not_touched_again(
    journal: Journal, path: Path, fault: Fault
) -> None:
    end = path.stat().st_size
    disk = FaultyDisk(lambda event: None)
    with disk.installed():
        disk.arm(fault)
        with pytest.raises(StoreFailed, match=r"the disk failed at .*runs\.json\.journal"):
            journal.append(end, 11, b"lost")
        disk.arm()
        left = path.read_bytes()
        with pytest.raises(StoreFailed, match="open the store again"):
            journal.append(end, 11, b"later")
        with pytest.raises(StoreFailed, match="open the store again"):
            journal.restart(HEADER)
    assert path.read_bytes() == left
    assert not disk.calls


def test_a_frame_that_cannot_be_cut_off_makes_the_journal_unusable(journal: Journal, path: Path) -> None:
    disk = FaultyDisk(lambda event: None)
    with disk.installed():
        disk.arm(Fault("write", 1, times=2, number=errno.ENOSPC, half=True), Fault("truncate", 1))
        with pytest.raises(StoreFailed):
            journal.append(path.stat().st_size, 11, b"x" * 100)


def test_a_short_write_on_a_full_disk_leaves_the_journal_as_it_was(journal: Journal, path: Path) -> None:
    whole = path.read_bytes()
    disk = FaultyDisk(lambda event: None)
    with disk.installed():
        disk.arm(Fault("write", 1, times=2, number=errno.ENOSPC, half=True))
        with pytest.raises(StoreFull):
            journal.append(len(whole), 11, b"x" * 100)
        assert path.read_bytes() == whole
        disk.arm()
        journal.append(len(whole), 11, b"x" * 100)
    assert read(journal) == [*WHOLE, (11, b"x" * 100)]


def test_frames_left_behind_a_new_header_are_still_frames(journal: Journal, path: Path) -> None:
    frames = path.read_bytes()[Journal.start :]
    journal.restart(Header(HEADER.generation, 10))
    with path.open("ab") as file:
        file.write(frames)
    assert read(journal) == WHOLE


def test_a_journal_that_was_replaced_is_not_written_to(journal: Journal, path: Path) -> None:
    journal.check_in_place()
    path.rename(path.with_name("moved"))
    path.touch()
    with pytest.raises(StoreError, match="was moved or deleted"):
        journal.check_in_place()


def test_the_lock_of_a_killed_holder_is_free(path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from track_server.storage.journal import Journal\n"
        f"journal = Journal(Path({str(path)!r})); journal.lock(); print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        holder.kill()
        holder.wait()
        journal = Journal(path)
        with journal.locked():
            assert journal.size == 0
        journal.close()


def test_closing_again_does_no_harm(journal: Journal) -> None:
    journal.close()
    journal.close()
    assert journal.closed
