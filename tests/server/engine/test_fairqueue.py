from __future__ import annotations

import queue
import threading
from typing import Any

import pytest

from engine_calls import Caller, points, writer_held
from track_protocol.wire.batch import Batch
from track_protocol.wire.link import Acked
from track_server.engine.engine import Engine
from track_server.engine.fairqueue import FairQueue
from track_server.engine.jobs import AttachJob, ChangeJob, Job, Writer
from track_server.storage.ephemeral import EphemeralStore


def job_of(session: str) -> Job:
    return AttachJob(Writer(session.encode(), "ann"), lambda outcome: None)


def own_job() -> Job:
    return ChangeJob(lambda tx: None, lambda outcome: None)


def waiting(*jobs: Job) -> FairQueue:
    queue = FairQueue()
    for job in jobs:
        queue.put(job)
    return queue


def test_a_session_with_much_to_do_leaves_the_others_their_turn() -> None:
    flood, quiet = [job_of("flood") for _ in range(4)], job_of("quiet")
    assert waiting(*flood, quiet).take(3) == [flood[0], quiet, flood[1]]


def test_jobs_of_a_session_keep_their_order() -> None:
    jobs = [job_of("ann") for _ in range(5)]
    queue = waiting(*jobs)
    assert [*queue.take(2), *queue.take(9)] == jobs
    assert not queue


def test_jobs_that_go_on_are_in_front_of_their_session() -> None:
    first, second, third = (job_of("ann") for _ in range(3))
    queue = waiting(first, second, third)
    queue.put_back(queue.take(2))
    assert queue.take(3) == [first, second, third]


def test_the_servers_own_jobs_are_ahead_of_everybody() -> None:
    theirs, ours = job_of("ann"), own_job()
    queue = waiting(theirs, ours)
    assert queue
    assert queue.take(2) == [ours, theirs]


def test_a_quiet_session_does_not_wait_for_all_that_a_flooding_one_has_handed_in() -> None:
    engine = Engine(EphemeralStore("ephemeral:"))
    flood, quiet = Caller(engine), Caller(engine)
    held, go_on, ended = threading.Event(), threading.Event(), threading.Event()
    order: list[str] = []

    def hold(tx: Any) -> None:
        held.set()
        go_on.wait(30)

    engine.submit_change(hold, lambda outcome: None)
    assert held.wait(30)
    for _ in range(1_000):
        engine.submit_attach(flood.writer.sid, "ann", lambda outcome: order.append("flood"))
    engine.submit_attach(quiet.writer.sid, "ann", lambda outcome: order.append("quiet"))
    engine.submit_attach(flood.writer.sid, "ann", lambda outcome: ended.set())
    go_on.set()
    assert ended.wait(30)
    engine.close()
    assert order.index("quiet") < 2


def test_a_transaction_of_very_many_new_series_leaves_the_rest_to_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("track_server.engine.jobs._MAX_PENDING_SERIES", 3)
    store = EphemeralStore("ephemeral:")
    engine = Engine(store)
    callers = [Caller(engine) for _ in range(4)]
    trial = callers[0].new_trial()["id"]
    callers[0].writer = Caller(engine).writer
    begun: list[int] = []
    begin = store.begin

    def counted() -> Any:
        begun.append(1)
        return begin()

    reported: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with writer_held(engine):
        monkeypatch.setattr(store, "begin", counted)
        for number, caller in enumerate(callers):
            rows = points(trial, 0, None, **{f"m{number}.{name}": [1.0] for name in range(4)})
            engine.submit_batch(caller.writer, Batch(1, 1, [rows]), reported.put)
    assert [reported.get(timeout=30) for _ in callers] == [Acked(1)] * 4
    assert len(begun) >= 4
    engine.close()


def test_a_transaction_that_takes_long_leaves_the_rest_to_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("track_server.engine.lane._TRANSACTION_S", -1.0)
    store = EphemeralStore("ephemeral:")
    engine = Engine(store)
    held, go_on = threading.Event(), threading.Event()
    begun: list[int] = []
    begin = store.begin

    def counted() -> Any:
        begun.append(1)
        return begin()

    def hold(tx: Any) -> None:
        held.set()
        go_on.wait(30)

    engine.submit_change(hold, lambda outcome: None)
    assert held.wait(30)
    monkeypatch.setattr(store, "begin", counted)
    reported: list[Any] = []
    for number in range(5):
        engine.submit_attach(bytes([number] * 16), "ann", reported.append)
    go_on.set()
    engine.close()
    assert [outcome.last_seq for outcome in reported] == [0] * 5
    assert len(begun) >= 5
