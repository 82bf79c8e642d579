"""Dropped points, counted in the metadata of their trial."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from engine_calls import Caller, points
from track_protocol.wire.batch import CallOp
from track_protocol.wire.link import Acked
from track_server.engine.engine import Engine
from track_server.methods.trial_metadata import DROPPED_POINTS, OTHER
from track_server.storage.ephemeral import EphemeralStore
from user_metadata import given


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine(EphemeralStore())
    yield engine
    engine.close()


@pytest.fixture
def caller(engine: Engine) -> Caller:
    return Caller(engine)


def dropped_of(caller: Caller, trial: bytes) -> Any:
    (document,) = caller.read("get_trial", trial={"id": trial})
    return document["metadata"].get(DROPPED_POINTS)


def drop(caller: Caller, trial: bytes | str, count: int, reason: str) -> None:
    arguments = {"trial": trial, "points": count, "reason": reason}
    assert caller.log(CallOp(0, "log_trial_dropped_points", arguments)) == Acked(caller.seq)


def test_dropped_of_several_ranks_add_up(engine: Engine, caller: Caller) -> None:
    trial = caller.new_trial()["id"]
    for rank, reason in ((caller, "no room"), (Caller(engine), "no room"), (Caller(engine), "NaN step")):
        drop(rank, trial, 5, reason)
    assert dropped_of(caller, trial) == {"points": 15, "reasons": {"no room": 10, "NaN step": 5}}


def test_dropped_points_leave_other_metadata_alone(caller: Caller) -> None:
    trial = caller.new_trial(metadata={"note": "mine"})["uid"]
    drop(caller, trial, 1, "no room")
    (document,) = caller.read("get_trial", trial={"uid": trial})
    assert given(document["metadata"]) == {
        "note": "mine",
        "dropped_points": {"points": 1, "reasons": {"no room": 1}},
    }


def test_beyond_twenty_reasons_the_others_are_counted_together(caller: Caller) -> None:
    trial = caller.new_trial()["id"]
    for number in range(25):
        drop(caller, trial, 1, f"reason {number}")
    drop(caller, trial, 1, "reason 3")
    found = dropped_of(caller, trial)
    assert (found["points"], len(found["reasons"])) == (26, 21)
    assert (found["reasons"][OTHER], found["reasons"]["reason 3"]) == (5, 2)


def test_a_long_reason_keeps_its_beginning(caller: Caller) -> None:
    trial = caller.new_trial()["id"]
    drop(caller, trial, 1, "x" * 10_000)
    assert dropped_of(caller, trial)["reasons"] == {"x" * 300: 1}


def test_a_count_that_would_not_fit_any_more_stays_at_the_largest(caller: Caller) -> None:
    trial = caller.new_trial()["id"]
    for _ in range(2):
        drop(caller, trial, 2**63 - 1, "no room")
    assert dropped_of(caller, trial) == {"points": 2**63 - 1, "reasons": {"no room": 2**63 - 1}}


@pytest.mark.parametrize(
    "known", [5, [], {"points": "many", "reasons": [1]}, {"reasons": {"a": None}}, {"points": True}]
)
def test_values_of_another_type_there_are_replaced(caller: Caller, known: Any) -> None:
    trial = caller.new_trial(metadata={DROPPED_POINTS: known})["id"]
    drop(caller, trial, 2, "no room")
    assert dropped_of(caller, trial) == {"points": 2, "reasons": {"no room": 2}}


def test_what_the_server_rejects_counts_as_dropped_in_its_trial(caller: Caller) -> None:
    trial = caller.new_trial()["id"]
    outcome = caller.log(
        replace(points(trial, loss=[1.0, 2.0], other=[1.0, 2.0]), names=["loss", "x" * 2_000])
    )
    assert len(outcome.rejected) == 2
    found = dropped_of(caller, trial)
    assert (found["points"], list(found["reasons"].values())) == (4, [4])


def test_what_is_rejected_for_an_unknown_trial_counts_for_no_trial(caller: Caller) -> None:
    trial = caller.new_trial()["id"]
    caller.log(points(b"?" * 16, loss=[1.0]))
    assert dropped_of(caller, trial) is None
