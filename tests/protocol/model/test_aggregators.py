from __future__ import annotations

import json
import math
from typing import Any

import pytest

from track_protocol.errors import BadArguments, BadValue
from track_protocol.model.aggregators import (
    Aggregator,
    LazyAggregator,
    RingAggregator,
    StatAggregator,
    SumAggregator,
    TimeSeriesAggregator,
    ValueAggregator,
    aggregator_from_spec,
    spec_of,
)


def filled(aggregator: Aggregator, *values: Any) -> Aggregator:
    for value in values:
        aggregator.append(value)
    return aggregator


class Sum(Aggregator):
    def __init__(self, start: float = 0.0) -> None:
        self.total = start

    def append(self, other: Any) -> None:
        self.total += other

    @property
    def val(self) -> float:
        return self.total

    def to_json(self, short: bool = False) -> float:
        return self.total


@pytest.mark.parametrize(
    ("values", "stored"),
    [
        ([], []),
        ([1], [1]),
        ([1, 2, 3], [1, 2, 3]),
        ([1, 2, 3, 4], [2, 3, 4]),
        ([1, 2, 3, 4, 5, 6, 7], [5, 6, 7]),
    ],
)
def test_a_ring_stores_the_last_values_in_order(values: list[float], stored: list[float]) -> None:
    assert filled(RingAggregator(3), *values).to_json() == stored


@pytest.mark.parametrize("count", range(1, 8))
def test_the_value_of_a_ring_is_the_last_one(count: int) -> None:
    assert filled(RingAggregator(3, "d"), *range(count)).val == count - 1


def test_a_ring_stores_32_bit_floats_by_default() -> None:
    assert (filled(RingAggregator(2), 0.1).val, filled(RingAggregator(2, "d"), 0.1).val) == (
        pytest.approx(0.1),
        0.1,
    )
    assert filled(RingAggregator(2), 0.1).val != 0.1


@pytest.mark.parametrize(("dtype", "value"), [("i", 0.5), ("b", 1000), ("d", "a")])
def test_a_ring_refuses_a_value_outside_its_type(dtype: str, value: Any) -> None:
    with pytest.raises(BadValue, match="cannot hold"):
        RingAggregator(2, dtype).append(value)


@pytest.mark.parametrize(("n", "dtype"), [(0, "f"), (-1, "f"), (True, "f"), (1.5, "f"), (2, "u"), (2, "x")])
def test_an_invalid_ring_is_refused(n: Any, dtype: str) -> None:
    with pytest.raises(BadArguments):
        RingAggregator(n, dtype)


def test_a_ring_accepts_type_names_and_sends_the_type_code() -> None:
    assert RingAggregator.lazy(5, "float64").spec == RingAggregator(5, float).spec == ["ring", 5, "d"]


def test_a_large_ring_allocates_no_memory_before_it_is_filled() -> None:
    assert filled(RingAggregator(2**31 - 1), 1.0).to_json() == [1.0]


def test_a_series_stores_all_values() -> None:
    series = filled(TimeSeriesAggregator(), 1, 2.5, "a")
    assert (series.to_json(), series.val) == ([1, 2.5, "a"], "a")


def test_the_json_of_a_series_is_a_copy() -> None:
    series = TimeSeriesAggregator()
    series.to_json().append(1)
    assert series.to_json() == []


def test_a_sum_adds_up() -> None:
    total = filled(SumAggregator(), 1, 2.5)
    assert (total.val, total.to_json()) == (2.5, 3.5)


def test_a_value_is_the_latest_one() -> None:
    value = filled(ValueAggregator(0), 1, 2)
    assert (value.val, value.to_json(), ValueAggregator(7).val) == (2, 2, 7)


@pytest.mark.parametrize(
    "empty", [RingAggregator(1), StatAggregator(), SumAggregator(), TimeSeriesAggregator(), ValueAggregator()]
)
def test_an_aggregator_without_values_has_none(empty: Aggregator) -> None:
    assert empty.val is None


def test_statistics_in_short_have_the_reported_shape() -> None:
    report = filled(StatAggregator(1), 100.0, 1.0, 3.0).to_json(short=True)
    assert list(report.items()) == [
        ("avg", 2.0),
        ("min", 1.0),
        ("max", 3.0),
        ("sd", 1.0),
        ("count", 2),
        ("unit", "s"),
    ]


def test_statistics_are_attributes_too() -> None:
    stat = StatAggregator(0)
    filled(stat, 1.0, 3.0)
    assert (stat.avg, stat.min, stat.max, stat.sd, stat.sum, stat.total, stat.count) == (2, 1, 3, 1, 4, 4, 2)


def test_ten_observations_are_left_out_by_default() -> None:
    stat = StatAggregator()
    filled(stat, *range(10), 42.0)
    assert (stat.avg, stat.count) == (42.0, 1)


