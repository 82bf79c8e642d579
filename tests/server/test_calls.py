"""What each call means, on a store in memory."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from bookkept import given
from engine_calls import Caller, points
from track_protocol.batch import Batch, CallOp
from track_protocol.columns import column_from_wire, unpack
from track_protocol.errors import BadArguments, BadQuery, ItemNotFound, TrackError, UnknownMethod
from track_protocol.methods import METHODS, Access
from track_server.backends.memory import MemoryStore
from track_server.calls import LOGS, READS, WRITES
from track_server.engine import Engine

RUNNING = {"value": 101, "name": "Running"}
DONE = {"value": 201, "name": "Completed"}


@pytest.fixture
def ann() -> Iterator[Caller]:
    engine = Engine(MemoryStore())
    yield Caller(engine)
    engine.close()


def trial_of(ann: Caller, id: bytes) -> Any:
    """The trial as it is stored."""
    (found,) = ann.read("get_trial", trial={"id": id})
    return found


def logged(ann: Caller, method: str, **arguments: Any) -> None:
    """Log a call that has to be accepted."""
    assert ann.log(CallOp(0, method, arguments)).rejected == []


def rejection(ann: Caller, method: str, **arguments: Any) -> Any:
    """Why a logged call was rejected."""
    (rejected,) = ann.log(CallOp(0, method, arguments)).rejected
    return rejected


def rewind_op(offset: int, id: bytes) -> CallOp:
    """A rewind to step 0, logged by the record at `offset`."""
    return CallOp(offset, "rewind_trial", {"trial": id, "step": 0, "time": 1.0})


def test_every_method_of_the_table_has_its_handler_and_no_other_has() -> None:
    handlers = {Access.READ: READS, Access.WRITE: WRITES, Access.LOG: LOGS}
    for access, table in handlers.items():
        assert set(table) == {method.name for method in METHODS.values() if method.access is access}


# -- creating ------------------------------------------------------------------------------------


def test_a_project_that_exists_is_returned_as_it_is(ann: Caller) -> None:
    made = ann.call("new_project", project={"uid": "p", "name": "p", "description": "first"})
    again = ann.call("new_project", project={"uid": "p", "name": "p", "description": "second"})
    assert made["description"] == again["description"] == "first"


def test_a_group_that_exists_is_returned_as_it_is(ann: Caller) -> None:
    ann.call("new_project", project={"uid": "p"})
    ann.call("new_trial_group", group={"uid": "g", "project_id": "p", "metadata": {"a": 1}})
    assert ann.call("new_trial_group", group={"uid": "g", "metadata": {"a": 2}})["metadata"] == {"a": 1}
    assert ann.read("get_project", project={"uid": "p"})["groups"] == ["g"]


def test_a_trial_with_a_known_hash_gets_the_next_revision(ann: Caller) -> None:
    assert [ann.new_trial("h")["uid"] for _ in range(3)] == ["h_0", "h_1", "h_2"]


def test_a_trial_with_a_known_hash_is_not_made_without_leave_to_count_on(ann: Caller) -> None:
    ann.new_trial("h")
    trial = {"id": uuid.uuid4().bytes, "hash": "h", "revision": 0}
    assert ann.call("new_trial", trial=trial, auto_increment=False) is None


def test_a_trial_with_a_known_id_is_the_same_trial(ann: Caller) -> None:
    trial = {"id": uuid.uuid4().bytes, "hash": "h", "revision": 0}
    made = ann.call("new_trial", trial=trial, auto_increment=True)
    assert ann.call("new_trial", trial=trial, auto_increment=True) == made


def test_a_new_trial_is_in_its_group_and_project(ann: Caller) -> None:
    ann.call("new_project", project={"uid": "p"})
    ann.call("new_trial_group", group={"uid": "g", "project_id": "p"})
    uid = ann.new_trial("h", project_id="p", group_id="g")["uid"]
    assert ann.read("get_trial_group", group={"uid": "g"})["trials"] == [uid]
    assert ann.read("get_project", project={"uid": "p"})["trials"] == [uid]


@pytest.mark.parametrize(
    ("method", "kind", "document", "part"),
    [
        ("new_project", "project", {"uid": 7}, "'uid' of a project must be str"),
        ("new_project", "project", {}, "'uid' of a project"),
        ("new_project", "project", {"uid": "p", "nmae": "x"}, "no field 'nmae'"),
        ("new_trial_group", "group", {"uid": "g", "metadata": []}, "'metadata' of a group must be dict"),
        ("new_trial", "trial", {"id": b"short", "hash": "h", "revision": 0}, "16 bytes"),
        ("new_trial", "trial", {"id": b"\0" * 16, "hash": "h", "revision": "0"}, "'revision'"),
        ("new_trial", "trial", {"id": b"\0" * 16, "hash": "h", "revision": True}, "'revision'"),
        ("new_trial", "trial", {"id": b"\0" * 16, "hash": "h", "revision": -1}, "revision"),
        ("new_trial", "trial", {"id": b"\0" * 16, "hash": "h", "revision": 0, "status": {}}, "'status'"),
    ],
)
def test_a_document_that_is_none_is_refused_by_the_name_of_its_fault(
    ann: Caller, method: str, kind: str, document: dict[str, Any], part: str
) -> None:
    with pytest.raises(BadArguments, match=part):
        ann.call(method, seq=None, **{kind: document})
    assert ann.read("fetch_trials", query={}) == ann.read("fetch_projects", query={}) == []


@pytest.mark.parametrize("missing", [{"project_id": "nothing"}, {"group_id": "nothing"}])
def test_a_trial_of_what_does_not_exist_is_refused_and_not_made(ann: Caller, missing: dict[str, str]) -> None:
    with pytest.raises(ItemNotFound, match="nothing"):
        ann.new_trial("h", **missing)
    assert ann.read("fetch_trials", query={}) == []


# -- logging -------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["id", "uid"])
def test_values_are_merged_into_what_is_there(ann: Caller, by: str) -> None:
    trial = ann.new_trial("h", tags={"old": 1}, parameters={"lr": 0.1})
    logged(ann, "add_trial_tags", trial=trial[by], tags={"new": 2})
    logged(ann, "log_trial_arguments", trial=trial[by], arguments={"lr": 0.2, "beta": 0.9})
    logged(ann, "log_trial_metadata", trial=trial[by], metadata={"host": "node7"})
    found = trial_of(ann, trial["id"])
    assert found["tags"] == {"old": 1, "new": 2}
    assert found["parameters"] == {"lr": 0.2, "beta": 0.9}
    assert given(found["metadata"]) == {"host": "node7"}
    assert found["uid"] == trial["uid"]


def test_metadata_may_be_kept_as_a_list(ann: Caller) -> None:
    id = ann.new_trial()["id"]
    for number in range(4):
        logged(ann, "log_trial_metadata", trial=id, metadata={"all": number}, aggregator=["series", None])
        logged(ann, "log_trial_metadata", trial=id, metadata={"two": number}, aggregator=["ring", 2, None])
        logged(ann, "log_trial_metadata", trial=id, metadata={"one": number}, aggregator=["value", None])
    assert given(trial_of(ann, id)["metadata"]) == {"all": [0, 1, 2, 3], "two": [2, 3], "one": 3}


@pytest.mark.parametrize("aggregator", [["stat"], ["ring", 0, None], ["ring"], []])
def test_metadata_cannot_be_kept_by_just_any_aggregator(ann: Caller, aggregator: list[Any]) -> None:
    id = ann.new_trial()["id"]
    refused = rejection(ann, "log_trial_metadata", trial=id, metadata={"a": 1}, aggregator=aggregator)
    assert refused.code == BadArguments.code
    assert "a" not in trial_of(ann, id)["metadata"]


def test_a_trial_starts_and_finishes_at_its_time(ann: Caller) -> None:
    id = ann.new_trial()["id"]
    logged(ann, "log_trial_start", trial=id, time=10.0)
    assert trial_of(ann, id)["status"] == RUNNING
    logged(ann, "log_trial_finish", trial=id, time=20, status=DONE, error="out of memory")
    found = trial_of(ann, id)
    assert (found["status"], found["errors"]) == (DONE, ["out of memory"])
    assert found["metadata"]["heartbeat"] == 20.0


def test_ranks_above_0_join_a_trial_and_leave_its_status_alone(ann: Caller) -> None:
    id = ann.new_trial()["id"]
    for rank in (2, 0, 1, 2):
        logged(ann, "log_trial_start", trial=id, time=10.0, rank=rank)
    logged(ann, "log_trial_finish", trial=id, time=20, status=DONE, error="out of memory", rank=2)
    found = trial_of(ann, id)
    assert (found["status"], found["errors"]) == (RUNNING, ["out of memory"])
    assert found["metadata"]["ranks"] == [0, 1, 2]
    logged(ann, "log_trial_finish", trial=id, time=30, status=DONE, rank=0)
    assert trial_of(ann, id)["status"] == DONE


def test_a_late_rank_does_not_start_a_trial_that_has_ended(ann: Caller) -> None:
    id = ann.new_trial()["id"]
    logged(ann, "log_trial_finish", trial=id, time=20, status=DONE)
    logged(ann, "log_trial_start", trial=id, time=30.0, rank=1)
    assert trial_of(ann, id)["status"] == DONE


def test_ranks_that_somebody_wrote_over_do_not_keep_one_from_joining(ann: Caller) -> None:
    id = ann.new_trial()["id"]
    logged(ann, "log_trial_metadata", trial=id, metadata={"ranks": ["x", 7, None]})
    logged(ann, "log_trial_start", trial=id, time=30.0, rank=1)
    assert trial_of(ann, id)["metadata"]["ranks"] == [1, 7]


def test_a_rewind_supersedes_later_points_and_is_kept_with_the_trial(ann: Caller) -> None:
    id = ann.new_trial()["id"]
    ann.log(points(id, loss=[0.0, 1.0, 2.0], rate=[0.5, 0.5, 0.5]))
    logged(ann, "rewind_trial", trial=id, step=0, time=10)
    logged(ann, "rewind_trial", trial=id, step=7.5, time=20.0)
    assert trial_of(ann, id)["metrics"]["loss"]["count"] == 1
    session = ann.writer.sid.hex()
    assert trial_of(ann, id)["metadata"]["rewinds"] == [
        {"step": 0, "time": 10.0, "points": 4, "session": session},
        {"step": 7.5, "time": 20.0, "points": 0, "session": session},
    ]
    page = ann.read("fetch_metrics", trial=id, name="loss", kind="superseded")
    assert list(unpack(column_from_wire(page["values"], 2))) == [1.0, 2.0]


def test_a_rewind_counts_only_what_came_before_it_in_the_batch(ann: Caller) -> None:
    id = ann.new_trial()["id"]
    again = points(id, 3, steps=[1], loss=[10.0])
    ann.log(points(id, steps=[0, 1], loss=[0.0, 1.0]), rewind_op(2, id), again)
    page = ann.read("fetch_metrics", trial=id, name="loss")
    assert list(unpack(column_from_wire(page["values"], 2))) == [0.0, 10.0]


def test_a_rewind_that_is_sent_again_is_done_once(ann: Caller) -> None:
    id = ann.new_trial()["id"]
    ann.log(points(id, steps=[0, 1], loss=[0.0, 1.0]))
    rewind = Batch(ann.seq + 1, 1, [rewind_op(0, id)])
    ann.batch(rewind)
    ann.seq += 1
    ann.log(points(id, steps=[1], loss=[10.0]))
    ann.batch(rewind)
    found = trial_of(ann, id)
    assert (found["metrics"]["loss"]["last"], len(found["metadata"]["rewinds"])) == (10.0, 1)


def test_rewinds_that_somebody_wrote_over_do_not_keep_one_from_being_done(ann: Caller) -> None:
    id = ann.new_trial()["id"]
    logged(ann, "log_trial_metadata", trial=id, metadata={"rewinds": "mine"})
    logged(ann, "rewind_trial", trial=id, step=0, time=10.0)
    (rewind,) = trial_of(ann, id)["metadata"]["rewinds"]
    assert (rewind["step"], rewind["time"], rewind["points"]) == (0, 10.0, 0)


@pytest.mark.parametrize("step", [None, "3", True, [1], math.nan])
def test_a_rewind_to_no_number_is_refused(ann: Caller, step: Any) -> None:
    id = ann.new_trial()["id"]
    refused = rejection(ann, "rewind_trial", trial=id, step=step, time=1.0)
    assert (refused.code, "'step' must be a number" in refused.message) == (BadArguments.code, True)
    assert "rewinds" not in trial_of(ann, id)["metadata"]


def test_what_was_never_superseded_is_not_found(ann: Caller) -> None:
    id = ann.new_trial()["id"]
    with pytest.raises(ItemNotFound, match="no superseded points of a metric called 'loss'"):
        ann.read("fetch_metrics", trial=id, name="loss", kind="superseded")


def test_errors_are_kept_in_their_order(ann: Caller) -> None:
    id = ann.new_trial()["id"]
    logged(ann, "set_trial_status", trial=id, status=RUNNING, error="first")
    logged(ann, "set_trial_status", trial=id, status=DONE)
    logged(ann, "set_trial_status", trial=id, status=DONE, error="second")
    assert trial_of(ann, id)["errors"] == ["first", "second"]


def test_a_trial_is_put_into_a_project_and_a_group(ann: Caller) -> None:
    ann.call("new_project", project={"uid": "p"})
    ann.call("new_trial_group", group={"uid": "g"})
    uid = ann.new_trial()["uid"]
    logged(ann, "add_project_trial", project="p", trial=uid)
    logged(ann, "add_group_trial", group="g", trial=uid)
    logged(ann, "add_group_trial", group="g", trial=uid)
    assert ann.read("get_project", project={"uid": "p"})["trials"] == [uid]
    assert ann.read("get_trial_group", group={"uid": "g"})["trials"] == [uid]


def test_what_is_created_by_a_record_is_what_a_call_with_an_answer_makes(ann: Caller) -> None:
    logged(ann, "create_project", project={"uid": "p", "name": "p"})
    logged(ann, "create_group", group={"uid": "g", "project_id": "p"})
    trial = {"id": b"1" * 16, "hash": "h", "revision": 0, "project_id": "p", "group_id": "g"}
    logged(ann, "create_trial", trial=trial)
    assert ann.call("new_project", project={"uid": "p"})["name"] == "p"
    assert ann.read("get_trial_group", group={"uid": "g"})["trials"] == ["h_0"]
    assert trial_of(ann, b"1" * 16)["project_id"] == "p"


def test_a_record_that_creates_what_exists_changes_nothing(ann: Caller) -> None:
    for description in ("first", "second"):
        logged(ann, "create_project", project={"uid": "p", "description": description})
        logged(ann, "create_group", group={"uid": "g", "description": description})
        trial = {"id": b"1" * 16, "hash": "h", "revision": 0, "description": description}
        logged(ann, "create_trial", trial=trial)
    assert ann.read("get_project", project={"uid": "p"})["description"] == "first"
    assert ann.read("get_trial_group", group={"uid": "g"})["description"] == "first"
    found = ann.read("get_trial", trial={"hash": "h"})
    assert [(each["uid"], each["description"]) for each in found] == [("h_0", "first")]


def test_trials_of_one_hash_that_records_create_get_revisions_in_the_order_they_come(ann: Caller) -> None:
    for id in (b"1" * 16, b"2" * 16, b"3" * 16):
        logged(ann, "create_trial", trial={"id": id, "hash": "h", "revision": 0})
    assert [trial_of(ann, bytes([c]) * 16)["revision"] for c in b"123"] == [0, 1, 2]


def test_a_record_cannot_create_in_what_does_not_exist(ann: Caller) -> None:
    trial = {"id": b"1" * 16, "hash": "h", "revision": 0, "project_id": "nothing"}
    assert rejection(ann, "create_trial", trial=trial).code == ItemNotFound.code
    assert ann.read("get_trial", trial={"hash": "h"}) == []


def test_a_groups_metadata_is_merged(ann: Caller) -> None:
    ann.call("new_trial_group", group={"uid": "g", "metadata": {"a": 1}})
    logged(ann, "set_group_metadata", group="g", metadata={"b": 2})
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
    refused = rejection(ann, method, **arguments)
    assert refused.code == ItemNotFound.code
    assert "first" in refused.message


@pytest.mark.parametrize("method", ["new_trial", "fetch_trials", "commit", "__init__", "nothing"])
def test_only_what_is_logged_may_come_in_a_batch(ann: Caller, method: str) -> None:
    assert rejection(ann, method).code == UnknownMethod.code


# -- points --------------------------------------------------------------------------------------


def values_of(ann: Caller, id: bytes, name: str, count: int, **options: Any) -> list[Any]:
    answer = ann.read("fetch_metrics", trial=id, name=name, **options)
    return list(unpack(column_from_wire(answer["values"], count)))


def test_points_are_read_back_in_the_order_they_came(ann: Caller) -> None:
    id = ann.new_trial()["id"]
    ann.log(points(id, steps=[3, 1], loss=[0.5, 0.25], name=["a", "b"]))
    assert values_of(ann, id, "loss", 2) == [0.5, 0.25]
    assert values_of(ann, id, "name", 2) == ["a", "b"]


def test_points_are_read_in_pages(ann: Caller) -> None:
    id = ann.new_trial()["id"]
    ann.log(points(id, loss=[float(number) for number in range(10)]))
    assert values_of(ann, id, "loss", 3, start=4, limit=3) == [4.0, 5.0, 6.0]
    assert values_of(ann, id, "loss", 0, start=99) == []


def test_a_series_that_does_not_exist_is_not_an_empty_one(ann: Caller) -> None:
    id = ann.new_trial()["id"]
    with pytest.raises(ItemNotFound, match="no metric called 'loss'"):
        ann.read("fetch_metrics", trial=id, name="loss")


def test_points_with_a_name_that_cannot_be_are_rejected_as_a_whole(ann: Caller) -> None:
    id = ann.new_trial()["id"]
    acked = ann.log(points(id, 0, None, **{"loss": [1.0], "x" * 300: [2.0]}))
    assert [rejected.code for rejected in acked.rejected] == ["bad-value"]
    with pytest.raises(ItemNotFound):
        ann.read("fetch_metrics", trial=id, name="loss")


def test_points_of_no_trial_are_rejected_and_the_rest_is_stored(ann: Caller) -> None:
    id = ann.new_trial()["id"]
    acked = ann.log(points(b"\0" * 16, loss=[1.0]), points(id, 1, loss=[2.0]), count=2)
    assert [(rejected.seq, rejected.code) for rejected in acked.rejected] == [(2, ItemNotFound.code)]
    assert values_of(ann, id, "loss", 1) == [2.0]


# -- finding and claiming ------------------------------------------------------------------------


def test_a_trial_is_found_by_id_by_uid_and_by_hash(ann: Caller) -> None:
    first, second = ann.new_trial("h"), ann.new_trial("h")
    assert [t["uid"] for t in ann.read("get_trial", trial={"id": first["id"]})] == ["h_0"]
    assert [t["uid"] for t in ann.read("get_trial", trial={"uid": "h_1"})] == [second["uid"]]
    assert [t["uid"] for t in ann.read("get_trial", trial={"hash": "h"})] == ["h_0", "h_1"]
    assert ann.read("get_trial", trial={"uid": "nothing"}) == []


@pytest.mark.parametrize("document", [{"id": 7}, {"uid": b"x"}, {"hash": ["h"]}, {"uid": {"$gt": ""}}])
def test_what_is_no_name_of_a_trial_is_refused(ann: Caller, document: dict[str, Any]) -> None:
    with pytest.raises(BadArguments):
        ann.read("get_trial", trial=document)


def test_a_query_with_a_fault_is_refused(ann: Caller) -> None:
    with pytest.raises(BadQuery):
        ann.read("fetch_trials", query={"status": {"$grater": 1}})


def test_a_claim_updates_the_oldest_that_matches_and_returns_it(ann: Caller) -> None:
    ann.new_trial("a", tags={"kind": "x"})
    ann.new_trial("b", tags={"kind": "x"})
    update = {"method": "set_trial_status", "arguments": {"status": RUNNING}}
    query = {"tags.kind": "x", "status.value": 0}
    claims = [ann.call("fetch_and_update_trial", query=query, update=update) for _ in range(3)]
    assert [claim and claim["uid"] for claim in claims] == ["a_0", "b_0", None]
    assert claims[0]["status"] == RUNNING


def test_a_group_is_claimed_likewise(ann: Caller) -> None:
    ann.call("new_trial_group", group={"uid": "g"})
    update = {"method": "set_group_metadata", "arguments": {"metadata": {"taken": True}}}
    query = {"metadata.taken": {"$exists": False}}
    claims = [ann.call("fetch_and_update_group", query=query, update=update) for _ in range(2)]
    assert [claim and claim["metadata"] for claim in claims] == [{"taken": True}, None]


@pytest.mark.parametrize(
    ("update", "kind"),
    [
        ({"method": "nothing", "arguments": {}}, UnknownMethod),
        ({"method": "new_trial", "arguments": {}}, UnknownMethod),
        ({"method": "__class__", "arguments": {}}, UnknownMethod),
        ({"method": "set_group_metadata", "arguments": {"metadata": {}}}, BadArguments),
        ({"method": "add_trial_tags", "arguments": {"tags": 7}}, BadArguments),
        ({"method": "add_trial_tags", "arguments": {"trial": "other_0", "tags": {}}}, BadArguments),
        ({"method": "add_trial_tags"}, BadArguments),
    ],
)
@pytest.mark.parametrize("exists", [True, False])
def test_a_claim_that_cannot_be_is_refused_whether_or_not_something_matches(
    ann: Caller, update: dict[str, Any], kind: type[TrackError], exists: bool
) -> None:
    if exists:
        ann.new_trial("h")
    with pytest.raises(kind):
        ann.call("fetch_and_update_trial", query={}, update=update)


@pytest.mark.parametrize("exists", [True, False])
def test_what_updates_a_trial_cannot_claim_a_group(ann: Caller, exists: bool) -> None:
    if exists:
        ann.call("new_trial_group", group={"uid": "g"})
    with pytest.raises(BadArguments, match="set_group_metadata"):
        ann.call(
            "fetch_and_update_group",
            query={},
            update={"method": "add_trial_tags", "arguments": {"tags": {}}},
        )


def test_commit_answers_once_all_before_it_is_stored(ann: Caller) -> None:
    assert ann.call("commit") is None
