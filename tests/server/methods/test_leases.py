"""Which sessions have leases, and what a lost trial becomes when somebody says something about it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from queue import SimpleQueue
from time import time as now
from typing import Any

import pytest

from engine_calls import Caller, points
from track_protocol.wire.batch import CallOp
from track_server.engine.engine import Engine
from track_server.methods import leases
from track_server.storage.ephemeral import EphemeralStore
from track_server.storage.unit_of_work import UnitOfWork

RUNNING = {"value": 101, "name": "Running"}
LOST = {"value": 204, "name": "lost"}
BROKEN = {"value": 203, "name": "Broken"}
COMPLETED = {"value": 302, "name": "Completed"}
NOON = 43_200.0


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine(EphemeralStore())
    yield engine
    engine.close()


@pytest.fixture
def ann(engine: Engine) -> Caller:
    """The session that runs the trial."""
    return Caller(engine)


@pytest.fixture
def bob(engine: Engine) -> Caller:
    """Another session."""
    return Caller(engine)


@pytest.fixture
def trial(ann: Caller) -> bytes:
    id: bytes = ann.new_trial()["id"]
    return id


def start(session: Caller, trial: bytes, rank: int | None = None, time: float = 1.0) -> None:
    session.log(CallOp(0, "log_trial_start", {"trial": trial, "time": time, "rank": rank}))


def finish(
    session: Caller, trial: bytes, error: str | None = None, rank: int | None = None, time: float = 2.0
) -> None:
    arguments = {"trial": trial, "time": time, "status": COMPLETED, "error": error, "rank": rank}
    session.log(CallOp(0, "log_trial_finish", arguments))


def leave(session: Caller, trial: bytes, error: str | None = None) -> None:
    """The end of a process that shares the trial."""
    arguments = {"trial": trial, "time": 2.0, "status": BROKEN, "error": error, "shared": True}
    session.log(CallOp(0, "log_trial_finish", arguments))


def set_status(session: Caller, trial: bytes, status: dict[str, Any]) -> None:
    session.log(CallOp(0, "set_trial_status", {"trial": trial, "status": status}))


def changed(engine: Engine, change: Any) -> Any:
    """The outcome of a change of the server's own."""
    answers: SimpleQueue[Any] = SimpleQueue()
    engine.submit_change(change, answers.put)
    return answers.get(timeout=30)


def lose(engine: Engine, trial: bytes) -> None:
    changed(engine, partial(leases.lose, id=trial, since=NOON))


def come_back(session: Caller) -> Any:
    return changed(session.engine, partial(leases.revive, sid=session.writer.sid, limit=256))


def holders(engine: Engine, trial: bytes) -> list[bytes]:
    """Sessions with a lease that is not superseded."""
    with engine.store.snapshot() as view:
        return [lease.sid for lease in view.leases(trial) if not lease.superseded]


def seen(session: Caller, trial: bytes) -> tuple[Any, Any]:
    """Status and errors."""
    (found,) = session.read("get_trial", trial={"id": trial})
    return found["status"], found["errors"]


# -- who has one ---------------------------------------------------------------------------------


def test_a_session_has_a_lease_from_start_to_finish(engine: Engine, ann: Caller, trial: bytes) -> None:
    assert holders(engine, trial) == []
    start(ann, trial)
    assert holders(engine, trial) == [ann.writer.sid]
    finish(ann, trial)
    assert holders(engine, trial) == []


@pytest.mark.parametrize("status", [RUNNING, {"value": 150, "name": "warming up"}])
def test_a_claim_takes_a_lease(engine: Engine, bob: Caller, trial: bytes, status: dict[str, Any]) -> None:
    update = {"method": "set_trial_status", "arguments": {"status": status}}
    bob.call("fetch_and_update_trial", query={}, update=update)
    assert holders(engine, trial) == [bob.writer.sid]


def test_a_trial_that_is_made_as_a_running_one_is_its_makers(engine: Engine, bob: Caller) -> None:
    made = bob.new_trial(status=RUNNING)["id"]
    assert holders(engine, made) == [bob.writer.sid]


@pytest.mark.parametrize("status", [BROKEN, {"value": 0, "name": "CreatedGroup"}, {"value": 99, "name": "x"}])
def test_another_status_lets_go(engine: Engine, ann: Caller, trial: bytes, status: dict[str, Any]) -> None:
    start(ann, trial)
    set_status(ann, trial, status)
    assert holders(engine, trial) == []


def test_each_rank_has_a_lease_until_it_ends(engine: Engine, ann: Caller, bob: Caller, trial: bytes) -> None:
    start(ann, trial, rank=0)
    start(bob, trial, rank=1)
    assert set(holders(engine, trial)) == {ann.writer.sid, bob.writer.sid}
    finish(bob, trial, rank=1)
    assert holders(engine, trial) == [ann.writer.sid]
    assert seen(ann, trial)[0] == RUNNING


