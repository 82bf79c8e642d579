"""The copy on disk of what waits, seen from the outbox that keeps it."""

from __future__ import annotations

import errno
import logging
import multiprocessing
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest

from left_spools import records_in
from memory_link import MemoryStore
from track.outbox import Outbox, numbering
from track.outbox import diskcopy as diskcopy_module
from track.outbox.backlog import Entry
from track.outbox.diskcopy import DiskCopy
from track.outbox.limits import Limits
from track.outbox.records import batch_of
from track.outbox.tickets import KeepTicket
from track.spool.folder import SpoolFolder, spools_in
from track.spool.options import SpoolOptions, SpoolSync
from track.spool.recovery import Recovered, batch_in, survey
from track_protocol.amount import Amount
from track_protocol.batch import Batch, CallOp, PointsOp
from track_protocol.columns import unpack
from track_protocol.errors import (
    AuthenticationError,
    CallTimeout,
    PermissionDenied,
    ServerUnreachable,
    SpoolInUse,
)
from waiting import wait_until

TRIAL = b"t" * 16

MakeOutbox = Callable[..., Outbox]


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def make_outbox(store: MemoryStore, tmp_path: Path) -> Iterator[MakeOutbox]:
    """Outboxes with a spool in the test's folder, which end with the test whatever the store does."""
    made: list[Outbox] = []

    def make(
        sync: SpoolSync = SpoolSync.INTERVAL,
        limits: Limits | None = None,
        connect_timeout: float = 10.0,
        **options: Any,
    ) -> Outbox:
        outbox = Outbox(
            store.link,
            "the store",
            connect_timeout=connect_timeout,
            limits=limits,
            spool=SpoolOptions(tmp_path / "spool", sync, **options),
            address="memory:",
        )
        made.append(outbox)
        return outbox

    yield make
    store.away = True
    store.break_links()
    for outbox in made:
        outbox.leave(0.0)


def spooled(root: Path) -> Recovered:
    """What the only spool in `root` holds."""
    (folder,) = spools_in(root)
    return survey(folder, folder.name)


def spooled_values(root: Path) -> list[Any]:
    """The values of all points on disk, in order."""
    (folder,) = spools_in(root)
    found: list[Any] = []
    for _, batch in records_in(folder):
        for op in batch.ops:
            found += unpack(op.values[0]) if isinstance(op, PointsOp) else []
    return found


def delete(root: Path) -> None:
    """Delete a folder at once, so that nothing new is made in it meanwhile."""
    shutil.rmtree(root.rename(root.with_name("deleted")))


def values(store: MemoryStore) -> list[Any]:
    return [point.value for point in store.points]


def test_what_waits_for_a_store_that_is_away_is_on_disk(
    store: MemoryStore, make_outbox: MakeOutbox, tmp_path: Path
) -> None:
    store.away = True
    outbox = make_outbox()
    write = outbox.writer(TRIAL)
    for value in range(3):
        write(None, {"loss": float(value)})
    root = tmp_path / "spool"
    wait_until(lambda: list(spools_in(root)) != [] and spooled_values(root) == [0, 1, 2], "they are on disk")
    store.away = False
    outbox.flush()
    assert values(store) == [0.0, 1.0, 2.0]


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


