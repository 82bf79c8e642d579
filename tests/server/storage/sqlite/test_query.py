from __future__ import annotations

import itertools
import math
import random
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

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
PLAIN = ("uid", "hash", "revision", "name", "description", "version", "project_id", "group_id")
TREES = ("tags", "parameters", "metadata")

Document = dict[str, Any]


class Store:
    """Trials in the tables that compiled queries are for."""

    def __init__(self) -> None:
        self.connection = apsw.Connection(":memory:")
        self.connection.execute(SCHEMA)
        register_functions(self.connection)

    def add(self, document: Document) -> None:
        number = self._insert(
            "trial",
            {name: document[name] for name in PLAIN}
            | {name: exactjson.dumps(document[name]) for name in TREES}
            | {f"status_{part}": value for part, value in document["status"].items()}
            | {"key": document["id"]},
        )
        for kind, group in (("metric", "metrics"), ("chrono", "chronos")):
            for name, summary in document[group].items():
                row = {key: summary[key] for key in ("count", "finite", "min", "max", "mean", "m2")}
                texts = {key: exactjson.dumps(summary[key]) for key in ("first_step", "last_step", "last")}
                self._insert("series", {"trial": number, "kind": kind, "name": name} | row | texts)

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


def summary(last: Any, count: int = 1, m2: float | None = 0.0, finite: int = 1, **known: Any) -> Document:
    """A summary, with what the tables store (``finite``, ``m2``) beside what documents show of it."""
    sd = math.sqrt(m2 / finite) if finite and m2 is not None else None
    empty = {"first_step": 0, "last_step": None, "min": None, "max": None, "mean": None}
    return {**empty, "last": last, "count": count, "finite": finite, "m2": m2, "sd": sd, **known}


def trial(number: int = 0, **fields: Any) -> Document:
    return {
        "id": struct.pack(">QQ", 0, number),
        "uid": f"abc_{number}",
        "hash": "abc",
        "revision": number,
        "name": None,
        "description": None,
        "version": None,
        "tags": {},
        "parameters": {},
        "metadata": {},
        "project_id": None,
        "group_id": None,
        "status": {"value": 0, "name": "CreatedGroup"},
        "metrics": {},
        "chronos": {},
        "media": {},
        **fields,
    }


NUMBERS = [0, -0.0, 1, 1.0, 2**53, 2**53 + 1, float(2**53), 2**63 - 1, -(2**63), float(2**63), 0.1, 1e-320]
NUMBERS += [math.nextafter(0.1, 1), -2.9138649815953417e-124, 1e16, 10**16, 1.7976931348623157e308, 3.5]
EXTREMES = [math.inf, -math.inf, math.nan]
TEXTS = ["", "a", "a\x00b", "1", "true", "null", "é", "\U0001f600", "\uffff", '"', "\\", "' OR 1 --", "nan"]
NUMBER = st.sampled_from(NUMBERS + EXTREMES) | st.floats() | st.integers(-(2**63), 2**63 - 1)
TEXT = st.sampled_from(TEXTS) | st.text(st.characters(codec="utf-8"), max_size=3)
SCALAR = st.none() | st.booleans() | NUMBER | TEXT | st.sampled_from([b"", b"a", b"\x00\xff"])
WORD = st.sampled_from(
    [
        *("a", "b", "", "$dict", "$tuple", "$x", 'q"', "back\\", "é", "n\nl", "a[0]", "0", "#", "'", "\x7f"),
        *("a.b", "a.a", "b.a", "é.a", "a.", ".", 'q".a', "a.b.a"),
    ]
)
KEY = WORD | st.sampled_from([1, True, 1.5])
VALUE: st.SearchStrategy[Any] = st.recursive(
    SCALAR,
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.lists(inner, max_size=2).map(tuple)
        | st.dictionaries(KEY, inner, max_size=3)
    ),
    max_leaves=4,
)
TREE = st.dictionaries(KEY, VALUE, max_size=3)
FINITE = st.none() | st.sampled_from([float(n) for n in NUMBERS]) | st.floats(allow_nan=False)
SUMMARY = st.builds(
    summary,
    last=VALUE,
    count=st.integers(0, 3),
    finite=st.integers(0, 3),
    m2=st.none() | st.floats(0, 1e300),
    first_step=VALUE,
    last_step=VALUE,
    min=FINITE,
    max=FINITE,
    mean=FINITE,
)
SERIES = st.dictionaries(st.sampled_from(["m", "m.n", "m.min", "a'b", "z\x00"]), SUMMARY, max_size=2)
NAME = st.none() | TEXT
STATUS = st.fixed_dictionaries({"value": st.sampled_from([0, 1, 302]), "name": st.sampled_from(["a", "1"])})
TRIALS = st.lists(
    st.fixed_dictionaries(
        {"name": NAME, "description": NAME, "version": NAME, "project_id": NAME, "status": STATUS}
        | dict.fromkeys(TREES, TREE)
        | {"metrics": SERIES, "chronos": SERIES}
    ),
    min_size=1,
    max_size=4,
).map(lambda fields: [trial(number, **each) for number, each in enumerate(fields)])

