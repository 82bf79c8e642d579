"""What was lost, counted and told."""

from __future__ import annotations

import logging

import pytest

from track.outbox.drops import Loss, Losses
from track_protocol.wire.amount import Amount

TRIAL = b"t" * 16


def test_each_reason_is_told_once_and_everything_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    losses = Losses()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            losses.drop(2, "no room")
        losses.reject(1, "no such trial")
    assert (losses.dropped, losses.rejected) == (6, 1)
    assert caplog.messages == ["not logged: no room", "not stored: no such trial"]


def test_a_trial_is_told_how_much_it_lost_for_each_reason() -> None:
    losses = Losses()
    losses.drop(2, "no room", TRIAL)
    losses.drop(3, "no room", TRIAL)
    losses.drop(1, "no number", TRIAL)
    losses.drop(9, "nobody's")
    assert losses.report() == [Loss(TRIAL, 5, "no room"), Loss(TRIAL, 1, "no number")]
    assert losses.is_reported
    losses.lose(4, "no room", TRIAL)
    assert losses.report() == [Loss(TRIAL, 4, "no room")]


def test_more_reasons_than_are_kept_are_counted_all_the_same() -> None:
    losses = Losses()
    for number in range(1_500):
        losses.drop(1, f"reason {number}", TRIAL)
    report = losses.report()
    assert sum(loss.points for loss in report) == 1_500
    assert len(report) <= 1_001


def test_points_and_other_log_calls_are_lost_together_and_nothing_is_not_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    losses = Losses()
    losses.drop_all(Amount(), "nothing")
    losses.drop_all(Amount(2, 1), "no room", TRIAL)
    assert (losses.dropped, losses.report()) == (3, [Loss(TRIAL, 3, "no room")])
    assert caplog.messages == ["not logged: no room"]
