from __future__ import annotations

import json
import math
import statistics
from array import array
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from track_protocol.errors import BadValue
from track_protocol.model.stat import StatStream, Summary

numbers = st.floats(-1e6, 1e6, allow_nan=False)


def stream_of(values: list[float], skip: int = 0) -> StatStream:
    stream = StatStream(skip)
    for value in values:
        stream.update(value)
    return stream


@settings(max_examples=60)
@given(st.lists(numbers, min_size=1, max_size=30))
def test_a_stream_reports_the_statistics_of_its_values(values: list[float]) -> None:
    assert near(stream_of(values).to_dict(), values)


def near(report: dict[str, Any], values: list[float]) -> bool:
    expected = [statistics.fmean(values), min(values), max(values), statistics.pstdev(values), len(values)]
    got = [report[name] for name in ("avg", "min", "max", "sd", "count")]
    return all(math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-2) for a, b in zip(got, expected, strict=True))


def test_the_first_ten_observations_are_left_out_by_default() -> None:
    stream = StatStream()
    for value in [100.0] * 10 + [1.0, 3.0]:
        stream.update(value)
    assert stream.to_array() == [2.0, 1.0, 1.0, 3.0, 2]


def test_an_observation_left_out_is_still_the_last_one() -> None:
    stream = stream_of([5.0], skip=10)
    assert (stream.val, stream.current_obs, stream.current_count, stream.count) == (5.0, 5.0, 1, 0)


def test_an_empty_stream_reports_the_documented_extremes() -> None:
    assert StatStream().to_dict() == {
        "avg": 0.0,
        "min": math.inf,
        "max": -math.inf,
        "sd": 0.0,
        "count": 0,
        "unit": "s",
    }


def test_the_first_observation_that_counts_is_the_shift() -> None:
    assert stream_of([100.0, 7.0, 8.0], skip=1).first_obs == 7.0


def test_sums_are_of_the_values_themselves() -> None:
    stream = stream_of([1.0, 2.0, 3.0])
    assert (stream.sum, stream.total, stream.sum_sqr) == (6.0, 6.0, 14.0)


def test_the_variance_of_large_close_values_is_exact() -> None:
    assert stream_of([1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16]).var == 22.5


def test_rounding_does_not_make_the_variance_negative() -> None:
    stream = StatStream(0)
    stream.update(0.0, weight=1e-18)
    stream.update(0.1, weight=3)
    assert (stream.var, stream.sd) == (0.0, 0.0)


def test_a_weight_counts_as_that_many_observations() -> None:
    weighted = StatStream(0)
    weighted.update(1.0, weight=3)
    weighted.update(5.0)
    assert weighted.to_dict() == stream_of([1.0, 1.0, 1.0, 5.0]).to_dict()


def test_a_weight_across_the_end_of_the_skipped_ones_counts_in_part() -> None:
    stream = StatStream(2)
    stream.update(4.0, weight=3)
    assert (stream.count, stream.total) == (1, 4.0)


@pytest.mark.parametrize("weight", [0, -1, math.nan])
def test_a_weight_that_is_not_positive_is_refused(weight: float) -> None:
    with pytest.raises(BadValue, match="not positive"):
        StatStream().update(1.0, weight)


def test_an_infinite_first_value_does_not_hide_the_later_ones() -> None:
    stream = stream_of([math.inf, 1.0])
    assert (stream.avg, stream.min, stream.max) == (math.inf, 1.0, math.inf)


@settings(max_examples=60)
@given(st.lists(numbers, max_size=12), st.lists(numbers, max_size=12), st.integers(0, 3))
def test_merged_streams_report_what_both_counted(first: list[float], second: list[float], skip: int) -> None:
    merged = stream_of(first, skip)
    merged.merge(stream_of(second, skip))
    counted = first[skip:] + second[skip:]
    assert merged.count == len(counted)
    assert not counted or near(merged.to_dict(), counted)


def test_a_merged_stream_continues_counting() -> None:
    merged = stream_of([100.0], skip=1)
    merged.merge(stream_of([100.0, 1.0], skip=1))
    merged.update(3.0)
    assert (merged.avg, merged.count, merged.current_count) == (2.0, 2, 4)


def test_merging_an_empty_stream_changes_nothing() -> None:
    stream = stream_of([1.0, 2.0])
    before = stream.state_dict()
    stream.merge(StatStream(0))
    assert stream.state_dict() == before


def test_the_last_value_of_a_merge_is_the_other_stream_s() -> None:
    merged = stream_of([1.0])
    merged.merge(stream_of([2.0]))
    assert merged.val == 2.0


