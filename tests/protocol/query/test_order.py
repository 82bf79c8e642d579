"""Orders and fields by their names."""

from __future__ import annotations

import pytest

from track_protocol.errors import BadArguments
from track_protocol.query.order import CREATED, FIELDS, Order, parse_fields, parse_order
from track_protocol.query.parse import Kind


def test_names_are_those_of_queries_and_a_minus_descends() -> None:
    assert parse_order(["-metrics.loss.min", "parameters.lr", "status", "-created"], "trial") == (
        Order((("metrics", "loss.min", "last"), ("metrics", "loss", "min")), descending=True),
        Order((("parameters", "lr"),)),
        Order((("status", "value"),)),
        Order((CREATED,), descending=True),
    )


@pytest.mark.parametrize("kind", FIELDS)
def test_every_kind_is_ordered_by_its_making(kind: Kind) -> None:
    assert parse_order(["created"], kind) == (Order((CREATED,)),)


@pytest.mark.parametrize(
    ("name", "meant"), [("metric.loss", "metrics"), ("-nmae", "name"), ("hsah", "hash"), ("", "use one of")]
)
def test_an_unknown_name_is_refused_with_a_suggestion(name: str, meant: str) -> None:
    with pytest.raises(BadArguments, match=meant):
        parse_order([name], "trial")


@pytest.mark.parametrize("name", ["parameters", "metrics", "uid.x", "status.x"])
def test_what_has_no_order_is_refused(name: str) -> None:
    with pytest.raises(BadArguments, match="order"):
        parse_order([name], "trial")


def test_too_many_names_are_refused() -> None:
    with pytest.raises(BadArguments, match="at most"):
        parse_order(["name"] * 9, "trial")


def test_no_fields_means_all_of_them() -> None:
    assert parse_fields(None, "trial") is None
    assert parse_fields(["uid", "name", "uid"], "project") == frozenset({"uid", "name"})


def test_what_makes_an_object_is_always_among_the_fields() -> None:
    assert parse_fields([], "group") == frozenset({"uid"})
    assert parse_fields(["tags"], "trial") == frozenset({"id", "uid", "hash", "revision", "status", "tags"})


def test_an_unknown_field_is_refused_with_a_suggestion() -> None:
    with pytest.raises(BadArguments, match="did you mean 'metrics'"):
        parse_fields(["metric"], "trial")
    with pytest.raises(BadArguments, match="a project has no field 'metrics'"):
        parse_fields(["metrics"], "project")
