"""How much was logged, added up and told."""

from __future__ import annotations

import pytest

from track_protocol.wire.amount import Amount


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (Amount(), "0 points"),
        (Amount(1), "1 point"),
        (Amount(1_260), "1,260 points"),
        (Amount(calls=1), "1 log call"),
        (Amount(calls=3_000), "3,000 log calls"),
        (Amount(1_260, 3), "1,260 points and 3 other log calls"),
        (Amount(1, 1), "1 point and 1 other log call"),
    ],
    ids=str,
)
def test_points_are_points_and_other_log_calls_are_told_as_such(amount: Amount, text: str) -> None:
    assert str(amount) == text


def test_each_kind_is_added_up_by_itself() -> None:
    assert sum([Amount(2, 1), Amount(3), Amount(calls=4)], Amount()) == Amount(5, 5)


def test_of_neither_kind_less_than_nothing_remains() -> None:
    assert Amount(5, 1) - Amount(2, 3) == Amount(3, 0)


def test_log_calls_without_any_points_are_something() -> None:
    # Fails when only points count: a spool of nothing else would be told of no more.
    assert bool(Amount(calls=1))
    assert not Amount()


def test_losses_are_counted_in_both_together() -> None:
    assert Amount(5, 2).total == 7
