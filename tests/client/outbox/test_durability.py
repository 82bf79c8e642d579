"""Relying on this machine's disk: its reports, and the timeouts of waiters."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from memory_link import MemoryStore
from spooling import TRIAL, MakeOutbox, delete, spooled, spooled_values
from track.outbox import Outbox
from track.outbox import delivery as delivery_module
from track.outbox.disk import DiskQueue
from track.outbox.futures import SyncFuture
from track.outbox.records import batch_of
from track.spool.folder import spools_in
from track.spool.options import SpoolSync
from track_protocol.errors import (
    AuthenticationError,
    CallTimeout,
    ServerUnreachable,
)
from track_protocol.wire.batch import Batch
from track_protocol.wire.counts import Counts
from waiting import wait_until


def test_the_end_of_the_process_leaves_what_was_not_sent_and_says_where(
    store: MemoryStore, make_outbox: MakeOutbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store.unreachable = True
    outbox = make_outbox()
    outbox.writer(TRIAL)(None, {"loss": 1.0, "accuracy": 2.0})
    outbox.on_exit(0.1)
    (folder,) = spools_in(tmp_path / "spool")
    assert spooled(tmp_path / "spool").waiting == Counts(2)
    assert "2 points are not at the store yet (" in caplog.text
    assert f"or send now with: track sync {folder}" in caplog.text


@pytest.mark.parametrize(
    ("points", "reported"),
    [
        (2, "2 points and 1 other log call are not at the store yet ("),
        (0, "1 log call is not at the store yet ("),
    ],
)
def test_the_end_of_the_process_reports_other_log_calls_as_such(
    store: MemoryStore, make_outbox: MakeOutbox, caplog: pytest.LogCaptureFixture, points: int, reported: str
) -> None:
    # Fails when `CallOp.counts` is a point, or `LocalDurability.report_unsent` names points only.
    store.unreachable = True
    outbox = make_outbox()
    for value in range(points):
        outbox.writer(TRIAL)(None, {"loss": float(value)})
    outbox.log("add_trial_tags", {"trial": TRIAL, "tags": {}})
    outbox.on_exit(0.1)
    assert reported in caplog.text


def test_a_log_call_that_must_be_on_disk_is_when_it_returns(
    store: MemoryStore, make_outbox: MakeOutbox, tmp_path: Path
) -> None:
    # Fails when `PointWriters._make_writer` returns the bare writer, or `Outbox.log` does not wait.
    store.unreachable = True
    outbox = make_outbox(SpoolSync.ALWAYS)
    write = outbox.writer(TRIAL)
    for value in range(20):
        write(value, {"loss": float(value)})
        assert spooled_values(tmp_path / "spool")[-1] == value
    outbox.log("set_trial_status", {"trial": TRIAL, "status": {"name": "Running", "value": 101}})
    assert spooled(tmp_path / "spool").waiting == Counts(20, 1)


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
    monkeypatch.setattr("track.outbox.durability._SYNC_TIMEOUT_S", 0.05)
    waited: list[float] = []
    wait = SyncFuture.wait

    def counted(future: SyncFuture, seconds: float) -> bool:
        waited.append(seconds)
        return wait(future, seconds)

    monkeypatch.setattr(SyncFuture, "wait", counted)
    for value in range(3):
        outbox.writer(TRIAL)(None, {"loss": float(value)})
    answers.set()
    assert waited == [0.05, 0.0, 0.0]
    assert "the disk has not confirmed the last log calls after 0.05 s; training continues" in caplog.text


def test_saves_do_not_wait_each_time_for_an_unreachable_store_while_all_is_on_disk(
    store: MemoryStore, make_outbox: MakeOutbox
) -> None:
    # Fails when `LocalDurability.shortened` gives such a store a second each time.
    store.unreachable = True
    outbox = make_outbox()
    trials = threading.Thread(target=_save_often, args=(outbox, 40), daemon=True)
    trials.start()
    trials.join(30.0)
    assert not trials.is_alive()


def _save_often(outbox: Outbox, times: int) -> None:
    for value in range(times):
        outbox.writer(TRIAL)(value, {"loss": 1.0})
        outbox.persist()


def test_records_in_a_deleted_folder_do_not_count_as_synced(
    store: MemoryStore, make_outbox: MakeOutbox, tmp_path: Path
) -> None:
    # Fails when `DiskQueue.fully_synced` does not look whether the folder is there.
    store.unreachable = True
    outbox = make_outbox()
    outbox.writer(TRIAL)(1, {"loss": 1.0})
    wait_until(lambda: outbox.fully_synced and list(spools_in(tmp_path / "spool")) != [], "it is on disk")
    delete(tmp_path / "spool")
    synced = outbox.fully_synced
    assert not synced or list(spools_in(tmp_path / "spool")) != []  # it may have been made again by now


def test_what_is_on_disk_is_persistent_though_the_token_was_revoked(
    store: MemoryStore, make_outbox: MakeOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Fails when `Delivery._awaited` refuses to flush before it has written down what came before.
    store.open_error = AuthenticationError("the token was revoked: ask for another one")
    outbox = make_outbox()
    write, put = outbox.writer(TRIAL), DiskQueue.write
    write(1, {"loss": 1.0})
    wait_until(lambda: outbox.problem, "the login was refused")
    secured = threading.Event()

    def written(disk: DiskQueue, session: bytes) -> None:
        # As long as that takes, somebody who was reported already could look.
        if disk._backlog.in_memory_after(disk.written):
            secured.wait(0.1)
        put(disk, session)

    monkeypatch.setattr(DiskQueue, "write", written)
    write(2, {"loss": 2.0})
    outbox.persist()
    secured.set()
    assert outbox.folder is not None
    assert spooled_values(outbox.folder.parent) == [1.0, 2.0]


def test_an_exit_waits_briefly_and_without_an_error_for_what_is_safe_on_disk(
    store: MemoryStore, make_outbox: MakeOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("track.outbox.durability._SYNC_TIMEOUT_S", 0.01)
    outbox = make_outbox()
    write = outbox.writer(TRIAL)
    write(1, {"loss": 1.0})
    outbox.flush()
    store.unreachable = True
    store.break_links()
    write(2, {"loss": 2.0})
    outbox.persist()
    with pytest.raises(CallTimeout, match="unreachable"):
        outbox.flush(0.1)
    outbox.close()
    store.unreachable = False
    wait_until(lambda: store.values() == [1.0, 2.0], "it is sent though the outbox was closed")


@pytest.mark.timeout(60)
def test_the_end_of_the_process_does_not_wait_again_for_a_store_that_was_unreachable_all_the_time(
    store: MemoryStore, make_outbox: MakeOutbox, caplog: pytest.LogCaptureFixture
) -> None:
    # Fails, after its time limit, when `Outbox.on_exit` does not shorten the wait.
    store.unreachable = True
    outbox = make_outbox(connect_timeout=3600.0)
    outbox.writer(TRIAL)(None, {"loss": 1.0})
    connector = outbox._sender.connector
    wait_until(lambda: connector.is_unreachable, "the first attempt has failed")
    assert connector._tried_since is not None
    connector._tried_since -= 3600.0
    outbox.on_exit(3600.0)
    assert "1 point is not at the store yet (" in caplog.text


def test_what_is_just_being_packed_does_not_count_as_retained(
    store: MemoryStore, make_outbox: MakeOutbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_go_on = threading.Semaphore(0), threading.Semaphore(0)
    errors: list[type[Exception]] = []

    def slow_batch_of(first: int, records: list[Any]) -> Batch:
        begun.release()
        may_go_on.acquire()
        return batch_of(first, records)

    def persist() -> None:
        try:
            outbox.persist(0.5)
        except ServerUnreachable as error:
            errors.append(type(error))

    monkeypatch.setattr(delivery_module, "batch_of", slow_batch_of)
    store.unreachable = True
    outbox = make_outbox()
    write = outbox.writer(TRIAL)
    may_go_on.release()
    write(1, {"loss": 1.0})
    begun.acquire()
    wait_until(lambda: outbox.folder and spooled_values(tmp_path / "spool") == [1.0], "the first row on disk")
    # The sender takes this record and the request behind it at once.
    write(2, {"loss": 2.0})
    securing = threading.Thread(target=persist)
    securing.start()
    begun.acquire()
    securing.join()
    assert errors == [ServerUnreachable]
    may_go_on.release()
    store.unreachable = False
    outbox.flush()
    assert store.values() == [1.0, 2.0]
