"""Series summed up as one, compared with every one of them."""

from __future__ import annotations

import math
from statistics import mean, median, stdev
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from track_server.storage.chart_groups import GROUP_ARRAYS, GroupColumns
from track_server.storage.contract import ChartMeans
from track_server.testing.store_charts import numbers_in

_Run = dict[int, float]
"""The means of a series by column."""

RUNS = st.lists(
    st.dictionaries(st.integers(0, 9), st.floats(-1e6, 1e6), min_size=1, max_size=10), min_size=1, max_size=8
)


def means_of(run: _Run) -> ChartMeans:
    """The columns of a series with two points in each, one below and one above its mean."""
    columns = sorted(run)
    values = [run[column] for column in columns]
    return ChartMeans(
        "step",
        columns,
        [column + 0.5 for column in columns],
        [value - 1 for value in values],
        [value + 1 for value in values],
        values,
        [2] * len(columns),
    )


def summed_up(runs: list[_Run]) -> dict[str, list[float]]:
    group = GroupColumns()
    for run in runs:
        group.add(means_of(run))
    for column in group.filled():
        group.sum_up(column)
    return {name: numbers_in(data) for name, data in group.arrays().items()}


def part_in(run: _Run, column: int) -> float | None:
    """With what a series takes part in a column, if it does."""
    if column in run:
        return run[column]
    left = max((each for each in run if each < column), default=None)
    right = min((each for each in run if each > column), default=None)
    if left is None or right is None:
        return None
    share = (column - left) / (right - left)
    return run[left] * (1 - share) + run[right] * share


def expected(runs: list[_Run]) -> dict[str, list[float]]:
    rows: list[Any] = []
    for column in sorted({column for run in runs for column in run}):
        parts = [part for run in runs if (part := part_in(run, column)) is not None]
        there = [run[column] for run in runs if column in run]
        rows.append(
            (
                *(column + 0.5, len(parts), 2 * len(there)),
                *(mean(parts), median(parts), stdev(parts) if len(parts) > 1 else 0.0),
                min(*parts, *(value - 1 for value in there)),
                max(*parts, *(value + 1 for value in there)),
            )
        )
    return dict(zip(GROUP_ARRAYS, map(list, zip(*rows, strict=True)), strict=True))


@given(RUNS)
def test_a_group_tells_what_all_of_its_series_tell(runs: list[_Run]) -> None:
    found, wanted = summed_up(runs), expected(runs)
    for name in GROUP_ARRAYS:
        assert found[name] == pytest.approx(wanted[name], rel=1e-6, abs=1e-6)


def test_a_series_takes_no_part_behind_its_end() -> None:
    found = summed_up([{0: 1.0, 4: 1.0}, {0: 3.0, 9: 3.0}])
    assert (found["x"], found["runs"], found["mean"]) == ([0.5, 4.5, 9.5], [2, 2, 1], [2.0, 2.0, 3.0])


def test_the_mean_of_the_largest_numbers_is_one() -> None:
    largest = 1.7e308
    assert summed_up([{0: largest}, {0: largest}, {0: largest}])["mean"] == [pytest.approx(largest)]


def test_series_without_a_finite_value_have_no_columns() -> None:
    group = GroupColumns()
    group.add(ChartMeans("step", [], [], [], [], [], []))
    assert group.filled() == []
    assert group.arrays() == dict.fromkeys(GROUP_ARRAYS, b"")
    assert not math.isnan(sum(summed_up([{3: 1.0}])["sd"]))
