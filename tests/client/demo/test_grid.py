from __future__ import annotations

from track.demo.grid import grid


def test_no_two_points_are_the_same_even_beyond_one_round_of_the_grid() -> None:
    points = grid(100)
    assert len(points) == 100
    assert len({tuple(point.items()) for point in points}) == 100


def test_a_seed_is_used_up_before_the_next_one() -> None:
    assert {point["seed"] for point in grid(32)} == {0}
    assert grid(33)[-1]["seed"] == 1
