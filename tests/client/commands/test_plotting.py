"""Lines on a canvas of letters."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from track.commands.plotting import Cell, Curve, draw


def drawn(*curves: Curve, width: int = 4, height: int = 2) -> list[str]:
    cells, _, _ = draw(curves, width, height)
    return ["".join(cell.text for cell in row) for row in cells]


def test_a_rising_line_goes_from_the_lower_left_to_the_upper_right() -> None:
    cells, across, up = draw([Curve([3, 5], [10, 20])], 4, 2)
    assert (across, up) == ((3, 5), (10, 20))
    assert cells[0][0] == cells[1][3] == Cell()
    assert cells[1][0].curve == cells[0][3].curve == 0


def test_a_later_line_is_above() -> None:
    cells, _, _ = draw([Curve([0, 1], [1, 1]), Curve([0, 1], [1, 1])], 4, 2)
    assert {cell.curve for row in cells for cell in row} == {None, 1}


def test_nothing_is_drawn_where_values_are_missing() -> None:
    gap = drawn(Curve([0, 1, 2, 3, 4], [1, 1, math.nan, 1, 1]), width=10, height=1)[0]
    assert " " in gap.strip("\u2800")
    assert drawn(Curve([0, 1], [math.nan, math.inf])) == [" " * 4] * 2
    assert drawn() == [" " * 4] * 2


def test_a_peak_among_many_points_is_seen() -> None:
    values = [0.0] * 100_000
    values[54_321] = 1.0
    top, *_ = drawn(Curve(range(100_000), values), width=20, height=4)
    assert top.strip()


NUMBER = st.floats() | st.integers(-(2**70), 2**70).map(float)


@given(
    st.lists(st.lists(st.tuples(NUMBER, NUMBER), max_size=30), max_size=3),
    st.integers(1, 20),
    st.integers(1, 8),
)
def test_any_numbers_fit_the_canvas(curves: list[list[tuple[float, float]]], width: int, height: int) -> None:
    lines = [Curve([x for x, _ in points], [y for _, y in points]) for points in curves]
    cells, _, _ = draw(lines, width, height)
    assert [len(row) for row in cells] == [width] * height
