"""Who may delete a trial, and what becomes of what is still logged into it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from engine_calls import Caller, points
from track_protocol.errors import TrialInUse
from track_protocol.wire.batch import CallOp
from track_server.engine.engine import Engine
from track_server.storage.ephemeral import EphemeralStore


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine(EphemeralStore())
    yield engine
    engine.close()


@pytest.fixture
def ann(engine: Engine) -> Caller:
    """Who runs a trial."""
    return Caller(engine, "ann")


@pytest.fixture
def bob(engine: Engine) -> Caller:
    """The client that deletes it."""
    return Caller(engine, "bob")


@pytest.fixture
def running(ann: Caller) -> Any:
    trial = ann.new_trial()
    ann.log(CallOp(0, "log_trial_start", {"trial": trial["id"], "time": 1_700_000_000.0, "rank": None}))
    return trial


def set_status(session: Caller, trial: Any, value: int, name: str) -> None:
    arguments = {"trial": trial["id"], "status": {"value": value, "name": name}}
    session.log(CallOp(0, "set_trial_status", arguments))


def test_the_error_names_who_writes_the_trial_and_since_when(ann: Caller, bob: Caller, running: Any) -> None:
    with pytest.raises(TrialInUse) as caught:
        bob.call("delete_trial", trial=running["id"])
    for part in (running["uid"], "'ann'", ann.writer.sid.hex()[:8], "2023-11-14T22:13:20+00:00", "force"):
        assert part in str(caught.value)
    assert bob.read("get_trial", trial={"id": running["id"]})


@pytest.mark.parametrize("heartbeat", ["yesterday", 1e300, [1], None])
def test_a_strange_heartbeat_does_not_hide_who_it_is(
    ann: Caller, bob: Caller, running: Any, heartbeat: Any
) -> None:
    ann.log(CallOp(0, "log_trial_metadata", {"trial": running["id"], "metadata": {"heartbeat": heartbeat}}))
    with pytest.raises(TrialInUse, match="'ann'"):
        bob.call("delete_trial", trial=running["id"])


def test_a_rank_beside_the_first_is_a_writer_too(
    ann: Caller, bob: Caller, engine: Engine, running: Any
) -> None:
    other = Caller(engine, "eve")
    other.log(CallOp(0, "log_trial_start", {"trial": running["id"], "time": 1.0, "rank": 1}))
    with pytest.raises(TrialInUse, match="'eve'"):
        ann.call("delete_trial", trial=running["id"])


@pytest.mark.parametrize("status", [(204, "lost"), (201, "Interrupted"), (302, "Completed")])
def test_a_trial_that_runs_no_more_is_in_nobodys_way(
    ann: Caller, bob: Caller, running: Any, status: tuple[int, str]
) -> None:
    set_status(ann, running, *status)
    assert bob.call("delete_trial", trial=running["uid"]) is True


def test_a_superseded_session_does_not_prevent_it(ann: Caller, bob: Caller, running: Any) -> None:
    set_status(bob, running, 204, "lost")
    set_status(bob, running, 101, "Running")
    assert bob.call("delete_trial", trial=running["id"]) is True


def test_force_deletes_it_and_what_is_still_logged_is_quarantined(
    ann: Caller, bob: Caller, running: Any
) -> None:
    assert bob.call("delete_trial", trial=running["id"], force=True) is True
    other = ann.new_trial("other")["id"]
    outcome = ann.log(
        points(running["id"], 0, loss=[0.5, 0.25]),
        CallOp(
            2,
            "log_trial_finish",
            {"trial": running["id"], "time": 2.0, "status": {"value": 302, "name": "x"}},
        ),
        points(other, 3, loss=[1.0]),
    )
    assert [(each.seq - ann.seq + 3, each.code) for each in outcome.rejected] == [
        (0, "not-found"),
        (1, "not-found"),
        (2, "not-found"),
    ]
    assert [each["method"] for each in bob.read("fetch_rejected", trial=running["id"])] == [
        "points",
        "log_trial_finish",
    ]
    (kept,) = bob.read("get_trial", trial={"id": other})
    assert kept["metrics"]["loss"]["last"] == 1.0


def test_a_retried_call_has_the_answer_of_the_first_and_another_one_finds_nothing(
    ann: Caller, running: Any
) -> None:
    assert ann.call("delete_trial", trial=running["id"]) is True
    assert ann.call("delete_trial", trial=running["id"], seq=ann.seq) is True
    assert ann.call("delete_trial", trial=running["id"]) is False


def test_a_session_whose_trial_is_removed_comes_and_goes_as_ever(
    ann: Caller, bob: Caller, running: Any, engine: Engine
) -> None:
    bob.call("delete_trial", trial=running["id"], force=True)
    ann.attach()
    with engine.store.snapshot() as view:
        assert view.leases_of(ann.writer.sid) == []
