"""When a trial is lost: which session is disconnected, for how long, on a clock that the test sets."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

import pytest

from engine_calls import Caller
from track_protocol.errors import StoreFull
from track_protocol.wire.batch import CallOp
from track_server.engine.engine import Engine
from track_server.methods.presence import Presence
from track_server.storage.ephemeral import EphemeralStore
from track_server.storage.sqlite.write import SqliteTransaction
from track_server.storage.unit_of_work import UnitOfWork

LEASE = 60.0
EPOCH = 1_700_000_000.0
NOTE = "lost: no process that runs this trial has been connected since "


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Room:
    """An engine, the clock, and who is present."""

    def __init__(self, store: EphemeralStore, seconds: float = LEASE) -> None:
        self.engine = Engine(store)
        self.seconds = seconds
        self.clock = Clock()
        self.presence = Presence(seconds, self.engine, self.clock, self.wall)

    def wall(self) -> float:
        """The clock, as seconds since the epoch."""
        return EPOCH + self.clock.now

    def enter(self, trial: bytes | None = None, rank: int | None = None) -> Caller:
        """A session that is connected, and runs a trial."""
        caller = Caller(self.engine)
        self.presence.connected(caller.writer.sid)
        if trial is not None:
            arguments = {"trial": trial, "time": 1.0, "rank": rank}
            caller.log(CallOp(0, "log_trial_start", arguments))
        return caller

    def leave(self, caller: Caller) -> None:
        self.presence.disconnected(caller.writer.sid)

    def replay(self, caller: Caller, ended: float, log: Callable[[], None] = lambda: None) -> None:
        """Somebody sends what a session's process has left, and says when that ended."""
        self.presence.connected(caller.writer.sid, EPOCH + ended)
        log()
        self.presence.disconnected(caller.writer.sid)

    def ended(self, trial: bytes) -> float:
        """When the trial ended, on the clock."""
        with self.engine.store.snapshot() as view:
            document = view.trial(trial)
        assert document is not None
        return float(document["ended"]) - EPOCH

    def after(self, seconds: float) -> None:
        """Let time pass, and look."""
        self.clock.now += seconds
        looked: SimpleQueue[Any] = SimpleQueue()
        self.engine.submit_change(self.presence.look, looked.put)
        assert isinstance(looked.get(timeout=30), list)

    def status(self, trial: bytes) -> str:
        with self.engine.store.snapshot() as view:
            document = view.trial(trial)
        assert document is not None
        return str(document["status"]["name"])


@pytest.fixture
def store() -> EphemeralStore:
    return EphemeralStore()


@pytest.fixture
def room(store: EphemeralStore) -> Iterator[Room]:
    room = Room(store)
    yield room
    room.engine.close()


@pytest.fixture
def trial(room: Room) -> bytes:
    id: bytes = Caller(room.engine).new_trial()["id"]
    return id


def test_who_stays_loses_nothing(room: Room, trial: bytes) -> None:
    room.enter(trial)
    for _ in range(2):
        room.after(1e9)
    assert room.status(trial) == "Running"


def test_a_trial_is_lost_once_its_session_is_unreachable_for_the_time_of_a_lease(
    room: Room, trial: bytes
) -> None:
    room.leave(room.enter(trial))
    room.after(LEASE - 1)
    assert room.status(trial) == "Running"
    room.after(1)
    assert room.status(trial) == "lost"


def test_the_note_says_since_when(room: Room, trial: bytes) -> None:
    ann = room.enter(trial)
    room.leave(ann)
    room.after(100)
    (found,) = ann.read("get_trial", trial={"id": trial})
    assert found["errors"] == [f"{NOTE}2023-11-14T22:30:00+00:00"]


def test_who_comes_back_in_time_loses_nothing(room: Room, trial: bytes) -> None:
    ann = room.enter(trial)
    for _ in range(3):
        room.leave(ann)
        room.after(LEASE - 1)
        room.presence.connected(ann.writer.sid)
        room.after(1)
    assert room.status(trial) == "Running"


