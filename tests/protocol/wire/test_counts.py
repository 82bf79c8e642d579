"""How much was logged, added up and reported."""

from __future__ import annotations

import pytest

from track_protocol.wire.counts import Counts


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        (Counts(), "0 points"),
        (Counts(1), "1 point"),
        (Counts(1_260), "1,260 points"),
        (Counts(calls=1), "1 log call"),
        (Counts(calls=3_000), "3,000 log calls"),
        (Counts(1_260, 3), "1,260 points and 3 other log calls"),
        (Counts(1, 1), "1 point and 1 other log call"),
    ],
    ids=str,
)
def test_points_are_points_and_other_log_calls_are_counted_apart(counts: Counts, text: str) -> None:
    assert str(counts) == text


def test_each_kind_is_summed_separately() -> None:
    assert sum([Counts(2, 1), Counts(3), Counts(calls=4)], Counts()) == Counts(5, 5)


def test_of_neither_kind_less_than_nothing_remains() -> None:
    assert Counts(5, 1) - Counts(2, 3) == Counts(3, 0)


def test_log_calls_without_any_points_are_something() -> None:
    # Fails when only points count: a spool of nothing else would be reported of no more.
    assert bool(Counts(calls=1))
    assert not Counts()


def test_losses_are_counted_in_both_together() -> None:
    assert Counts(5, 2).total == 7
