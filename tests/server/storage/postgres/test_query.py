"""PostgreSQL selects what the evaluator selects, and never takes an operand or a key for SQL."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from postgres_server import PostgresServer
from query_cases import (
    HOSTILE,
    OPERATORS,
    PATHS,
    QUERY,
    SAMPLES,
    TRIALS,
    Document,
    queries_at,
    sampled,
    series_rows,
    summary,
    trial,
    trial_row,
)
from track_protocol.query.order import Order
from track_protocol.query.parse import Kind, parse_query
from track_server.storage.postgres.connection import PostgresConnection
from track_server.storage.postgres.query import compile_query
from track_server.storage.postgres.read import PostgresSource
from track_server.storage.postgres.schema import prepare
from track_server.storage.postgres.settings import PostgresSettings

_UNSAID = {"errors": "[]", "created": 0.0}


class Tables:
    """The tables of a store, in a transaction that is rolled back at the end."""

    def __init__(self, db: PostgresConnection) -> None:
        self.db = db
        self.source = PostgresSource(db)
        db.run(("BEGIN", ()))

    def add(self, documents: list[Document]) -> list[int]:
        """Insert trials; returns their rows."""
        return [self._added(document) for document in documents]

    def _added(self, document: Document) -> int:
        number = self.insert(
            "trial",
            trial_row(document) | _UNSAID | {name: document.get(name) for name in ("started", "ended")},
        )
        for row in series_rows(document):
            self.insert("series", {"trial": number, "stepped": True, "nonfinite": 0, **row})
        return number

    def insert(self, table: str, row: Document) -> int:
        """Insert a row."""
        names, marks = ",".join(row), ",".join("?" * len(row))
        statement = f"INSERT INTO {table}({names}) VALUES({marks}) RETURNING id"  # ours
        ((((number,),), _),) = self.db.run((statement, list(row.values())))
        return int(number)

    def selected(self, query: Document, kind: Kind = "trial") -> list[int]:
        """The rows that a query selects."""
        return self.source.matching(parse_query(query, kind))


@pytest.fixture(scope="module")
def connection(postgres: PostgresServer) -> Iterator[PostgresConnection]:
    settings = PostgresSettings.parse(postgres.uri("queries"))
    connection = PostgresConnection(settings)
    prepare(connection, "queries")
    yield connection
    connection.close()


@pytest.fixture
def tables(connection: PostgresConnection) -> Iterator[Tables]:
    yield Tables(connection)
    connection.roll_back()


def assert_sql_agrees(
    connection: PostgresConnection, documents: list[Document], queries: list[Document]
) -> None:
    tables = Tables(connection)
    try:
        rows = tables.add(documents)
        for query in queries:
            parsed = parse_query(query)
            expected = [row for row, each in zip(rows, documents, strict=True) if parsed.matches(each)]
            assert tables.selected(query) == expected, query
    finally:
        connection.roll_back()


@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(documents=TRIALS, queries=st.lists(QUERY, min_size=1, max_size=10))
@example(documents=[trial(parameters={"a": {"$x": 1, "b": 2}})], queries=[{"parameters.a.b": 2}])
def test_sql_selects_exactly_what_the_evaluator_selects(
    connection: PostgresConnection, documents: list[Document], queries: list[Document]
) -> None:
    assert_sql_agrees(connection, documents, queries)


@pytest.mark.parametrize("path", PATHS)
def test_sql_agrees_on_every_sort_of_value_with_every_sort_of_operand(
    connection: PostgresConnection, path: str
) -> None:
    samples = [sampled(number, value) for number, value in enumerate(SAMPLES)]
    assert_sql_agrees(connection, samples, queries_at(path))


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("place", ["uid", "parameters.a", "metrics.m"])
def test_an_operand_is_never_sql(tables: Tables, text: str, place: str) -> None:
    tables.add([trial(metrics={"m": summary("safe")}, parameters={"a": "safe"})])
    assert tables.selected({place: text}) == []
    assert tables.selected({place: {"$in": [text] * 20}}) == []
    assert text not in compile_query(parse_query({place: {"$gt": text}})).sql


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("place", ["parameters", "metrics", "chronos", "metadata.a"])
def test_a_key_is_never_sql(tables: Tables, text: str, place: str) -> None:
    tables.add([trial(parameters={"x": 1})])
    for constraint in ({"$exists": True}, {"$gt": 0}, {"$in": [1, "x"]}):
        query = {f"{place}.{text}": constraint}
        assert tables.selected(query) == []
        assert text not in compile_query(parse_query(query)).sql


def test_a_thousand_comparisons_and_a_long_list_fit_into_one_statement(tables: Tables) -> None:
    rows = tables.add([trial(number, parameters={"x": number}) for number in range(3)])
    assert tables.selected({"$or": [{"parameters.x": {"$gte": n}} for n in range(2, 1002)]}) == [rows[2]]
    assert tables.selected({"$and": [{"parameters.x": {"$ne": n}} for n in range(1, 1001)]}) == [rows[0]]
    assert tables.selected({"parameters.x": {"$in": list(range(1, 60_000))}}) == rows[1:]


@pytest.mark.parametrize(("kind", "table"), [("group", "trial_group"), ("project", "project")])
def test_groups_and_projects_have_tables_of_their_own(tables: Tables, kind: Kind, table: str) -> None:
    rows = []
    for name in ("first", "second"):
        row = {"uid": name, "name": name, "description": None, "metadata": f'{{"a":{{"b":"{name}"}}}}'}
        rows.append(tables.insert(table, row | ({"project_id": "p"} if kind == "group" else {})))
    assert tables.selected({"uid": "second"}, kind) == rows[1:]
    assert tables.selected({"metadata.a.b": {"$lt": "g"}, "description": None}, kind) == rows[:1]
    assert tables.selected({"metadata": {"a": {"b": "second"}}}, kind) == rows[1:]
    assert tables.selected({}, kind) == rows


def test_what_matches_is_found_page_by_page_and_up_to_a_limit(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("track_server.storage.postgres.read._PAGE", 3)
    # Of the value with a list every one has to be looked at by Python, and every other one matches.
    rows = tables.add([trial(number, parameters={"x": [number % 2]}) for number in range(11)])
    query = parse_query({"parameters.x": {"$eq": [1]}})
    assert tables.source.matching(query) == rows[1::2]
    assert tables.source.matching(query, 2) == rows[1:4:2]
    assert tables.source.matching(query, within=rows[:4]) == rows[1:4:2]


def test_mixed_values_are_ordered_by_their_sort(tables: Tables) -> None:
    values = ["b", None, 2, float("nan"), "a\x00", 1.5, True, [1], float("inf"), "a"]
    rows = tables.add([trial(number, parameters={"x": value}) for number, value in enumerate(values)])
    order = (Order((("parameters", "x"),)),)
    found = [values[rows.index(row)] for (row,) in tables.source.ordered(parse_query({}), order, 0, None)]
    assert [str(each) for each in found] == [
        *("True", "1.5", "2", "inf", "nan"),
        *("[1]", "a", "a\x00", "b", "None"),
    ]


def test_numbers_of_every_size_are_compared_with_columns(connection: PostgresConnection) -> None:
    times = [(None, None), (0.5, 2.0**53), (2.0**53 + 2, 1e300), (-1e300, 0.0)]
    documents = [
        trial(place, started=started, ended=ended, revision=2**53 + place)
        for place, (started, ended) in enumerate(times)
    ]
    operands = [2**63 - 1, -(2**63), 2**53 + 1, -(2**53) - 1, 2.0**53, 1e300, -1e300, math.inf, 0.5, None]
    assert_sql_agrees(
        connection,
        documents,
        [
            {path: {name: operand}}
            for path, operand in itertools.product(("revision", "started", "ended", "duration"), operands)
            for name in (OPERATORS if operand is not None else OPERATORS[:2])
        ],
    )
