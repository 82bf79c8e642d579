"""The engine: one writer, shared transactions, answers after the commit."""

from __future__ import annotations

import queue
import threading
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import pytest

from engine_calls import Caller, points, writer_held
from faulty_store import FaultyStore
from track_protocol.errors import (
    BadArguments,
    StoreError,
    StoreFailed,
    StoreFull,
    TooBusy,
    UnknownMethod,
)
from track_protocol.wire.batch import Batch, CallOp, PointsOp
from track_protocol.wire.link import Acked
from track_server.engine.engine import Engine
from track_server.engine.jobs import Attached, Writer
from track_server.storage.contract import SessionState
from track_server.storage.ephemeral import EphemeralStore
from track_server.storage.sqlite.store import open_store as open_sqlite
from track_server.storage.sqlite.write import SqliteTransaction
from waiting import wait_until

SESSIONS = 2_000


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine(EphemeralStore("ephemeral:"))
    yield engine
    engine.close()


@pytest.fixture
def caller(engine: Engine) -> Caller:
    return Caller(engine)


class _Full(FaultyStore):
    """A store whose disk is full while `full` is set."""

    full = False

    def before_commit(self) -> None:
        if self.full:
            raise StoreFull("no space left on the device")


def test_a_full_disk_lets_a_holder_in_that_can_read() -> None:
    store = _Full("ephemeral:")
    engine = Engine(store)
    older = Caller(engine)
    older.attach()
    trial = older.new_trial()["id"]
    store.full = True
    newer = Caller(engine, sid=older.writer.sid)
    assert newer.attach() == Attached(older.writer, 1)
    assert newer.read("get_trial", trial={"id": trial})
    store.full = False
    assert newer.log(points(trial, loss=[1.0])) == Acked(2)
    engine.close()


def test_nothing_is_acknowledged_that_was_not_committed() -> None:
    store = _Full("ephemeral:")
    engine = Engine(store)
    caller = Caller(engine)
    trial = caller.new_trial()["id"]
    store.full = True
    batch = Batch(2, 1, [points(trial, loss=[1.0])])
    assert isinstance(caller.batch(batch), StoreError)
    store.full = False
    assert caller.batch(batch) == Acked(2)
    assert caller.values(trial) == [1.0]
    engine.close()


