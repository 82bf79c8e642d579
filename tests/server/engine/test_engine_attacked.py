"""A long request of one session delays the others only for a part of the time that it takes."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Any

import pytest

from engine_calls import Caller, points, writer_held
from track_protocol.errors import BadQuery, TooBusy
from track_protocol.wire.batch import Batch, CallOp, PointsOp
from track_protocol.wire.link import Acked
from track_server.engine.engine import Engine
from track_server.methods import claim
from track_server.storage.ephemeral import EphemeralStore
from track_server.storage.unit_of_work import begin
from work_counter import lines_of


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine(EphemeralStore())
    yield engine
    engine.close()


def _wide(trial: bytes) -> Batch:
    """A row of very many new series."""
    row = points(trial, 0, [0], **{f"m{number}": [0.5] for number in range(12_000)})
    return Batch(2, 1, [row])


def _many_rows(trial: bytes) -> Batch:
    """Very many new series, a few in each record."""
    ops: list[PointsOp | CallOp] = [
        points(trial, at, [0], **{f"m{at}.{number}": [0.5] for number in range(40)}) for at in range(300)
    ]
    return Batch(2, 300, ops)


def _calls(trial: bytes) -> Batch:
    """Very many calls that change one trial."""
    ops: list[PointsOp | CallOp] = [
        CallOp(at, "log_trial_metadata", {"trial": trial, "metadata": {f"k{at % 500}": at}})
        for at in range(6_000)
    ]
    return Batch(2, 6_000, ops)


@pytest.mark.parametrize("attack", [_wide, _many_rows, _calls])
def test_beside_a_batch_that_takes_long_others_are_served(engine: Engine, attack: Any) -> None:
    """Each answer to the honest session asks for the next one, before the writer chooses what is next."""
    attacker, honest = Caller(engine), Caller(engine)
    batch = attack(attacker.new_trial()["id"])
    row = points(honest.new_trial("honest")["id"], loss=[1.0])
    reported: queue.SimpleQueue[Any] = queue.SimpleQueue()
    served: list[Any] = []

    def ask(outcome: Any) -> None:
        served.append(outcome)
        if reported.empty():
            engine.submit_batch(honest.writer, Batch(2 + len(served), 1, [row]), ask)

    with writer_held(engine):
        engine.submit_batch(attacker.writer, batch, reported.put)
        engine.submit_batch(honest.writer, Batch(2, 1, [row]), ask)
    assert reported.get(timeout=60) == Acked(batch.last)
    # Alone at the writer, the batch would be one wait of all of its time.
    assert len(served) >= 2
    assert served == [Acked(2 + number) for number in range(len(served))]


def _store_of(trials: int) -> EphemeralStore:
    store = EphemeralStore()
    tx = begin(store)
    for number in range(trials):
        document = {
            "id": number.to_bytes(16, "big"),
            "uid": f"h{number}_0",
            "hash": f"h{number}",
            "revision": 0,
        }
        document |= {"tags": {}, "parameters": {"lr": "x" * 50}, "metadata": {}, "errors": []}
        document |= {"status": {"value": 0, "name": "CreatedGroup"}}
        tx.add_trial(document | dict.fromkeys(("name", "description", "version", "project_id", "group_id")))
    tx.commit()
    return store


UPDATE = {"method": "set_trial_status", "arguments": {"status": {"value": 101, "name": "Running"}}}


def test_a_search_that_takes_too_long_is_interrupted_and_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(claim, "SEARCH_SECONDS", 0.01)
    engine = Engine(_store_of(2_000))
    caller = Caller(engine)
    costly = {"$or": [{"parameters.lr": {"$contains": f"y{number}"}} for number in range(claim.MAX_PATTERNS)]}
    with pytest.raises(TooBusy, match="narrow it"):
        caller.call("fetch_and_update_trial", query=costly, update=UPDATE)
    with engine.store.snapshot() as view:
        assert view.leases_of(caller.writer.sid) == []
    claimed = caller.call("fetch_and_update_trial", query={"hash": "h7"}, update=UPDATE)
    assert claimed["uid"] == "h7_0"
    engine.close()


@pytest.mark.parametrize(
    "conditions",
    [
        [{"name": {"$contains": f"y{number}"}} for number in range(claim.MAX_PATTERNS + 1)],
        [{"name": f"y{number}"} for number in range(claim.MAX_CONDITIONS + 1)],
    ],
)
def test_a_search_of_very_many_conditions_is_refused(engine: Engine, conditions: list[Any]) -> None:
    with pytest.raises(BadQuery, match="fetch the candidates first"):
        Caller(engine).call("fetch_and_update_trial", query={"$or": conditions}, update=UPDATE)


def test_trials_of_one_hash_are_created_in_linear_time() -> None:
    def create(count: int) -> None:
        engine = Engine(EphemeralStore())
        caller = Caller(engine)
        assert [caller.new_trial("many")["revision"] for _ in range(count)] == list(range(count))
        engine.close()

    assert lines_of(lambda: create(160)) < 2 * 8 * lines_of(lambda: create(20))