def test_the_end_of_a_trial_lets_all_go(engine: Engine, ann: Caller, bob: Caller, trial: bytes) -> None:
    start(ann, trial, rank=0)
    start(bob, trial, rank=1)
    finish(ann, trial, rank=0)
    assert holders(engine, trial) == []


def test_the_last_who_leaves_a_shared_trial_ends_it(
    engine: Engine, ann: Caller, bob: Caller, trial: bytes
) -> None:
    start(ann, trial)
    start(bob, trial)
    leave(bob, trial, "the disk melted")
    assert holders(engine, trial) == [ann.writer.sid]
    assert seen(ann, trial) == (RUNNING, ["the disk melted"])
    leave(ann, trial)
    assert holders(engine, trial) == []
    assert seen(ann, trial)[0] == BROKEN


def test_who_leaves_a_shared_trial_that_has_ended_leaves_its_status_alone(
    engine: Engine, ann: Caller, bob: Caller, trial: bytes
) -> None:
    start(ann, trial)
    start(bob, trial)
    finish(ann, trial)
    leave(bob, trial)
    assert seen(ann, trial)[0] == COMPLETED


def test_neither_other_ranks_nor_the_superseded_keep_a_shared_trial_running(
    engine: Engine, ann: Caller, bob: Caller, trial: bytes
) -> None:
    start(ann, trial)
    start(bob, trial, rank=1)
    leave(ann, trial)
    assert seen(ann, trial)[0] == BROKEN
    start(ann, trial)
    lose(engine, trial)
    start(bob, trial)
    leave(bob, trial)
    assert seen(ann, trial)[0] == BROKEN


def test_a_lease_is_taken_with_the_record_or_not_at_all(engine: Engine, ann: Caller, trial: bytes) -> None:
    def fail(tx: UnitOfWork) -> None:
        leases.start(tx, ann.writer.sid, tx.trial(trial) or {}, None)
        raise ArithmeticError("the disk melted")

    changed(engine, fail)
    assert holders(engine, trial) == []


# -- lost, and back ------------------------------------------------------------------------------


def test_a_lost_trial_says_so(engine: Engine, ann: Caller, trial: bytes) -> None:
    start(ann, trial)
    lose(engine, trial)
    note = "lost: no process that runs this trial has been connected since 1970-01-01T12:00:00+00:00"
    assert seen(ann, trial) == (LOST, [note])


def test_who_comes_back_finds_the_trial_running_as_if_nothing_had_been(
    engine: Engine, ann: Caller, trial: bytes
) -> None:
    start(ann, trial)
    lose(engine, trial)
    assert come_back(ann) == [trial]
    assert seen(ann, trial) == (RUNNING, [])
    finish(ann, trial)
    assert seen(ann, trial) == (COMPLETED, [])


def test_only_the_last_loss_is_forgotten(engine: Engine, ann: Caller, bob: Caller, trial: bytes) -> None:
    start(ann, trial)
    lose(engine, trial)
    start(bob, trial)
    lose(engine, trial)
    come_back(bob)
    status, errors = seen(bob, trial)
    assert (status, len(errors)) == (RUNNING, 1)


def test_another_rank_brings_the_trial_back_too(
    engine: Engine, ann: Caller, bob: Caller, trial: bytes
) -> None:
    start(ann, trial, rank=0)
    start(bob, trial, rank=1)
    lose(engine, trial)
    come_back(bob)
    assert seen(ann, trial)[0] == RUNNING


@pytest.mark.parametrize("status", [BROKEN, COMPLETED, RUNNING])
def test_a_trial_that_is_not_lost_stays_what_it_is(
    engine: Engine, ann: Caller, trial: bytes, status: dict[str, Any]
) -> None:
    start(ann, trial)
    set_status(ann, trial, status)
    assert come_back(ann) == []
    ann.log(points(trial, loss=[1.0]))
    assert seen(ann, trial) == (status, [])


def test_another_session_brings_nothing_back(engine: Engine, ann: Caller, bob: Caller, trial: bytes) -> None:
    start(ann, trial)
    lose(engine, trial)
    assert come_back(bob) == []
    bob.log(points(trial, loss=[1.0]))
    assert seen(ann, trial)[0] == LOST


# -- superseded ----------------------------------------------------------------------------------


def claim(session: Caller, trial: bytes) -> None:
    """As an observer does that gives out lost trials again."""
    update = {"method": "set_trial_status", "arguments": {"status": RUNNING}}
    assert session.call("fetch_and_update_trial", query={"status": LOST}, update=update)


@pytest.mark.parametrize("go_on", [start, claim])
def test_late_words_do_not_disturb_who_continues_a_lost_trial(
    engine: Engine, ann: Caller, bob: Caller, trial: bytes, go_on: Any
) -> None:
    start(ann, trial)
    lose(engine, trial)
    go_on(bob, trial)
    assert come_back(ann) == []
    ann.log(points(trial, loss=[1.0]))
    finish(ann, trial, error="too late")
    set_status(ann, trial, BROKEN)
    status, errors = seen(bob, trial)
    assert (status, errors[-1]) == (RUNNING, "too late")
    assert holders(engine, trial) == [bob.writer.sid]
    finish(bob, trial)
    finish(ann, trial)
    assert seen(bob, trial)[0] == COMPLETED


