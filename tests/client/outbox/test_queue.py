"""The records that wait: bounds, and what a log call does that finds no room."""

from __future__ import annotations

import threading
import tracemalloc

import pytest

from memory_link import MemoryStore
from track.outbox import Outbox
from track.outbox import queue as queue_module
from track.outbox.queue import Limits
from track.outbox.writers import PointWriters

TRIAL = b"t" * 16


def test_a_full_outbox_waits_once_and_then_drops_at_once(store: MemoryStore) -> None:
    store.unreachable = True
    outbox = Outbox(store.link, limits=Limits(records=1_000, backlog_bytes=0, room_timeout=0.2))
    write = outbox.writer(TRIAL)
    finished = threading.Event()

    def train() -> None:
        for step in range(2_000):
            write(step, {"loss": float(step)})
        finished.set()

    threading.Thread(target=train).start()
    assert finished.wait(10.0), "each call waited anew"
    # The record that filled the outbox waited in vain like those behind it.
    assert outbox.dropped == 1_001
    store.unreachable = False
    outbox._sender.delivery.limits = Limits()
    outbox.close()
    assert [point.value for point in store.points] == [float(step) for step in range(999)]
    numbers = [seq for _, seq, _, _ in store.calls] + [point.seq for point in store.points]
    assert sorted(numbers) == list(range(1, 1_001))


def test_a_call_that_found_no_room_fails_and_none_before_it_is_dropped(store: MemoryStore) -> None:
    store.unreachable = True
    outbox = Outbox(store.link, limits=Limits(record_bytes=200_000, backlog_bytes=0, room_timeout=0.01))
    part = {"digest": "0" * 64, "size": 300_000, "data": b"x" * 60_000}
    drained = [outbox.log("put_blob", {**part, "offset": 60_000 * number}) for number in range(5)]
    assert drained == [True, True, True, False, False]
    assert outbox.dropped == 2
    store.unreachable = False
    outbox._sender.delivery.limits = Limits()
    outbox.close()
    assert len(store.calls) == 3


def test_what_waits_for_a_sender_that_does_not_keep_up_takes_little_memory() -> None:
    queue = queue_module.RecordQueue(
        Limits(room_timeout=0.01), "a store", wake=lambda: True, progress=lambda: 0
    )
    write = PointWriters(queue, None).writer(TRIAL, "metric", None)
    tracemalloc.start()
    try:
        step = 0
        while not queue.drops.dropped:
            step += 1
            write(step, {"loss": step * 0.1, "accuracy": step * 0.2})
        drained, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Enough for a stall of many seconds of any training, and little beside what PyTorch takes.
    assert step > 30_000
    assert drained < 30e6


def test_a_call_waits_only_once_for_a_slow_sender() -> None:
    woken: list[int] = []
    limits = Limits(ready_bytes=10_000)

    def wake() -> bool:
        woken.append(1)
        return True

    queue = queue_module.RecordQueue(limits, "a store", wake, progress=lambda: 0)
    write = PointWriters(queue, None).writer(TRIAL, "metric", None)
    for step in range(1_000):
        write(step, {"loss": 0.1})
    # At the first row and at the bound; whoever waited at each record behind it would wake the sender there.
    assert len(woken) == 2
    assert queue.drops.dropped == 0


def test_a_loop_that_logs_faster_than_records_are_taken_waits_for_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(queue_module, "_STALL_TIMEOUT_S", 60.0)
    asked, longest = threading.Event(), 0

    def wake() -> bool:
        asked.set()
        return True

    queue = queue_module.RecordQueue(Limits(ready_bytes=10_000), "a store", wake, progress=lambda: 0)
    write = PointWriters(queue, None).writer(TRIAL, "metric", None)

    def train() -> None:
        for step in range(1_000):
            write(step, {"loss": 0.1})

    training = threading.Thread(target=train)
    training.start()
    while training.is_alive():
        asked.wait(0.1)
        asked.clear()
        longest = max(longest, len(queue.records))
        queue.records.clear()
        queue.gate.watermark = 0
        queue.made_room(0)
    assert longest < 100
