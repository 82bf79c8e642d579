"""Queries: each kind of object, each operator once, in the meaning that all backends share."""

from __future__ import annotations

import math
from typing import Any

import pytest

from track_protocol.query.order import FIELDS, parse_order
from track_protocol.query.parse import Kind, parse_query
from track_server.testing.store_support import StoreSuite, begin, group, id_of, project, trial

__all__ = ["QueryTests"]

CREATED = {"value": 0, "name": "CreatedGroup"}
RUNNING = {"value": 101, "name": "Running"}
COMPLETED = {"value": 302, "name": "Completed"}

TRIALS = [
    trial(
        0,
        status=COMPLETED,
        parameters={"lr": 0.1, "opt": {"name": "sgd"}},
        tags={"host": "a"},
        group_id="g",
        created=10.0,
        started=20.5,
        ended=30.0,
    ),
    trial(
        1,
        status=RUNNING,
        parameters={"lr": 1, "opt": {"name": "adam"}, "flat": {"a": 4}},
        tags={"host": "b"},
        project_id="p",
        started=15.0,
    ),
    trial(
        2, status=CREATED, parameters={"lr": math.nan, "flag": True}, metadata={"n": 2**60 + 1}, group_id="g"
    ),
    trial(
        3,
        status=CREATED,
        parameters={"lr": None, "list": [1, 2], "flat.a": 1, "flat": {"a": 2, "b.c": 3}},
        name="other",
        project_id="p",
        group_id="g",
    ),
    trial(
        4, status=CREATED, parameters={"lr": "0.1", "$odd": {"a b": 1}, "flat.a": 5}, hash="hash0", revision=1
    ),
]

TRIAL_QUERIES: list[tuple[dict[str, Any], list[int]]] = [
    ({}, [0, 1, 2, 3, 4]),
    ({"uid": "hash1_0"}, [1]),
    ({"id": id_of(2)}, [2]),
    ({"hash": "hash0"}, [0, 4]),
    ({"hash": "hash0", "revision": {"$gt": 0}}, [4]),
    ({"status": "Running"}, [1]),
    ({"status": "running"}, [1]),
    ({"status": {"$nin": ["completed", "createdgroup"]}}, [1]),
    ({"status": {"$in": [302, "Running"]}}, [0, 1]),
    ({"status": {"$lt": 200}}, [1, 2, 3, 4]),
    ({"status.name": {"$ne": "CreatedGroup"}}, [0, 1]),
    ({"parameters.lr": 0.1}, [0]),
    ({"parameters.lr": "0.1"}, [4]),
    ({"parameters.lr": {"$gte": 0.1, "$lte": 1}}, [0, 1]),
    ({"parameters.lr": True}, []),
    ({"parameters.lr": math.nan}, []),
    ({"parameters.lr": {"$ne": math.nan}}, [0, 1, 2, 3, 4]),
    ({"parameters.lr": None}, [3]),
    ({"parameters.flag": None}, [0, 1, 3, 4]),
    ({"parameters.flag": {"$exists": True}}, [2]),
    ({"parameters.flag": True}, [2]),
    ({"parameters.flag": 1}, []),
    ({"parameters.list": [1, 2]}, [3]),
    ({"parameters.list": (1, 2)}, [3]),
    ({"parameters.opt": {"name": "sgd"}}, [0]),
    ({"parameters.opt.name": {"$nin": ["sgd", None]}}, [1]),
    ({"parameters.opt.name": {"$gt": "b"}}, [0]),
    ({"parameters.flat.a": 1}, [3]),
    ({"parameters.flat.a": 2}, []),
    ({"parameters.flat.a": {"$gt": 0}}, [1, 3, 4]),
    ({"parameters.flat.a": None}, [0, 2]),
    ({"parameters.flat.b.c": {"$exists": True}}, [3]),
    ({"duration": {"$gt": 9}}, [0]),
    ({"duration": None}, [1, 2, 3, 4]),
    ({"metadata.n": 2**60 + 1}, [2]),
    ({"metadata.n": 2**60}, []),
    ({"metadata.n": {"$gt": 2**60}}, [2]),
    ({"tags.host": {"$in": ["a", "b"]}}, [0, 1]),
    ({"tags": {}}, [2, 3, 4]),
    ({"name": {"$not": {"$lt": "p"}}}, [0, 1, 2, 4]),
    ({"name": {"$contains": "RIA"}}, [0, 1, 2, 4]),
    ({"name": {"$not": {"$contains": "ria"}}}, [3]),
    ({"description": {"$contains": ""}}, []),
    ({"revision": {"$contains": "1"}}, []),
    ({"status": {"$contains": "RUN"}}, [1]),
    ({"parameters.lr": {"$contains": "."}}, [4]),
    ({"parameters.opt.name": {"$contains": "a"}}, [1]),
    ({"parameters.list": {"$contains": "1"}}, []),
    ({"parameters.nowhere": {"$contains": ""}}, []),
    ({"created": {"$lt": 50}}, [0]),
    ({"created": 50}, [1, 2, 3, 4]),
    ({"started": {"$gte": 15, "$lt": 20.5}}, [1]),
    ({"started": None}, [2, 3, 4]),
    ({"started": {"$lt": "a"}}, []),
    ({"ended": {"$ne": None}}, [0]),
    ({"started": {"$exists": True}, "ended": None}, [1, 2, 3, 4]),
    ({"project_id": "p"}, [1, 3]),
    ({"group_id": "g", "status": 0}, [2, 3]),
    ({"$or": [{"uid": "hash1_0"}, {"parameters.lr": {"$lt": 0.5}}]}, [0, 1]),
    ({"$and": [{"group_id": "g"}, {"$not": {"status": "Completed"}}]}, [2, 3]),
    ({"$not": {"project_id": "p"}}, [0, 2, 4]),
]