def test_statistics_continue_from_their_full_json() -> None:
    stat = StatAggregator(1)
    filled(stat, 9.0, 0.1, 0.2)
    again = StatAggregator.from_json(json.loads(json.dumps(stat.to_json())))
    filled(stat, 0.7)
    filled(again, 0.7)
    assert (again.to_json(), again.spec) == (stat.to_json(), ["stat", 1])


def test_statistics_are_rebuilt_from_their_short_json() -> None:
    again = StatAggregator.from_json({"avg": 2.0, "min": 1.0, "max": 3.0, "sd": 1.0, "count": 2, "unit": "s"})
    assert again.to_json(short=True) == {
        "avg": 2.0,
        "min": 1.0,
        "max": 3.0,
        "sd": 1.0,
        "count": 2,
        "unit": "s",
    }


def test_a_nan_makes_the_mean_nan() -> None:
    stat = StatAggregator(0)
    filled(stat, 1.0, math.nan)
    assert math.isnan(stat.avg)


LAZY: list[tuple[LazyAggregator, type[Aggregator], list[Any]]] = [
    (StatAggregator.lazy(3), StatAggregator, ["stat", 3]),
    (StatAggregator.lazy(skip=3), StatAggregator, ["stat", 3]),
    (RingAggregator.lazy(5, "d"), RingAggregator, ["ring", 5, "d"]),
    (RingAggregator.lazy(n=5, dtype="f"), RingAggregator, ["ring", 5, "f"]),
    (TimeSeriesAggregator.lazy(), TimeSeriesAggregator, ["series"]),
    (SumAggregator.lazy(), SumAggregator, ["sum"]),
    (ValueAggregator.lazy(), ValueAggregator, ["value"]),
    (Aggregator.lazy(StatAggregator, skip_obs=2), StatAggregator, ["stat", 2]),
]


@pytest.mark.parametrize(("lazy", "kind", "spec"), LAZY)
def test_a_lazy_aggregator_makes_new_ones_and_knows_its_wire_form(
    lazy: LazyAggregator, kind: type[Aggregator], spec: list[Any]
) -> None:
    one, other = lazy(), lazy()
    assert (type(one), one.spec, lazy.spec, one is other) == (kind, spec, spec, False)


@pytest.mark.parametrize("spec", [spec for _, _, spec in LAZY])
def test_an_aggregator_is_made_from_its_wire_form(spec: list[Any]) -> None:
    assert spec_of(aggregator_from_spec(spec)) == spec


@pytest.mark.parametrize(
    "spec",
    [
        [],
        ["median"],
        [["stat"]],
        ["stat"],
        ["stat", -1],
        ["stat", "3"],
        ["stat", 1.0],
        ["stat", True],
        ["stat", 2**40],
        ["stat", 1, 2],
        ["ring"],
        ["ring", 5],
        ["ring", 0, "f"],
        ["ring", 5, "u"],
        ["ring", 5, "float32"],
        ["ring", 5, ["f"]],
        ["series", 1],
        ["value", 7],
        ["__class__"],
        5,
    ],
)
def test_an_invalid_wire_form_is_refused(spec: Any) -> None:
    with pytest.raises(BadArguments, match="aggregator"):
        aggregator_from_spec(spec)


@pytest.mark.parametrize(
    ("given", "spec"),
    [
        (None, None),
        (StatAggregator(4), ["stat", 4]),
        (StatAggregator.lazy(4), ["stat", 4]),
        (lambda: StatAggregator(4), ["stat", 4]),
        (ValueAggregator, ["value"]),
        (Sum, None),
        (Aggregator.lazy(Sum, start=1.0), None),
    ],
)
def test_every_way_to_name_an_aggregator_has_a_wire_form(given: Any, spec: list[Any] | None) -> None:
    assert spec_of(given) == spec


@pytest.mark.parametrize("given", [5, "stat", lambda: 5])
def test_other_callables_have_no_wire_form(given: Any) -> None:
    with pytest.raises(BadArguments, match="is not an aggregator"):
        spec_of(given)


def test_a_wrong_argument_is_refused_when_the_lazy_aggregator_is_made() -> None:
    with pytest.raises(BadArguments, match="skip_obs=-1"):
        StatAggregator.lazy(-1)


def test_a_lazy_aggregator_shows_what_it_makes() -> None:
    assert repr(RingAggregator.lazy(5, "d")) == "RingAggregator.lazy(n=5, dtype='d')"


def test_the_base_class_is_abstract() -> None:
    with pytest.raises(NotImplementedError):
        Aggregator().append(1)


@pytest.mark.parametrize(
    "aggregator",
    [RingAggregator(3), StatAggregator(0), SumAggregator(), TimeSeriesAggregator(), ValueAggregator()],
)
def test_values_are_added(aggregator: Aggregator) -> None:
    same = aggregator
    aggregator += 2.0
    assert (aggregator.val, aggregator is same) == (2.0, True)
