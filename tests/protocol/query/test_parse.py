from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from every_case import every
from track_protocol.errors import BadQuery
from track_protocol.model.entities import CustomStatus, Status
from track_protocol.query.parse import MAX_CONDITIONS, Kind, matches, normalise_query, parse_query
from track_protocol.wire.codec import decode, encode

NAN = math.nan
INF = math.inf


def summary(last: Any, **statistics: Any) -> dict[str, Any]:
    empty = {"count": 1, "first_step": 0, "last_step": 0, "min": None, "max": None, "mean": None, "sd": None}
    return {**empty, "last": last, **statistics}


TRIAL: dict[str, Any] = {
    "id": b"\x00" * 16,
    "uid": "abc_1",
    "hash": "abc",
    "revision": 1,
    "name": "résumé",
    "description": None,
    "version": "2",
    "tags": {},
    "parameters": {
        "lr": 0.1,
        "layers": 3,
        "big": 2**53 + 1,
        "flag": True,
        "none": None,
        "nan": NAN,
        "inf": INF,
        "minus_inf": -INF,
        "text": "b",
        "list": [1, (True, None)],
        "bytes": b"ab",
        "optimizer": {"name": "sgd", "beta": {"1": 0.9}},
        "model.lr": 0.3,
        "model": {"lr": 0.4, "width": 8, "a.b": {"c": 5}},
        "model.a": {"b": {"d": 6}},
        "": "empty key",
        1: "integer key",
    },
    "metadata": {"a": {"b": None}, "nan": [NAN]},
    "errors": [],
    "project_id": "p",
    "group_id": None,
    "status": {"value": 302, "name": "Completed"},
    "metrics": {
        "loss": summary(0.25, count=4, min=0.125, max=1.0, mean=0.5, sd=0.25, first_step=0, last_step=3),
        "loss.min": summary("shadowed"),
        "val.loss": summary(0.5, min=0.375),
        "min": summary(7),
    },
    "chronos": {"epoch": summary(2.0, mean=1.5)},
}


