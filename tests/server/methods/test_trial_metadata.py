"""What a store notes of each change of a trial."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine_calls import Caller, points
from track_protocol.wire.batch import CallOp
from track_protocol.wire.link import Acked
from track_server.engine.engine import Engine
from track_server.stores import open_store


@pytest.fixture(params=["sqlite", "file", "ephemeral"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    uri = "ephemeral:" if request.param == "ephemeral" else f"{request.param}:{tmp_path}/runs"
    engine = Engine(open_store(uri, exclusive=True))
    yield engine
    engine.close()


@pytest.fixture
def ann(engine: Engine) -> Caller:
    return Caller(engine)


def logged(caller: Caller, method: str, **arguments: Any) -> None:
    assert caller.log(CallOp(0, method, arguments)) == Acked(caller.seq)


def metadata_of(caller: Caller, id: bytes) -> Any:
    (found,) = caller.read("get_trial", trial={"id": id})
    return found["metadata"]


def test_a_new_trial_has_only_what_it_was_given(ann: Caller) -> None:
    assert ann.new_trial(metadata={"host": "node7"})["metadata"] == {"host": "node7"}


def test_each_call_that_changes_a_trial_is_counted(ann: Caller, engine: Engine) -> None:
    id = ann.new_trial()["id"]
    before = time.time()
    bob = Caller(engine)
    logged(ann, "add_trial_tags", trial=id, tags={"a": 1})
    logged(bob, "log_trial_arguments", trial=id, arguments={"lr": 0.1})
    logged(ann, "log_trial_metadata", trial=id, metadata={"host": "node7"}, aggregator=None)
    logged(bob, "log_trial_start", trial=id, time=1.0)
    update = {"method": "add_trial_tags", "arguments": {"tags": {"b": 2}}}
    claimed = ann.call("fetch_and_update_trial", query={}, update=update)
    assert claimed["metadata"]["_update_count"] == metadata_of(ann, id)["_update_count"] == 5
    assert before <= claimed["metadata"]["_last_change"] <= time.time()


def test_a_batch_that_is_sent_again_is_not_counted_again(ann: Caller) -> None:
    id = ann.new_trial()["id"]
    logged(ann, "add_trial_tags", trial=id, tags={"a": 1})
    ann.seq -= 1
    logged(ann, "add_trial_tags", trial=id, tags={"a": 1})
    assert metadata_of(ann, id)["_update_count"] == 1


def test_what_a_caller_says_of_the_count_changes_nothing(ann: Caller) -> None:
    id = ann.new_trial()["id"]
    logged(ann, "log_trial_metadata", trial=id, metadata={"_update_count": 99}, aggregator=None)
    assert metadata_of(ann, id)["_update_count"] == 1


def test_putting_a_trial_where_it_is_changes_nothing(ann: Caller) -> None:
    ann.call("new_project", project={"uid": "p"})
    ann.call("new_trial_group", group={"uid": "g", "project_id": "p"})
    id = ann.new_trial(project_id="p", group_id="g")["id"]
    logged(ann, "add_project_trial", project="p", trial=id)
    logged(ann, "add_group_trial", group="g", trial=id)
    assert metadata_of(ann, id) == {}


def test_points_are_signs_of_life_and_no_updates(ann: Caller) -> None:
    id = ann.new_trial()["id"]
    logged(ann, "log_trial_start", trial=id, time=0.5)
    started = metadata_of(ann, id)
    ann.log(points(id, loss=[0.5, 0.25, 0.125]))  # at the times 0, 1 and 2
    found = metadata_of(ann, id)
    assert (started["heartbeat"], found["heartbeat"]) == (0.5, 2.0)
    assert found == started | {"heartbeat": 2.0}
    assert ann.read("fetch_trials", query={})[0]["metadata"] == found


def test_media_are_signs_of_life_too(ann: Caller) -> None:
    id = ann.new_trial()["id"]
    logged(ann, "log_trial_start", trial=id, time=1.0)
    later = time.time() + 1_000
    media = {"kind": "text", "name": "answer", "step": 1, "time": later, "value": {"text": "x"}}
    logged(ann, "log_trial_media", trial=id, **media)
    metadata = metadata_of(ann, id)
    assert (metadata["heartbeat"], metadata["_last_change"]) == (later, later)
