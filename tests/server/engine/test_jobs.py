"""A session's batches, calls and holders: numbers, repetitions, what is rejected."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine_calls import Caller, points, writer_held
from faulty_store import FaultyStore
from track_protocol.errors import (
    BadArguments,
    InternalError,
    ItemNotFound,
    PermissionDenied,
    SequenceGap,
    SessionFenced,
    UnknownMethod,
)
from track_protocol.wire.batch import Batch, CallOp
from track_protocol.wire.link import Acked
from track_server.engine.engine import Engine
from track_server.engine.jobs import Attached, Writer
from track_server.storage.contract import Changes
from track_server.storage.ephemeral import EphemeralStore
from track_server.stores import open_store


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine(EphemeralStore("ephemeral:"))
    yield engine
    engine.close()


@pytest.fixture
def caller(engine: Engine) -> Caller:
    return Caller(engine)


def test_a_batch_is_acknowledged_up_to_its_last_record(caller: Caller) -> None:
    trial = caller.new_trial()["id"]
    assert caller.log(points(trial, loss=[0.5, 0.25, 0.125])) == Acked(4)
    assert caller.values(trial) == [0.5, 0.25, 0.125]


def test_a_batch_sent_twice_is_stored_once(caller: Caller) -> None:
    trial = caller.new_trial()["id"]
    batch = Batch(2, 3, [points(trial, loss=[1.0, 2.0, 3.0])])
    assert [caller.batch(batch) for _ in range(3)] == [Acked(4)] * 3
    assert caller.values(trial) == [1.0, 2.0, 3.0]


def test_an_overlap_is_trimmed(caller: Caller) -> None:
    trial = caller.new_trial()["id"]
    caller.batch(Batch(2, 2, [points(trial, loss=[1.0, 2.0])]))
    assert caller.batch(Batch(2, 4, [points(trial, loss=[1.0, 2.0, 3.0, 4.0])])) == Acked(5)
    assert caller.values(trial) == [1.0, 2.0, 3.0, 4.0]


def test_a_gap_is_refused_with_what_was_expected(caller: Caller) -> None:
    trial = caller.new_trial()["id"]
    outcome = caller.batch(Batch(3, 1, [points(trial, loss=[1.0])]))
    assert isinstance(outcome, SequenceGap)
    assert "2 was expected" in str(outcome)


def test_sessions_do_not_share_sequence_numbers(engine: Engine, caller: Caller) -> None:
    trial = caller.new_trial()["id"]
    other = Caller(engine)
    assert other.log(points(trial, loss=[1.0])) == Acked(1)
    assert caller.log(points(trial, loss=[2.0])) == Acked(2)
    assert caller.values(trial) == [1.0, 2.0]


def test_a_session_belongs_to_its_user(engine: Engine, caller: Caller) -> None:
    caller.new_trial()
    thief = Caller(engine, user="bob", sid=caller.writer.sid)
    assert isinstance(thief.batch(Batch(2, 1, [CallOp(0, "log_trial_start", {})])), PermissionDenied)
    with pytest.raises(PermissionDenied):
        engine.last_seq(thief.writer)


def test_the_last_record_of_a_session_is_known(engine: Engine, caller: Caller) -> None:
    assert engine.last_seq(caller.writer) == 0
    caller.new_trial()
    assert engine.last_seq(caller.writer) == 1


def test_a_batch_is_known_again_however_much_came_behind_it(tmp_path: Path) -> None:
    uri = f"sqlite:{tmp_path}/runs.db"
    engine = Engine(open_store(uri, exclusive=True))
    caller = Caller(engine)
    trial = caller.new_trial()["id"]
    first = Batch(2, 2, [points(trial, loss=[1.0, 2.0])])
    caller.batch(first)
    caller.seq = 3
    for value in range(300):
        caller.log(points(trial, later=[float(value)]))
    assert caller.batch(first) == Acked(3)
    engine.close()
    engine = Engine(open_store(uri, exclusive=True))
    again = Caller(engine, sid=caller.writer.sid)
    assert again.attach().last_seq == 303
    assert again.batch(first) == Acked(3)
    assert again.batch(Batch(1, 3, [points(trial, offset=1, loss=[1.0, 2.0])])) == Acked(3)
    assert again.values(trial) == [1.0, 2.0]
    engine.close()


# -- holders of a session ------------------------------------------------------------------------


def test_who_attaches_a_session_learns_its_last_record(engine: Engine, caller: Caller) -> None:
    assert caller.attach() == Attached(Writer(caller.writer.sid, "ann", 1), 0)
    caller.new_trial()
    again = Caller(engine, sid=caller.writer.sid)
    assert again.attach() == Attached(Writer(caller.writer.sid, "ann", 2), 1)


def test_the_older_holder_of_a_session_is_refused(engine: Engine, caller: Caller) -> None:
    caller.attach()
    trial = caller.new_trial()["id"]
    newer = Caller(engine, sid=caller.writer.sid)
    newer.attach()
    outcome = caller.batch(Batch(2, 1, [points(trial, loss=[1.0])]))
    assert isinstance(outcome, SessionFenced)
    assert "taken this session over" in str(outcome)
    with pytest.raises(SessionFenced):
        caller.call("new_project", seq=2, project={"uid": "p"})
    assert newer.log(points(trial, loss=[2.0])) == Acked(2)
    assert newer.values(trial) == [2.0]


def test_a_session_can_be_taken_back(engine: Engine, caller: Caller) -> None:
    caller.attach()
    Caller(engine, sid=caller.writer.sid).attach()
    caller.attach()
    assert caller.new_trial()


def test_what_the_older_holder_had_handed_in_is_stored_before_the_session_is_taken_over(
    engine: Engine, caller: Caller
) -> None:
    caller.attach()
    trial = caller.new_trial()["id"]
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with writer_held(engine):
        engine.submit_batch(caller.writer, Batch(2, 1, [points(trial, loss=[1.0])]), answers.put)
        engine.submit_attach(caller.writer.sid, "ann", answers.put)
        engine.submit_batch(caller.writer, Batch(3, 1, [points(trial, loss=[2.0])]), answers.put)
    stored, attached, refused = (answers.get(timeout=30) for _ in range(3))
    assert (stored, attached.last_seq) == (Acked(2), 2)
    assert isinstance(refused, SessionFenced)
    assert caller.values(trial) == [1.0]


def test_another_user_takes_no_session_over(engine: Engine, caller: Caller) -> None:
    caller.attach()
    with pytest.raises(PermissionDenied, match="another user"):
        Caller(engine, user="bob", sid=caller.writer.sid).attach()
    assert caller.new_trial()


def test_a_takeover_outlives_the_engine(tmp_path: Path) -> None:
    uri = f"sqlite:{tmp_path}/runs.db"
    engine = Engine(open_store(uri, exclusive=True))
    older = Caller(engine)
    older.attach()
    Caller(engine, sid=older.writer.sid).attach()
    engine.close()
    older.engine = Engine(open_store(uri, exclusive=True))
    with pytest.raises(SessionFenced):
        older.new_trial()
    older.engine.close()


@pytest.mark.parametrize("uri", ["sqlite:{}/runs.db", "file:{}/runs.json"])
def test_a_session_is_taken_over_between_engines_of_one_store(uri: str, tmp_path: Path) -> None:
    here, there = (Engine(open_store(uri.format(tmp_path), exclusive=False)) for _ in range(2))
    older = Caller(here)
    older.attach()
    older.new_trial()
    newer = Caller(there, sid=older.writer.sid)
    assert newer.attach().last_seq == 1
    with pytest.raises(SessionFenced):
        older.new_trial()
    assert newer.new_trial()
    here.close()
    there.close()


# -- calls and rejected records ------------------------------------------------------------------


def test_a_repeated_call_gets_the_answer_it_got_before(caller: Caller) -> None:
    first = caller.new_trial()
    again = caller.call("new_trial", seq=1, trial={"id": b"x" * 16, "hash": "other", "revision": 0})
    assert again == first
    assert len(caller.read("fetch_trials", query={})) == 1


def test_a_repeated_call_gets_the_error_it_got_before(caller: Caller) -> None:
    for _ in range(2):
        with pytest.raises(BadArguments, match="must be bytes, 16 bytes long"):
            caller.call("new_trial", seq=1, trial={"id": b"short", "hash": "h", "revision": 0})
    assert caller.call("new_project", seq=2, project={"uid": "p"})["uid"] == "p"


def test_a_record_for_no_trial_is_rejected_and_blocks_nothing(caller: Caller) -> None:
    trial = caller.new_trial()["id"]
    outcome = caller.log(points(b"?" * 16, loss=[1.0]), points(trial, offset=1, loss=[2.0]))
    assert outcome.last_seq == 3
    assert [(r.seq, r.code) for r in outcome.rejected] == [(2, ItemNotFound.code)]
    assert caller.values(trial) == [2.0]


def test_each_record_of_a_rejected_operation_is_rejected(caller: Caller) -> None:
    trial = caller.new_trial()["id"]
    outcome = caller.log(points(b"?" * 16, loss=[1.0, 2.0, 3.0]), points(trial, offset=3, loss=[4.0]))
    assert [rejection.seq for rejection in outcome.rejected] == [2, 3, 4]


def test_a_batch_sent_again_is_rejected_again_as_it_was(caller: Caller) -> None:
    trial = caller.new_trial()["id"]
    lost, stored = points(b"?" * 16, loss=[1.0, 2.0]), points(trial, offset=2, loss=[3.0])
    batch = Batch(2, 3, [lost, stored])
    first = caller.batch(batch)
    assert [rejection.seq for rejection in first.rejected] == [2, 3]
    assert caller.batch(batch) == first
    assert caller.batch(Batch(3, 2, [points(trial, loss=[0.0]), stored])).rejected == first.rejected[1:]
    longer = caller.batch(Batch(2, 4, [lost, stored, points(b"!" * 16, offset=3, loss=[4.0])]))
    assert (longer.last_seq, [rejection.seq for rejection in longer.rejected]) == (5, [2, 3, 5])
    assert [each["points"] for each in caller.read("fetch_rejected")] == [2, 1]


@pytest.mark.parametrize(
    ("method", "arguments", "code"),
    [
        ("no_such_call", {}, UnknownMethod.code),
        ("new_project", {"project": {"uid": "p"}}, UnknownMethod.code),
        ("log_trial_start", {"trial": b"short", "time": 1.0}, BadArguments.code),
        ("log_trial_start", {}, BadArguments.code),
        ("add_trial_tags", {"trial": "nobody_0", "tags": {}}, ItemNotFound.code),
    ],
)
def test_a_log_call_that_can_never_be_stored_is_rejected(
    caller: Caller, method: str, arguments: dict[str, Any], code: str
) -> None:
    outcome = caller.log(CallOp(0, method, arguments))
    assert [r.code for r in outcome.rejected] == [code]


@pytest.mark.parametrize("method", ["no_such_call", "fetch_trials", "log_trial_start", "__class__"])
def test_only_writes_with_an_answer_can_be_called_with_a_number(caller: Caller, method: str) -> None:
    with pytest.raises(UnknownMethod):
        caller.call(method)


def test_a_failed_call_uses_its_number_up(caller: Caller) -> None:
    with pytest.raises(UnknownMethod):
        caller.call("no_such_call")
    assert caller.call("new_project", project={"uid": "p"})["uid"] == "p"


class _Poisoned(FaultyStore):
    """A store with a fault: points of the series "faulty" raise."""

    def before_flush(self, changes: Changes) -> None:
        if any(series.name == "faulty" for series in changes.series):
            raise RuntimeError("a fault of the server")


def test_a_record_that_the_server_fails_on_is_quarantined() -> None:
    engine = Engine(_Poisoned("ephemeral:"))
    caller = Caller(engine)
    trial = caller.new_trial()["id"]
    outcome = caller.log(
        points(trial, loss=[1.0]), points(trial, offset=1, faulty=[1.0]), points(trial, offset=2, loss=[2.0])
    )
    assert [(r.seq, r.code) for r in outcome.rejected] == [(3, InternalError.code)]
    assert caller.values(trial) == [1.0, 2.0]
    (stored,) = caller.read("fetch_rejected", trial=trial)
    assert (stored["code"], stored["names"], stored["runs"]) == (InternalError.code, ["faulty"], [[3, 3]])
    (document,) = caller.read("get_trial", trial={"id": trial})
    assert document["metadata"]["dropped_points"]["points"] == 1
    engine.close()


# -- long batches --------------------------------------------------------------------------------


@pytest.fixture
def one_slice_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """No batch has more time in a transaction than it takes for its first slice."""
    monkeypatch.setattr("track_server.engine.jobs._SLICE_S", -1.0)


def _calls(trial: bytes, count: int, tags: Any = None) -> list[CallOp]:
    return [
        CallOp(number, "add_trial_tags", {"trial": trial, "tags": tags or {"n": number}})
        for number in range(count)
    ]


@pytest.mark.usefixtures("one_slice_at_a_time")
def test_others_do_not_wait_for_the_end_of_a_long_batch(engine: Engine, caller: Caller) -> None:
    trial, other = caller.new_trial()["id"], Caller(engine)
    reported: queue.SimpleQueue[str] = queue.SimpleQueue()
    with writer_held(engine):
        engine.submit_batch(
            caller.writer, Batch(2, 200, [*_calls(trial, 200)]), lambda _: reported.put("long")
        )
        engine.submit_batch(
            caller.writer, Batch(202, 1, [*_calls(trial, 1)]), lambda _: reported.put("behind")
        )
        batch = Batch(1, 1, [points(trial, loss=[1.0])])
        engine.submit_batch(other.writer, batch, lambda _: reported.put("other"))
    assert [reported.get(timeout=30) for _ in range(3)] == ["other", "long", "behind"]
    assert caller.read("get_trial", trial={"id": trial})[0]["tags"] == {"n": 0}
    assert engine.last_seq(caller.writer) == 202


@pytest.mark.usefixtures("one_slice_at_a_time")
def test_a_long_batch_is_acknowledged_once(caller: Caller) -> None:
    trial = caller.new_trial()["id"]
    outcome = caller.log(*_calls(trial, 100, tags=5))
    assert outcome.last_seq == 101
    assert [rejection.seq for rejection in outcome.rejected] == list(range(2, 102))
    (document,) = caller.read("get_trial", trial={"id": trial})
    assert document["metadata"]["dropped_points"]["points"] == 100


@pytest.mark.usefixtures("one_slice_at_a_time")
def test_who_takes_over_in_the_middle_of_a_long_batch_waits_for_its_end(
    engine: Engine, caller: Caller
) -> None:
    trial = caller.new_trial()["id"]
    reported: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with writer_held(engine):
        engine.submit_batch(caller.writer, Batch(2, 200, [*_calls(trial, 200)]), reported.put)
        engine.submit_attach(caller.writer.sid, caller.writer.user, reported.put)
    assert reported.get(timeout=30) == Acked(201)
    assert reported.get(timeout=30).last_seq == 201


@pytest.mark.usefixtures("one_slice_at_a_time")
def test_what_comes_behind_a_long_batch_stays_there_when_a_transaction_fails() -> None:
    engine = Engine(_Poisoned("ephemeral:"))
    caller, other = Caller(engine), Caller(engine)
    trial = caller.new_trial()["id"]
    reported: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with writer_held(engine):
        engine.submit_batch(caller.writer, Batch(2, 50, [*_calls(trial, 50)]), reported.put)
        engine.submit_batch(caller.writer, Batch(52, 1, [points(trial, loss=[1.0])]), reported.put)
        engine.submit_batch(other.writer, Batch(1, 1, [points(trial, faulty=[1.0])]), lambda _: None)
    assert [reported.get(timeout=30) for _ in range(2)] == [Acked(51), Acked(52)]
    engine.close()