SERIES_QUERIES: list[tuple[dict[str, Any], list[int]]] = [
    ({"metrics.loss": {"$lt": 0.3}}, [0]),
    ({"metrics.loss": 0.5}, [1]),
    ({"metrics.loss.min": {"$lt": 0.3}}, [0, 1, 3]),
    ({"metrics.loss.min": 0.05}, [3]),
    ({"metrics.loss.min.max": 0.07}, [3]),
    ({"metrics.loss.max": {"$gte": 1}}, [0]),
    ({"metrics.loss.mean": {"$gt": 0.5}}, [0]),
    ({"metrics.loss.count": 2}, [0, 1, 2]),
    ({"metrics.loss.last_step": {"$gt": 7}}, [1]),
    ({"metrics.loss.first_step": 0}, [0, 2]),
    ({"metrics.loss": {"$exists": True}}, [0, 1, 2]),
    ({"metrics.loss": {"$exists": False}}, [3, 4]),
    ({"metrics.loss": None}, [3, 4]),
    ({"metrics.val.loss": "text"}, [3]),
    ({"metrics.val.loss.last": "text"}, [3]),
    ({"metrics.val.loss": {"$contains": "EX"}}, [3]),
    ({"metrics.loss.min": {"$contains": "0"}}, []),
    ({"chronos.epoch": {"$gt": 2}}, [4]),
    ({"chronos.epoch.avg": 3}, [4]),
    ({"chronos.loss": {"$exists": True}}, []),
    ({"metrics.loss": {"$lt": 0.3}, "group_id": "g"}, [0]),
]

OTHER_QUERIES: list[tuple[Kind, dict[str, Any], list[str]]] = [
    ("project", {}, ["p", "q"]),
    ("project", {"uid": "q"}, ["q"]),
    ("project", {"name": "project p"}, ["p"]),
    ("project", {"name": {"$contains": "ß"}}, []),
    ("project", {"metadata.owner": {"$exists": True}}, ["q"]),
    ("group", {}, ["g", "h"]),
    ("group", {"project_id": "p"}, ["h"]),
    ("group", {"metadata.size": {"$gte": 2, "$lt": 4}}, ["g"]),
    ("group", {"$or": [{"uid": "g"}, {"uid": "h"}]}, ["g", "h"]),
]

ORDERS: list[tuple[list[str], list[int]]] = [
    ([], [0, 1, 2, 3, 4]),
    (["-created"], [4, 3, 2, 1, 0]),
    (["parameters.lr"], [0, 1, 2, 4, 3]),
    (["-parameters.lr"], [1, 0, 2, 4, 3]),
    (["status"], [2, 3, 4, 1, 0]),
    (["status", "-created"], [4, 3, 2, 1, 0]),
    (["-hash", "-revision"], [3, 2, 1, 4, 0]),
    (["metrics.none"], [0, 1, 2, 3, 4]),
    (["-parameters.opt.name"], [0, 1, 2, 3, 4]),
    (["project_id", "name"], [3, 1, 0, 2, 4]),
    (["parameters.flat.a"], [3, 1, 4, 0, 2]),
    (["-duration"], [0, 1, 2, 3, 4]),
    (["metrics.loss.min"], [3, 1, 0, 2, 4]),
    (["started"], [1, 0, 2, 3, 4]),
    (["-started", "-created"], [0, 1, 4, 3, 2]),
    (["-ended"], [0, 1, 2, 3, 4]),
]
"""Numbers come first, then NaN, then text, and what lacks the attribute is last."""