PATH = (
    st.sampled_from(["id", "uid", "revision", "name", "version", "project_id", "status.value", "status.name"])
    | st.builds(
        lambda tree, keys: ".".join([tree, *keys]),
        st.sampled_from(TREES),
        st.lists(WORD, min_size=1, max_size=3),
    )
    | st.builds(
        lambda series, name, statistic: f"{series}.{name}{statistic}",
        st.sampled_from(["metrics", "chronos"]),
        st.sampled_from(["m", "m.n", "a'b", "z\x00"]),
        st.sampled_from(["", ".count", ".last", ".first_step", ".last_step", ".min", ".max", ".avg", ".sd"]),
    )
)
MANY = st.lists(VALUE, max_size=4) | st.lists(SCALAR, min_size=9, max_size=12)
COMPARISON = st.one_of(
    VALUE.map(lambda value: {"$eq": value}),
    VALUE.map(lambda value: {"$ne": value}),
    st.builds(lambda name, values: {name: values}, st.sampled_from(["$in", "$nin"]), MANY),
    st.builds(
        lambda name, value: {name: value}, st.sampled_from(["$lt", "$lte", "$gt", "$gte"]), NUMBER | TEXT
    ),
    st.booleans().map(lambda wanted: {"$exists": wanted}),
    TEXT.map(lambda text: {"$contains": text}),
)
CONSTRAINT = COMPARISON | st.builds(dict.__or__, COMPARISON, COMPARISON.map(lambda inner: {"$not": inner}))
STATUS_OPERAND = st.sampled_from([0, 302, 0.5, "a", None, {"value": 1, "name": "x"}])
LEAF = st.one_of(
    st.builds(lambda path, constraint: {path: constraint}, PATH, CONSTRAINT),
    st.builds(lambda root, value: {root: {"$eq": value}}, st.sampled_from(TREES), TREE | VALUE),
    st.builds(
        lambda name, operands: {"status": {name: operands}},
        st.sampled_from(["$in", "$nin"]),
        st.lists(STATUS_OPERAND, max_size=3),
    ),
    st.builds(
        lambda name, operand: {"status": {name: operand}}, st.sampled_from(["$lt", "$gte"]), STATUS_OPERAND
    ),
)
QUERY: st.SearchStrategy[Document] = st.recursive(
    LEAF,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda queries: {"$or": queries}),
        st.lists(inner, min_size=1, max_size=3).map(lambda queries: {"$and": queries}),
        inner.map(lambda query: {"$not": query}),
    ),
    max_leaves=4,
)


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


SAMPLES: list[Any] = [
    None,
    True,
    False,
    *NUMBERS,
    *EXTREMES,
    *TEXTS,
    b"",
    b"a",
    [],
    [1],
    (1.0,),
    {},
    {"a": 1},
]
SAMPLES += [{"$x": 1, "a": 1}, {"$tuple": [1]}, {1: 1}, {True: 1}, [math.nan], [True], {"a": {"a": None}}]
OPERATORS = ("$eq", "$ne", "$lt", "$lte", "$gt", "$gte")
WALKED = [
    "b.c",
    "b.c.d",
    "a",
    "a.a",
    "a.a.a",
    "a.$x",
    "a.$dict",
    "a.$tuple",
    "a.$bytes",
    "a.$float",
    "a.1",
    "back\\",
    'q"',
]
STATISTICS = ["count", "first_step", "last_step", "last", "min", "max", "mean", "sd"]


def sampled(number: int, value: Any) -> Document:
    """A trial that has a value wherever a value of its type may be."""
    text = value if isinstance(value, str) else None
    real = value if isinstance(value, float) and not math.isnan(value) else None
    square = real * real if real is not None and abs(real) < 1e150 else None
    tree = {"a": value, "b.c": value, "b": {"c.d": value}, "back\\": value, 'q"': value}
    series = summary(value, first_step=value, last_step=value, min=real, max=real, mean=real, m2=square)
    metrics = {"m": series, "n": summary(None, count=2, finite=0)} if number % 4 else {}
    named = {"name": text, "description": text, "version": text, "project_id": text}
    return trial(number, parameters=tree, tags={"b": tree}, metrics=metrics, chronos=metrics, **named)


@pytest.mark.parametrize(
    "path",
    [
        "id",
        "uid",
        "revision",
        "name",
        "project_id",
        "status",
        "status.name",
        "tags.b.a",
        "chronos.m",
        "metrics.n.sd",
    ]
    + [f"parameters.{keys}" for keys in WALKED]
    + [f"metrics.m.{statistic}" for statistic in STATISTICS],
)
def test_sql_agrees_on_every_sort_of_value_with_every_sort_of_operand(path: str) -> None:
    operands = [value for value in SAMPLES if path != "status" or isinstance(value, (int, float, str))]
    operands = [value for value in operands if path != "status" or not isinstance(value, bool)]
    pairs = [list(pair) for pair in itertools.pairwise(operands)]
    queries = [{path: {name: operand}} for operand in operands for name in OPERATORS]
    queries += [{path: {name: pair}} for pair in pairs for name in ("$in", "$nin")]
    queries += [
        {path: {"$in": operands}},
        {path: {"$in": [2**53 + 1, 5, 6, 7]}},
        {path: {"$nin": operands[:20]}},
        {path: {"$exists": True}},
    ]
    assert_sql_agrees([sampled(number, value) for number, value in enumerate(SAMPLES)], queries)


def test_sql_orders_neighbouring_floats_of_every_size() -> None:
    """SQLite before 3.53 reads one decimal fraction in ten as a neighbour of the right float."""
    draw = random.Random(20)
    numbers = [struct.unpack("<d", draw.randbytes(8))[0] for _ in range(300)]
    numbers = [number for number in numbers if math.isfinite(number)]
    documents = [trial(place, parameters={"x": number}) for place, number in enumerate(numbers)]
    near = [math.nextafter(number, toward) for number in numbers[:60] for toward in (-math.inf, math.inf)]
    operands = [*near, *numbers[:60]]
    assert_sql_agrees(documents, [{"parameters.x": {name: n}} for n in operands for name in OPERATORS])


HOSTILE = [
    "x' OR '1'='1",
    'x") OR 1=1 --',
    "x'; DROP TABLE trial; --",
    '$."x"',
    "?1",
    ":name",
    "%s{0}",
    "x\x00' OR 1 --",
    '"]) --',
]


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
