"""What is sent, and sent again, to a store in memory whose links break on demand."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from memory_link import MemoryLink, MemoryStore
from track.outbox import Outbox
from track.outbox import sender as sender_module
from track_protocol.errors import (
    AuthenticationError,
    BadArguments,
    CallTimeout,
    ItemNotFound,
    PermissionDenied,
    ServerUnreachable,
    SessionFenced,
    StoreError,
    StoreFailed,
    StoreFull,
    UnknownMethod,
)
from track_protocol.wire.link import Opened
from waiting import wait_until

TRIAL = b"t" * 16


# -- exactly once --------------------------------------------------------------------------------


def test_what_was_on_a_broken_link_is_sent_again(store: MemoryStore, outbox: Outbox) -> None:
    store.break_after = 1
    write = outbox.writer(TRIAL)
    for step in range(30_000):
        write(step, {"loss": float(step)})
    outbox.flush()
    assert store.opened > 1
    assert store.values() == [float(step) for step in range(30_000)]


def test_what_was_stored_but_never_acknowledged_is_not_doubled(store: MemoryStore, outbox: Outbox) -> None:
    store.drop_acks = True
    outbox.writer(TRIAL)(1, {"loss": 1.0})
    store.wait_until(lambda: len(store.points) == 1)
    store.drop_acks = False
    store.break_links()
    outbox.writer(TRIAL)(2, {"loss": 2.0})
    outbox.flush()
    assert store.values() == [1.0, 2.0]


def test_nothing_is_lost_or_doubled_over_many_breaks(store: MemoryStore, outbox: Outbox) -> None:
    write = outbox.writer(TRIAL)
    for step in range(40):
        store.break_after = step % 3
        write(step, {"loss": float(step)})
        if step % 4 == 0:
            outbox.flush()
    store.break_after = None
    outbox.flush()
    assert store.values() == [float(step) for step in range(40)]
    assert store.numbers() == list(range(1, 41))


def test_points_wait_while_the_store_is_unreachable(store: MemoryStore, outbox: Outbox) -> None:
    store.unreachable = True
    for step in range(20_000):
        outbox.writer(TRIAL)(step, {"loss": float(step)})
    assert not store.points
    store.unreachable = False
    outbox.flush()
    assert len(store.points) == 20_000


def test_what_a_store_that_was_set_back_has_no_more_is_reported_and_the_rest_continues(
    store: MemoryStore, outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    outbox.writer(TRIAL)(1, {"loss": 1.0})
    outbox.flush()
    store.sessions.clear()
    store.break_links()
    outbox.writer(TRIAL)(2, {"loss": 2.0})
    outbox.flush()
    assert store.numbers() == [1, 2]
    assert "of the 1 log calls of this process that it no longer has, 0 are sent again" in caplog.text
    assert "1 are lost permanently" in caplog.text


def test_a_session_in_which_another_process_has_written_is_left_to_it(
    store: MemoryStore, outbox: Outbox
) -> None:
    outbox.writer(TRIAL)(1, {"loss": 1.0})
    outbox.flush()
    for session in store.sessions:
        store.sessions[session] = 7
    store.break_links()
    outbox.writer(TRIAL)(2, {"loss": 2.0})
    outbox.flush()
    assert store.values() == [1.0, 2.0]
    assert len({point.session for point in store.points}) == 2


def test_a_store_that_cannot_write_for_a_while_loses_nothing(store: MemoryStore, outbox: Outbox) -> None:
    store.refuse = StoreError("the disk is full: make room")
    outbox.writer(TRIAL)(1, {"loss": 1.0})
    with pytest.raises(CallTimeout, match="the disk is full"):
        outbox.flush(0.2)
    store.refuse = None
    outbox.flush()
    assert store.values() == [1.0]


def test_a_session_that_another_holder_took_is_taken_back(store: MemoryStore, outbox: Outbox) -> None:
    # Fails when `SessionFenced` is none of the errors that pass.
    store.open_error = SessionFenced("another holder has this session")
    outbox.writer(TRIAL)(1, {"loss": 1.0})
    with pytest.raises(ServerUnreachable, match="another holder"):
        outbox.flush(0.2)
    store.open_error = None
    outbox.flush()
    assert store.values() == [1.0]


def test_a_store_too_full_to_be_opened_again_is_tried_until_there_is_room(
    store: MemoryStore, outbox: Outbox
) -> None:
    # Fails when `Sender._connect` does not try again after a `StoreFull`.
    outbox.writer(TRIAL)(1, {"loss": 1.0})
    outbox.flush()
    store.open_error = StoreFull("no space is left: free some")
    store.break_links()
    outbox.writer(TRIAL)(2, {"loss": 2.0})
    with pytest.raises(CallTimeout, match="no space is left"):
        outbox.flush(0.2)
    store.open_error = None
    outbox.flush()
    assert store.values() == [1.0, 2.0]


def test_a_store_whose_disk_has_failed_before_it_was_reached_is_tried_until_it_is_open(
    store: MemoryStore, outbox: Outbox
) -> None:
    # Fails when `_TRANSIENT` of the connector does not name `StoreFailed`.
    store.open_error = StoreFailed("the disk failed")
    outbox.writer(TRIAL)(1, {"loss": 1.0})
    with pytest.raises(ServerUnreachable, match="the disk failed"):
        outbox.flush(0.2)
    store.open_error = None
    outbox.flush()
    assert store.values() == [1.0]


# -- calls ---------------------------------------------------------------------------------------


def test_a_write_that_a_failing_disk_refused_is_sent_again_and_answered(
    store: MemoryStore, outbox: Outbox
) -> None:
    # Fails when `Delivery._answered` gives up on a `StoreFailed`.
    answers = iter([StoreFailed("the disk failed"), 7])

    def answer(method: str, arguments: object) -> object:
        found = next(answers)
        if isinstance(found, StoreFailed):
            raise found
        return found

    store.answer = answer
    assert outbox.call("new_project", {"project": {}}) == 7


def test_a_call_sees_what_was_logged_before_it(store: MemoryStore, outbox: Outbox) -> None:
    for step in range(1_000):
        outbox.writer(TRIAL)(step, {"loss": 1.0})
    outbox.call("fetch_trials", {"query": {}})
    assert store.reads == [("fetch_trials", {"query": {}}, 1_000)]


def test_a_write_whose_answer_was_lost_is_executed_once(store: MemoryStore, outbox: Outbox) -> None:
    store.answer = lambda method, arguments: len(store.calls)
    store.break_on_call = 2
    outbox.writer(TRIAL)(1, {"loss": 1.0})
    assert outbox.call("new_project", {"project": {}}) == 0
    assert [method for _, _, method, _ in store.calls] == ["new_project"]


def test_a_read_whose_answer_was_lost_is_asked_again(store: MemoryStore, outbox: Outbox) -> None:
    store.answer = lambda method, arguments: "found"
    store.break_on_call = 2
    assert outbox.call("get_project", {"project": {}}) == "found"


def test_nothing_passes_a_write_that_waits_for_its_answer(store: MemoryStore, outbox: Outbox) -> None:
    store.drop_acks = True
    caller = threading.Thread(target=outbox.call, args=("commit", {}))
    caller.start()
    store.wait_until(lambda: len(store.calls) == 1)
    outbox.writer(TRIAL)(1, {"loss": 1.0})
    with pytest.raises(CallTimeout):
        outbox.flush(0.2)
    assert not store.points
    store.drop_acks = False
    store.break_links()
    caller.join()
    outbox.flush()
    assert store.values() == [1.0]


def test_a_cancelled_write_is_not_executed_later(store: MemoryStore, outbox: Outbox) -> None:
    outbox.call("get_project", {"project": {}})
    store.unreachable = True
    store.break_links()
    with pytest.raises(CallTimeout):
        outbox.call("new_project", {"project": {}}, timeout=0.2)
    outbox.writer(TRIAL)(1, {"loss": 1.0})
    store.unreachable = False
    outbox.flush()
    assert not store.calls
    assert store.values() == [1.0]


def test_an_error_of_the_store_is_raised_as_its_class(store: MemoryStore, outbox: Outbox) -> None:
    def fail(method: str, arguments: object) -> None:
        raise ItemNotFound("no such thing")

    store.answer = fail
    with pytest.raises(ItemNotFound, match="no such thing"):
        outbox.call("get_project", {"project": {}})


def test_a_write_that_failed_for_an_unknown_reason_blocks_nothing_behind_it(
    store: MemoryStore, outbox: Outbox
) -> None:
    def fail(method: str, arguments: object) -> None:
        raise StoreError("the store is read only")

    store.answer = fail
    with pytest.raises(StoreError):
        outbox.call("new_project", {"project": {}})
    outbox.writer(TRIAL)(1, {"loss": 1.0})
    outbox.flush()
    assert store.values() == [1.0]


def test_a_call_gives_up_after_its_timeout(store: MemoryStore, outbox: Outbox) -> None:
    outbox.call("get_project", {"project": {}})
    store.drop_acks = True
    with pytest.raises(CallTimeout, match="the store did not answer get_project within"):
        outbox.call("get_project", {"project": {}}, timeout=0.1)


def test_a_reader_may_read_on_after_it_was_refused_to_log(store: MemoryStore, outbox: Outbox) -> None:
    store.role, store.answer = "reader", lambda method, arguments: "found"
    store.unreachable = True
    outbox.log("add_trial_tags", {"trial": TRIAL, "tags": {}})
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(outbox.call, "get_project", {"project": {"uid": "p"}}, 10.0)
        wait_until(lambda: outbox._sender.delivery.waiters, "the read stands behind the log call")
        store.unreachable = False
        assert answer.result() == "found"


def test_a_store_that_was_never_reached_is_named_by_its_address(store: MemoryStore) -> None:
    store.unreachable = True
    outbox = Outbox(store.link, "store 7", connect_timeout=0.1)
    outbox.writer(TRIAL)(1, {"loss": 1.0})
    wait_until(lambda: outbox.problem, "the first attempt has failed")
    with pytest.raises(ServerUnreachable, match="unreachable"):
        outbox.call("get_project", {"project": {}})
    outbox.on_exit(0.1)


def test_a_call_that_is_none_is_refused_before_it_is_sent(store: MemoryStore, outbox: Outbox) -> None:
    with pytest.raises(UnknownMethod):
        outbox.call("__init__", {})
    with pytest.raises(BadArguments):
        outbox.call("get_project", {"project": 7})
    assert store.opened == 0


# -- final errors --------------------------------------------------------------------------------


def test_a_refused_login_is_raised_by_calls_and_flushes_but_not_by_logging(
    store: MemoryStore, outbox: Outbox
) -> None:
    store.open_error = AuthenticationError("wrong password")
    outbox.writer(TRIAL)(1, {"loss": 1.0, "accuracy": 0.5})
    with pytest.raises(AuthenticationError, match="wrong password"):
        outbox.flush()
    with pytest.raises(AuthenticationError, match="wrong password"):
        outbox.call("get_project", {"project": {}})
    assert outbox.dropped == 2


def test_a_reader_reads_but_cannot_log(store: MemoryStore, outbox: Outbox) -> None:
    store.role = "reader"
    store.answer = lambda method, arguments: []
    assert outbox.call("fetch_trials", {"query": {}}) == []
    outbox.writer(TRIAL)(1, {"loss": 1.0})
    for _ in range(2):
        with pytest.raises(PermissionDenied, match="reader"):
            outbox.flush()
    with pytest.raises(PermissionDenied, match="reader"):
        outbox.call("new_project", {"project": {}})
    assert outbox.call("fetch_trials", {"query": {}}) == []
    assert (store.points, outbox.dropped) == ([], 1)


def test_a_store_that_lets_in_and_takes_nothing_is_reported_once(
    store: MemoryStore, outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    # Fails when `Sender._take` takes an open link for a recovery.
    write = outbox.writer(TRIAL)
    write(1, {"loss": 1.0})
    outbox.flush()
    store.refuse = StoreFull("no space is left for the store: free some")
    write(2, {"loss": 2.0})
    store.wait_until(lambda: store.opened > 4)
    assert caplog.text.count("accepts no data; log calls are queued on this machine: no space is left") == 1
    store.refuse = None
    outbox.flush()
    assert store.values() == [1.0, 2.0]
    store.break_links()
    wait_until(lambda: "the connection to the store was lost" in caplog.text, "the next outage is reported")


def test_the_end_of_the_process_does_not_wait_for_an_address_that_does_not_answer(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Fails when `Outbox.on_exit` gives each attempt its own time, though there is none left.
    monkeypatch.setattr(sender_module, "CLOSE_TIMEOUT_S", 3600.0)
    answers = threading.Event()

    class SilentLink(MemoryLink):
        def open(self, session: bytes, timeout: float, ended: float | None = None) -> Opened:
            answers.wait()
            raise ServerUnreachable("no answer")

    outbox = Outbox(lambda: SilentLink(store), "the store", connect_timeout=0.1)
    try:
        outbox.writer(TRIAL)(1, {"loss": 1.0})
        outbox.on_exit(0.0)
        assert not outbox._thread.is_alive
    finally:
        answers.set()


def test_a_link_that_breaks_when_it_is_closed_stops_nothing(
    store: MemoryStore, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(link: MemoryLink) -> None:
        raise BufferError("exported")

    outbox.call("get_project", {"project": {}})
    sender = outbox._thread._thread
    monkeypatch.setattr(MemoryLink, "close", explode)
    store.break_links()
    outbox.writer(TRIAL)(1, {"loss": 1.0})
    outbox.flush()
    assert store.values() == [1.0]
    assert outbox._thread._thread is sender


def test_what_the_store_rejects_is_counted_and_reported(
    store: MemoryStore, outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    store.reject = lambda point: "too negative" if point.value < 0 else None
    for value in (1.0, -1.0, 2.0):
        outbox.writer(TRIAL)(1, {"loss": value})
    outbox.flush()
    assert (store.values(), outbox.rejected) == ([1.0, 2.0], 1)
    assert "not stored: too negative" in caplog.text
