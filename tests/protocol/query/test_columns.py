"""Columns of tables by their names."""

from __future__ import annotations

import pytest

from track_protocol.errors import BadArguments
from track_protocol.query.columns import Column, check_size, parse_columns, parse_table_order
from track_protocol.query.order import CREATED, Order


def test_names_are_those_of_queries_and_some_more() -> None:
    assert parse_columns(["metrics.loss.min", "status", "created", "seen", "project", "tags"]) == (
        Column("metrics.loss.min", (("metrics", "loss.min", "last"), ("metrics", "loss", "min"))),
        Column("status", (("status", "name"),)),
        Column("created", (CREATED,)),
        Column("seen", (("seen",),)),
        Column("project", (("project",),)),
        Column("tags", (("tags",),)),
    )


@pytest.mark.parametrize("name", ['metrics.loss{split="val"}', "parameters.größe", "tags.it's", "tags.a.b"])
def test_a_name_below_another_may_have_any_letters(name: str) -> None:
    root, _, rest = name.partition(".")
    paths = parse_columns([name])[0].paths
    assert paths == ((root, rest, "last"),) if root == "metrics" else paths == ((root, rest),)


def test_a_status_is_ordered_by_its_name() -> None:
    assert parse_table_order(["-status", "seen"]) == (
        Order((("status", "name"),), descending=True),
        Order((("seen",),)),
    )


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("oops", "columns: a trial has no attribute 'oops': use one of"),
        ("sen", "did you mean 'seen'"),
        ("seen.x", "does not exist|no attribute"),
        ("metrics", "is not a series"),
        ("metrics..min", "is not a series"),
    ],
)
def test_an_unknown_name_is_refused_with_the_reason(name: str, reason: str) -> None:
    with pytest.raises(BadArguments, match=reason):
        parse_columns([name])


def test_a_table_may_not_be_too_large() -> None:
    check_size(10_000, 20, "limit")
    with pytest.raises(BadArguments, match="at most 10,000"):
        check_size(10_001, 1, "limit")
    with pytest.raises(BadArguments, match="at most 200,000 values"):
        check_size(1_000, 201, "limit")