@every(
    [
        ({}, True),
        ({"name": "résumé", "revision": 1}, True),
        ({"name": "résumé", "revision": 2}, False),
        ({"id": b"\x00" * 16}, True),
        ({"id": "\x00" * 16}, False),
        # equality and types
        ({"parameters.layers": 3.0}, True),
        ({"parameters.flag": True}, True),
        ({"parameters.flag": 1}, False),
        ({"revision": True}, False),
        ({"version": 2}, False),
        ({"parameters.big": 2**53 + 1}, True),
        ({"parameters.big": float(2**53)}, False),
        ({"parameters.text": b"b"}, False),
        ({"parameters.bytes": b"ab"}, True),
        ({"parameters.list": [1, [True, None]]}, True),
        ({"parameters.list": (1.0, (True, None))}, True),
        ({"parameters.list": [True, [1, None]]}, False),
        ({"parameters.list.0": 1}, False),
        ({"parameters.optimizer": {"beta": {"1": 0.9}, "name": "sgd"}}, True),
        ({"parameters.optimizer": {"beta": {1: 0.9}, "name": "sgd"}}, False),
        ({"parameters.optimizer": {"name": "sgd"}}, False),
        ({"tags": {}}, True),
        ({"tags": []}, False),
        # paths
        ({"parameters.optimizer.name": "sgd"}, True),
        ({"parameters.optimizer.beta.1": 0.9}, True),
        ({"parameters.": "empty key"}, True),
        ({"parameters.1": "integer key"}, False),
        ({"parameters.text.b": None}, True),
        # None and missing
        ({"parameters.none": None}, True),
        ({"parameters.absent": None}, True),
        ({"parameters.lr": None}, False),
        ({"description": None}, True),
        ({"parameters.absent": {"$in": [1, None]}}, True),
        ({"parameters.absent": {"$ne": 1}}, True),
        ({"parameters.absent": {"$ne": None}}, False),
        ({"parameters.absent": {"$nin": [1, 2]}}, True),
        ({"parameters.absent": {"$not": {"$lt": 5}}}, True),
        ({"name": {"$contains": "SUM"}}, True),
        ({"name": {"$contains": "RÉS"}}, True),
        ({"name": {"$contains": "sumi"}}, False),
        ({"parameters.text": {"$contains": ""}}, True),
        ({"parameters.lr": {"$contains": "0"}}, False),
        ({"parameters.list": {"$contains": "1"}}, False),
        ({"parameters.absent": {"$contains": ""}}, False),
        ({"status": {"$contains": "complete"}}, True),
        ({"parameters.none": {"$exists": True}}, True),
        ({"parameters.absent": {"$exists": True}}, False),
        ({"parameters.absent": {"$exists": False}}, True),
        ({"metadata.a.b": {"$exists": True}}, True),
        ({"metadata.a.b.c": {"$exists": True}}, False),
        ({"tags": {"$exists": True}}, True),
        ({"description": {"$exists": True}}, True),
        # order
        ({"parameters.lr": {"$lt": 0.1}}, False),
        ({"parameters.lr": {"$lte": 0.1}}, True),
        ({"parameters.lr": {"$gt": 0}}, True),
        ({"parameters.lr": {"$gte": 0.1, "$lt": 0.2}}, True),
        ({"parameters.lr": {"$gte": 0.1, "$lt": 0.1}}, False),
        ({"parameters.big": {"$gt": float(2**53)}}, True),
        ({"parameters.big": {"$lt": float(2**53 + 2)}}, True),
        ({"parameters.text": {"$gt": "a", "$lt": "c"}}, True),
        ({"parameters.text": {"$gt": 0}}, False),
        ({"parameters.layers": {"$lt": "9"}}, False),
        ({"parameters.flag": {"$gte": 0}}, False),
        ({"parameters.layers": {"$gt": True}}, False),
        ({"parameters.none": {"$lte": None}}, False),
        ({"parameters.list": {"$gte": [1]}}, False),
        ({"name": {"$lt": "s"}}, True),
        ({"name": {"$gt": "r\U0001f600"}}, False),
        # NaN and infinities
        ({"parameters.nan": NAN}, False),
        ({"parameters.nan": {"$ne": NAN}}, True),
        ({"parameters.lr": {"$ne": NAN}}, True),
        ({"parameters.nan": {"$in": [NAN]}}, False),
        ({"parameters.nan": {"$lte": NAN}}, False),
        ({"parameters.nan": {"$lt": INF}}, False),
        ({"parameters.nan": {"$exists": True}}, True),
        ({"metadata.nan": [NAN]}, False),
        ({"parameters.inf": INF}, True),
        ({"parameters.inf": {"$gt": 1e308}}, True),
        ({"parameters.minus_inf": {"$lt": -(2**63)}}, True),
        # operators
        ({"parameters.lr": {"$eq": 0.1}}, True),
        ({"parameters.lr": {"$in": []}}, False),
        ({"parameters.lr": {"$nin": []}}, True),
        ({"parameters.layers": {"$in": [1, 3.0]}}, True),
        ({"parameters.layers": {"$not": 3}}, False),
        ({"parameters.layers": {"$not": {"$gt": 1, "$lt": 3}}}, True),
        ({"parameters.optimizer": {"$eq": {"$in": [1]}}}, False),
        ({"$or": [{"revision": 2}, {"name": "résumé"}]}, True),
        ({"$or": [{"revision": 2}, {"name": "x"}]}, False),
        ({"$and": [{"revision": 1}, {"name": "x"}]}, False),
        ({"$and": [{}]}, True),
        ({"$not": {"revision": 1, "name": "x"}}, True),
        ({"$not": {}}, False),
        ({"revision": 1, "$or": [{"name": "x"}]}, False),
        # status
        ({"status": 302}, True),
        ({"status": Status.Completed}, True),
        ({"status": {"$in": [Status.Running, Status.Completed]}}, True),
        ({"status": {"$in": [Status.Running, "Completed"]}}, True),
        ({"status": {"$nin": [Status.Running, "Completed"]}}, False),
        ({"status": CustomStatus("mine", 302)}, True),
        ({"status": {"value": 302, "name": "whatever"}}, True),
        ({"status": "Completed"}, True),
        ({"parameters.model.lr": 0.3}, True),
        ({"parameters.model.lr": {"$in": [0.4]}}, False),
        ({"parameters.model.width": 8}, True),
        ({"parameters.model.a.b.c": 5}, True),
        ({"parameters.model.a.b.d": 6}, True),
        ({"parameters.model.a.b": {"d": 6}}, True),
        ({"parameters.model.a.c": {"$exists": True}}, False),
        ({"status": "completed"}, True),
        ({"status": {"$nin": ["completed", "running"]}}, False),
        ({"status.name": "COMPLETED"}, True),
        ({"status": {"$ne": "complete"}}, True),
        ({"status": {"$gte": Status.FinishedGroup}}, True),
        ({"status": {"$ne": None}}, True),
        ({"status.value": 302, "status.name": "Completed"}, True),
        ({"status.value": "Completed"}, False),
        ({"status": {"$exists": True}}, True),
        # series
        ({"metrics.loss": 0.25}, True),
        ({"metrics.loss.last": 0.25}, True),
        ({"metrics.loss.min": "shadowed"}, True),
        ({"metrics.loss.min": 0.125}, False),
        ({"metrics.loss.max": 1.0}, True),
        ({"metrics.loss.min.count": 1}, True),
        ({"metrics.loss.max": {"$gte": 1}}, True),
        ({"metrics.loss.mean": 0.5, "metrics.loss.avg": 0.5}, True),
        ({"metrics.loss.sd": 0.25}, True),
        ({"metrics.loss.count": 4}, True),
        ({"metrics.loss.first_step": 0, "metrics.loss.last_step": 3}, True),
        ({"metrics.val.loss": 0.5}, True),
        ({"metrics.val.loss.min": 0.375}, True),
        ({"metrics.min": 7}, True),
        ({"metrics.absent": None}, True),
        ({"metrics.absent": {"$exists": False}}, True),
        ({"metrics.val.loss.sd": {"$exists": True}}, True),
        ({"chronos.epoch": 1.5}, True),
        ({"chronos.epoch.last": 2.0}, True),
    ]
)
def test_a_query_selects_by_the_documented_rules(query: dict[str, Any], expected: bool) -> None:
    assert parse_query(query).matches(TRIAL) is expected


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ([1], "1 is not a query"),
        ({1: 2}, "write attributes as strings"),
        ({"colour": 1}, "no attribute 'colour'.*uid.*status"),
        ({"errors": []}, "no attribute 'errors'"),
        ({"stauts": "running"}, "did you mean 'status'"),
        ({"metric.loss": 1}, "did you mean 'metrics'"),
        ({"": 1}, "no attribute ''"),
        ({"uid.x": 1}, "plain value"),
        ({"uid.": 1}, "plain value"),
        ({"status.colour": 1}, r"status\.name"),
        ({"metrics": {}}, r"metrics\.NAME"),
        ({"metrics.": 1}, r"metrics\.NAME"),
        ({"chronos..min": 1}, r"chronos\.NAME"),
        ({"$nor": [{}]}, "use \\$and, \\$or, \\$not"),
        ({"$gt": 1}, "use \\$and, \\$or, \\$not"),
        ({"$or": []}, "list of one or more queries"),
        ({"$or": {}}, "list of one or more queries"),
        ({"$and": [1]}, "1 is not a query"),
        ({"$not": 1}, "1 is not a query"),
        ({"$not": [{}]}, "is not a query"),
        ({"uid": {"$regex": "a"}}, "not an operator: use one of \\$eq"),
        ({"uid": {"$or": [1]}}, "not an operator"),
        ({"uid": {"$gt": "a", "b": 1}}, r"mixes.*\$eq"),
        ({"uid": {"$in": "abc"}}, "list of values"),
        ({"uid": {"$nin": 1}}, "list of values"),
        ({"uid": {"$exists": 1}}, "True or False"),
        ({"uid": {"$contains": 1}}, "needs a string"),
        ({"tags": {"$lt": 1}}, r"tags\.key"),
        ({"tags": {"$not": {"$gte": {}}}}, "no order"),
        ({"status": True}, "use a status"),
        ({"status": {"$in": [[1]]}}, "use a status"),
        ({"status": {"value": 1}}, "use a status"),
        ({"parameters.x": 1j}, "parameters.x"),
        ({"parameters.x": {"$in": [2**64]}}, "64 bits"),
        ({"parameters.x": "\ud800"}, "surrogate"),
    ],
    ids=repr,
)
def test_a_query_that_means_nothing_is_refused_with_the_reason(query: Any, reason: str) -> None:
    with pytest.raises(BadQuery, match=reason):
        parse_query(query)


