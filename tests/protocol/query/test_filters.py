"""Filters: what is typed, what it means, and what is said about mistakes."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from track_protocol.errors import BadQuery
from track_protocol.query.filter_parser import MAX_FILTER, parse_filter, query_of, read_names
from track_protocol.query.filters import (
    Comparison,
    Conjunction,
    Disjunction,
    Duration,
    Existence,
    Filter,
    Membership,
    Negation,
    filter_query,
)
from track_protocol.query.names import own_attribute
from track_protocol.query.parse import Kind, matches


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("", {}),
        ("  ", {}),
        ("status = running", {"status": {"$eq": "Running"}}),
        ("status != CREATED", {"status": {"$ne": "CreatedGroup"}}),
        ("status=lost", {"status": {"$eq": "lost"}}),
        ("status = paused", {"status": {"$eq": "paused"}}),
        ("status in (completed, 'Exception')", {"status": {"$in": ["Completed", "Exception"]}}),
        ("status < 200", {"status": {"$lt": 200}}),
        ("lr < 0.1", {"parameters.lr": {"$lt": 0.1}}),
        ("lr<1e-3", {"parameters.lr": {"$lt": 1e-3}}),
        ("lr == -2", {"parameters.lr": {"$eq": -2}}),
        ("lr >= -.5", {"parameters.lr": {"$gte": -0.5}}),
        ("lr < inf", {"parameters.lr": {"$lt": math.inf}}),
        ("params.lr > 1.", {"parameters.lr": {"$gt": 1.0}}),
        ("parameters.opt.name = adam", {"parameters.opt.name": {"$eq": "adam"}}),
        ("opt.name = adam", {"parameters.opt.name": {"$eq": "adam"}}),
        ('params."weight decay" = 0', {"parameters.weight decay": {"$eq": 0}}),
        ("'weight decay' = 0", {"parameters.weight decay": {"$eq": 0}}),
        ("tags.a = true AND tags.b = None", {"$and": [{"tags.a": {"$eq": True}}, {"tags.b": {"$eq": None}}]}),
        ("tags.team ~ vis", {"tags.team": {"$contains": "vis"}}),
        ("name contains 'a b'", {"name": {"$contains": "a b"}}),
        ("name not contains x", {"name": {"$not": {"$contains": "x"}}}),
        ("name !~ x", {"name": {"$not": {"$contains": "x"}}}),
        ("name ~ 01", {"name": {"$contains": "01"}}),
        ("name contains null", {"name": {"$contains": "null"}}),
        ("x not in (1, 2.5, c)", {"parameters.x": {"$nin": [1, 2.5, "c"]}}),
        ("started exists", {"started": {"$ne": None}}),
        ("metadata.note exists", {"metadata.note": {"$exists": True}}),
        ("not lr exists", {"$not": {"parameters.lr": {"$exists": True}}}),
        ("metrics.loss < 1", {"metrics.loss": {"$lt": 1}}),
        ("metrics.val.loss.min < 1", {"metrics.val.loss.min": {"$lt": 1}}),
        ("metrics.train/loss.min < 1", {"metrics.train/loss.min": {"$lt": 1}}),
        ('loss{phase="train"} < 1', {'metrics.loss{phase="train"}': {"$lt": 1}}),
        ("metrics.loss{ b = 'x.y', a = '\"' }.max < 1", {'metrics.loss{a="\\"",b="x.y"}.max': {"$lt": 1}}),
        ("chronos.runtime > 2h", {"chronos.runtime": {"$gt": 7200.0}}),
        ("chronos.epoch.max > 1.5m", {"chronos.epoch.max": {"$gt": 90.0}}),
        ("id = " + "0a" * 16, {"id": {"$eq": b"\n" * 16}}),
        ("uid = 00ff_1", {"uid": {"$eq": "00ff_1"}}),
        ("version = '2'", {"version": {"$eq": "2"}}),
        ("version = v1.2-rc/3", {"version": {"$eq": "v1.2-rc/3"}}),
        ("project exists", {"project_id": {"$ne": None}}),
        ("group = null", {"group_id": {"$in": [None]}}),
        (
            "a = 1 and b = 2 or not (c = 3 or d = 4)",
            {
                "$or": [
                    {"$and": [{"parameters.a": {"$eq": 1}}, {"parameters.b": {"$eq": 2}}]},
                    {"$not": {"$or": [{"parameters.c": {"$eq": 3}}, {"parameters.d": {"$eq": 4}}]}},
                ]
            },
        ),
        ("order = 1", {"parameters.order": {"$eq": 1}}),
        ("android = 1", {"parameters.android": {"$eq": 1}}),
        ("'in' = 1", {"parameters.in": {"$eq": 1}}),
        ("größe = 1", {"parameters.größe": {"$eq": 1}}),
    ],
)  # fmt: skip
def test_a_filter_means_a_query(text: str, query: Any) -> None:
    assert query_of(text) == query


class Known:
    """A store that has a metric, a project, a group, two trials and a status of its own."""

    now = 10_000.0

    def attribute(self, name: str, kind: Kind) -> str:
        own = own_attribute(name, kind)
        return own or f"metrics.{name}"

    def uids(self, kind: Kind, name: str) -> list[str]:
        return {"project": ["p1"], "group": ["g1", "g2"], "trial": ["00ff_0", "00ff_1"]}[kind]

    def statuses(self, name: str) -> list[str]:
        return [f"<{name}>", name.upper()]

    def check_status(self, value: float) -> None:
        if value == 5:
            raise BadQuery("no status has that number")

    def check_sort(self, attribute: str, operand: float | str | bool, kind: Kind) -> None:
        if operand == "high":
            raise BadQuery("of another sort")


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("loss < 1", {"metrics.loss": {"$lt": 1}}),
        ("params.lr = 2h", {"parameters.lr": {"$eq": 7200.0}}),
        ("project = demo", {"project_id": {"$in": ["p1"]}}),
        ("project = null", {"project_id": {"$in": [None]}}),
        ("group not in (g, h)", {"group_id": {"$nin": ["g1", "g2", "g1", "g2"]}}),
        ("uid != 00ff", {"uid": {"$nin": ["00ff_0", "00ff_1"]}}),
        ("uid in (00ff)", {"uid": {"$in": ["00ff_0", "00ff_1"]}}),
        ("uid > 00ff", {"uid": {"$gt": "00ff"}}),
        ("status in (running, 302)", {"status": {"$in": ["<running>", "RUNNING", 302]}}),
        ("status != own", {"status": {"$nin": ["<own>", "OWN"]}}),
        ("status ~ runn", {"status": {"$contains": "runn"}}),
        ("status !~ own", {"status": {"$not": {"$contains": "<own>"}}}),
        ("created > 1h", {"created": {"$gt": 6400.0}}),
        ("ended <= 1970-01-01T00:01+00:00", {"ended": {"$lte": 60.0}}),
        ("started < 1e9", {"started": {"$lt": 1e9}}),
        ("duration > 2m", {"duration": {"$gt": 120.0}}),
        ("user = bob", {"metadata.run.user": {"$eq": "bob"}}),
        ("git.commit ~ abc", {"metadata.run.git.commit": {"$contains": "abc"}}),
    ],
)
def test_a_filter_means_what_the_store_has(text: str, query: Any) -> None:
    assert query_of(text, store=Known()) == query


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("created = 2026-11-30", "compare it with < <= > >=, not ="),
        ("created > soon", "'soon' is not a moment: give a date"),
        ("created > 2026-13-30", "is not a moment"),
        ("created ~ 2026", "contains no text"),
        ("duration > long", "'duration' is a number, and 'long' is none"),
        ("revision = first", "'revision' is a number"),
        ("status < running", "have no order"),
        ("loss < high", "of another sort"),
        ("loss != high", "of another sort"),
        ("loss not in (1, high)", "of another sort"),
        ("loss !~ high", "of another sort"),
        ("loss < true", "there is no order with true"),
        ("loss >= null", "there is no order with null"),
        ("status = 5", "no status has that number"),
        ("status.value not in (302, 5)", "no status has that number"),
        ("status.name != 5", "'status.name' is a text, and 5 is none"),
        ("name != true", "'name' is a text, and true is none"),
        ("uid > 5", "'uid' is a text, and 5 is none"),
        ("uid = 1.5", "'uid' is a text, and 1.5 is none"),
        ("hash in (1, 2)", "'hash' is a text, and 1 is none"),
        ("description != 5", "'description' is a text, and 5 is none"),
        ("version < 2", "'version' is a text, and 2 is none"),
        ("uid != null", "'uid' is never null"),
        ("status not in (running, null)", "'status' is never null"),
        ("created != null", "'created' is never null"),
        ("revision != 1.5", "'revision' is a whole number from 0, and 1.5 is none"),
        ("revision = -1", "'revision' is a whole number from 0, and -1 is none"),
        ("revision > inf", "'revision' is never infinite"),
        ("duration != inf", "'duration' is never infinite"),
    ],
)
def test_a_value_of_another_sort_is_refused(text: str, expected: str) -> None:
    with pytest.raises(BadQuery, match=re.escape(expected)):
        query_of(text, store=Known())


def test_how_long_ago_needs_to_know_the_time() -> None:
    with pytest.raises(BadQuery, match="no time is known"):
        query_of("created > 1h")


def test_names_between_commas_are_read_as_in_filters() -> None:
    text = 'lr, params."a,b" ,loss{b="2,3",a="1"}, weight decay,, "x y"'
    names = ["lr", "params.a,b", 'loss{a="1",b="2,3"}', "weight decay", "", "x y"]
    assert read_names(text) == names


def test_other_names_of_projects_and_groups_are_metadata() -> None:
    assert query_of("owner = ann and name ~ x", "project") == {
        "$and": [{"metadata.owner": {"$eq": "ann"}}, {"name": {"$contains": "x"}}]
    }


@pytest.mark.parametrize(
    ("text", "column", "expected"),
    [
        ("lr", 3, "one of = != < <= > >= ~ in contains exists, found the end"),
        ("lr <", 5, "a value"),
        ("lr < and x = 1", 6, "a value (put quotes around a text that has spaces in it), found 'and'"),
        ("lr < 1 x = 2", 8, "'and', 'or' or the end, found 'x'"),
        ("name = two words", 12, "'and', 'or' or the end, found 'words'"),
        ("(lr < 1", 8, "')', found the end"),
        ("lr < 1)", 7, "'and', 'or' or the end"),
        ("and lr < 1", 1, "a name, such as status or params.lr, found 'and'"),
        ("lr < 1 and", 11, "a name"),
        ("< 1", 1, "a name"),
        ("1 < lr", 1, "a name"),
        ("'' = 1", 3, "a name"),
        ("lr in 1", 7, "'('"),
        ("lr in ()", 8, "a value"),
        ("lr in (1 2)", 10, "',' or ')'"),
        ("lr not = 1", 8, "'in' or 'contains'"),
        ("lr = 'abc", 6, "a closing ' for the one here"),
        (r"lr = 'a\x'", 9, "one of"),
        ("lr = nan", 6, "a value other than nan"),
        ("loss{phase=train} = 1", 12, "the label's value in quotes"),
        ("loss{} = 1", 6, "a label"),
        ('loss{a="1" = 1', 12, "',' or '}'"),
        ("lr & 1", 4, "one of ="),
        ("__import__('os') = 1", 11, "one of ="),
        ("metrics = 1", 1, "'metrics' is not a series"),
        ("a = 1 and name.x = 1", 11, "'name.x' does not exist"),
        ("name ~", 7, "a value"),
        ("name ~ and", 8, "a value"),
        ("id = 12ab", 1, "32 digits"),
        ("tags < 1", 1, "as one value has no order"),
        ("project < a", 1, "compared by its name"),
        (f"a = {2**64}", 5, "an integer of at most 64 bits"),
        ("a = " + "9" * 5_000, 5, "an integer of at most 64 bits"),
        ("a = '\ud800'", 1, "surrogate"),
    ],
)
def test_an_error_names_its_column_and_what_was_expected(text: str, column: int, expected: str) -> None:
    with pytest.raises(BadQuery) as caught:
        query_of(text)
    assert str(caught.value).startswith(f"column {column}: ")
    assert expected in str(caught.value)


def test_the_place_of_a_mistake_is_pointed_at() -> None:
    with pytest.raises(BadQuery) as caught:
        query_of("lr << 1")
    assert str(caught.value).splitlines()[1:] == ["  lr << 1", "      ^"]
    with pytest.raises(BadQuery) as caught:
        query_of("a = 1 and " * 100 + "!")
    _, shown, mark = str(caught.value).splitlines()
    assert shown[mark.index("^")] == "!"


@pytest.mark.parametrize("text", ["(" * 5_000, "not " * 5_000, "a" * (MAX_FILTER + 1)])
def test_what_is_too_long_or_too_deep_is_refused(text: str) -> None:
    with pytest.raises(BadQuery):
        parse_filter(text)


def test_there_may_be_as_many_comparisons_as_a_query_may_have() -> None:
    assert len(query_of(" or ".join(["a = 1"] * 999))["$or"]) == 999  # type: ignore[arg-type]  # a list


# -- at random -----------------------------------------------------------------------------------

TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False)
VALUES = st.none() | st.booleans() | NUMBERS | TEXTS
DURATIONS = st.builds(Duration, st.floats(0, 1e9))
SOME_NAMES = st.sampled_from(
    ["lr", "opt.name", "params.lr", "tags.t", "metrics.loss", "metrics.loss.min", 'loss{a="b"}', "name", "in"]
)
ANY_NAMES = SOME_NAMES | TEXTS.filter(bool)


def filters(names: st.SearchStrategy[str], values: st.SearchStrategy[Any]) -> st.SearchStrategy[Filter]:
    compared = st.builds(Comparison, names, st.sampled_from(["=", "!="]), values)
    with_order = values.filter(lambda value: value is not None and not isinstance(value, bool))
    compared |= st.builds(Comparison, names, st.sampled_from(["<", "<=", ">", ">="]), with_order)
    contained = st.builds(Comparison, names, st.sampled_from(["~", "!~"]), TEXTS)
    listed = st.builds(Membership, names, st.lists(values, min_size=1, max_size=3).map(tuple), st.booleans())
    leaves = compared | contained | listed | st.builds(Existence, names)
    return st.recursive(
        leaves,
        lambda part: (
            st.builds(Negation, part)
            | st.lists(part, min_size=2, max_size=3).map(lambda parts: Conjunction(tuple(parts)))
            | st.lists(part, min_size=2, max_size=3).map(lambda parts: Disjunction(tuple(parts)))
        ),
        max_leaves=6,
    )


def _bare(filter: Filter | None) -> str:
    """As `repr`, in which 1, 1.0 and True differ, without columns."""
    return re.sub(r", column=\d+", "", repr(filter))


def _durations(filter: Filter | None) -> int:
    if isinstance(filter, Negation):
        return _durations(filter.part)
    if isinstance(filter, (Conjunction, Disjunction)):
        return sum(map(_durations, filter.parts))
    values = filter.values if isinstance(filter, Membership) else [getattr(filter, "value", None)]
    return sum(isinstance(value, Duration) for value in values)


@given(filters(ANY_NAMES, VALUES | DURATIONS))
def test_a_filter_is_the_same_after_it_was_written_and_read(filter: Filter) -> None:
    read = parse_filter(str(filter))
    assert _bare(read) == _bare(filter)
    assert _durations(read) == _durations(filter)


PARAMETERS = st.fixed_dictionaries(
    {},
    optional={
        "lr": VALUES | st.just(math.nan),
        "in": VALUES,
        "opt": st.fixed_dictionaries({}, optional={"name": VALUES}),
    },
)
SERIES = st.fixed_dictionaries({"last": NUMBERS, "min": st.none() | NUMBERS})
TRIALS = st.fixed_dictionaries(
    {
        "name": st.none() | TEXTS,
        "parameters": PARAMETERS,
        "tags": st.fixed_dictionaries({}, optional={"t": VALUES}),
        "metrics": st.fixed_dictionaries({}, optional={"loss": SERIES, 'loss{a="b"}': SERIES}),
    }
)
MISSING = object()


def reached(document: Any, name: str) -> Any:
    """The value that a name of `SOME_NAMES` means, by rules of its own."""
    paths = {
        "lr": ("parameters", "lr"),
        "in": ("parameters", "in"),
        "params.lr": ("parameters", "lr"),
        "opt.name": ("parameters", "opt", "name"),
        "tags.t": ("tags", "t"),
        "metrics.loss": ("metrics", "loss", "last"),
        "metrics.loss.min": ("metrics", "loss", "min"),
        'loss{a="b"}': ("metrics", 'loss{a="b"}', "last"),
        "name": ("name",),
    }
    for key in paths[name]:
        if key not in document:
            return MISSING
        document = document[key]
    return document


def equal(left: Any, right: Any) -> bool:
    left = None if left is MISSING else left
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    return bool(left == right)


def ordered(left: Any, operator: str, right: Any) -> bool:
    texts = isinstance(left, str) and isinstance(right, str)
    plain = all(type(each) in (int, float) for each in (left, right))
    if not (texts or plain):
        return False
    return bool({"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[operator])


def evaluated(filter: Filter, document: Any) -> bool:
    """What a filter says of a trial, in plain Python."""
    if isinstance(filter, Negation):
        return not evaluated(filter.part, document)
    if isinstance(filter, Conjunction):
        return all(evaluated(part, document) for part in filter.parts)
    if isinstance(filter, Disjunction):
        return any(evaluated(part, document) for part in filter.parts)
    value = reached(document, filter.name)
    if isinstance(filter, Existence):
        return value is not MISSING and not (filter.name == "name" and value is None)
    if isinstance(filter, Membership):
        return any(equal(value, each) for each in filter.values) is not filter.negated
    if filter.operator in ("=", "!="):
        return equal(value, filter.value) is (filter.operator == "=")
    if filter.operator in ("~", "!~"):
        found = isinstance(value, str) and str(filter.value).casefold() in value.casefold()
        return found is (filter.operator == "~")
    return ordered(value, filter.operator, filter.value)


@given(filters(SOME_NAMES, VALUES), TRIALS)
def test_a_filter_selects_the_matching_trials(filter: Filter, document: Any) -> None:
    query = filter_query(parse_filter(str(filter)) or filter)
    assert matches(document, query) is evaluated(filter, document)


PIECES = st.sampled_from(
    [
        *"()'\"{}=<>!~,\\. ",
        "and",
        "or",
        "not",
        "in",
        "exists",
        "lr",
        "loss{a=",
        "'x'",
        "1",
        "-",
        "1e9",
        "nan",
        "2h",
    ]
)


@given(st.lists(PIECES, max_size=30).map(" ".join) | st.lists(PIECES).map("".join) | st.text())
def test_whatever_is_typed_is_a_filter_or_a_bad_query(text: str) -> None:
    try:
        found = query_of(text)
    except BadQuery:
        return
    assert isinstance(found, dict)
