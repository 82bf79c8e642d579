from __future__ import annotations

import itertools
import math
import random
import struct
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from query_cases import (
    HOSTILE,
    OPERATORS,
    PATHS,
    PLAIN,
    QUERY,
    SAMPLES,
    STATISTICS,
    TREES,
    TRIALS,
    Document,
    queries_at,
    sampled,
    series_rows,
    summary,
    trial,
    trial_row,
)
from stored_trials import add_trials, log_points, points_of
from track_protocol.query.parse import Kind, parse_query
from track_server.storage import exactjson
from track_server.storage.sqlite.query import compile_query, register_functions
from track_server.storage.sqlite.store import open_store

SCHEMA = """
CREATE TABLE trial(id INTEGER PRIMARY KEY, key BLOB, uid TEXT, hash TEXT, revision INT, name TEXT,
  description TEXT, version TEXT, tags TEXT, parameters TEXT, metadata TEXT, project_id TEXT, group_id TEXT,
  status_value INT, status_name TEXT);
CREATE UNIQUE INDEX trial_uid ON trial(uid);
CREATE UNIQUE INDEX trial_key ON trial(key);
CREATE TABLE series(id INTEGER PRIMARY KEY, trial INT, kind TEXT, name TEXT, count INT, first_step TEXT,
  last_step TEXT, last TEXT, finite INT, min REAL, max REAL, mean REAL, m2 REAL);
CREATE TABLE project(id INTEGER PRIMARY KEY, uid TEXT, name TEXT, description TEXT, metadata TEXT);
CREATE TABLE trial_group(id INTEGER PRIMARY KEY, uid TEXT, name TEXT, description TEXT, metadata TEXT,
  project_id TEXT);
"""


class Store:
    """Trials in the tables that compiled queries are for."""

    def __init__(self) -> None:
        self.connection = apsw.Connection(":memory:")
        self.connection.execute(SCHEMA)
        register_functions(self.connection)

    def add(self, document: Document) -> None:
        number = self._insert("trial", trial_row(document))
        for row in series_rows(document):
            self._insert("series", {"trial": number, **row})

    def _insert(self, table: str, row: Document) -> int:
        names, marks = ",".join(row), ",".join("?" * len(row))
        self.connection.execute(f"INSERT INTO {table}({names}) VALUES({marks})", tuple(row.values()))
        return self.connection.last_insert_rowid()

    def selected(self, query: Document, kind: Kind = "trial") -> list[int]:
        """Positions of the documents that a query selects, from 0."""
        table = {"trial": "trial", "group": "trial_group", "project": "project"}[kind]
        sql, params = compile_query(parse_query(query, kind))
        statement = f"SELECT id - 1, {sql} FROM {table} ORDER BY id"  # noqa: S608 # what is tested here
        verdicts = list(self.connection.execute(statement, params))
        assert {verdict for _, verdict in verdicts} <= {0, 1}
        return [position for position, verdict in verdicts if verdict]

    def plan(self, query: Document) -> str:
        """How SQLite would look for the trials that a query selects."""
        sql, params = compile_query(parse_query(query))
        statement = f"EXPLAIN QUERY PLAN SELECT id FROM trial WHERE {sql}"  # noqa: S608 # what is tested here
        return str(list(self.connection.execute(statement, params)))


@pytest.fixture
def store() -> Iterator[Store]:
    opened = Store()
    yield opened
    opened.connection.close()


def assert_sql_agrees(documents: list[Document], queries: list[Document]) -> None:
    store = Store()
    for document in documents:
        store.add(document)
    for query in queries:
        parsed = parse_query(query)
        expected = [place for place, document in enumerate(documents) if parsed.matches(document)]
        assert store.selected(query) == expected, query
    store.connection.close()


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(TRIALS, st.lists(QUERY, min_size=1, max_size=10))
@example([trial(parameters={"a": {"$x": 1, "b": 2}})], [{"parameters.a.b": 2}])
def test_sql_selects_exactly_what_the_evaluator_selects(
    documents: list[Document], queries: list[Document]
) -> None:
    assert_sql_agrees(documents, queries)


@pytest.mark.parametrize("path", PATHS)
def test_sql_agrees_on_every_sort_of_value_with_every_sort_of_operand(path: str) -> None:
    samples = [sampled(number, value) for number, value in enumerate(SAMPLES)]
    assert_sql_agrees(samples, queries_at(path))


def test_sql_orders_neighbouring_floats_of_every_size() -> None:
    """SQLite before 3.53 reads one decimal fraction in ten as a neighbour of the right float."""
    draw = random.Random(20)
    numbers = [struct.unpack("<d", draw.randbytes(8))[0] for _ in range(300)]
    numbers = [number for number in numbers if math.isfinite(number)]
    documents = [trial(place, parameters={"x": number}) for place, number in enumerate(numbers)]
    near = [math.nextafter(number, toward) for number in numbers[:60] for toward in (-math.inf, math.inf)]
    operands = [*near, *numbers[:60]]
    assert_sql_agrees(documents, [{"parameters.x": {name: n}} for n in operands for name in OPERATORS])


