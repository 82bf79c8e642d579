"""What is read of documents and points."""

from __future__ import annotations

from typing import Any

import pytest

from engine_calls import Caller, points
from track_protocol.errors import BadArguments, BadQuery, ItemNotFound


def test_what_was_never_superseded_is_not_found(ann: Caller) -> None:
    id = ann.new_trial()["id"]
    with pytest.raises(ItemNotFound, match="no superseded points of a metric called 'loss'"):
        ann.read("fetch_metrics", trial=id, name="loss", kind="superseded")


def test_points_are_read_in_pages(ann: Caller) -> None:
    id = ann.new_trial()["id"]
    ann.log(points(id, loss=[float(number) for number in range(10)]))
    assert ann.values(id, "loss", start=4, limit=3) == [4.0, 5.0, 6.0]
    assert ann.values(id, "loss", start=99) == []


def test_a_series_that_does_not_exist_is_not_an_empty_one(ann: Caller) -> None:
    id = ann.new_trial()["id"]
    with pytest.raises(ItemNotFound, match="no metric called 'loss'"):
        ann.read("fetch_metrics", trial=id, name="loss")


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


def test_a_page_of_trials_in_an_order_of_ones_own(ann: Caller) -> None:
    for number in range(5):
        id = ann.new_trial(name=f"trial {number}")["id"]
        ann.log(points(id, loss=[float(-number), 1.0]))
    best = ann.read("fetch_trials", query={}, order=["metrics.loss.min"], limit=2, fields=["name"])
    assert [each["name"] for each in best] == ["trial 4", "trial 3"]
    assert "parameters" not in best[0]
    rest = ann.read("fetch_trials", query={}, order=["metrics.loss.min"], start=3, fields=["name"])
    assert [each["name"] for each in rest] == ["trial 1", "trial 0"]


def test_metadata_alone_reports_the_newest_points_too(ann: Caller) -> None:
    id = ann.new_trial()["id"]
    ann.logged("log_trial_start", trial=id, time=1.0)
    ann.log(points(id, loss=[1.0]))
    (complete,) = ann.read("fetch_trials", query={})
    (found,) = ann.read("fetch_trials", query={}, fields=["metadata"])
    assert found["metadata"] == complete["metadata"]
    assert "metrics" not in found


def test_groups_and_projects_are_listed_in_pages_too(ann: Caller) -> None:
    for name in "abc":
        ann.call("new_project", project={"uid": name, "name": name})
        ann.call("new_trial_group", group={"uid": name, "project_id": name})
    assert ann.read("fetch_projects", query={}, order=["-name"], limit=2, fields=["uid", "groups"]) == [
        {"uid": "c", "groups": ["c"]},
        {"uid": "b", "groups": ["b"]},
    ]
    assert ann.read("fetch_groups", query={}, start=2, fields=["uid"]) == [{"uid": "c"}]


@pytest.mark.parametrize("wrong", [{"order": ["metric.loss"]}, {"fields": ["metric"]}])
def test_a_name_that_nothing_has_is_refused_with_a_suggestion(ann: Caller, wrong: dict[str, Any]) -> None:
    with pytest.raises(BadArguments, match="did you mean 'metrics'"):
        ann.read("fetch_trials", query={}, **wrong)
