"""The outbox against a store in memory whose links break on demand."""

from __future__ import annotations

import threading
from functools import partial
from operator import attrgetter

import pytest

from memory_link import MemoryStore
from track.outbox import Outbox
from track.outbox import sender as sender_module
from track.outbox.futures import FlushFuture
from track.outbox.queue import Limits
from track_protocol.errors import (
    CallTimeout,
    ServerUnreachable,
)
from track_protocol.wire.batch import CHRONO

TRIAL = b"t" * 16


def _has_points(store: MemoryStore, count: int) -> bool:
    return len(store.points) == count


# -- the way of a point --------------------------------------------------------------------------


def test_points_arrive_in_order_with_steps_and_times(store: MemoryStore, outbox: Outbox) -> None:
    write = outbox.writer(TRIAL)
    for step in range(20_000):
        write(step, {"loss": step / 2})
    outbox.flush()
    assert [point.step for point in store.points] == list(range(20_000))
    assert store.values() == [step / 2 for step in range(20_000)]
    assert all(a.time <= b.time for a, b in zip(store.points, store.points[1:], strict=False))


def test_records_have_consecutive_numbers_from_one(store: MemoryStore, outbox: Outbox) -> None:
    write, chrono = outbox.writer(TRIAL), outbox.writer(TRIAL, CHRONO)
    for step in range(100):
        write(step, {"loss": 1.0})
        chrono(None, {"batch": 0.1})
    outbox.flush()
    assert sorted(store.numbers()) == list(range(1, 201))


def test_a_point_is_sent_without_anybody_asking(store: MemoryStore, outbox: Outbox) -> None:
    outbox.writer(TRIAL)(1, {"loss": 1.0})
    store.wait_until(lambda: store.values() == [1.0])


def test_a_sender_that_went_to_sleep_wakes_for_a_point(
    store: MemoryStore, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender_module, "AWAKE_S", 0.0)
    write = outbox.writer(TRIAL)
    for step in range(20):
        write(step, {"loss": 1.0})
        store.wait_until(partial(_has_points, store, step + 1))


def test_log_calls_keep_their_place_among_points(store: MemoryStore, outbox: Outbox) -> None:
    outbox.writer(TRIAL)(1, {"loss": 1.0})
    outbox.log("add_trial_tags", {"trial": TRIAL, "tags": {"a": 1}})
    outbox.writer(TRIAL)(2, {"loss": 2.0})
    outbox.flush()
    assert store.numbers() == [1, 3]
    assert [(seq, method) for _, seq, method, _ in store.calls] == [(2, "add_trial_tags")]


def test_threads_share_an_outbox(store: MemoryStore, outbox: Outbox) -> None:
    def log(thread: int) -> None:
        for step in range(5_000):
            outbox.writer(TRIAL)(step, {f"loss{thread}": float(step)})

    threads = [threading.Thread(target=log, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    outbox.flush()
    for number in range(4):
        assert store.values(f"loss{number}") == [float(step) for step in range(5_000)]


# -- bounds --------------------------------------------------------------------------------------


def test_no_more_than_the_window_is_in_flight(store: MemoryStore) -> None:
    outbox = Outbox(store.link, limits=Limits(batches_in_flight=2))
    store.drop_acks = True
    for step in range(60_000):
        outbox.writer(TRIAL)(step, {"loss": 1.0})
    with pytest.raises(CallTimeout):
        outbox.flush(0.5)
    assert store.batches == 2
    store.drop_acks = False
    store.break_links()
    outbox.close()
    assert len(store.points) == 60_000


def test_a_trial_learns_what_it_lost(store: MemoryStore, outbox: Outbox) -> None:
    # Fails when `Delivery._ticked` does nothing.
    write = outbox.writer(TRIAL)
    for step in range(3):
        write(step, {"loss": float(step), "bad": object()})
    outbox.flush()
    # What was lost before the sender looked first may have been reported by then.
    assert {(method, reported["trial"]) for _, _, method, reported in store.calls} == {
        ("log_trial_dropped_points", TRIAL)
    }
    assert sum(reported["points"] for _, _, _, reported in store.calls) == 3
    assert all(reported["reason"].startswith("bad: ") for _, _, _, reported in store.calls)
    assert store.values() == [0.0, 1.0, 2.0]


def test_a_flush_gives_up_after_its_timeout_and_can_be_repeated(store: MemoryStore, outbox: Outbox) -> None:
    outbox.call("get_project", {"project": {}})
    store.unreachable = True
    store.break_links()
    outbox.writer(TRIAL)(1, {"loss": 1.0})
    with pytest.raises(CallTimeout):
        outbox.flush(0.1)
    store.unreachable = False
    outbox.flush()
    assert store.values() == [1.0]


def test_an_outbox_that_was_never_used_opens_nothing(store: MemoryStore, outbox: Outbox) -> None:
    outbox.flush()
    outbox.close()
    assert store.opened == 0


def test_a_closed_outbox_opens_again_when_something_is_logged(store: MemoryStore, outbox: Outbox) -> None:
    outbox.writer(TRIAL)(1, {"loss": 1.0})
    outbox.close()
    assert not store.links
    outbox.writer(TRIAL)(2, {"loss": 2.0})
    outbox.close()
    assert store.values() == [1.0, 2.0]
    assert store.numbers() == [1, 2]


@pytest.mark.parametrize("lock", ["_queue._room", "drops._lock", "_sender.connector._lock", "_thread.lock"])
def test_a_signal_handler_may_log_in_the_middle_of_a_log_call(outbox: Outbox, lock: str) -> None:
    held = attrgetter(lock)(outbox)

    def interrupted() -> None:
        # What a handler finds that runs while its own thread holds the lock.
        with held:
            outbox.writer(TRIAL)(None, {"note": "a text", "odd": object()})

    thread = threading.Thread(target=interrupted, daemon=True)
    thread.start()
    thread.join(5.0)
    assert not thread.is_alive()


def test_only_one_thread_sends_though_a_log_call_interrupts_its_start(
    outbox: Outbox, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[threading.Thread] = []
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        started.append(thread)
        if len(started) == 1:
            outbox.writer(TRIAL)(None, {"loss": 2.0})
            outbox._enqueue(FlushFuture())
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    outbox.writer(TRIAL)(None, {"loss": 1.0})
    outbox.flush(5.0)
    assert [thread.name for thread in started].count("track-sender") == 1
    assert [point.value for point in store.points] == [1.0, 2.0]


def test_a_flush_does_not_wait_for_a_cancelled_call(store: MemoryStore) -> None:
    store.unreachable = True
    outbox = Outbox(store.link, "the store", connect_timeout=0.05)
    with pytest.raises(ServerUnreachable):
        outbox.call("new_project", {"project": {"name": "p"}})
    outbox.flush(5.0)
    outbox.close(5.0)


def test_a_retired_outbox_sends_what_it_has_and_then_lets_go(outbox: Outbox, store: MemoryStore) -> None:
    store.unreachable = True
    outbox.writer(TRIAL)(None, {"loss": 1.0})
    thread = outbox._thread._thread
    assert thread is not None
    outbox.close_when_drained()
    store.unreachable = False
    thread.join(10.0)
    assert not thread.is_alive()
    assert [point.value for point in store.points] == [1.0]
    assert store.links == []
    outbox.writer(TRIAL)(None, {"loss": 2.0})
    outbox.flush(5.0)
    assert [point.value for point in store.points] == [1.0, 2.0]