class QueryTests(StoreSuite):
    """Part of `StoreContract`."""

    @pytest.fixture
    def queried(self, store: Any) -> Any:
        """A store with two projects, two groups and five trials, three of them with series."""
        tx = begin(store)
        for document in (project("p"), project("q", metadata={"owner": "ann"})):
            tx.put_project(document)
        for document in (group("g", metadata={"size": 3}), group("h", project_id="p", metadata={"size": 5})):
            tx.put_group(document)
        for document in TRIALS:
            tx.add_trial(document)
        tx.commit()
        self.log(store, [0, 1], [1.0, 0.2], number=0)
        self.log(store, [7, 8], [0.1, 0.5], number=1)
        self.log(store, [0, 1], [math.nan, math.inf], number=2)
        self.log(store, [None], ["text"], number=3, name="val.loss")
        self.log(store, [0, 1], [0.07, 0.05], number=3, name="loss.min")
        self.log(store, [None, None], [2.0, 4.0], number=4, kind="chrono", name="epoch")
        return store

    @pytest.mark.parametrize(("query", "numbers"), TRIAL_QUERIES, ids=lambda part: repr(part)[:60])
    def test_trials_that_match_come_in_order_of_insertion(
        self, queried: Any, query: dict[str, Any], numbers: list[int]
    ) -> None:
        assert self.found(queried, query) == [TRIALS[number]["uid"] for number in numbers]

    @pytest.mark.parametrize(("query", "numbers"), SERIES_QUERIES, ids=lambda part: repr(part)[:60])
    def test_trials_are_found_by_what_their_series_say(
        self, queried: Any, query: dict[str, Any], numbers: list[int]
    ) -> None:
        assert self.found(queried, query) == [TRIALS[number]["uid"] for number in numbers]

    @pytest.mark.parametrize(("kind", "query", "uids"), OTHER_QUERIES, ids=lambda part: repr(part)[:60])
    def test_projects_and_groups_that_match_come_in_order_of_insertion(
        self, queried: Any, kind: Kind, query: dict[str, Any], uids: list[str]
    ) -> None:
        assert self.found(queried, query, kind=kind) == uids

    @pytest.mark.parametrize("limit", [0, 1, 2, 3, 100])
    def test_a_limit_gives_the_first_that_match(self, queried: Any, limit: int) -> None:
        assert self.found(queried, {"status": 0}, limit) == ["hash2_0", "hash3_0", "hash0_1"][:limit]
        assert self.found(queried, {}, limit, kind="project") == ["p", "q"][:limit]
        assert self.found(queried, {}, limit, kind="group") == ["g", "h"][:limit]

    def test_a_found_document_is_the_one_that_is_read_by_id(self, queried: Any) -> None:
        with queried.snapshot() as view:
            found = view.trials(parse_query({"uid": "hash0_0"}))
            assert found == [view.trial(id_of(0))]
            assert view.groups(parse_query({"uid": "g"}, "group")) == [view.group("g")]
            assert view.projects(parse_query({"uid": "p"}, "project")) == [view.project("p")]

    def test_a_transaction_finds_what_it_has_just_changed(self, queried: Any) -> None:
        query = parse_query({"status": "CreatedGroup"})
        tx = begin(queried)
        (first,) = tx.trials(query, 1)
        tx.update_trial(first["id"], {"status": RUNNING})
        assert [document["uid"] for document in tx.trials(query)] == ["hash3_0", "hash0_1"]
        tx.rollback()
        assert self.found(queried, {"status": "CreatedGroup"}, 1) == ["hash2_0"]

    @pytest.mark.parametrize(("order", "expected"), ORDERS)
    def test_what_is_found_comes_in_the_order_that_was_asked(
        self, queried: Any, order: list[str], expected: list[int]
    ) -> None:
        query = parse_query({}, "trial")
        with queried.snapshot() as view:
            keys = view.find(query, parse_order(order, "trial"))
            assert [each["id"] for each in view.documents("trial", keys)] == [id_of(n) for n in expected]
            some = view.find(query, parse_order(order, "trial"), 1, 3)
            assert [each["id"] for each in view.documents("trial", some)] == [id_of(n) for n in expected[1:4]]

    @pytest.mark.parametrize("kind", ["trial", "group", "project"])
    def test_documents_hold_the_fields_that_were_asked_and_no_others(self, queried: Any, kind: Kind) -> None:
        with queried.snapshot() as view:
            keys = view.find(parse_query({}, kind))
            complete = view.documents(kind, keys)
            assert complete == {"trial": view.trials, "group": view.groups, "project": view.projects}[kind](
                parse_query({}, kind)
            )
            for name in FIELDS[kind]:
                assert view.documents(kind, keys, [name]) == [{name: each[name]} for each in complete]

    def test_a_key_whose_document_is_removed_is_left_out(self, queried: Any) -> None:
        with queried.snapshot() as view:
            keys = view.find(parse_query({}, "trial"))
        tx = begin(queried)
        tx.delete_trial(id_of(1))
        tx.commit()
        with queried.snapshot() as view:
            assert [each["id"] for each in view.documents("trial", keys, ["id"])] == [
                id_of(n) for n in (0, 2, 3, 4)
            ]
