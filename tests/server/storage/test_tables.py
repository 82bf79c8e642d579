"""A table, its groups and its fields are what Python makes of the whole documents."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stored_trials import points_of, trial_document, trial_id
from track_protocol.model.values import INT_MAX, INT_MIN
from track_protocol.query.columns import parse_columns, parse_table_order
from track_protocol.query.parse import parse_query
from track_protocol.query.tables import FieldSummaries, cell, group_rows, in_order, series_summary
from track_protocol.wire.batch import METRIC
from track_server.storage.ephemeral import EphemeralStore
from track_server.storage.unit_of_work import begin
from track_server.testing.store_support import same

KEYS = ["a", "b", "a.b", 'größe it\'s "so"', "$odd"]
SERIES = ["loss", "loss.min", 'loss{split="val"}']
COMMON = [
    *("parameters.a", "parameters.b", "tags.a", "tags.a.b", "metadata.a", "name", "status", "project_id"),
    *("metrics.loss", "metrics.loss.min", "started", "seen", "created"),
]
COLUMNS = [
    *COMMON,
    *("id", "uid", "duration"),
    *(f"{root}.{key}" for root in ("parameters", "tags", "metadata") for key in [*KEYS, "b.a", "a.b.a"]),
    *(f"metrics.{name}{end}" for name in SERIES for end in ("", ".min", ".mean", ".count", ".last")),
]
"""Few of them, so that most trials have a value in one that is drawn."""

numbers = st.one_of(
    st.sampled_from([0, -0.0, 1, 1.0, 2**53, 2**53 + 1, float(2**53), INT_MAX, INT_MIN, 0.1, 1e-320, 1e300]),
    st.floats(allow_nan=True, allow_infinity=True),
    st.integers(INT_MIN, INT_MAX),
)
texts = st.one_of(st.sampled_from(["", "a", "A", "ä", "猫", "10", "9", "nan"]), st.text(max_size=3))
scalars = st.one_of(st.none(), numbers, texts)
values = st.recursive(
    scalars, lambda inside: st.dictionaries(st.sampled_from(KEYS), inside, max_size=3), max_leaves=4
)
trees = st.fixed_dictionaries({}, optional=dict.fromkeys(KEYS, values))
points = st.lists(
    st.one_of(st.floats(-1e6, 1e6), st.sampled_from([math.nan, math.inf])), min_size=1, max_size=3
)
trials = st.fixed_dictionaries(
    {
        "name": st.one_of(st.none(), texts),
        "parameters": trees,
        "tags": trees,
        "metadata": trees,
        "project_id": st.sampled_from([None, "p", "q"]),
        "started": st.sampled_from([None, 1.5, 2.5]),
        "ended": st.sampled_from([None, 3.5]),
        "status": st.sampled_from([{"value": 0, "name": "CreatedGroup"}, {"value": 101, "name": "Running"}]),
        "series": st.dictionaries(st.sampled_from(SERIES), points, max_size=2),
    }
)
queries = st.recursive(
    st.one_of(
        st.just({}),
        st.just({}),
        st.builds(lambda name, value: {name: {"$lt": value}}, st.sampled_from(COMMON), numbers),
        st.builds(
            lambda name, value: {name: value}, st.sampled_from(["name", "parameters.a", "tags.a.b"]), scalars
        ),
        st.builds(
            lambda name: {name: {"$exists": True}}, st.sampled_from(["metrics.loss", "parameters.b.a"])
        ),
    ),
    lambda inside: st.builds(lambda one, other: {"$and": [one, {"$not": other}]}, inside, inside),
    max_leaves=3,
)
QUERIED = {"seen", "status"}
"""Columns that are no attributes, or another one."""


@pytest.fixture
def store() -> Iterator[EphemeralStore]:
    store = EphemeralStore()
    yield store
    store.close()


def fill(store: EphemeralStore, given: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The documents of a store that has these trials and no others."""
    tx = begin(store)
    for document in tx.trials(parse_query({})):
        tx.delete_trial(document["id"])
    for number, each in enumerate(given):
        fields = {name: value for name, value in each.items() if name != "series"}
        tx.add_trial(trial_document(number, created=50.0 + number, **fields))
        for name, values in each["series"].items():
            tx.append_points(trial_id(number), METRIC, name, None, points_of(values))
    tx.commit()
    with store.snapshot() as view:
        return view.trials(parse_query({}))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(trials, min_size=2, max_size=7),
    queries,
    st.lists(st.sampled_from(COLUMNS), max_size=5),
    st.lists(
        st.tuples(st.sampled_from(["", "-"]), st.sampled_from(COMMON)).map("".join), min_size=1, max_size=3
    ),
    st.sampled_from([0, 0, 0, 1, 4]),
    st.sampled_from([9, 9, 3, 1, 0]),
)
def test_a_page_is_the_same_as_from_complete_documents(
    store: EphemeralStore,
    stored: list[dict[str, Any]],
    query: dict[str, Any],
    names: list[str],
    order: list[str],
    start: int,
    limit: int,
) -> None:
    documents = fill(store, stored)
    parsed = parse_query(_queried(query))
    columns = parse_columns(names)
    # Lists and dicts have a place, behind numbers, and no order among each other.
    orders = [
        each
        for each in parse_table_order(order)
        if not any(isinstance(cell(document, each.paths), (list, dict)) for document in documents)
    ]
    with store.snapshot() as view:
        table = view.table(parsed, columns, orders, start, limit)
        groups = view.trial_groups(parsed, columns[:2], columns[2:], 3)
        fields = view.fields(parsed)
    found = [each for each in documents if parsed.matches(each)]
    page = [found[at] for at in in_order(found, orders)][start : start + limit]
    assert (table.total, table.ids) == (len(found), [each["id"] for each in page])
    assert same(table.columns, [[cell(each, column.paths) for each in page] for column in columns])
    rows = [[cell(each, column.paths) for column in columns] for each in found]
    assert same(groups, group_rows(rows, len(columns[:2]), 3))
    roots = ("parameters", "tags", "metadata")
    summaries = FieldSummaries()
    for root in roots:
        summaries.add(root, [each[root] for each in found])
    assert same(_by_name(fields["fields"]), _by_name(summaries.documents(len(found))))
    assert _by_name(fields["series"]) == _by_name(series_summary(found))


def _queried(query: Any) -> Any:
    """The query without what is no attribute of queries."""
    if isinstance(query, list):
        return [_queried(each) for each in query]
    if isinstance(query, dict):
        return {key: _queried(each) for key, each in query.items() if key not in QUERIED}
    return query


def _by_name(summaries: list[dict[str, Any]]) -> dict[str, Any]:
    return {each["name"]: each for each in summaries}