def test_the_tables_of_a_real_store_are_those_that_queries_are_compiled_for(tmp_path: Path) -> None:
    """Statistics are about finite numbers, so points that are none must not count."""
    store = open_store(tmp_path / "runs.db", exclusive=True)
    add_trials(store, 1, 2, 3, 4)
    log_points(store, points_of([1.0, math.nan, 4.0, math.inf, 2.5]), number=1)
    log_points(store, points_of(["a", None, 3]), number=2)
    log_points(store, points_of([math.nan]), number=3)
    statistics = [*STATISTICS, "avg"]
    with store.snapshot() as view:
        documents = view.trials(parse_query({}))
        for document, name in itertools.product(documents, statistics):
            value = document["metrics"].get("loss", {}).get("mean" if name == "avg" else name)
            for query in [{f"metrics.loss.{name}": {operator: value}} for operator in OPERATORS]:
                parsed = parse_query(query)
                expected = [each["uid"] for each in documents if parsed.matches(each)]
                assert [each["uid"] for each in view.trials(parsed)] == expected, query
        for path in [*PLAIN, *(f"{tree}.a" for tree in TREES), "id", "status", "status.name"]:
            assert len(view.trials(parse_query({path: {"$ne": "absent"}}))) == 4
    store.close()


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("place", ["uid", "parameters.a", "metrics.m"])
def test_an_operand_is_never_sql(store: Store, text: str, place: str) -> None:
    store.add(trial(metrics={"m": summary("safe")}, parameters={"a": "safe"}))
    assert store.selected({place: text}) == []
    assert store.selected({place: {"$in": [text] * 20}}) == []
    assert text not in compile_query(parse_query({place: {"$gt": text}}))[0]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("place", ["parameters", "metrics", "chronos", "metadata.a"])
def test_a_key_is_never_sql(store: Store, text: str, place: str) -> None:
    store.add(trial(parameters={"x": 1}))
    for constraint in ({"$exists": True}, {"$gt": 0}, {"$in": [1, "x"]}):
        query = {f"{place}.{text}": constraint}
        assert store.selected(query) == []
        assert text not in compile_query(parse_query(query))[0]


@pytest.mark.parametrize("query", [{"uid": "abc_1"}, {"uid": {"$in": [f"abc_{n}" for n in range(50)]}}])
def test_a_uid_is_found_by_its_index(store: Store, query: Document) -> None:
    assert "trial_uid" in store.plan(query)


@pytest.mark.parametrize("count", [1, 3, 50])
def test_an_id_is_found_by_its_index(store: Store, count: int) -> None:
    for number in range(3):
        store.add(trial(number))
    query = {"id": {"$in": [struct.pack(">QQ", 0, number) for number in range(1, 1 + count)]}}
    assert store.selected(query) == [1, 2][:count]
    assert "trial_key" in store.plan(query)


def test_a_thousand_comparisons_and_a_long_list_fit_into_one_statement(store: Store) -> None:
    for number in range(3):
        store.add(trial(number, parameters={"x": number}))
    assert store.selected({"$or": [{"parameters.x": {"$gte": n}} for n in range(2, 1002)]}) == [2]
    assert store.selected({"$and": [{"parameters.x": {"$ne": n}} for n in range(1, 1001)]}) == [0]
    assert store.selected({"parameters.x": {"$in": list(range(1, 60_000))}}) == [1, 2]
    assert store.selected({"metrics.m.min": {"$in": [n + 0.5 for n in range(20_000)]}}) == []


def test_the_trial_table_may_have_an_alias(store: Store) -> None:
    store.add(trial(metrics={"m": summary(1)}))
    sql, params = compile_query(parse_query({"metrics.m": 1, "revision": 0, "parameters.a": None}), "t")
    statement = f"SELECT t.uid FROM trial AS t WHERE {sql}"  # noqa: S608 # what is tested here
    assert list(store.connection.execute(statement, params)) == [("abc_0",)]


@pytest.mark.parametrize(("kind", "table"), [("group", "trial_group"), ("project", "project")])
def test_groups_and_projects_have_tables_of_their_own(store: Store, kind: Kind, table: str) -> None:
    for name in ("first", "second"):
        metadata = exactjson.dumps({"a": {"b": name}})
        row = {"uid": name, "name": name, "description": None, "metadata": metadata}
        store._insert(table, row | ({"project_id": "p"} if kind == "group" else {}))
    assert store.selected({"uid": "second"}, kind) == [1]
    assert store.selected({"metadata.a.b": {"$lt": "g"}, "description": None}, kind) == [0]
    assert store.selected({"metadata": {"a": {"b": "second"}}}, kind) == [1]
    assert store.selected({}, kind) == [0, 1]
