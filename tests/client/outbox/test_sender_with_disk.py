"""What is sent again from the disk: to stores that were set back, by users whose rights come and go."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from memory_link import MemoryStore
from spooling import TRIAL, MakeOutbox, log_during_an_outage
from track.outbox import disk as disk_module
from track.outbox.disk import DiskQueue
from track.spool.folder import SpoolFolder, spools_in
from track.spool.options import SpoolSync
from track.spool.reader import Extent
from track_protocol.errors import (
    AuthenticationError,
    PermissionDenied,
)
from waiting import wait_until


def test_a_store_that_was_set_back_gets_again_what_is_still_retained(
    store: MemoryStore, make_outbox: MakeOutbox, caplog: pytest.LogCaptureFixture
) -> None:
    # Fails when `Sender._attach` does not look for what is still stored on disk.
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
    assert store.values() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert "of the 3 log calls of this process that it no longer has, 3 are sent again" in caplog.text


def test_what_is_retained_and_cannot_be_read_does_not_block_what_comes_behind_it(
    store: MemoryStore, make_outbox: MakeOutbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Fails when `Spool.retained_after` raises for one segment: attaching fails then, each time.
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
    assert store.values() == [0.0, 3.0, 4.0]
    assert "2 are lost permanently" in caplog.text
    assert f"cannot be sent again: {segments[1]} could not be read" in caplog.text


def test_what_cannot_be_read_does_not_exclude_the_rest_from_a_new_session(
    store: MemoryStore, make_outbox: MakeOutbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Fails when `DiskQueue.renumber` raises for what cannot be loaded.
    monkeypatch.setattr(disk_module, "_MAX_MEMORY_BYTES", 0)
    store.unreachable = True
    outbox = make_outbox(SpoolSync.ALWAYS, segment_bytes=1)
    for value in range(3):
        outbox.writer(TRIAL)(value, {"loss": float(value)})
    (folder,) = spools_in(tmp_path / "spool")
    sorted(folder.glob("*.segment"))[1].unlink()
    store.sessions[outbox.session] = 1_000
    store.unreachable = False
    outbox.flush(10.0)
    assert store.values() == [0.0, 2.0]
    assert outbox.dropped == 1


def test_what_is_not_retained_any_more_is_reported_as_a_gap(
    store: MemoryStore, make_outbox: MakeOutbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = make_outbox(segment_bytes=1, retained_bytes=200)
    write = outbox.writer(TRIAL)
    for value in range(6):
        write(value, {"loss": float(value)})
        outbox.flush()
    (folder,) = spools_in(tmp_path / "spool")
    outbox._sender.disk._spool.acknowledge(6)  # type: ignore[union-attr]  # now, and not in a second
    retained = len(list(folder.glob("*.segment")))
    assert 0 < retained < 6
    (session,) = store.sessions
    store.sessions[session] = 0
    store.points.clear()
    store.break_links()
    write(6, {"loss": 6.0})
    outbox.flush()
    assert store.values() == [float(value) for value in range(6 - retained, 7)]
    assert f"{6 - retained} are lost permanently" in caplog.text


def test_a_token_that_is_revoked_while_data_waits_costs_nothing(
    store: MemoryStore,
    make_outbox: MakeOutbox,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Fails when `Delivery._blocked` drops the backlog.
    monkeypatch.setattr("track.outbox.connector._BLOCKED_RETRY_S", 0.01)
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
    assert store.values() == [1.0, 2.0, 3.0]


def test_a_right_that_is_revoked_while_data_waits_costs_nothing(
    store: MemoryStore,
    make_outbox: MakeOutbox,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("track.outbox.connector._BLOCKED_RETRY_S", 0.01)
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
    assert store.values() == [1.0, 2.0]


def test_a_right_that_is_missing_when_a_store_comes_that_was_unreachable_costs_nothing(
    store: MemoryStore, make_outbox: MakeOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Fails when `Sender._attach` does not note that something has outlasted the store's absence.
    monkeypatch.setattr("track.outbox.connector._BLOCKED_RETRY_S", 0.01)
    store.unreachable = True
    outbox = make_outbox()
    outbox.writer(TRIAL)(1, {"loss": 1.0})
    wait_until(lambda: outbox.problem, "the first attempt has failed")
    store.role, store.unreachable = "reader", False
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
    wait_until(lambda: list((tmp_path / "spool").iterdir()) == [], "the folder is removed")
    assert outbox.dropped == 1


def test_a_session_that_was_left_to_others_stays_on_disk_if_it_cannot_be_removed(
    store: MemoryStore,
    make_outbox: MakeOutbox,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Fails when `DiskQueue.start_over` raises: the new numbers would go out under the old session.
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
    assert store.values() == [1.0, 2.0]
    assert len({point.session for point in store.points}) == 2
    assert "is obsolete and cannot be removed" in caplog.text


def test_a_session_that_cannot_go_on_takes_what_is_on_disk_only_along(
    store: MemoryStore, make_outbox: MakeOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Fails when `DiskQueue.renumber` passes over what is on disk only.
    outbox = log_during_an_outage(make_outbox, store, monkeypatch, calls=5)
    store.sessions[outbox.session] = 1_000
    store.unreachable = False
    outbox.flush()
    assert store.values() == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_what_a_store_that_was_set_back_gets_again_takes_no_memory_for_each_log_call(
    store: MemoryStore, make_outbox: MakeOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Fails when `DiskQueue.stored_after` returns single records.
    found: list[int] = []
    stored_after = DiskQueue.stored_after

    def counting(self: DiskQueue, last_seq: int) -> list[Extent]:
        stored = stored_after(self, last_seq)
        found.append(len(stored))
        return stored

    monkeypatch.setattr(DiskQueue, "stored_after", counting)
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
    assert store.values() == [float(value) for value in range(301)]
    assert found == [1]
