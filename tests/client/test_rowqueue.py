"""The rows that wait: bounds, and what a log call does that finds no room."""

from __future__ import annotations

import threading

import pytest

from memory_link import MemoryStore
from track import rowqueue
from track.limits import Limits
from track.outbox import Outbox

TRIAL = b"t" * 16


def test_a_full_outbox_waits_once_and_then_drops_at_once(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rowqueue, "_WAITS_FOR_ROOM", 0.2)
    store.away = True
    outbox = Outbox(store.link, limits=Limits(rows=1_000, backlog_bytes=0))
    write = outbox.writer(TRIAL)
    finished = threading.Event()

    def train() -> None:
        for step in range(2_000):
            write(step, {"loss": float(step)})
        finished.set()

    threading.Thread(target=train).start()
    assert finished.wait(10.0), "each call waited anew"
    # The row that filled the outbox waited in vain like those behind it.
    assert outbox.dropped == 1_001
    store.away = False
    outbox._sender._limits = Limits()
    outbox.close()
    assert [point.value for point in store.points] == [float(step) for step in range(999)]
    numbers = [seq for _, seq, _, _ in store.calls] + [point.seq for point in store.points]
    assert sorted(numbers) == list(range(1, 1_001))