@pytest.mark.parametrize(
    ("kind", "known"),
    [
        ("project", ["uid", "_uid", "name", "description", "metadata", "metadata.a"]),
        ("group", ["uid", "_uid", "name", "description", "metadata.a", "project_id"]),
        ("trial", ["id", "uid", "_uid", "hash", "version", "group_id", "parameters", "tags.x"]),
    ],
)
def test_each_kind_of_object_has_attributes_of_its_own(kind: Kind, known: list[str]) -> None:
    assert parse_query(dict.fromkeys(known), kind).matches({})


def test_a_trial_has_no_other_attributes() -> None:
    with pytest.raises(BadQuery, match="a trial has no attribute 'trials'"):
        parse_query({"trials": 1}, "trial")


@pytest.mark.parametrize("kind", ["group", "project"])
def test_other_attributes_of_a_group_and_a_project_are_in_their_metadata(kind: Kind) -> None:
    document = {"uid": "u", "metadata": {"version": 2, "refers": {"parent": "p"}}}
    assert parse_query({"version": 2, "refers.parent": "p", "nothing": None}, kind).matches(document)
    assert not parse_query({"refers.parent": "other"}, kind).matches(document)


def test_a_list_of_queries_selects_what_all_of_them_select_and_none_everything() -> None:
    assert parse_query([{"uid": "u"}, {"name": "n"}]).matches({"uid": "u", "name": "n"})
    assert not parse_query([{"uid": "u"}, {"name": "n"}]).matches({"uid": "u"})
    assert parse_query([]).matches({})
    assert parse_query(None).matches({})


