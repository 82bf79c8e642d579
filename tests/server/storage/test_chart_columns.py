from __future__ import annotations

import math
import struct
import sys
from itertools import chain
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from track_server.storage.chart_columns import ARRAYS, Buckets, ChartColumns, Grid, Traits, traits_of

FINITE = st.floats(allow_nan=False, allow_infinity=False)
WINDOWS = st.tuples(FINITE, FINITE).map(sorted)
LARGEST = sys.float_info.max


def result(columns: ChartColumns) -> dict[str, list[float]]:
    arrays, _, _ = columns.result()
    return {name: list(struct.unpack(f"<{len(data) // 8}d", data)) for name, data in arrays.items()}


@given(WINDOWS, st.integers(1, 300), st.lists(st.floats(0, 1), min_size=1, max_size=400).map(sorted))
def test_each_place_is_in_one_column_whatever_the_window(
    window: list[float], width: int, fractions: list[float]
) -> None:
    low, high = window
    grid = Grid(low, high, width)
    places = sorted(min(high, max(low, low * (1 - at) + high * at)) for at in fractions)
    columns, starts = grid.divide(places)
    assert starts[0] == 0
    assert columns == sorted(set(columns))
    assert all(0 <= column < width for column in columns)
    for column, start, end in zip(columns, starts, [*starts[1:], len(places)], strict=True):
        assert start < end
        assert grid.edges[column] <= places[start]
        assert column == width - 1 or places[end - 1] < grid.edges[column + 1]


@given(
    st.integers(0, 2**52),
    st.integers(1, 2**20),
    st.integers(1, 300),
    st.integers(1, 300),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_evenly_spaced_places_are_divided_as_any_others_are(
    first: int, stride: int, count: int, width: int, before: float, behind: float
) -> None:
    places = range(first, first + stride * count, stride)
    grid = Grid(first - stride * before, places[-1] + stride * behind, width)
    assert grid.divide(places) == grid.divide(list(places))


def test_columns_contain_their_lower_edge_and_the_last_one_both() -> None:
    grid = Grid(0.0, 10.0, 5)
    assert grid.edges == [0.0, 2.0, 4.0, 6.0, 8.0]
    assert grid.divide([0.0, 2.0, 3.0, 8.0, 10.0]) == ([0, 1, 4], [0, 1, 3])


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 0.0), (-LARGEST, LARGEST), (5e-324, 5e-324), (-5e-324, 5e-324), (1e300, LARGEST)]
)
@pytest.mark.parametrize("width", [1, 3, 4_096])
def test_the_ends_of_any_window_are_in_it(low: float, high: float, width: int) -> None:
    columns, _ = Grid(low, high, width).divide([low, high])
    assert columns[0] >= 0
    assert columns[-1] == width - 1
    assert all(map(math.isfinite, Grid(low, high, width).edges))


def buckets(*values: list[float]) -> Buckets:
    """A group for each list, whose points are a second and a step apart."""
    flat = [value for part in values for value in part]
    starts = [sum(map(len, values[:i])) for i in range(len(values))]
    ordinals = list(map(float, range(len(flat))))
    return Buckets.of(ordinals, ordinals, flat, starts)


VALUES = st.lists(
    st.lists(st.one_of(st.floats(-1e3, 1e3), st.sampled_from([math.nan, math.inf, -math.inf])), min_size=1),
    min_size=1,
    max_size=8,
)


@given(VALUES, st.data())
def test_groups_of_groups_are_what_groups_of_points_are(
    values: list[list[float]], data: st.DataObject
) -> None:
    cuts = data.draw(st.sets(st.integers(1, len(values) - 1))) if len(values) > 1 else set()
    starts = [0, *sorted(cuts)]
    ends = [*starts[1:], len(values)]
    larger = [list(chain.from_iterable(values[start:end])) for start, end in zip(starts, ends, strict=True)]
    joined, made = buckets(*values).joined(starts), buckets(*larger)
    for name in Buckets._fields:
        one, other = getattr(joined, name), getattr(made, name)
        if name == "means":
            assert one == pytest.approx(other)
        else:
            assert list(map(repr, map(float, one))) == list(map(repr, map(float, other)))


def test_means_of_the_largest_numbers_are_finite() -> None:
    whole = buckets([LARGEST, LARGEST, -LARGEST, LARGEST], [LARGEST] * 5)
    assert whole.means == pytest.approx([LARGEST / 2, LARGEST])
    assert whole.joined([0]).means[0] == pytest.approx(LARGEST * (7 / 9))


def test_a_group_without_a_finite_value_adds_nothing_to_others() -> None:
    both = buckets([math.nan, math.inf], [2.0, 4.0]).joined([0])
    assert (both.lows, both.highs, both.means, both.nonfinite) == ([2.0], [4.0], [3.0], [2])
    assert both.odds == [math.inf]


def test_runs_that_meet_in_a_column_are_one() -> None:
    columns = ChartColumns(Grid(0.0, 10.0, 2))
    for run in ([0.0, 1.0], [2.0, 6.0], [7.0]):
        columns.add_points(run, run, run, run)
    found = result(columns)
    assert (found["x"], found["count_of"], found["mean"]) == ([2.0, 7.0], [3.0, 2.0], [1.0, 6.5])
    assert (found["min"], found["max"]) == ([0.0, 6.0], [2.0, 7.0])


def test_runs_in_any_order_are_put_in_order() -> None:
    columns = ChartColumns(Grid(0.0, 10.0, 5))
    for run in ([6.0, 7.0], [1.0, 6.5, 9.0], [0.0]):
        columns.add_points(run, run, run, run)
    found = result(columns)
    assert (found["x"], found["last"]) == ([1.0, 7.0, 9.0], [1.0, 7.0, 9.0])
    assert (found["count_of"], found["min"]) == ([2.0, 3.0, 1.0], [0.0, 6.0, 9.0])


def test_nothing_makes_no_columns() -> None:
    columns = ChartColumns(Grid(0.0, 1.0, 5))
    columns.add_points([], [], [], [])
    assert result(columns) == {name: [] for name in ARRAYS}
    assert columns.result()[1:] == (0, True)


@pytest.mark.parametrize(
    ("steps", "times", "traits"),
    [
        ([0, 1, 1], [0.0, 0.0, 2.0], Traits.STEPS_ASCEND | Traits.TIMES_ARE_FINITE | Traits.TIMES_ASCEND),
        ([1, 0], [1.0, 0.0], Traits.TIMES_ARE_FINITE),
        ([math.nan, 1.0], [0.0, math.inf], Traits(0)),
        ([LARGEST, LARGEST], [0.0, math.nan], Traits.STEPS_ASCEND),
    ],
)
def test_the_traits_of_points(steps: Any, times: Any, traits: Traits) -> None:
    assert traits_of(steps, times) == traits
