"""The queue on disk, seen from its outbox."""

from __future__ import annotations

import errno
import logging
import multiprocessing
import os
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest

from memory_link import MemoryStore
from orphaned_spools import records_in
from spooling import TRIAL, MakeOutbox, delete, log_during_an_outage, spooled, spooled_values
from track.outbox import Outbox
from track.outbox import disk as disk_module
from track.spool.folder import SpoolFolder, spools_in
from track.spool.options import SpoolSync
from track.spool.reader import batch_in, survey
from track_protocol.errors import (
    SpoolInUse,
)
from track_protocol.wire.batch import CallOp
from track_protocol.wire.counts import Counts
from waiting import wait_until


def assert_trial_has_report(store: MemoryStore, outbox: Outbox, reason: str) -> None:
    """The trial knows of the one point that it lost; fails when `DiskQueue` drops it without a trial."""
    outbox.flush()
    ((_, _, method, reported),) = store.calls
    assert (method, reported["trial"], reported["points"]) == ("log_trial_dropped_points", TRIAL, 1)
    assert reason in reported["reason"]


def test_what_waits_for_a_store_that_is_unreachable_is_on_disk(
    store: MemoryStore, make_outbox: MakeOutbox, tmp_path: Path
) -> None:
    store.unreachable = True
    outbox = make_outbox()
    write = outbox.writer(TRIAL)
    for value in range(3):
        write(None, {"loss": float(value)})
    root = tmp_path / "spool"
    wait_until(lambda: list(spools_in(root)) != [] and spooled_values(root) == [0, 1, 2], "they are on disk")
    store.unreachable = False
    outbox.flush()
    assert store.values() == [0.0, 1.0, 2.0]


def test_nothing_is_left_on_disk_when_everything_is_stored(
    store: MemoryStore, make_outbox: MakeOutbox, tmp_path: Path
) -> None:
    outbox = make_outbox()
    outbox.writer(TRIAL)(None, {"loss": 1.0})
    outbox.close()
    assert list((tmp_path / "spool").iterdir()) == []


def test_an_outbox_that_only_reads_leaves_no_trace(make_outbox: MakeOutbox, tmp_path: Path) -> None:
    outbox = make_outbox()
    outbox.call("fetch_projects", {"query": {}})
    outbox.close()
    assert not (tmp_path / "spool").exists()


