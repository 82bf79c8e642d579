"""A spool that is written on a disk with faults."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orphaned_spools import SESSION, records_in
from track.process import files
from track.spool import writer
from track.spool.folder import SpoolFolder, SpoolMetadata
from track.spool.options import SpoolOptions, SpoolSync
from track.spool.writer import Spool
from track_protocol.errors import SpoolError, SpoolFull
from track_protocol.wire.batch import Batch, batch_to_wire
from track_protocol.wire.codec import encode

ORIGIN = SpoolMetadata(SESSION.hex(), "socket://ann@localhost:8123", "train.py", "here", 1, 1.7e9)


class FaultyDisk:
    """The `os` that a spool sees, whose writes and flushes fail on request.

    Attributes:
        write_error, sync_error: raised instead of writing or flushing; None for none.
        takes: bytes that a write takes at most; then it fails with `write_error`, if there is one.
        syncs: how often something was flushed.
    """

    def __init__(self) -> None:
        self.write_error: int | None = None
        self.sync_error: int | None = None
        self.takes: int | None = None
        self.syncs = 0

    def __getattr__(self, name: str) -> object:
        return getattr(os, name)

    def write(self, file: int, data: memoryview) -> int:
        if self.takes is not None:
            drained, self.takes = min(self.takes, len(data)), None
            return os.write(file, data[:drained])
        if self.write_error is not None:
            raise OSError(self.write_error, os.strerror(self.write_error))
        return os.write(file, data)

    def fsync(self, file: int) -> None:
        self.syncs += 1
        if self.sync_error is not None:
            raise OSError(self.sync_error, os.strerror(self.sync_error))
        os.fsync(file)


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> FaultyDisk:
    shim = FaultyDisk()
    monkeypatch.setattr(writer, "os", shim)
    monkeypatch.setattr(files, "os", shim)
    return shim


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Spool]]:
    made: list[Spool] = []

    def make(sync: SpoolSync = SpoolSync.INTERVAL, **options: Any) -> Spool:
        folder = SpoolFolder.create(tmp_path, ORIGIN)
        made.append(Spool(folder, SpoolOptions(tmp_path, sync, **options)))
        return made[0]

    yield make
    for spool in made:
        spool.close()
        spool.folder.close()


def payload(seq: int, size: int = 0) -> bytes:
    return encode(batch_to_wire(Batch(seq, 1, []))) if not size else bytes([seq]) * size


def write(spool: Spool, *numbers: int, size: int = 0) -> None:
    for seq in numbers:
        spool.append(seq, seq, payload(seq, size))


def on_disk(spool: Spool) -> list[int]:
    return [batch.first for _, batch in records_in(spool.folder.path)]


def segments(spool: Spool) -> list[str]:
    return [path.stem.lstrip("0") for path in spool.folder.segments()]


def test_what_was_appended_is_read_back(make: Callable[..., Spool]) -> None:
    spool = make()
    location = spool.append(1, 1, payload(1))
    assert spool.read_extent(location) == [(1, location, payload(1))]
    assert on_disk(spool) == [1]


def test_a_write_that_takes_a_part_is_finished(make: Callable[..., Spool], faulty: FaultyDisk) -> None:
    spool = make()
    write(spool, 1)
    faulty.takes = 3
    write(spool, 2)
    assert on_disk(spool) == [1, 2]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_reported_as_such_and_passes(
    make: Callable[..., Spool], faulty: FaultyDisk, code: int
) -> None:
    spool = make()
    write(spool, 1)
    faulty.takes, faulty.write_error = 5, code
    with pytest.raises(SpoolFull, match="no room"):
        write(spool, 2)
    faulty.write_error = None
    write(spool, 2, 3)
    assert on_disk(spool) == [1, 2, 3]
    assert segments(spool) == ["1", "2"]


def test_a_disk_that_cannot_be_written_is_reported(make: Callable[..., Spool], faulty: FaultyDisk) -> None:
    spool = make()
    write(spool, 1)
    faulty.write_error = errno.EIO
    with pytest.raises(SpoolError, match="could not be written") as reported:
        write(spool, 2)
    assert not isinstance(reported.value, SpoolFull)


def test_after_a_flush_that_failed_nothing_goes_to_the_same_segment(
    make: Callable[..., Spool], faulty: FaultyDisk
) -> None:
    spool = make()
    write(spool, 1)
    faulty.sync_error = errno.EIO
    with pytest.raises(SpoolError, match="flushed"):
        spool.sync()
    faulty.sync_error = None
    write(spool, 1, 2)
    spool.sync()
    assert segments(spool) == ["1", "2"]
    assert on_disk(spool) == [1, 2]


def test_nothing_new_is_not_flushed_again(make: Callable[..., Spool], faulty: FaultyDisk) -> None:
    spool = make()
    write(spool, 1)
    spool.sync()
    before = faulty.syncs
    spool.sync()
    assert faulty.syncs == before


def test_without_syncing_nothing_is_flushed(make: Callable[..., Spool], faulty: FaultyDisk) -> None:
    spool = make(SpoolSync.NONE, segment_bytes=100)
    before = faulty.syncs
    write(spool, *range(1, 20))
    assert faulty.syncs == before
    assert len(segments(spool)) > 1


def test_a_full_segment_is_flushed_before_the_next_one_begins(
    make: Callable[..., Spool], faulty: FaultyDisk
) -> None:
    spool = make(segment_bytes=100)
    write(spool, 1, size=100)
    before = faulty.syncs
    write(spool, 2, size=100)
    assert faulty.syncs == before + 2  # the old segment, and the folder with the new one's name


def test_the_limit_holds_and_is_reported(make: Callable[..., Spool]) -> None:
    spool = make(limit=1000)
    write(spool, 1, 2, size=400)
    with pytest.raises(SpoolFull, match="TRACK_SPOOL_LIMIT"):
        write(spool, 3, size=400)
    assert spool.nbytes <= 1000


def test_what_is_confirmed_stays_for_a_while_and_goes_by_size(make: Callable[..., Spool]) -> None:
    spool = make(segment_bytes=100, retained_bytes=350)
    write(spool, *range(1, 7), size=100)
    spool.acknowledge(5)
    assert segments(spool) == ["4", "5", "6"]


def test_what_is_confirmed_goes_by_age(make: Callable[..., Spool]) -> None:
    spool = make(segment_bytes=100, retained_seconds=-1.0)
    write(spool, *range(1, 7), size=100)
    spool.acknowledge(4)
    assert segments(spool) == ["5", "6"]


def test_what_is_not_confirmed_never_goes(make: Callable[..., Spool]) -> None:
    spool = make(segment_bytes=100, retained_bytes=0, retained_seconds=-1.0)
    write(spool, *range(1, 7), size=100)
    spool.acknowledge(0)
    assert segments(spool) == ["1", "2", "3", "4", "5", "6"]


def test_what_is_confirmed_makes_room_when_it_gets_narrow(make: Callable[..., Spool]) -> None:
    spool = make(segment_bytes=100, limit=1000)
    write(spool, *range(1, 6), size=120)
    spool.acknowledge(4)
    assert spool.nbytes <= 500
    write(spool, 6, size=400)


def test_a_spool_with_a_low_limit_has_segments_that_can_be_removed(make: Callable[..., Spool]) -> None:
    # Fails when the size of a segment knows nothing of the limit: the one that is written fills all of it.
    spool = make(limit=4_000)
    for seq in range(1, 101):
        write(spool, seq, size=200)
        spool.acknowledge(seq)
    assert spool.nbytes <= 4_000


def test_what_is_confirmed_makes_room_on_a_full_disk(make: Callable[..., Spool], faulty: FaultyDisk) -> None:
    # Fails when `Spool.is_pressed` does not know that the disk is full.
    spool = make(segment_bytes=100)
    write(spool, *range(1, 6), size=120)
    faulty.write_error = errno.ENOSPC
    for _ in range(3):
        with pytest.raises(SpoolFull):
            write(spool, 6)
    assert segments(spool) == ["1", "2", "3", "4", "5"]  # and none of those that were begun in vain
    spool.acknowledge(5)
    assert segments(spool) == []
    faulty.write_error = None
    write(spool, 6)
    assert on_disk(spool) == [6]


def test_what_was_confirmed_and_is_retained_can_be_sent_again(make: Callable[..., Spool]) -> None:
    spool = make(segment_bytes=100)
    write(spool, *range(1, 7), size=100)
    spool.acknowledge(5)
    assert [seq for seq, _, _ in spool.retained_after(3, lambda error: None)] == [4, 5, 6]


def test_a_record_that_was_damaged_meanwhile_is_quarantined(make: Callable[..., Spool]) -> None:
    spool = make()
    location = spool.append(1, 1, payload(1))
    (segment,) = spool.folder.segments()
    data = bytearray(segment.read_bytes())
    data[-1] ^= 1
    segment.write_bytes(data)
    assert spool.read_extent(location) == []
    assert list((spool.folder.path / "damaged").iterdir())
