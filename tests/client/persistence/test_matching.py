"""Queries over objects: the same language as stores are asked in."""

from __future__ import annotations

from typing import Any

import pytest

from track.persistence import get_protocol, local
from track.persistence.local import execute_query
from track_protocol.errors import BadArguments, BadQuery
from track_protocol.model.entities import Project, Status, Trial, TrialGroup

TRIAL = Trial(
    name="t",
    parameters={"lr": 0.1, "deep": {"layers": 3}},
    tags={"best": True},
    status=Status.Running,
    metrics={"loss": {0: 0.5, 1: 0.25}, "plain": [3.0, 4.0]},
    chronos={"epoch": {"avg": 2.0, "min": 1.0, "max": 3.0, "sd": 0.5, "count": 4, "unit": "s"}},
)

QUERIES: list[tuple[dict[str, Any], bool]] = [
    ({}, True),
    ({"parameters.lr": {"$lte": 0.1}, "status": "Running"}, True),
    ({"parameters.lr": {"$gt": 0.1}}, False),
    ({"$or": [{"name": "x"}, {"tags.best": True}]}, True),
    ({"$not": {"name": "t"}}, False),
    ({"metrics.loss": 0.25, "metrics.loss.max": 0.5, "metrics.loss.count": 2}, True),
    ({"metrics.loss.last_step": 1, "metrics.plain.mean": 3.5}, True),
    ({"metrics.none": {"$exists": False}, "chronos.epoch": {"$gte": 2.0}}, True),
]


@pytest.mark.parametrize(("query", "expected"), QUERIES)
def test_an_object_matches_as_it_would_in_a_store(query: dict[str, Any], expected: bool) -> None:
    store = get_protocol("ephemeral:")
    stored = store.new_trial(
        Trial(name="t", parameters=TRIAL.parameters, tags=TRIAL.tags, status=Status.Running)
    )
    assert stored is not None
    for step, loss in TRIAL.metrics["loss"].items():
        store.log_trial_metrics(stored, step, loss=loss)
    for value in TRIAL.metrics["plain"]:
        store.log_trial_metrics(stored, plain=value)
    by_store = bool(store.fetch_trials({key: value for key, value in query.items() if "epoch" not in key}))
    (read,) = store.fetch_trials({})
    local_query = {key: value for key, value in query.items() if "epoch" not in key}
    assert (execute_query(TRIAL, query), by_store) == (expected, expected)
    assert execute_query(read, local_query) is expected
    store.close()


def test_projects_and_groups_match_too() -> None:
    assert execute_query(Project(name="p"), {"name": "p"})
    assert execute_query(TrialGroup(name="g", metadata={"a": 1}), {"metadata.a": {"$in": [1, 2]}})
    assert execute_query({"name": "x", "parameters": {"a": 1}}, {"parameters.a": 1})


@pytest.mark.parametrize(
    ("name", "attrs", "operand", "expected"),
    [
        ("query_gt", "parameters.lr", 0.05, True),
        ("query_gt", ["parameters", "lr"], 0.1, False),
        ("query_gte", "parameters.lr", 0.1, True),
        ("query_lt", "parameters.deep.layers", 3, False),
        ("query_lte", ("parameters", "deep", "layers"), 3, True),
        ("query_in", "name", ("s", "t"), True),
        ("query_nin", "name", {"s", "t"}, False),
        ("query_eq", "status", "Running", True),
        ("query_ne", "name", "t", False),
        ("query_exists", "tags.worst", False, True),
        ("query_not", "parameters.lr", {"$lt": 0.1}, True),
    ],
)
def test_each_operator_has_a_function(name: str, attrs: Any, operand: Any, expected: bool) -> None:
    assert getattr(local, name)(TRIAL, attrs, operand) is expected


def test_an_invalid_condition_is_refused() -> None:
    with pytest.raises(BadQuery):
        execute_query(TRIAL, {"nothing": 1})
    with pytest.raises(BadArguments, match="not about int"):
        execute_query(3, {})


@pytest.mark.parametrize("item", [Trial(name="t"), Project(name="p"), TrialGroup(name="g")])
def test_without_a_query_everything_matches(item: Any) -> None:
    assert execute_query(item, None)
    assert execute_query(item, {})
    assert execute_query(item, [])


def test_all_queries_of_a_list_have_to_match() -> None:
    trial = Trial(name="t", parameters={"lr": 0.1})
    assert execute_query(trial, [{"name": "t"}, {"parameters.lr": 0.1}])
    assert not execute_query(trial, [{"name": "t"}, {"parameters.lr": 0.2}])


def test_a_uid_may_have_its_underscore() -> None:
    assert execute_query(Project(name="p"), {"_uid": "p"})