@settings(max_examples=40)
@given(st.lists(numbers, max_size=20), st.integers(0, 5))
def test_a_stream_round_trips_exactly_through_the_json_of_its_state(values: list[float], skip: int) -> None:
    stream = stream_of(values, skip)
    restored = StatStream.from_dict(json.loads(json.dumps(stream.state_dict())))
    assert (restored.state_dict(), restored.to_dict()) == (stream.state_dict(), stream.to_dict())


def test_a_stream_is_rebuilt_from_its_report() -> None:
    report = stream_of([1.0, 2.0, 6.0]).to_dict()
    assert StatStream.from_dict(report).to_dict() == pytest.approx(report)


@pytest.mark.parametrize("data", [{}, {"avg": 1.0}, {"sum_sqr": 1.0}, {"avg": "a", "sd": "b", "count": "c"}])
def test_other_data_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(BadValue, match=r"(to|state)_dict\(\)"):
        StatStream.from_dict(data)


def test_an_array_is_transformed_except_for_its_count() -> None:
    assert stream_of([1.0, 3.0]).to_array(lambda value: value * 1000) == [2000.0, 1000.0, 1000.0, 3000.0, 2]


def test_a_stream_shows_its_statistics() -> None:
    assert "'avg': 2.0" in repr(stream_of([1.0, 3.0]))


anything = st.floats(-1e9, 1e9) | st.sampled_from([math.nan, math.inf, -math.inf])


def same_summary(one: Summary, other: Summary) -> bool:
    counts = (one.count, one.nonfinite, one.min, one.max) == (
        other.count,
        other.nonfinite,
        other.min,
        other.max,
    )
    spread = max(abs(one.min), abs(one.max), 1.0) if one.finite else 1.0
    close = math.isclose(one.mean, other.mean, rel_tol=1e-9, abs_tol=1e-9 * spread)
    return counts and close and math.isclose(one.m2, other.m2, rel_tol=1e-6, abs_tol=1e-9 * spread * spread)


@settings(max_examples=60)
@given(st.lists(anything, max_size=30), st.lists(anything, max_size=30))
def test_merged_summaries_are_the_summary_of_all(first: list[float], second: list[float]) -> None:
    merged = Summary.of(array("d", first)).merge(Summary.of(array("d", second)))
    assert same_summary(merged, Summary.of(array("d", first + second)))


@settings(max_examples=60)
@given(st.lists(numbers, min_size=1, max_size=30))
def test_a_summary_has_the_statistics_of_its_numbers(values: list[float]) -> None:
    summary = Summary.of(array("d", values))
    assert (summary.count, summary.finite, summary.min, summary.max) == (
        len(values),
        len(values),
        min(values),
        max(values),
    )
    assert math.isclose(summary.mean, statistics.fmean(values), rel_tol=1e-9, abs_tol=1e-9)
    assert math.isclose(summary.sd, statistics.pstdev(values), rel_tol=1e-6, abs_tol=1e-6)


def test_non_finite_numbers_are_counted_and_left_out() -> None:
    summary = Summary.of(array("d", [1.0, math.nan, math.inf, 3.0, -math.inf]))
    assert summary == Summary(count=5, nonfinite=3, mean=2.0, m2=2.0, min=1.0, max=3.0)


@pytest.mark.parametrize("values", [[], [math.nan], [math.inf, -math.inf]])
def test_a_summary_without_a_finite_number_is_neutral(values: list[float]) -> None:
    assert Summary.of(array("d", values)) == Summary(count=len(values), nonfinite=len(values))


def test_numbers_whose_sum_overflows_still_have_a_mean() -> None:
    summary = Summary.of(array("d", [1.5e308, 1.5e308]))
    assert (summary.mean, summary.nonfinite) == (1.5e308, 0)


def test_large_close_numbers_have_an_exact_deviation() -> None:
    assert Summary.of(array("d", [1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16])).var == 22.5


def test_a_summary_of_integers_is_made_too() -> None:
    assert Summary.of([1, 2, 3]) == Summary(count=3, mean=2.0, m2=2.0, min=1, max=3)


def test_a_summary_is_rebuilt_from_a_dict_with_other_keys() -> None:
    summary = Summary.of(array("d", [1.0, 2.0]))
    assert Summary.from_dict({**summary.to_dict(), "last": 2.0}) == summary


def test_an_incomplete_summary_is_refused() -> None:
    with pytest.raises(BadValue, match="'mean'"):
        Summary.from_dict({"count": 1, "nonfinite": 0})


def test_a_stream_is_json_text() -> None:
    stream = stream_of([1.0, 3.0])
    assert json.loads(stream.to_json()) == stream.to_dict()


def test_observations_and_streams_are_added() -> None:
    stream = stream_of([1.0])
    stream += 3.0
    stream += stream_of([5.0])
    assert (stream.avg, stream.count) == (3.0, 3)