def test_a_full_disk_is_reported_in_one_line_and_so_is_its_end(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("track_server.engine.recovery._ROOM_AFTER_S", 0.0)
    store = _Full("ephemeral:")
    engine = Engine(store)
    caller = Caller(engine)
    store.full = True
    for _ in range(3):
        assert isinstance(caller.batch(Batch(1, 1, [])), StoreError)
    store.full = False
    for _ in range(2):
        assert caller.batch(Batch(1, 1, [])) == Acked(1)
    engine.close()
    assert [line.partition(";")[0] for line in caplog.messages] == [
        "no space left on the device",
        "ephemeral: has room again and accepts writes",
    ]


class _Unkept(EphemeralStore):
    """A store that finds no room for its background work."""

    tried = 0

    def maintain(self, seconds: float) -> bool:
        self.tried += 1
        raise StoreFull("no space left on the device")

    def was_tried_after(self, before: int) -> bool:
        return self.tried > before


def test_background_work_without_room_is_reported_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("track_server.engine.lane._IDLE_INTERVAL_S", 0.01)
    store = _Unkept("ephemeral:")
    engine = Engine(store)
    for _ in range(3):
        tried = store.tried
        Caller(engine).new_trial()
        wait_until(partial(store.was_tried_after, tried), "the engine looks after its store")
    engine.close()
    assert len(caplog.records) == 1
    assert "Traceback" not in caplog.text


class _Untidy(EphemeralStore):
    """A store with endless background work, and how long it was given for it each time."""

    def __init__(self, uri: str) -> None:
        self.given: list[float] = []
        super().__init__(uri)

    def maintain(self, seconds: float) -> bool:
        self.given.append(seconds)
        return True

    def next_given(self) -> float:
        before = len(self.given)
        wait_until(lambda: len(self.given) > before + 1, "the engine looks after its store")
        return self.given[-1]


def test_background_work_gives_way_to_those_who_read() -> None:
    store = _Untidy("ephemeral:")
    engine = Engine(store)
    alone = store.next_given()
    for readers in (engine, engine.open_readers(1, 30.0)):
        begun, go_on = threading.Event(), threading.Event()

        def hold(_outcome: Any, begun: threading.Event = begun, go_on: threading.Event = go_on) -> None:
            begun.set()
            go_on.wait()

        submit = readers.submit_read if isinstance(readers, Engine) else readers.submit
        submit("fetch_trials", {"query": {}}, hold)
        begun.wait()
        assert store.next_given() < alone
        go_on.set()
        wait_until(lambda: store.next_given() == alone, "background work has its time again")
    engine.close()


class _Failing(FaultyStore):
    """A store whose disk fails while `failing` is set, with a transaction half-way to it."""

    failing = False
    opened = 1
    was_abandoned = False

    def before_commit(self) -> None:
        if self.failing:
            raise StoreFailed("flush: Input/output error")

    def reopen(self) -> None:
        if self.failing:
            raise StoreFailed("open: Input/output error")
        self.opened += 1

    def abandon(self) -> None:
        self.was_abandoned = True


def test_after_the_disk_has_failed_writing_continues_once_the_store_is_open_again() -> None:
    store = _Failing("ephemeral:")
    engine = Engine(store)
    caller = Caller(engine)
    trial = caller.new_trial()["id"]
    store.failing = True
    batch = Batch(2, 1, [points(trial, loss=[1.0])])
    for _ in range(3):
        assert isinstance(caller.batch(batch), StoreFailed)
        with pytest.raises(StoreFailed):
            engine.last_seq(caller.writer)
        with pytest.raises(StoreFailed):
            caller.call("new_project", seq=2, project={"uid": "p"})
        assert caller.read("fetch_trials", query={})
    store.failing = False
    wait_until(lambda: caller.batch(batch) == Acked(2), "the store is opened again")
    assert engine.last_seq(caller.writer) == 2
    assert caller.values(trial) == [1.0]
    assert store.opened == 2
    engine.close()
    assert not store.was_abandoned


def test_an_idle_engine_opens_its_store_again_without_being_asked() -> None:
    store = _Failing("ephemeral:")
    engine = Engine(store)
    caller = Caller(engine)
    store.failing = True
    assert isinstance(caller.batch(Batch(1, 1, [])), StoreFailed)
    store.failing = False
    wait_until(lambda: store.opened == 2, "the engine looks after its store")
    assert engine.last_seq(caller.writer) == 0
    engine.close()


def test_a_store_whose_disk_has_failed_is_closed_without_writing() -> None:
    store = _Failing("ephemeral:")
    engine = Engine(store)
    store.failing = True
    Caller(engine).batch(Batch(1, 1, []))
    engine.close()
    assert store.was_abandoned


class _Unsaved(EphemeralStore):
    """A store whose main file cannot be brought up to date."""

    def save(self, done: Callable[[Exception | None], None]) -> None:
        raise StoreError("no space left on the device")


def test_a_save_that_fails_is_reported_to_its_caller_only() -> None:
    engine = Engine(_Unsaved("ephemeral:"))
    saver, other = Caller(engine), Caller(engine)
    trial = other.new_trial()["id"]
    held, go_on = threading.Event(), threading.Event()

    def hold(outcome: object) -> None:
        held.set()
        go_on.wait(30)

    engine.submit_batch(Caller(engine).writer, Batch(1, 1, []), hold)
    assert held.wait(30)
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
    lost = points(uuid.uuid4().bytes, loss=[1.0])
    engine.submit_batch(other.writer, Batch(2, 2, [lost, points(trial, offset=1, loss=[2.0])]), answers.put)
    engine.submit_call(saver.writer, 1, "commit", {}, answers.put)
    go_on.set()
    logged, saved = answers.get(timeout=30), answers.get(timeout=30)
    assert [rejection.seq for rejection in logged.rejected] == [2]
    assert isinstance(saved, StoreError)
    assert other.values(trial) == [2.0]
    engine.close()


def test_a_caller_that_cannot_take_its_answer_does_not_end_the_engine(engine: Engine, caller: Caller) -> None:
    def broken(outcome: object) -> None:
        raise RuntimeError("gone")

    engine.submit_batch(Caller(engine).writer, Batch(1, 1, []), broken)
    assert caller.new_trial()


def test_an_answer_is_retained_only_until_the_next_batch(engine: Engine, caller: Caller) -> None:
    trial = caller.new_trial(parameters={"long": "x" * 60_000})["id"]
    caller.log(points(trial, loss=[1.0]))
    with engine.store.snapshot() as view:
        state = view.session(caller.writer.sid)
    assert state is not None
    assert (state.last_seq, state.last_reply) == (2, None)


def test_a_session_that_ended_keeps_its_owner_epoch_and_last_number(engine: Engine, caller: Caller) -> None:
    caller.attach()
    trial = caller.new_trial()["id"]
    older = caller.writer
    engine.submit_leave(caller.writer)
    caller.attach()
    assert (caller.writer.epoch, caller.seq) == (2, 1)
    with engine.store.snapshot() as view:
        assert view.session(caller.writer.sid) == SessionState(caller.writer.sid, "ann", 2, 1)
    caller.call("new_project", project={"uid": "p"})
    engine.submit_leave(older)
    assert caller.call("new_project", seq=2, project={"uid": "p"})["uid"] == "p"
    assert caller.trial(trial)["id"] == trial


def test_a_session_that_ended_takes_few_bytes(tmp_path: Path) -> None:
    engine = Engine(open_sqlite(tmp_path / "runs.db"))
    project = {"uid": "p", "description": "x" * 2_000}
    reported: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for number in range(SESSIONS):
        writer = Writer(number.to_bytes(16, "big"), "ann")
        engine.submit_call(writer, 1, "new_project", {"project": project}, reported.put)
        engine.submit_leave(writer)
    assert all(type(reported.get(timeout=60)) is bytes for _ in range(SESSIONS))
    engine.close()
    db = apsw.Connection(str(tmp_path / "runs.db"), apsw.SQLITE_OPEN_READONLY)
    used, count = db.execute(
        "SELECT (SELECT sum(pgsize - unused) FROM dbstat WHERE name IN "
        "(SELECT name FROM sqlite_schema WHERE tbl_name = 'session')), count(*) FROM session"
    ).fetchall()[0]
    db.close()
    assert count == SESSIONS
    assert int(str(used)) / SESSIONS < 100


class _Deadly(EphemeralStore):
    """A store whose next transaction ends the thread that begins it, once `deadly` is set."""

    deadly = False

    def begin(self) -> SqliteTransaction:
        if self.deadly:
            raise SystemExit("a fault put in")
        return super().begin()


def test_a_dead_writer_thread_fails_what_waits_and_what_comes(caplog: pytest.LogCaptureFixture) -> None:
    store = _Deadly("ephemeral:")
    engine = Engine(store)
    reported: queue.SimpleQueue[Any] = queue.SimpleQueue()
    engine.on_failure(reported.put)
    caller, other = Caller(engine), Caller(engine)
    with writer_held(engine):
        for each in (caller, other):
            engine.submit_batch(each.writer, Batch(1, 1, []), reported.put)
            engine.submit_batch(each.writer, Batch(2, 1, []), reported.put)
        store.deadly = True
    assert all(isinstance(reported.get(timeout=30), StoreFailed) for _ in range(5))
    with pytest.raises(StoreFailed, match="restart the server"):
        caller.call("new_project", project={"uid": "p"})
    assert "the writer thread of ephemeral: died" in caplog.text
    engine.close()


def test_many_threads_lose_and_double_nothing(engine: Engine, caller: Caller) -> None:
    trial = caller.new_trial()["id"]

    def write() -> None:
        session = Caller(engine)
        for i in range(50):
            session.log(points(trial, loss=[float(i)]))

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(caller.values(trial)) == sorted(float(i) for i in range(50) for _ in range(8))


def test_a_trial_is_claimed_by_one_of_many(engine: Engine, caller: Caller) -> None:
    uids = {caller.new_trial(hash=f"h{i}")["uid"] for i in range(40)}
    claimed: list[str] = []

    def claim() -> None:
        session = Caller(engine)
        update = {"method": "set_trial_status", "arguments": {"status": {"value": 101, "name": "Running"}}}
        while (
            trial := session.call("fetch_and_update_trial", query={"status": 0}, update=update)
        ) is not None:
            claimed.append(trial["uid"])

    threads = [threading.Thread(target=claim) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claimed) == 40
    assert set(claimed) == uids


def test_a_closed_engine_says_so(engine: Engine, caller: Caller) -> None:
    engine.close()
    outcome = caller.batch(Batch(1, 1, [CallOp(0, "log_trial_start", {})]))
    assert isinstance(outcome, TooBusy)


def test_closing_finishes_what_was_submitted() -> None:
    engine = Engine(EphemeralStore("ephemeral:"))
    caller = Caller(engine)
    trial = caller.new_trial()["id"]
    outcomes: list[Any] = []
    ops = [points(trial, loss=[float(i)]) for i in range(500)]
    for i, op in enumerate(ops):
        engine.submit_batch(caller.writer, Batch(2 + i, 1, [op]), outcomes.append)
    engine.close()
    assert outcomes == [Acked(2 + i) for i in range(500)]


def test_a_read_by_an_unknown_name_is_refused(caller: Caller) -> None:
    with pytest.raises(UnknownMethod):
        caller.read("new_trial", trial={})


def test_a_wrong_query_says_what_is_wrong(caller: Caller) -> None:
    with pytest.raises(BadArguments, match="nonsense"):
        caller.read("fetch_trials", query={"nonsense": 1})


def test_offsets_of_scattered_rows_are_their_records(caller: Caller) -> None:
    from array import array
    from dataclasses import replace

    trial = caller.new_trial()["id"]
    even: PointsOp = replace(points(trial, even=[0.0, 2.0]), offsets=array("I", [0, 2]))
    odd: PointsOp = replace(points(trial, odd=[1.0, 3.0]), offsets=array("I", [1, 3]))
    caller.batch(Batch(2, 2, [replace(even.after(0) or even, offsets=0)]))
    assert caller.batch(Batch(2, 4, [even, odd])) == Acked(5)
    assert caller.values(trial, "odd") == [3.0]


def test_ids_given_by_clients_make_new_trial_idempotent(caller: Caller) -> None:
    trial = {"id": uuid.uuid4().bytes, "hash": "h", "revision": 0}
    first = caller.call("new_trial", trial=trial, auto_increment=True)
    assert caller.call("new_trial", trial=trial, auto_increment=True) == first