@pytest.mark.parametrize("status", [BROKEN, {"value": 0, "name": "CreatedGroup"}])
def test_late_calls_do_not_undo_the_status_that_a_person_gave_a_lost_trial(
    engine: Engine, ann: Caller, bob: Caller, trial: bytes, status: dict[str, Any]
) -> None:
    start(ann, trial)
    lose(engine, trial)
    set_status(bob, trial, status)
    come_back(ann)
    finish(ann, trial)
    assert seen(bob, trial)[0] == status


def test_who_was_superseded_does_not_bring_back_what_another_session_lost(
    engine: Engine, ann: Caller, bob: Caller, trial: bytes
) -> None:
    start(ann, trial)
    for session in (ann, bob):
        start(session, trial)
        lose(engine, trial)
    assert come_back(ann) == []
    assert come_back(bob) == [trial]


def test_the_ranks_of_a_job_that_continues_may_start_in_any_order(
    engine: Engine, ann: Caller, bob: Caller, trial: bytes
) -> None:
    start(ann, trial, rank=0)
    lose(engine, trial)
    again = Caller(engine)
    start(bob, trial, rank=1)
    start(again, trial, rank=0)
    assert set(holders(engine, trial)) == {bob.writer.sid, again.writer.sid}


def test_who_starts_again_has_a_say_again(engine: Engine, ann: Caller, bob: Caller, trial: bytes) -> None:
    start(ann, trial)
    lose(engine, trial)
    set_status(bob, trial, BROKEN)
    start(ann, trial)
    finish(ann, trial)
    assert seen(bob, trial)[0] == COMPLETED


def test_a_rank_that_joins_leaves_a_lost_trial_to_rank_0(
    engine: Engine, ann: Caller, bob: Caller, trial: bytes
) -> None:
    start(ann, trial, rank=0)
    lose(engine, trial)
    start(bob, trial, rank=1)
    assert seen(ann, trial)[0] == LOST
    come_back(ann)
    finish(ann, trial, rank=0)
    assert seen(ann, trial)[0] == COMPLETED


# -- times ---------------------------------------------------------------------------------------


def times(session: Caller, trial: bytes) -> tuple[Any, Any]:
    """When it started and when it ended."""
    found = session.trial(trial)
    return found["started"], found["ended"]


def test_a_trial_reports_its_first_start_and_its_last_end(ann: Caller, bob: Caller, trial: bytes) -> None:
    assert times(ann, trial) == (None, None)
    start(ann, trial, time=10.0)
    assert times(ann, trial) == (10.0, None)
    finish(ann, trial, time=20.0)
    assert times(ann, trial) == (10.0, 20.0)
    start(bob, trial, time=30.0)
    assert times(ann, trial) == (10.0, None)
    finish(bob, trial, time=40.0)
    assert times(ann, trial) == (10.0, 40.0)


def test_a_status_that_is_given_is_a_start_or_an_end_too(ann: Caller, trial: bytes) -> None:
    before = now()
    set_status(ann, trial, RUNNING)
    started, ended = times(ann, trial)
    assert before <= started <= now()
    assert ended is None
    set_status(ann, trial, BROKEN)
    assert started <= times(ann, trial)[1] <= now()
    set_status(ann, trial, RUNNING)
    assert times(ann, trial) == (started, None)


def test_a_trial_that_is_made_as_a_running_one_has_started(ann: Caller) -> None:
    made = ann.new_trial(status=RUNNING)
    assert made["started"] == made["created"]
    assert made["ended"] is None


def test_a_lost_trial_ended_when_its_process_was_last_seen_and_runs_on_when_it_is_back(
    engine: Engine, ann: Caller, trial: bytes
) -> None:
    start(ann, trial, time=10.0)
    lose(engine, trial)
    assert times(ann, trial) == (10.0, NOON)
    come_back(ann)
    assert times(ann, trial) == (10.0, None)


def test_the_other_ranks_neither_start_nor_end_a_trial(ann: Caller, bob: Caller, trial: bytes) -> None:
    start(bob, trial, rank=1, time=5.0)
    start(ann, trial, rank=0, time=10.0)
    finish(ann, trial, rank=0, time=20.0)
    start(bob, trial, rank=1, time=25.0)
    finish(bob, trial, rank=1, time=30.0)
    assert times(ann, trial) == (10.0, 20.0)


def test_who_was_superseded_does_not_change_when_a_trial_ended(
    engine: Engine, ann: Caller, bob: Caller, trial: bytes
) -> None:
    start(ann, trial)
    lose(engine, trial)
    start(bob, trial)
    finish(bob, trial, time=20.0)
    finish(ann, trial, time=30.0)
    assert times(ann, trial) == (1.0, 20.0)