def test_the_end_of_the_process_leaves_what_was_not_sent_and_says_where(
    store: MemoryStore, make_outbox: MakeOutbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store.away = True
    outbox = make_outbox()
    outbox.writer(TRIAL)(None, {"loss": 1.0, "accuracy": 2.0})
    outbox.leave(0.1)
    (folder,) = spools_in(tmp_path / "spool")
    assert spooled(tmp_path / "spool").waiting == Amount(2)
    assert "2 points are not at the store yet (" in caplog.text
    assert f"or now: track sync {folder}" in caplog.text


@pytest.mark.parametrize(
    ("points", "told"),
    [
        (2, "2 points and 1 other log call are not at the store yet ("),
        (0, "1 log call is not at the store yet ("),
    ],
)
def test_the_end_of_the_process_tells_of_other_log_calls_as_such(
    store: MemoryStore, make_outbox: MakeOutbox, caplog: pytest.LogCaptureFixture, points: int, told: str
) -> None:
    # Fails when `CallOp.amount` is a point, or `Keeping` looks at points only.
    store.away = True
    outbox = make_outbox()
    for value in range(points):
        outbox.writer(TRIAL)(None, {"loss": float(value)})
    outbox.log("add_trial_tags", {"trial": TRIAL, "tags": {}})
    outbox.leave(0.1)
    assert told in caplog.text


def test_a_log_call_that_must_be_on_disk_is_when_it_returns(
    store: MemoryStore, make_outbox: MakeOutbox, tmp_path: Path
) -> None:
    # Fails when `Outbox._make_writer` returns the bare writer, or `Outbox.log` does not wait.
    store.away = True
    outbox = make_outbox(SpoolSync.ALWAYS)
    write = outbox.writer(TRIAL)
    for value in range(20):
        write(value, {"loss": float(value)})
        assert spooled_values(tmp_path / "spool")[-1] == value
    outbox.log("set_trial_status", {"trial": TRIAL, "status": {"name": "Running", "value": 101}})
    assert spooled(tmp_path / "spool").waiting == Amount(20, 1)


def test_a_disk_that_does_not_answer_holds_training_up_once_and_no_longer_than_the_bound(
    make_outbox: MakeOutbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answers = threading.Event()
    flush = os.fsync

    def hanging(descriptor: int) -> None:
        assert answers.wait(60.0)
        flush(descriptor)

    outbox = make_outbox(SpoolSync.ALWAYS)
    monkeypatch.setattr(os, "fsync", hanging)
    monkeypatch.setattr("track.outbox.keeping._IN_TIME", 0.05)
    waited: list[float] = []
    wait = KeepTicket.wait

    def counted(ticket: KeepTicket, seconds: float) -> bool:
        waited.append(seconds)
        return wait(ticket, seconds)

    monkeypatch.setattr(KeepTicket, "wait", counted)
    for value in range(3):
        outbox.writer(TRIAL)(None, {"loss": float(value)})
    answers.set()
    assert waited == [0.05, 0.0, 0.0]
    assert "what was logged is not on disk after 0.05 s, and training goes on" in caplog.text


def test_nobody_waits_each_time_for_a_store_that_is_away_while_all_is_on_disk(
    store: MemoryStore, make_outbox: MakeOutbox
) -> None:
    # Fails when `Keeping.shortened` gives such a store a second each time.
    store.away = True
    outbox = make_outbox()
    trials = threading.Thread(target=_save_often, args=(outbox, 40), daemon=True)
    trials.start()
    trials.join(30.0)
    assert not trials.is_alive()


def _save_often(outbox: Outbox, times: int) -> None:
    for value in range(times):
        outbox.writer(TRIAL)(value, {"loss": 1.0})
        outbox.secure()


def test_a_full_spool_leaves_the_rest_in_memory_and_takes_it_when_there_is_room(
    store: MemoryStore,
    make_outbox: MakeOutbox,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(diskcopy_module, "_TRIES_AGAIN", 0.0)
    store.away = True
    outbox = make_outbox(limit=100_000, segment_bytes=20_000)
    write = outbox.writer(TRIAL)
    for value in range(20_000):
        write(None, {"loss": float(value)})
    wait_until(lambda: "has reached its limit of 100,000 bytes" in caplog.text, "the spool is full")
    store.away = False
    outbox.flush()
    assert values(store) == [float(value) for value in range(20_000)]


def test_a_low_limit_is_no_trouble_while_the_store_confirms(
    store: MemoryStore, make_outbox: MakeOutbox, caplog: pytest.LogCaptureFixture
) -> None:
    # Fails when `DiskCopy.acknowledge` waits for its time though room runs short.
    outbox = make_outbox(limit=20_000)
    write = outbox.writer(TRIAL)
    for value in range(200):
        write(None, {"text": str(value) * 200})
        outbox.flush()
    assert "has reached its limit" not in caplog.text


def test_what_is_confirmed_is_removed_though_nothing_can_be_noted(
    store: MemoryStore, make_outbox: MakeOutbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Fails when `DiskCopy.acknowledge` removes nothing after a note that did not succeed.
    def full(folder: SpoolFolder, progressed: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(SpoolFolder, "note", full)
    outbox = make_outbox(segment_bytes=1, kept_bytes=0)
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
    # Fails when `DiskCopy._failed` does not displace what was not flushed.
    monkeypatch.setattr(diskcopy_module, "_TRIES_AGAIN", 0.0)
    store.away = True
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
    store.away = False
    outbox.flush()
    assert values(store) == [1.0, 2.0, 3.0]


def test_a_disk_that_fails_again_is_told_again(
    store: MemoryStore,
    make_outbox: MakeOutbox,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(diskcopy_module, "_TRIES_AGAIN", 0.0)
    caplog.set_level(logging.INFO, "track")
    store.away = True
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
    told = [record.levelname for record in caplog.records if "logged is kept in" in record.message]
    assert told == ["WARNING", "INFO"] * 2


def test_memory_stays_small_while_much_waits_on_disk(
    store: MemoryStore, make_outbox: MakeOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diskcopy_module, "_IN_MEMORY", 100_000)
    store.away = True
    outbox = make_outbox(SpoolSync.NONE)
    write = outbox.writer(TRIAL)
    for value in range(100_000):
        write(None, {"loss": float(value)})
    backlog = outbox._sender._backlog
    wait_until(lambda: backlog.next_seq > 90_000 and backlog.nbytes < 400_000, "most of it left memory")
    store.away = False
    outbox.flush()
    assert values(store) == [float(value) for value in range(100_000)]


def test_a_folder_that_cannot_be_written_is_told_and_nothing_is_lost(
    store: MemoryStore, make_outbox: MakeOutbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "spool").write_text("a file where the folder should be")
    outbox = make_outbox()
    outbox.writer(TRIAL)(None, {"loss": 1.0})
    outbox.flush()
    assert values(store) == [1.0]
    assert "what is logged is kept in memory only" in caplog.text
    assert "set TRACK_SPOOL to another folder" in caplog.text


@pytest.mark.parametrize("sync", list(SpoolSync))
def test_a_folder_that_is_deleted_while_it_is_in_use_is_made_again(
    store: MemoryStore,
    make_outbox: MakeOutbox,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    sync: SpoolSync,
) -> None:
    # Fails when `DiskCopy.write` does not look whether the folder is there, whose open files nobody finds.
    store.away = True
    outbox = make_outbox(sync)
    write = outbox.writer(TRIAL)
    root = tmp_path / "spool"
    write(1, {"loss": 1.0})
    wait_until(lambda: outbox._keeping.is_whole and list(spools_in(root)) != [], "it is on disk")
    delete(root)
    write(2, {"loss": 2.0})
    wait_until(
        lambda: outbox._keeping.is_whole and spooled_values(root) == [1.0, 2.0], "both are on disk again"
    )
    assert "was deleted or moved" in caplog.text
    store.away = False
    outbox.flush()
    assert values(store) == [1.0, 2.0]
    assert outbox.dropped == 0


def test_nobody_says_that_something_is_kept_in_a_folder_that_was_deleted(
    store: MemoryStore, make_outbox: MakeOutbox, tmp_path: Path
) -> None:
    # Fails when `DiskCopy.is_whole` does not look whether the folder is there.
    store.away = True
    outbox = make_outbox()
    outbox.writer(TRIAL)(1, {"loss": 1.0})
    wait_until(
        lambda: outbox._keeping.is_whole and list(spools_in(tmp_path / "spool")) != [], "it is on disk"
    )
    delete(tmp_path / "spool")
    kept = outbox._keeping.is_whole
    assert not kept or list(spools_in(tmp_path / "spool")) != []  # it may have been made again by now


def test_what_was_only_in_a_deleted_folder_is_told_as_lost_and_the_rest_is_stored(
    store: MemoryStore, make_outbox: MakeOutbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Fails when `Backlog.displace` leaves items that are neither in memory nor on disk.
    monkeypatch.setattr(diskcopy_module, "_IN_MEMORY", 0)
    store.away = True
    outbox = make_outbox(SpoolSync.ALWAYS)
    write = outbox.writer(TRIAL)
    write(1, {"loss": 1.0})
    delete(tmp_path / "spool")
    write(2, {"loss": 2.0})
    store.away = False
    outbox.flush()
    assert values(store) == [2.0]
    assert outbox.dropped == 1
    assert_trial_was_told(store, outbox, "was deleted with what was only there")


def assert_trial_was_told(store: MemoryStore, outbox: Outbox, reason: str) -> None:
    """The trial knows of the one point that it lost; fails when `DiskCopy` drops it without a trial."""
    outbox.flush()
    ((_, _, method, told),) = store.calls
    assert (method, told["trial"], told["points"]) == ("log_trial_losses", TRIAL, 1)
    assert reason in told["reason"]


def test_a_store_that_was_set_back_gets_again_what_is_still_kept(
    store: MemoryStore, make_outbox: MakeOutbox, caplog: pytest.LogCaptureFixture
) -> None:
    # Fails when `Sender._attach` gives `Backlog.attach` nothing that is kept.
    outbox = make_outbox()
    write = outbox.writer(TRIAL)
    for value in range(5):
        write(value, {"loss": float(value)})
        outbox.flush()
    (session,) = store.sessions
    store.sessions[session] = 2
    del store.points[2:]
    store.break_links()
    write(5, {"loss": 5.0})
    outbox.flush()
    assert values(store) == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert "of the 3 log calls of this process that it had and has no more, 3 are sent again" in caplog.text


def test_what_is_kept_and_cannot_be_read_does_not_block_what_comes_behind_it(
    store: MemoryStore, make_outbox: MakeOutbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Fails when `Spool.kept_after` raises for one segment: attaching fails then, each time.
    outbox = make_outbox(segment_bytes=1)
    write = outbox.writer(TRIAL)
    for value in range(4):
        write(value, {"loss": float(value)})
        outbox.flush()
    (folder,) = spools_in(tmp_path / "spool")
    segments = sorted(folder.glob("*.segment"))
    segments[1].unlink()
    segments[2].write_bytes(b"these are no records of anybody's spool")
    (session,) = store.sessions
    store.sessions[session] = 0
    store.points.clear()
    store.break_links()
    write(4, {"loss": 4.0})
    outbox.flush(10.0)
    assert values(store) == [0.0, 3.0, 4.0]
    assert "2 of them are gone for good" in caplog.text
    assert f"cannot be sent again: {segments[1]} could not be read" in caplog.text


def test_what_cannot_be_read_does_not_keep_the_rest_from_a_new_session(
    store: MemoryStore, make_outbox: MakeOutbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Fails when `Sender._begin_again` raises for what cannot be loaded.
    monkeypatch.setattr(diskcopy_module, "_IN_MEMORY", 0)
    store.away = True
    outbox = make_outbox(SpoolSync.ALWAYS, segment_bytes=1)
    for value in range(3):
        outbox.writer(TRIAL)(value, {"loss": float(value)})
    (folder,) = spools_in(tmp_path / "spool")
    sorted(folder.glob("*.segment"))[1].unlink()
    store.sessions[outbox._sender.session] = 1_000
    store.away = False
    outbox.flush(10.0)
    assert values(store) == [0.0, 2.0]
    assert outbox.dropped == 1


def test_what_is_not_kept_any_more_is_told_as_a_gap(
    store: MemoryStore, make_outbox: MakeOutbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = make_outbox(segment_bytes=1, kept_bytes=200)
    write = outbox.writer(TRIAL)
    for value in range(6):
        write(value, {"loss": float(value)})
        outbox.flush()
    (folder,) = spools_in(tmp_path / "spool")
    outbox._sender.disk._spool.acknowledge(6)  # type: ignore[union-attr]  # now, and not in a second
    kept = len(list(folder.glob("*.segment")))
    assert 0 < kept < 6
    (session,) = store.sessions
    store.sessions[session] = 0
    store.points.clear()
    store.break_links()
    write(6, {"loss": 6.0})
    outbox.flush()
    assert values(store) == [float(value) for value in range(6 - kept, 7)]
    assert f"{6 - kept} of them are gone for good" in caplog.text


def test_a_token_that_is_revoked_while_data_waits_costs_nothing(
    store: MemoryStore,
    make_outbox: MakeOutbox,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Fails when `Sender._need_help` gives up what waits.
    monkeypatch.setattr("track.outbox.line._HOLDS", 0.01)
    outbox = make_outbox()
    write = outbox.writer(TRIAL)
    write(1, {"loss": 1.0})
    outbox.flush()
    store.open_error = AuthenticationError("the token was revoked: ask for another one")
    store.break_links()
    write(2, {"loss": 2.0})
    with pytest.raises(AuthenticationError, match="revoked"):
        outbox.flush(5.0)
    assert "'track doctor' explains more" in caplog.text
    write(3, {"loss": 3.0})
    store.open_error = None
    wait_until(lambda: len(store.points) == 3, "all is stored")
    outbox.flush()
    assert values(store) == [1.0, 2.0, 3.0]


def test_what_is_on_disk_is_secure_though_the_token_was_revoked(
    store: MemoryStore, make_outbox: MakeOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Fails when `Sender._accept` refuses to flush before it has written down what came before.
    store.open_error = AuthenticationError("the token was revoked: ask for another one")
    outbox = make_outbox()
    write, put = outbox.writer(TRIAL), DiskCopy.write
    write(1, {"loss": 1.0})
    wait_until(lambda: outbox._sender.line.final is not None, "the login was refused")
    secured = threading.Event()

    def written(disk: DiskCopy, session: bytes) -> None:
        # As long as that takes, somebody who was told already could look.
        if disk._backlog.unplaced():
            secured.wait(0.1)
        put(disk, session)

    monkeypatch.setattr(DiskCopy, "write", written)
    write(2, {"loss": 2.0})
    outbox.secure()
    secured.set()
    assert outbox.folder is not None
    assert spooled_values(outbox.folder.parent) == [1.0, 2.0]


def test_a_right_that_is_taken_away_while_data_waits_costs_nothing(
    store: MemoryStore,
    make_outbox: MakeOutbox,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("track.outbox.line._HOLDS", 0.01)
    outbox = make_outbox()
    write = outbox.writer(TRIAL)
    write(1, {"loss": 1.0})
    outbox.flush()
    store.role = "reader"
    store.break_links()
    write(2, {"loss": 2.0})
    with pytest.raises(PermissionDenied, match="is a reader"):
        outbox.flush(5.0)
    opened = store.opened
    wait_until(lambda: store.opened > opened + 3, "it is tried again")
    assert caplog.text.count("nothing can be sent to the store") == 1
    assert "sending to the store failed" not in caplog.text
    store.role = "writer"
    wait_until(lambda: len(store.points) == 2, "all is stored")
    assert values(store) == [1.0, 2.0]


def test_a_right_that_is_missing_when_a_store_comes_that_was_away_costs_nothing(
    store: MemoryStore, make_outbox: MakeOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Fails when `Sender._attach` does not note that something has outlasted the store's absence.
    monkeypatch.setattr("track.outbox.line._HOLDS", 0.01)
    store.away = True
    outbox = make_outbox()
    outbox.writer(TRIAL)(1, {"loss": 1.0})
    wait_until(lambda: outbox._sender.line.is_away, "the first attempt has failed")
    store.role, store.away = "reader", False
    with pytest.raises(PermissionDenied, match="is a reader"):
        outbox.flush(5.0)
    store.role = "writer"
    wait_until(lambda: len(store.points) == 1, "all is stored")
    assert outbox.dropped == 0


def test_a_reader_who_logs_leaves_nothing_on_disk(
    store: MemoryStore, make_outbox: MakeOutbox, tmp_path: Path
) -> None:
    store.role = "reader"
    outbox = make_outbox()
    outbox.writer(TRIAL)(1, {"loss": 1.0})
    with pytest.raises(PermissionDenied):
        outbox.flush(5.0)
    wait_until(lambda: list((tmp_path / "spool").iterdir()) == [], "the folder is gone")
    assert outbox.dropped == 1


def test_nobody_has_to_wait_long_or_be_troubled_for_what_is_safe_on_disk(
    store: MemoryStore, make_outbox: MakeOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("track.outbox.keeping._IN_TIME", 0.01)
    outbox = make_outbox()
    write = outbox.writer(TRIAL)
    write(1, {"loss": 1.0})
    outbox.flush()
    store.away = True
    store.break_links()
    write(2, {"loss": 2.0})
    outbox.secure()
    with pytest.raises(CallTimeout, match="it is away"):
        outbox.flush(0.1)
    outbox.close()
    store.away = False
    wait_until(lambda: values(store) == [1.0, 2.0], "it is sent though the outbox was closed")


def test_a_session_that_was_left_to_others_stays_on_disk_if_it_cannot_be_removed(
    store: MemoryStore,
    make_outbox: MakeOutbox,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Fails when `DiskCopy.start_over` raises: the new numbers would go out under the old session.
    outbox = make_outbox()
    write = outbox.writer(TRIAL)
    write(1, {"loss": 1.0})
    outbox.flush()
    (session,) = store.sessions
    store.sessions[session] = 7

    def stuck(folder: SpoolFolder) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(SpoolFolder, "remove", stuck)
        store.break_links()
        write(2, {"loss": 2.0})
        outbox.flush()
    assert values(store) == [1.0, 2.0]
    assert len({point.session for point in store.points}) == 2
    assert "is not needed any more and cannot be removed" in caplog.text


@pytest.mark.timeout(60)
def test_the_end_of_the_process_does_not_wait_again_for_a_store_that_was_away_all_the_time(
    store: MemoryStore, make_outbox: MakeOutbox, caplog: pytest.LogCaptureFixture
) -> None:
    # Fails, after its time limit, when `Outbox.leave` does not shorten the wait.
    store.away = True
    outbox = make_outbox(connect_timeout=3600.0)
    outbox.writer(TRIAL)(None, {"loss": 1.0})
    line = outbox._sender.line
    wait_until(lambda: line.is_away, "the first attempt has failed")
    assert line._tried_since is not None
    line._tried_since -= 3600.0
    outbox.leave(3600.0)
    assert "1 point is not at the store yet (" in caplog.text


def test_a_call_that_nobody_can_hear_is_nothing_on_disk(
    store: MemoryStore, make_outbox: MakeOutbox, tmp_path: Path
) -> None:
    store.away = True
    outbox = make_outbox()
    with pytest.raises(Exception, match="away"):
        outbox.call("commit", {}, timeout=0.1)
    outbox.log("set_trial_status", {"trial": TRIAL, "status": {"name": "Running", "value": 101}})
    wait_until(lambda: spooled(tmp_path / "spool").waiting == Amount(calls=1), "it is on disk")
    (folder,) = spools_in(tmp_path / "spool")
    assert [batch.amount for _, batch in records_in(folder)] == [Amount(), Amount(calls=1)]


def _log_in_a_child(outbox: Outbox, root: Path, sessions: Any) -> None:
    outbox.writer(TRIAL)(None, {"loss": 2.0})
    outbox.leave(0.1)
    sessions.put([folder.name for folder in spools_in(root)])


def test_a_forked_child_has_a_spool_of_its_own(
    store: MemoryStore, make_outbox: MakeOutbox, tmp_path: Path
) -> None:
    # Fails when `Outbox.after_fork_in_child` keeps the parent's sender.
    store.away = True
    outbox = make_outbox(SpoolSync.ALWAYS, connect_timeout=0.1)
    outbox.writer(TRIAL)(None, {"loss": 1.0})
    fork = multiprocessing.get_context("fork")
    sessions = fork.SimpleQueue()
    child = fork.Process(target=_log_in_a_child, args=(outbox, tmp_path / "spool", sessions))
    child.start()
    names = sessions.get()
    child.join()
    own = outbox._sender.session.hex()
    (other,) = set(names) - {own}
    left = survey(tmp_path / "spool" / other, other)
    assert [kept.amount for kept in left.kept] == [Amount(1)]
    SpoolFolder.open(tmp_path / "spool" / other).close()
    with pytest.raises(SpoolInUse):
        SpoolFolder.open(tmp_path / "spool" / own)


def test_log_calls_that_are_no_points_are_on_disk_too(
    store: MemoryStore, make_outbox: MakeOutbox, tmp_path: Path
) -> None:
    store.away = True
    outbox = make_outbox(SpoolSync.ALWAYS)
    outbox.log("add_trial_tags", {"trial": TRIAL, "tags": {"a": 1}})
    (folder,) = spools_in(tmp_path / "spool")
    (kept,) = spooled(tmp_path / "spool").kept
    data = (folder / "00000001.segment").read_bytes()[kept.place.start :]
    assert batch_in(data).ops == [CallOp(0, "add_trial_tags", {"trial": TRIAL, "tags": {"a": 1}})]


def test_points_come_back_from_disk_as_they_were(store: MemoryStore, make_outbox: MakeOutbox) -> None:
    store.away = True
    outbox = make_outbox(SpoolSync.ALWAYS)
    write = outbox.writer(TRIAL)
    rows = [(1, 1.5), ("epoch", True), ((1, "a"), None), (2.5, 2**60), (None, float("inf"))]
    for step, value in rows:
        write(step, {"loss": value})
    for entry in outbox._sender._backlog:
        outbox._sender._backlog.unload(entry)
    store.away = False
    outbox.flush()
    assert list(map(attrgetter("step", "value"), store.points)) == rows


def test_what_is_just_being_packed_does_not_count_as_kept(
    store: MemoryStore, make_outbox: MakeOutbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_go_on = threading.Semaphore(0), threading.Semaphore(0)
    errors: list[type[Exception]] = []

    def slow_batch_of(first: int, rows: list[Any]) -> Batch:
        begun.release()
        may_go_on.acquire()
        return batch_of(first, rows)

    def secure() -> None:
        try:
            outbox.secure(0.5)
        except ServerUnreachable as error:
            errors.append(type(error))

    monkeypatch.setattr(numbering, "batch_of", slow_batch_of)
    store.away = True
    outbox = make_outbox()
    write = outbox.writer(TRIAL)
    may_go_on.release()
    write(1, {"loss": 1.0})
    begun.acquire()
    wait_until(lambda: outbox.folder and spooled_values(tmp_path / "spool") == [1.0], "the first row on disk")
    # The sender takes this row and the request behind it at once.
    write(2, {"loss": 2.0})
    securing = threading.Thread(target=secure)
    securing.start()
    begun.acquire()
    securing.join()
    assert errors == [ServerUnreachable]
    may_go_on.release()
    store.away = False
    outbox.flush()
    assert values(store) == [1.0, 2.0]


def log_during_an_outage(
    make_outbox: MakeOutbox, store: MemoryStore, monkeypatch: pytest.MonkeyPatch, calls: int
) -> Outbox:
    """An outbox whose backlog is on disk only."""
    monkeypatch.setattr(diskcopy_module, "_IN_MEMORY", 0)
    store.away = True
    outbox = make_outbox(SpoolSync.ALWAYS)
    write = outbox.writer(TRIAL)
    for value in range(calls):
        write(None, {"loss": float(value)})
    return outbox


def test_a_long_outage_takes_no_memory_for_each_log_call(
    store: MemoryStore, make_outbox: MakeOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Fails when `DiskCopy._is_synced` joins nothing.
    outbox = log_during_an_outage(make_outbox, store, monkeypatch, calls=500)
    assert len(outbox._sender._backlog) <= 2
    assert (outbox.waiting, outbox._sender.unsent) == (500, Amount(500))
    store.away = False
    outbox.flush()
    assert values(store) == [float(value) for value in range(500)]


def test_what_is_damaged_on_disk_during_an_outage_is_counted_and_the_rest_is_sent(
    store: MemoryStore, make_outbox: MakeOutbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    outbox = log_during_an_outage(make_outbox, store, monkeypatch, calls=5)
    (folder,) = spools_in(tmp_path / "spool")
    damaged, _ = records_in(folder)[2]
    with (folder / "00000001.segment").open("r+b") as segment:
        segment.seek(damaged.start + 1)
        segment.write(b"?")
    store.away = False
    outbox.flush()
    assert (values(store), outbox.dropped) == ([0.0, 1.0, 3.0, 4.0], 1)
    assert_trial_was_told(store, outbox, "is damaged; the damaged bytes are in")
    assert len(list((folder / "damaged").iterdir())) == 1


def test_a_session_that_cannot_go_on_takes_what_is_on_disk_only_along(
    store: MemoryStore, make_outbox: MakeOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Fails when `Sender._begin_again` renumbers items that stand for several.
    outbox = log_during_an_outage(make_outbox, store, monkeypatch, calls=5)
    store.sessions[outbox._sender.session] = 1_000
    store.away = False
    outbox.flush()
    assert values(store) == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_what_a_store_that_was_set_back_gets_again_takes_no_memory_for_each_log_call(
    store: MemoryStore, make_outbox: MakeOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Fails when `DiskCopy.kept_after` tells of single records.
    told: list[int] = []
    kept_after = DiskCopy.kept_after

    def counting(self: DiskCopy, last_seq: int) -> list[Entry]:
        kept = kept_after(self, last_seq)
        told.append(len(kept))
        return kept

    monkeypatch.setattr(DiskCopy, "kept_after", counting)
    outbox = make_outbox(SpoolSync.ALWAYS)
    write = outbox.writer(TRIAL)
    for value in range(300):
        write(None, {"loss": float(value)})
    outbox.flush()
    store.sessions.clear()
    store.points.clear()
    store.break_links()
    write(None, {"loss": 300.0})
    outbox.flush()
    assert values(store) == [float(value) for value in range(301)]
    assert told == [1]