def nested(levels: int) -> dict[str, Any]:
    query: dict[str, Any] = {}
    for _ in range(levels - 1):
        query = {"$not": query}
    return query


def test_nesting_ends_at_thirty_two_levels() -> None:
    assert not parse_query(nested(32)).matches(TRIAL)
    with pytest.raises(BadQuery, match="deeper than 32"):
        parse_query(nested(33))


def test_the_number_of_comparisons_is_limited() -> None:
    parse_query({"$or": [{"revision": n} for n in range(MAX_CONDITIONS)]})
    with pytest.raises(BadQuery, match=r"list the values in one \$in"):
        parse_query({"$or": [{"$not": {"revision": n}} for n in range(MAX_CONDITIONS + 1)]})


def test_a_parsed_query_does_not_follow_later_changes_of_what_it_was_parsed_from() -> None:
    wanted = [1, [True, None]]
    query = parse_query({"parameters.list": wanted})
    wanted.clear()
    assert query.matches(TRIAL)


def test_one_document_can_be_matched_without_parsing_first() -> None:
    assert matches(TRIAL, {"revision": 1})
    assert not matches(TRIAL, parse_query({"revision": 2}))
    assert matches({"uid": "p"}, {"uid": "p"}, "project")


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from([None, True, 1, 1.0, NAN, INF, "x", b"x", Status.Running, CustomStatus("c", 7)]),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=5,
)
CONSTRAINTS = st.one_of(
    VALUES.map(lambda value: {"$eq": value}),
    st.lists(VALUES).map(lambda values: {"$nin": values}),
    VALUES.map(lambda value: {"$not": {"$lt": value}, "$exists": True}),
)
STATUSES = st.sampled_from([1, "x", None, Status.Broken, CustomStatus("c", 7), {"value": 2, "name": "n"}])
QUERIES: st.SearchStrategy[dict[str, Any]] = st.recursive(
    st.dictionaries(st.sampled_from(["uid", "parameters.a", "metrics.m.sd"]), CONSTRAINTS)
    | STATUSES.map(lambda status: {"status": status})
    | st.lists(STATUSES).map(lambda statuses: {"status": {"$in": statuses}}),
    lambda inner: (
        st.lists(inner, min_size=1).map(lambda queries: {"$or": queries})
        | inner.map(lambda query: {"$not": query})
    ),
    max_leaves=5,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(QUERIES)
def test_a_normalised_query_survives_the_wire_and_means_the_same(query: dict[str, Any]) -> None:
    sent = decode(encode(normalise_query(query)))
    assert parse_query(sent) == parse_query(query)


def test_other_queries_have_other_trees() -> None:
    assert parse_query({"parameters.a": 1}) != parse_query({"parameters.a": True})
    assert parse_query({"uid": "a"}) != parse_query({"uid": "a"}, "project")


def test_a_query_is_evaluated_alike_where_comparing_bytes_with_text_is_an_error() -> None:
    program = (
        "from track_protocol.query.parse import matches\n"
        "assert not matches({'parameters': {'x': 'ab'}}, {'parameters.x': {'$in': [b'ab', 'c']}})"
    )
    subprocess.run([sys.executable, "-bb", "-c", program], check=True)
