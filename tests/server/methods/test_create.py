"""Projects, groups and trials are made from documents."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from engine_calls import Caller
from track_protocol.errors import BadArguments, ItemNotFound


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
        ("new_project", "project", {"uid": 7}, "'uid' of a project must be a str"),
        ("new_project", "project", {}, "'uid' of a project"),
        ("new_project", "project", {"uid": "p", "nmae": "x"}, "no field 'nmae'"),
        ("new_trial_group", "group", {"uid": "g", "metadata": []}, "'metadata' of a group must be a dict"),
        ("new_trial", "trial", {"id": b"short", "hash": "h", "revision": 0}, "16 bytes"),
        ("new_trial", "trial", {"id": b"\0" * 16, "hash": "h", "revision": "0"}, "'revision'"),
        ("new_trial", "trial", {"id": b"\0" * 16, "hash": "h", "revision": True}, "'revision'"),
        ("new_trial", "trial", {"id": b"\0" * 16, "hash": "h", "revision": -1}, "revision"),
        ("new_trial", "trial", {"id": b"\0" * 16, "hash": "h", "revision": 0, "status": {}}, "'status'"),
        ("new_trial", "trial", {"id": b"\0" * 16, "hash": "h", "revision": 0, "errors": [1]}, "'errors'"),
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


def test_what_is_created_by_a_record_is_what_a_call_with_an_answer_makes(ann: Caller) -> None:
    ann.logged("create_project", project={"uid": "p", "name": "p"})
    ann.logged("create_group", group={"uid": "g", "project_id": "p"})
    trial = {"id": b"1" * 16, "hash": "h", "revision": 0, "project_id": "p", "group_id": "g"}
    ann.logged("create_trial", trial=trial)
    assert ann.call("new_project", project={"uid": "p"})["name"] == "p"
    assert ann.read("get_trial_group", group={"uid": "g"})["trials"] == ["h_0"]
    assert ann.trial(b"1" * 16)["project_id"] == "p"


def test_a_record_that_creates_what_exists_changes_nothing(ann: Caller) -> None:
    for description in ("first", "second"):
        ann.logged("create_project", project={"uid": "p", "description": description})
        ann.logged("create_group", group={"uid": "g", "description": description})
        trial = {"id": b"1" * 16, "hash": "h", "revision": 0, "description": description}
        ann.logged("create_trial", trial=trial)
    assert ann.read("get_project", project={"uid": "p"})["description"] == "first"
    assert ann.read("get_trial_group", group={"uid": "g"})["description"] == "first"
    found = ann.read("get_trial", trial={"hash": "h"})
    assert [(each["uid"], each["description"]) for each in found] == [("h_0", "first")]


def test_trials_of_one_hash_that_records_create_get_revisions_in_the_order_they_come(ann: Caller) -> None:
    for id in (b"1" * 16, b"2" * 16, b"3" * 16):
        ann.logged("create_trial", trial={"id": id, "hash": "h", "revision": 0})
    assert [ann.trial(bytes([c]) * 16)["revision"] for c in b"123"] == [0, 1, 2]


def test_a_record_cannot_create_in_what_does_not_exist(ann: Caller) -> None:
    trial = {"id": b"1" * 16, "hash": "h", "revision": 0, "project_id": "nothing"}
    assert ann.rejection("create_trial", trial=trial).code == ItemNotFound.code
    assert ann.read("get_trial", trial={"hash": "h"}) == []


def test_a_logged_trial_with_a_faulty_field_is_quarantined_and_lists_go_on(ann: Caller) -> None:
    ann.new_trial("good")
    trial = {"id": b"\1" * 16, "hash": "bad", "revision": 0, "errors": [1]}
    assert "'errors' of a trial must be a list of str" in ann.rejection("create_trial", trial=trial).message
    assert [each["hash"] for each in ann.read("fetch_trials", query={})] == ["good"]
