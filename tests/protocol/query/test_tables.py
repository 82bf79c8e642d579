"""Summaries and groups of documents at hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

from track_protocol.query.tables import FieldSummaries, group_rows
from track_server.testing.store_support import same


def summarise_fields(trees: dict[str, list[dict[str, Any]]], total: int) -> list[dict[str, Any]]:
    """The summaries of documents that are added one by one."""
    summaries = FieldSummaries()
    for root, documents in trees.items():
        for document in documents:
            summaries.add(root, [document])
    return summaries.documents(total)


def test_a_field_is_summarised_by_sorts_and_range() -> None:
    values = [1, 2.5, math.nan, -math.inf, "a", "b" * 101, True, None, [1], {}]
    (found,) = summarise_fields({"tags": [{"x": each} for each in values]}, 10)
    listed = found.pop("values")
    assert found == {
        "name": "tags.x",
        "count": 10,
        "numbers": 4,
        "texts": 2,
        "booleans": 1,
        "others": 3,
        "nonfinite": 2,
        "min": 1,
        "max": 2.5,
        "differs": True,
    }
    assert same(listed, [1, 2.5, math.nan, -math.inf, "a", True])


def test_at_most_twenty_values_are_listed() -> None:
    (found,) = summarise_fields({"tags": [{"x": number % 30} for number in range(100)]}, 100)
    assert found["values"] == list(range(20))


@pytest.mark.parametrize(
    ("values", "differs"),
    [
        ([1, 1.0], False),
        ([1, True], True),
        ([math.nan, math.nan], False),
        (["1", 1], True),
        ([[1], [1]], False),
        ([None, None], False),
        ([0.1, 0.2], True),
    ],
)
def test_equal_values_do_not_differ(values: list[object], differs: bool) -> None:
    (found,) = summarise_fields({"parameters": [{"x": each} for each in values]}, len(values))
    assert found["differs"] == differs


def test_what_some_lack_differs() -> None:
    (found,) = summarise_fields({"parameters": [{"x": 1}, {}]}, 2)
    assert found["differs"]


def test_nested_keys_are_joined_by_dots() -> None:
    found = summarise_fields({"metadata": [{"run": {"git": {"commit": "c"}}, "run.git": 1, "e": {}}]}, 1)
    assert {each["name"] for each in found} == {"metadata.run.git.commit", "metadata.run.git", "metadata.e"}


def test_groups_are_the_largest_first_with_statistics_of_finite_numbers() -> None:
    rows: list[list[object]] = [
        ["a", 1],
        ["b", 2.0],
        ["b", 4],
        ["b", math.nan],
        ["b", "text"],
        [math.nan, 1],
        [math.nan, True],
    ]
    largest, nan = group_rows(rows, 1, 2)
    assert (largest["by"], largest["count"]) == (["b"], 4)
    assert largest["measures"] == [{"count": 2, "min": 2.0, "max": 4.0, "mean": 3.0, "sd": 1.0}]
    assert same((nan["by"], nan["count"], nan["measures"][0]["count"]), ([math.nan], 2, 1))


def test_statistics_of_very_large_numbers_are_not_an_error() -> None:
    (found,) = group_rows([[1.7e308], [1.7e308]], 0, 1)
    assert (found["count"], found["measures"][0]["mean"]) == (2, math.inf)


def test_documents_that_are_added_together_are_summarised_as_one_by_one() -> None:
    documents: list[dict[str, Any]] = [
        {"a": 1, "b": {"c": "x", "d": {"e": 1.5}}},
        {"b": {"d": {"e": math.nan}, "c": "y" * 200}, "a": 2},
        {"a": {"n": [1]}, "b": 3},
        {"a.n": True, "b": {}},
    ]
    together = FieldSummaries()
    together.add("tags", documents)
    found = {each["name"]: each for each in together.documents(4)}
    assert same(found, {each["name"]: each for each in summarise_fields({"tags": documents}, 4)})
    assert set(found) == {"tags.a", "tags.b", "tags.b.c", "tags.b.d.e", "tags.a.n"}


def test_long_values_differ_and_are_not_listed() -> None:
    (found,) = summarise_fields({"tags": [{"x": "a" * 200 + each} for each in "xxy"]}, 3)
    assert (found["values"], found["differs"], found["texts"]) == ([], True, 3)
    (found,) = summarise_fields({"tags": [{"x": "a" * 200} for _ in "xx"]}, 2)
    assert not found["differs"]
