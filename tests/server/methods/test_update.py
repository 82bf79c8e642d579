"""Log calls change what is there."""

from __future__ import annotations

import math
from typing import Any

import pytest

from engine_calls import Caller, points
from track_protocol.errors import BadArguments, ItemNotFound
from track_protocol.wire.batch import Batch, CallOp
from track_server.storage.sql.view import SqlView
from user_metadata import given

RUNNING = {"value": 101, "name": "Running"}
DONE = {"value": 201, "name": "Completed"}


def rewind_op(offset: int, id: bytes) -> CallOp:
    """A rewind to step 0, logged by the record at `offset`."""
    return CallOp(offset, "rewind_trial", {"trial": id, "step": 0, "time": 1.0})


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("log_trial_start", {"time": 1.0, "rank": 0}),
        ("log_trial_finish", {"time": 1.0, "status": DONE, "error": "e"}),
        ("log_trial_arguments", {"arguments": {"lr": 0.1}}),
        ("put_values", {"field": "tags", "path": ["a"], "values": {"b": 1}}),
        ("append_values", {"field": "tags", "path": ["a"], "values": [1]}),
        ("log_trial_metadata", {"metadata": {"a": 1}}),
        ("log_trial_dropped_points", {"points": 1, "reason": "full"}),
        ("add_trial_tags", {"tags": {"a": 1}}),
        ("remove_trial_tags", {"names": ["a"]}),
        ("rename_trial", {"name": "new"}),
        ("set_trial_status", {"status": RUNNING}),
        ("rewind_trial", {"step": 0, "time": 1.0}),
    ],
)
def test_a_change_of_a_trial_does_not_read_the_summaries_of_its_series(
    ann: Caller, method: str, arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = ann.new_trial()["id"]
    monkeypatch.delattr(SqlView, "trial")
    ann.logged(method, trial=trial, **arguments)


@pytest.mark.parametrize("by", ["id", "uid"])
def test_values_are_merged_into_what_is_there(ann: Caller, by: str) -> None:
    trial = ann.new_trial("h", tags={"old": 1}, parameters={"lr": 0.1})
    ann.logged("add_trial_tags", trial=trial[by], tags={"new": 2})
    ann.logged("log_trial_arguments", trial=trial[by], arguments={"lr": 0.2, "beta": 0.9})
    ann.logged("log_trial_metadata", trial=trial[by], metadata={"host": "node7"})
    found = ann.trial(trial["id"])
    assert found["tags"] == {"old": 1, "new": 2}
    assert found["parameters"] == {"lr": 0.2, "beta": 0.9}
    assert given(found["metadata"]) == {"host": "node7"}
    assert found["uid"] == trial["uid"]


def test_a_renamed_trial_is_the_same_trial(ann: Caller) -> None:
    before = ann.new_trial(name="old", description="what")
    ann.logged("rename_trial", trial=before["id"], name="new")
    found = ann.trial(before["id"])
    assert (found["name"], found["description"]) == ("new", "what")
    assert (found["uid"], found["hash"]) == (before["uid"], before["hash"])
    ann.logged("rename_trial", trial=before["uid"], name="", description="why")
    found = ann.trial(before["id"])
    assert (found["name"], found["description"]) == (None, "why")


def test_a_name_that_stays_changes_nothing(ann: Caller) -> None:
    trial = ann.new_trial(name="old")
    ann.logged("rename_trial", trial=trial["id"], name="old")
    ann.logged("rename_trial", trial=trial["id"])
    ann.logged("remove_trial_tags", trial=trial["id"], names=["nothing"])
    assert ann.trial(trial["id"])["metadata"] == trial["metadata"]


def test_tags_are_removed_but_not_those_of_the_project(ann: Caller) -> None:
    ann.call("new_project", project={"uid": "p", "metadata": {"tags": {"team": "vision"}}})
    trial = ann.new_trial(project_id="p", tags={"a": 1, "b": 2})
    ann.logged("remove_trial_tags", trial=trial["id"], names=["a", "team", "nothing"])
    assert ann.trial(trial["id"])["tags"] == {"b": 2, "team": "vision"}


def test_values_are_merged_into_the_metadata_of_a_project(ann: Caller) -> None:
    ann.call("new_project", project={"uid": "p", "name": "n", "metadata": {"a": 1}})
    ann.logged("set_project_metadata", project="p", metadata={"views": {"x": [1]}, "a": 2})
    found = ann.read("get_project", project={"uid": "p"})
    assert (found["name"], found["metadata"]) == ("n", {"a": 2, "views": {"x": [1]}})
    refused = ann.rejection("set_project_metadata", project="q", metadata={})
    assert "no project has the uid 'q'" in str(refused)


def test_values_are_put_into_a_map_inside_a_field(ann: Caller) -> None:
    id = ann.new_trial("h", parameters={"lr": 0.1, "model": {"depth": 3}, "flat": 1})["id"]
    for path, values in (
        ([], {"seed": 7}),
        (["model"], {"width": 5}),
        (["model", "head"], {"bias": True}),
        (["flat", "no", "longer"], {"a": 1}),
    ):
        ann.logged("put_values", trial=id, field="parameters", path=path, values=values)
    assert ann.trial(id)["parameters"] == {
        "lr": 0.1,
        "seed": 7,
        "model": {"depth": 3, "width": 5, "head": {"bias": True}},
        "flat": {"no": {"longer": {"a": 1}}},
    }


@pytest.mark.parametrize(
    ("field", "path", "reason"),
    [("status", [], "must be one of"), ("tags", ["a"] * 33, "more than 32 names")],
)
def test_values_are_put_only_where_values_are(ann: Caller, field: str, path: list[str], reason: str) -> None:
    id = ann.new_trial()["id"]
    refused = ann.rejection("put_values", trial=id, field=field, path=path, values={"a": 1})
    assert (refused.code, reason in refused.message) == (BadArguments.code, True)


def test_lists_are_put_together_from_parts(ann: Caller) -> None:
    id = ann.new_trial(parameters={"rows": [1], "flat": 1})["id"]
    for path in (["rows"], ["flat"], ["model", "rows"]):
        for values in ([2, 3], [], [{"a": [4]}]):
            ann.logged("append_values", trial=id, field="parameters", path=path, values=values)
    added = [2, 3, {"a": [4]}]
    assert ann.trial(id)["parameters"] == {"rows": [1, *added], "flat": added, "model": {"rows": added}}


@pytest.mark.parametrize(("field", "path"), [("parameters", []), ("name", ["a"]), ("tags", ["a"] * 100)])
def test_a_list_is_put_only_where_values_are(ann: Caller, field: str, path: list[str]) -> None:
    id = ann.new_trial()["id"]
    refused = ann.rejection("append_values", trial=id, field=field, path=path, values=[1])
    assert refused.code == BadArguments.code


def test_metadata_may_be_stored_as_a_list(ann: Caller) -> None:
    id = ann.new_trial()["id"]
    for number in range(4):
        ann.logged("log_trial_metadata", trial=id, metadata={"all": number}, aggregator=["series", None])
        ann.logged("log_trial_metadata", trial=id, metadata={"two": number}, aggregator=["ring", 2, None])
        ann.logged("log_trial_metadata", trial=id, metadata={"one": number}, aggregator=["value", None])
    assert given(ann.trial(id)["metadata"]) == {"all": [0, 1, 2, 3], "two": [2, 3], "one": 3}


@pytest.mark.parametrize("aggregator", [["stat"], ["ring", 0, None], ["ring"], []])
def test_metadata_cannot_be_stored_by_just_any_aggregator(ann: Caller, aggregator: list[Any]) -> None:
    id = ann.new_trial()["id"]
    refused = ann.rejection("log_trial_metadata", trial=id, metadata={"a": 1}, aggregator=aggregator)
    assert refused.code == BadArguments.code
    assert "a" not in ann.trial(id)["metadata"]


def test_a_trial_starts_and_finishes_at_its_time(ann: Caller) -> None:
    id = ann.new_trial()["id"]
    ann.logged("log_trial_start", trial=id, time=10.0)
    assert ann.trial(id)["status"] == RUNNING
    ann.logged("log_trial_finish", trial=id, time=20, status=DONE, error="out of memory")
    found = ann.trial(id)
    assert (found["status"], found["errors"]) == (DONE, ["out of memory"])
    assert found["metadata"]["heartbeat"] == 20.0


def test_ranks_above_0_join_a_trial_and_leave_its_status_alone(ann: Caller) -> None:
    id = ann.new_trial()["id"]
    for rank in (2, 0, 1, 2):
        ann.logged("log_trial_start", trial=id, time=10.0, rank=rank)
    ann.logged("log_trial_finish", trial=id, time=20, status=DONE, error="out of memory", rank=2)
    found = ann.trial(id)
    assert (found["status"], found["errors"]) == (RUNNING, ["out of memory"])
    assert found["metadata"]["ranks"] == [0, 1, 2]
    ann.logged("log_trial_finish", trial=id, time=30, status=DONE, rank=0)
    assert ann.trial(id)["status"] == DONE


def test_a_trial_tells_when_it_was_resumed(ann: Caller) -> None:
    id = ann.new_trial()["id"]
    ann.logged("log_trial_start", trial=id, time=10.0)
    assert "resumes" not in ann.trial(id)["metadata"]
    for time in (20.0, 30.0):
        ann.logged("log_trial_finish", trial=id, time=time - 5, status=DONE)
        ann.logged("log_trial_start", trial=id, time=time)
    assert ann.trial(id)["metadata"]["resumes"] == [{"time": 20.0}, {"time": 30.0}]


def test_a_late_rank_does_not_start_a_trial_that_has_ended(ann: Caller) -> None:
    id = ann.new_trial()["id"]
    ann.logged("log_trial_finish", trial=id, time=20, status=DONE)
    ann.logged("log_trial_start", trial=id, time=30.0, rank=1)
    assert ann.trial(id)["status"] == DONE


def test_overwritten_ranks_do_not_prevent_another_from_joining(ann: Caller) -> None:
    id = ann.new_trial()["id"]
    ann.logged("log_trial_metadata", trial=id, metadata={"ranks": ["x", 7, None]})
    ann.logged("log_trial_start", trial=id, time=30.0, rank=1)
    assert ann.trial(id)["metadata"]["ranks"] == [1, 7]


def test_a_rewind_supersedes_later_points_and_is_retained_with_the_trial(ann: Caller) -> None:
    id = ann.new_trial()["id"]
    ann.log(points(id, loss=[0.0, 1.0, 2.0], rate=[0.5, 0.5, 0.5]))
    ann.logged("rewind_trial", trial=id, step=0, time=10)
    ann.logged("rewind_trial", trial=id, step=7.5, time=20.0)
    assert ann.trial(id)["metrics"]["loss"]["count"] == 1
    session = ann.writer.sid.hex()
    assert ann.trial(id)["metadata"]["rewinds"] == [
        {"step": 0, "time": 10.0, "points": 4, "session": session},
        {"step": 7.5, "time": 20.0, "points": 0, "session": session},
    ]
    assert ann.values(id, "loss", kind="superseded") == [1.0, 2.0]


def test_a_rewind_counts_only_what_came_before_it_in_the_batch(ann: Caller) -> None:
    id = ann.new_trial()["id"]
    again = points(id, 3, steps=[1], loss=[10.0])
    ann.log(points(id, steps=[0, 1], loss=[0.0, 1.0]), rewind_op(2, id), again)
    assert ann.values(id, "loss") == [0.0, 10.0]


def test_a_rewind_that_is_sent_again_is_done_once(ann: Caller) -> None:
    id = ann.new_trial()["id"]
    ann.log(points(id, steps=[0, 1], loss=[0.0, 1.0]))
    rewind = Batch(ann.seq + 1, 1, [rewind_op(0, id)])
    ann.batch(rewind)
    ann.seq += 1
    ann.log(points(id, steps=[1], loss=[10.0]))
    ann.batch(rewind)
    found = ann.trial(id)
    assert (found["metrics"]["loss"]["last"], len(found["metadata"]["rewinds"])) == (10.0, 1)


def test_overwritten_rewinds_do_not_prevent_another(ann: Caller) -> None:
    id = ann.new_trial()["id"]
    ann.logged("log_trial_metadata", trial=id, metadata={"rewinds": "mine"})
    ann.logged("rewind_trial", trial=id, step=0, time=10.0)
    (rewind,) = ann.trial(id)["metadata"]["rewinds"]
    assert (rewind["step"], rewind["time"], rewind["points"]) == (0, 10.0, 0)


@pytest.mark.parametrize("step", [None, "3", True, [1], math.nan])
def test_a_rewind_to_no_number_is_refused(ann: Caller, step: Any) -> None:
    id = ann.new_trial()["id"]
    refused = ann.rejection("rewind_trial", trial=id, step=step, time=1.0)
    assert (refused.code, "'step' must be a number" in refused.message) == (BadArguments.code, True)
    assert "rewinds" not in ann.trial(id)["metadata"]


def test_errors_are_retained_in_their_order(ann: Caller) -> None:
    id = ann.new_trial()["id"]
    ann.logged("set_trial_status", trial=id, status=RUNNING, error="first")
    ann.logged("set_trial_status", trial=id, status=DONE)
    ann.logged("set_trial_status", trial=id, status=DONE, error="second")
    assert ann.trial(id)["errors"] == ["first", "second"]


def test_a_trial_is_put_into_a_project_and_a_group(ann: Caller) -> None:
    ann.call("new_project", project={"uid": "p"})
    ann.call("new_trial_group", group={"uid": "g"})
    uid = ann.new_trial()["uid"]
    ann.logged("add_project_trial", project="p", trial=uid)
    ann.logged("add_group_trial", group="g", trial=uid)
    ann.logged("add_group_trial", group="g", trial=uid)
    assert ann.read("get_project", project={"uid": "p"})["trials"] == [uid]
    assert ann.read("get_trial_group", group={"uid": "g"})["trials"] == [uid]


def test_a_groups_metadata_is_merged(ann: Caller) -> None:
    ann.call("new_trial_group", group={"uid": "g", "metadata": {"a": 1}})
    ann.logged("set_group_metadata", group="g", metadata={"b": 2})
    assert ann.read("get_trial_group", group={"uid": "g"})["metadata"] == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("add_trial_tags", {"trial": "nothing_0", "tags": {}}),
        ("add_trial_tags", {"trial": b"\0" * 16, "tags": {}}),
        ("set_group_metadata", {"group": "nothing", "metadata": {}}),
        ("add_project_trial", {"project": "nothing", "trial": "nothing_0"}),
        ("add_group_trial", {"group": "nothing", "trial": "nothing_0"}),
    ],
)
def test_logging_to_what_does_not_exist_is_rejected_with_what_to_do(
    ann: Caller, method: str, arguments: dict[str, Any]
) -> None:
    refused = ann.rejection(method, **arguments)
    assert refused.code == ItemNotFound.code
    assert "first" in refused.message
