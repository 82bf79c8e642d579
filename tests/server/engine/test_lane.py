"""A lane whose store is written by others, too: what met another writer is done again, a few times."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Any

import pytest

from engine_calls import Caller, points, writer_held
from faulty_store import FaultyStore
from track_protocol.errors import StoreConflict, TooBusy
from track_protocol.wire.batch import Batch
from track_protocol.wire.link import Acked
from track_server.engine.engine import Engine
from track_server.storage.contract import Changes


class ContestedStore(FaultyStore):
    """A store in which another writer is in the way of some transactions."""

    def __init__(self) -> None:
        super().__init__()
        self.conflicts = 0
        self.contested = b""
        self.attempts = 0

    def before_flush(self, changes: Changes) -> None:
        self.attempts += 1
        if self.conflicts:
            self.conflicts -= 1
            raise StoreConflict("another writer was there")
        if self.contested in changes.sessions:
            raise StoreConflict("another writer is always there")


@pytest.fixture
def store() -> ContestedStore:
    return ContestedStore()


@pytest.fixture
def engine(store: ContestedStore) -> Iterator[Engine]:
    engine = Engine(store)
    yield engine
    engine.close()


def test_a_transaction_that_met_another_writer_is_done_again(store: ContestedStore, engine: Engine) -> None:
    caller = Caller(engine)
    trial = caller.new_trial()
    store.conflicts = 3
    outcome = caller.log(points(trial["id"], loss=[1.0, 2.0]))
    assert isinstance(outcome, Acked)
    assert outcome.rejected == []
    assert caller.values(trial["id"]) == [1.0, 2.0]


def test_of_many_only_the_one_that_always_meets_another_is_sent_again(
    store: ContestedStore, engine: Engine
) -> None:
    callers = [Caller(engine, f"user{number}") for number in range(5)]
    trials = [caller.new_trial()["id"] for caller in callers]
    store.contested = callers[3].writer.sid
    outcomes: list[queue.SimpleQueue[Any]] = [queue.SimpleQueue() for _ in callers]
    with writer_held(engine):
        for caller, trial, answers in zip(callers, trials, outcomes, strict=True):
            batch = Batch(caller.seq + 1, 1, [points(trial, loss=[0.5])])
            engine.submit_batch(caller.writer, batch, answers.put)
    assert [type(each.get(timeout=30)) for each in outcomes] == [Acked, Acked, Acked, TooBusy, Acked]
    store.contested = b""
    others = [(caller, trial) for caller, trial in zip(callers, trials, strict=True) if trial != trials[3]]
    assert [len(caller.values(trial)) for caller, trial in others] == [1, 1, 1, 1]
    assert isinstance(callers[3].log(points(trials[3], loss=[0.5])), Acked)


def test_who_always_meets_another_writer_hears_of_it_soon(store: ContestedStore, engine: Engine) -> None:
    caller = Caller(engine)
    caller.new_trial()
    store.contested, store.attempts = caller.writer.sid, 0
    with pytest.raises(TooBusy, match="try again"):
        caller.new_trial("other")
    assert store.attempts == 6