def test_a_trial_that_ended_is_not_lost(room: Room, trial: bytes) -> None:
    ann = room.enter(trial)
    ended = {"trial": trial, "time": 2.0, "status": {"value": 302, "name": "Completed"}}
    ann.log(CallOp(0, "log_trial_finish", ended))
    room.leave(ann)
    room.after(10 * LEASE)
    assert room.status(trial) == "Completed"


@pytest.mark.parametrize("gone", [0, 1])
def test_a_trial_lives_as_long_as_one_of_its_ranks(room: Room, trial: bytes, gone: int) -> None:
    ranks = [room.enter(trial, rank) for rank in (0, 1)]
    room.leave(ranks[gone])
    room.after(10 * LEASE)
    assert room.status(trial) == "Running"
    room.leave(ranks[1 - gone])
    room.after(LEASE)
    assert room.status(trial) == "lost"


def test_a_rank_that_finished_does_not_keep_a_trial_alive(room: Room, trial: bytes) -> None:
    first, second = room.enter(trial, 0), room.enter(trial, 1)
    room.leave(first)
    room.after(LEASE)
    end = {"trial": trial, "time": 2.0, "status": {"value": 302, "name": "Completed"}, "rank": 1}
    second.log(CallOp(0, "log_trial_finish", end))
    room.after(0)
    assert room.status(trial) == "lost"


def test_a_lost_trial_runs_again_when_its_session_arrives(room: Room, trial: bytes) -> None:
    ann = room.enter(trial)
    room.leave(ann)
    room.after(LEASE)
    room.presence.connected(ann.writer.sid)
    ann.log(CallOp(0, "add_trial_tags", {"trial": trial, "tags": {}}))
    assert room.status(trial) == "Running"


def test_after_a_servers_start_everybody_has_the_full_time(room: Room, store: EphemeralStore) -> None:
    trial = Caller(room.engine).new_trial()["id"]
    room.leave(room.enter(trial))
    room.after(LEASE - 1)
    again = Room(store)
    again.after(1e6)
    again.after(LEASE - 1)
    assert again.status(trial) == "Running"
    again.after(1)
    assert again.status(trial) == "lost"
    again.engine.close()


def start(caller: Caller, trial: bytes) -> None:
    caller.log(CallOp(0, "log_trial_start", {"trial": trial, "time": 1.0, "rank": None}))


def test_a_trial_that_a_replay_starts_is_lost_at_once_as_of_its_process_s_end(
    room: Room, trial: bytes
) -> None:
    ann = Caller(room.engine)
    room.replay(ann, 900.0, lambda: start(ann, trial))
    ann.new_trial()
    assert (room.status(trial), room.ended(trial)) == ("lost", 900.0)


def test_a_replay_has_no_lost_trial_run_again(room: Room, trial: bytes) -> None:
    ann = room.enter(trial)
    room.leave(ann)
    room.after(LEASE)
    before = room.ended(trial)
    room.replay(ann, 900.0)
    room.after(LEASE)
    (found,) = ann.read("get_trial", trial={"id": trial})
    assert (found["status"]["name"], room.ended(trial), len(found["errors"])) == ("lost", before, 1)


@pytest.mark.parametrize(("told", "ended"), [(900.0, 1000.0), (1010.0, 1010.0), (2000.0, 1020.0)])
def test_a_process_ended_when_it_was_last_seen_here_or_there(
    room: Room, trial: bytes, told: float, ended: float
) -> None:
    ann = room.enter(trial)
    room.leave(ann)
    room.after(20.0)
    room.replay(ann, told)
    ann.new_trial()
    assert (room.status(trial), room.ended(trial)) == ("lost", ended)


def test_a_process_that_was_connected_when_a_copy_of_its_spool_is_sent_has_a_lease_to_come_back(
    room: Room, trial: bytes
) -> None:
    ann = room.enter(trial)
    room.replay(ann, 900.0)
    room.after(LEASE - 1)
    assert room.status(trial) == "Running"
    room.presence.connected(ann.writer.sid)
    room.after(10 * LEASE)
    assert room.status(trial) == "Running"