def test_a_full_spool_leaves_the_rest_in_memory_and_takes_it_when_there_is_room(
    store: MemoryStore,
    make_outbox: MakeOutbox,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(disk_module, "_RETRY_INTERVAL_S", 0.0)
    store.unreachable = True
    outbox = make_outbox(limit=100_000, segment_bytes=20_000)
    write = outbox.writer(TRIAL)
    for value in range(20_000):
        write(None, {"loss": float(value)})
    wait_until(lambda: "has reached its limit of 100,000 bytes" in caplog.text, "the spool is full")
    store.unreachable = False
    outbox.flush()
    assert store.values() == [float(value) for value in range(20_000)]


def test_a_low_limit_drops_nothing_while_the_store_confirms(
    store: MemoryStore, make_outbox: MakeOutbox, caplog: pytest.LogCaptureFixture
) -> None:
    # Fails when `DiskQueue.acknowledge` waits for its time though room runs short.
    outbox = make_outbox(limit=20_000)
    write = outbox.writer(TRIAL)
    for value in range(200):
        write(None, {"text": str(value) * 200})
        outbox.flush()
    assert "has reached its limit" not in caplog.text


def test_what_is_confirmed_is_removed_though_nothing_can_be_noted(
    store: MemoryStore, make_outbox: MakeOutbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Fails when `DiskQueue.acknowledge` removes nothing after a note that did not succeed.
    def full(folder: SpoolFolder, checkpoint: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(SpoolFolder, "write_checkpoint", full)
    outbox = make_outbox(segment_bytes=1, retained_bytes=0)
    outbox.writer(TRIAL)(1, {"loss": 1.0})
    outbox.flush()
    outbox._sender.disk._note_at = 0.0  # type: ignore[union-attr]  # now, and not in a second
    outbox.writer(TRIAL)(2, {"loss": 2.0})
    outbox.flush()
    (folder,) = spools_in(tmp_path / "spool")
    assert [path.stem for path in folder.glob("*.segment")] == ["00000002"]


def test_what_a_failed_flush_left_in_doubt_is_written_again_to_another_file(
    store: MemoryStore, make_outbox: MakeOutbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Fails when `DiskQueue._failed` leaves `written` as it was.
    monkeypatch.setattr(disk_module, "_RETRY_INTERVAL_S", 0.0)
    store.unreachable = True
    outbox = make_outbox(SpoolSync.ALWAYS)
    write = outbox.writer(TRIAL)
    write(1, {"loss": 1.0})
    (folder,) = spools_in(tmp_path / "spool")
    flush = os.fsync
    failed: list[str] = []

    def failing(descriptor: int) -> None:
        if not failed:
            failed.append(os.readlink(f"/proc/self/fd/{descriptor}"))
            Path(failed[0]).write_bytes(b"")  # what was in doubt is gone, with all before it
            raise OSError(errno.EIO, "Input/output error")
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    write(2, {"loss": 2.0})
    write(3, {"loss": 3.0})
    assert failed == [str(folder / "00000001.segment")]
    wait_until(lambda: spooled_values(tmp_path / "spool") == [2.0, 3.0], "they are on disk")
    store.unreachable = False
    outbox.flush()
    assert store.values() == [1.0, 2.0, 3.0]


def test_a_disk_that_fails_again_is_reported_again(
    store: MemoryStore,
    make_outbox: MakeOutbox,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(disk_module, "_RETRY_INTERVAL_S", 0.0)
    caplog.set_level(logging.INFO, "track")
    store.unreachable = True
    write = make_outbox(SpoolSync.ALWAYS).writer(TRIAL)
    write(1, {"loss": 1.0})
    flush, failures = os.fsync, 0

    def failing(descriptor: int) -> None:
        nonlocal failures
        if failures:
            failures -= 1
            raise OSError(errno.EIO, "Input/output error")
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    for step in (2, 3):
        failures = 1
        write(step, {"loss": 1.0})
        wait_until(lambda: caplog.messages[-1].endswith(" again"), "the disk works again")
    reported = [record.levelname for record in caplog.records if "log calls are queued in" in record.message]
    assert reported == ["WARNING", "INFO"] * 2


def test_memory_stays_small_while_much_waits_on_disk(
    store: MemoryStore, make_outbox: MakeOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_module, "_MAX_MEMORY_BYTES", 100_000)
    store.unreachable = True
    outbox = make_outbox(SpoolSync.NONE)
    write = outbox.writer(TRIAL)
    for value in range(100_000):
        write(None, {"loss": float(value)})
    backlog = outbox._sender._backlog
    wait_until(lambda: backlog.next_seq > 90_000 and backlog.nbytes < 400_000, "most of it left memory")
    store.unreachable = False
    outbox.flush()
    assert store.values() == [float(value) for value in range(100_000)]


def test_a_folder_that_cannot_be_written_is_reported_and_nothing_is_lost(
    store: MemoryStore, make_outbox: MakeOutbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "spool").write_text("a file where the folder should be")
    outbox = make_outbox()
    outbox.writer(TRIAL)(None, {"loss": 1.0})
    outbox.flush()
    assert store.values() == [1.0]
    assert "log calls are queued in memory only" in caplog.text
    assert "set TRACK_SPOOL to another folder" in caplog.text


@pytest.mark.parametrize("sync", list(SpoolSync))
def test_a_folder_that_is_deleted_while_it_is_in_use_is_made_again(
    store: MemoryStore,
    make_outbox: MakeOutbox,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    sync: SpoolSync,
) -> None:
    # Fails when `DiskQueue.write` does not check that its folder still exists.
    store.unreachable = True
    outbox = make_outbox(sync)
    write = outbox.writer(TRIAL)
    root = tmp_path / "spool"
    write(1, {"loss": 1.0})
    wait_until(lambda: outbox.fully_synced and list(spools_in(root)) != [], "it is on disk")
    delete(root)
    write(2, {"loss": 2.0})
    wait_until(lambda: outbox.fully_synced and spooled_values(root) == [1.0, 2.0], "both are on disk again")
    assert "was deleted or moved" in caplog.text
    store.unreachable = False
    outbox.flush()
    assert store.values() == [1.0, 2.0]
    assert outbox.dropped == 0


def test_what_was_only_in_a_deleted_folder_is_reported_as_lost_and_the_rest_is_stored(
    store: MemoryStore, make_outbox: MakeOutbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Fails when `DiskQueue._renew` does not remove from the backlog what was only on disk.
    monkeypatch.setattr(disk_module, "_MAX_MEMORY_BYTES", 0)
    store.unreachable = True
    outbox = make_outbox(SpoolSync.ALWAYS)
    write = outbox.writer(TRIAL)
    write(1, {"loss": 1.0})
    delete(tmp_path / "spool")
    write(2, {"loss": 2.0})
    store.unreachable = False
    outbox.flush()
    assert store.values() == [2.0]
    assert outbox.dropped == 1
    assert_trial_has_report(store, outbox, "was deleted with records that had no other copy")


def test_a_call_without_a_caller_is_not_on_disk(
    store: MemoryStore, make_outbox: MakeOutbox, tmp_path: Path
) -> None:
    store.unreachable = True
    outbox = make_outbox()
    with pytest.raises(Exception, match="unreachable"):
        outbox.call("commit", {}, timeout=0.1)
    outbox.log("set_trial_status", {"trial": TRIAL, "status": {"name": "Running", "value": 101}})
    wait_until(lambda: spooled(tmp_path / "spool").waiting == Counts(calls=1), "it is on disk")
    (folder,) = spools_in(tmp_path / "spool")
    assert [batch.counts for _, batch in records_in(folder)] == [Counts(), Counts(calls=1)]


def _log_in_a_child(outbox: Outbox, root: Path, sessions: Any) -> None:
    outbox.writer(TRIAL)(None, {"loss": 2.0})
    outbox.on_exit(0.1)
    sessions.put([folder.name for folder in spools_in(root)])


def test_a_forked_child_has_a_spool_of_its_own(
    store: MemoryStore, make_outbox: MakeOutbox, tmp_path: Path
) -> None:
    # Fails when `Outbox.after_fork_in_child` reuses the parent's sender.
    store.unreachable = True
    outbox = make_outbox(SpoolSync.ALWAYS, connect_timeout=0.1)
    outbox.writer(TRIAL)(None, {"loss": 1.0})
    fork = multiprocessing.get_context("fork")
    sessions = fork.SimpleQueue()
    child = fork.Process(target=_log_in_a_child, args=(outbox, tmp_path / "spool", sessions))
    child.start()
    names = sessions.get()
    child.join()
    own = outbox.session.hex()
    (other,) = set(names) - {own}
    left = survey(tmp_path / "spool" / other, other)
    assert [record.counts for record in left.intact] == [Counts(1)]
    SpoolFolder.open(tmp_path / "spool" / other).close()
    with pytest.raises(SpoolInUse):
        SpoolFolder.open(tmp_path / "spool" / own)


def test_log_calls_that_are_no_points_are_on_disk_too(
    store: MemoryStore, make_outbox: MakeOutbox, tmp_path: Path
) -> None:
    store.unreachable = True
    outbox = make_outbox(SpoolSync.ALWAYS)
    outbox.log("add_trial_tags", {"trial": TRIAL, "tags": {"a": 1}})
    (folder,) = spools_in(tmp_path / "spool")
    (record,) = spooled(tmp_path / "spool").intact
    data = (folder / "00000001.segment").read_bytes()[record.location.start :]
    assert batch_in(data).ops == [CallOp(0, "add_trial_tags", {"trial": TRIAL, "tags": {"a": 1}})]


def test_points_come_back_from_disk_as_they_were(store: MemoryStore, make_outbox: MakeOutbox) -> None:
    store.unreachable = True
    outbox = make_outbox(SpoolSync.ALWAYS)
    write = outbox.writer(TRIAL)
    records = [(1, 1.5), ("epoch", True), ((1, "a"), None), (2.5, 2**60), (None, float("inf"))]
    for step, value in records:
        write(step, {"loss": value})
    outbox._sender._backlog.evict(len(records))
    store.unreachable = False
    outbox.flush()
    assert list(map(attrgetter("step", "value"), store.points)) == records


def test_a_long_outage_takes_no_memory_for_each_log_call(
    store: MemoryStore, make_outbox: MakeOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Fails when `Backlog.evict` coalesces nothing.
    outbox = log_during_an_outage(make_outbox, store, monkeypatch, calls=500)
    assert len(outbox._sender._backlog) <= 2
    assert (outbox.waiting, outbox._sender.unsent) == (500, Counts(500))
    store.unreachable = False
    outbox.flush()
    assert store.values() == [float(value) for value in range(500)]


def test_what_is_damaged_on_disk_during_an_outage_is_counted_and_the_rest_is_sent(
    store: MemoryStore, make_outbox: MakeOutbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    outbox = log_during_an_outage(make_outbox, store, monkeypatch, calls=5)
    (folder,) = spools_in(tmp_path / "spool")
    damaged, _ = records_in(folder)[2]
    with (folder / "00000001.segment").open("r+b") as segment:
        segment.seek(damaged.start + 1)
        segment.write(b"?")
    store.unreachable = False
    outbox.flush()
    assert (store.values(), outbox.dropped) == ([0.0, 1.0, 3.0, 4.0], 1)
    assert_trial_has_report(store, outbox, "is damaged; the damaged bytes are in")
    assert len(list((folder / "damaged").iterdir())) == 1


def test_what_was_logged_one_by_one_during_an_outage_is_sent_in_bulk(
    store: MemoryStore, make_outbox: MakeOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Fails when `DiskQueue.read` coalesces nothing.
    outbox = log_during_an_outage(make_outbox, store, monkeypatch, calls=500)
    store.unreachable = False
    outbox.flush()
    assert store.values() == [float(value) for value in range(500)]
    assert store.numbers() == list(range(1, 501))
    assert store.batches <= 5


def test_what_was_joined_is_retained_again_when_its_folder_is_deleted(
    store: MemoryStore, make_outbox: MakeOutbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    outbox = log_during_an_outage(make_outbox, store, monkeypatch, calls=50)
    store.unreachable, store.drop_acks = False, True
    store.wait_until(lambda: len(store.points) == 50)
    store.unreachable = True
    store.break_links()
    delete(tmp_path / "spool")
    outbox.writer(TRIAL)(None, {"loss": 50.0})
    store.unreachable, store.drop_acks = False, False
    outbox.flush()
    assert store.values() == [float(value) for value in range(51)]
