"""Whatever becomes of a COMMIT on its way: a batch that is sent again is applied once."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from typing import Any

import pytest

from engine_calls import Caller, points
from track_protocol.errors import StoreUnavailable
from track_protocol.wire.batch import Batch
from track_protocol.wire.link import Acked
from track_server.engine.engine import Engine
from track_server.storage.postgres.connection import PostgresConnection, Result, Statement
from track_server.storage.postgres.store import PostgresStore


@pytest.fixture
def engine(postgres_uri: str) -> Iterator[Engine]:
    engine = Engine(PostgresStore(postgres_uri))
    yield engine
    engine.close()


def sent_until_acked(caller: Caller, batch: Batch) -> None:
    """What a client does."""
    while not isinstance(outcome := caller.batch(batch), Acked):
        assert isinstance(outcome, StoreUnavailable)


@pytest.mark.parametrize("executed", [False, True])
def test_a_batch_whose_commit_is_cut_off_is_applied_once(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, executed: bool
) -> None:
    caller = Caller(engine)
    trial = caller.new_trial()["id"]
    run, cut = PostgresConnection.run, cycle([True, False])

    def run_and_cut(self: PostgresConnection, *statements: Statement) -> list[Result]:
        if ("COMMIT", ()) not in statements or len(statements) < 3 or not next(cut):
            return run(self, *statements)
        if executed:
            run(self, *statements)
        self.close()
        raise StoreUnavailable("the connection ended within COMMIT")

    monkeypatch.setattr(PostgresConnection, "run", run_and_cut)
    for number in range(20):
        caller.seq += 1
        sent_until_acked(caller, Batch(caller.seq, 1, [points(trial, loss=[float(number)])]))
    assert caller.values(trial) == [float(number) for number in range(20)]


def test_a_claim_whose_answer_was_lost_is_the_same_claim(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller = Caller(engine)
    trial = caller.new_trial()
    claim: dict[str, Any] = {
        "query": {"uid": trial["uid"]},
        "update": {"method": "set_trial_status", "arguments": {"status": {"value": 101, "name": "Running"}}},
    }
    run = PostgresConnection.run

    def run_and_lose(self: PostgresConnection, *statements: Statement) -> list[Result]:
        results = run(self, *statements)
        if ("COMMIT", ()) in statements and len(statements) > 2:
            monkeypatch.setattr(PostgresConnection, "run", run)
            self.close()
            raise StoreUnavailable("the connection ended within COMMIT")
        return results

    monkeypatch.setattr(PostgresConnection, "run", run_and_lose)
    with pytest.raises(StoreUnavailable):
        caller.call("fetch_and_update_trial", **claim)
    again = caller.call("fetch_and_update_trial", seq=caller.seq, **claim)
    assert again["id"] == trial["id"]


def test_two_engines_share_a_store_and_fence_each_other(postgres_uri: str) -> None:
    first, second = Engine(PostgresStore(postgres_uri)), Engine(PostgresStore(postgres_uri))
    caller = Caller(first)
    caller.attach()
    trial = caller.new_trial()["id"]
    assert isinstance(caller.log(points(trial, loss=[1.0])), Acked)
    taken_over = Caller(second, sid=caller.writer.sid)
    assert taken_over.attach().last_seq == caller.seq
    assert isinstance(taken_over.log(points(trial, loss=[2.0])), Acked)
    assert caller.log(points(trial, loss=[3.0])).code == "session-fenced"
    assert taken_over.values(trial) == [1.0, 2.0]
    first.close()
    second.close()