def test_a_process_that_is_there_ends_the_claim_that_it_has_ended(room: Room, trial: bytes) -> None:
    ann = Caller(room.engine)
    room.presence.connected(ann.writer.sid, EPOCH + 900.0)
    start(ann, trial)
    room.presence.connected(ann.writer.sid)
    room.after(10 * LEASE)
    assert room.status(trial) == "Running"
    room.leave(ann)
    room.after(1.0)
    assert room.status(trial) == "Running"


def test_a_rank_that_is_there_outlives_a_replay_of_another(room: Room, trial: bytes) -> None:
    room.enter(trial, 1)
    ann = Caller(room.engine)
    room.replay(ann, 900.0, lambda: start(ann, trial))
    room.after(LEASE)
    assert room.status(trial) == "Running"


class Full(EphemeralStore):
    """Takes no transaction while its disk is full."""

    full = False

    def begin(self) -> SqliteTransaction:
        if self.full:
            raise StoreFull("no space left")
        return super().begin()


def watching(room: Room, until: Callable[[], bool]) -> None:
    """Let the watch run until a condition holds."""

    async def watched() -> None:
        watch = asyncio.ensure_future(room.presence.watch())
        while not until():
            room.clock.now += room.seconds / 10
            await asyncio.sleep(0.01)
        watch.cancel()

    asyncio.run(asyncio.wait_for(watched(), 30))


def test_a_session_that_came_back_while_the_store_was_full_has_its_trial_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    store = Full()
    room = Room(store, seconds=0.1)
    trial = Caller(room.engine).new_trial()["id"]
    ann = room.enter(trial)
    room.leave(ann)
    room.after(LEASE)
    store.full = True
    room.presence.connected(ann.writer.sid)
    watching(room, lambda: caplog.text.count("be revived yet: no space left") > 1)
    store.full = False
    watching(room, lambda: room.status(trial) == "Running")
    room.engine.close()


def test_who_could_not_come_back_while_the_store_failed_has_the_full_time_behind_that(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    store = Full()
    room = Room(store)
    trial = Caller(room.engine).new_trial()["id"]
    seen = room.clock.now
    room.leave(room.enter(trial))
    room.after(1)
    store.full = True
    watching(room, lambda: "could not be determined" in caplog.text)
    store.full = False
    room.after(10 * LEASE)
    room.after(LEASE - 1)
    assert room.status(trial) == "Running"
    room.after(1)
    assert (room.status(trial), room.ended(trial)) == ("lost", seen)
    room.engine.close()


def test_very_many_trials_are_lost_and_run_again_bit_by_bit(store: EphemeralStore) -> None:
    room = Room(store, seconds=0.1)
    ann = room.enter()
    trials = [ann.new_trial(status={"value": 101, "name": "Running"})["id"] for _ in range(600)]
    room.leave(ann)
    room.after(0.1)
    assert sum(room.status(trial) == "lost" for trial in trials) == 256
    watching(room, lambda: all(room.status(trial) == "lost" for trial in trials))
    room.presence.connected(ann.writer.sid)
    watching(room, lambda: all(room.status(trial) == "Running" for trial in trials))
    room.engine.close()


def test_the_watch_looks_by_itself_and_logs_it(
    store: EphemeralStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    room = Room(store, seconds=0.1)
    trial = Caller(room.engine).new_trial()["id"]
    room.leave(room.enter(trial))

    watching(room, lambda: f"trial {trial.hex()} is lost" in caplog.text)  # which is said after it is stored
    assert room.status(trial) == "lost"
    room.engine.close()


def test_without_a_lease_there_is_no_watch(store: EphemeralStore) -> None:
    class Looked(AssertionError):
        """Somebody did."""

    class Changes:
        def submit_change(self, change: Callable[[UnitOfWork], Any], done: Callable[[Any], None]) -> None:
            raise Looked

    for seconds, expected in ((0.0, TimeoutError), (1.0, Looked)):
        with pytest.raises(expected):
            asyncio.run(asyncio.wait_for(Presence(seconds, Changes()).watch(), 0.05))
