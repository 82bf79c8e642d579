"""Trials and queries of every sort: what a backend selects is compared with what the evaluator does."""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Iterator
from typing import Any, Final

from hypothesis import strategies as st

from track_server.storage import exactjson

__all__ = [
    "HOSTILE",
    "OPERATORS",
    "PATHS",
    "PLAIN",
    "QUERY",
    "SAMPLES",
    "STATISTICS",
    "TREES",
    "TRIALS",
    "Document",
    "queries_at",
    "sampled",
    "series_rows",
    "summary",
    "trial",
    "trial_row",
]

Document = dict[str, Any]

PLAIN: Final = ("uid", "hash", "revision", "name", "description", "version", "project_id", "group_id")
TREES: Final = ("tags", "parameters", "metadata")


def trial_row(document: Document) -> Document:
    """The columns of a trial."""
    return (
        {name: document[name] for name in PLAIN}
        | {name: exactjson.dumps(document[name]) for name in TREES}
        | {f"status_{part}": value for part, value in document["status"].items()}
        | {"key": document["id"]}
    )


def series_rows(document: Document) -> Iterator[Document]:
    """The columns of a trial's series."""
    for kind, group in (("metric", "metrics"), ("chrono", "chronos")):
        for name, summary in document[group].items():
            row = {key: summary[key] for key in ("count", "finite", "min", "max", "mean", "m2")}
            texts = {key: exactjson.dumps(summary[key]) for key in ("first_step", "last_step", "last")}
            yield {"kind": kind, "name": name, **row, **texts}


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


PATHS: Final = [
    *("id", "uid", "revision", "name", "project_id", "status", "status.name", "tags.b.a", "chronos.m"),
    "metrics.n.sd",
    *[f"parameters.{keys}" for keys in WALKED],
    *[f"metrics.m.{statistic}" for statistic in STATISTICS],
]


def queries_at(path: str) -> list[Document]:
    """Every comparison of a path with every sample."""
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
    return queries


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
