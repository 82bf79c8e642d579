"""What was lost, counted and reported."""

from __future__ import annotations

import logging

import pytest

from track.outbox.drops import DropAccount, Dropped
from track_protocol.wire.counts import Counts

TRIAL = b"t" * 16


def test_each_reason_is_reported_once_and_everything_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    drops = DropAccount()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            drops.drop(2, "no room")
        drops.reject(1, "no such trial")
    assert (drops.dropped, drops.rejected) == (6, 1)
    assert caplog.messages == ["not logged: no room", "not stored: no such trial"]


def test_a_trial_learns_how_much_it_lost_for_each_reason() -> None:
    drops = DropAccount()
    drops.drop(2, "no room", TRIAL)
    drops.drop(3, "no room", TRIAL)
    drops.drop(1, "no number", TRIAL)
    drops.drop(9, "of no trial")
    assert drops.report() == [Dropped(TRIAL, 5, "no room"), Dropped(TRIAL, 1, "no number")]
    assert drops.is_reported
    drops.lose(4, "no room", TRIAL)
    assert drops.report() == [Dropped(TRIAL, 4, "no room")]


def test_more_reasons_than_are_retained_are_counted_all_the_same() -> None:
    drops = DropAccount()
    for number in range(1_500):
        drops.drop(1, f"reason {number}", TRIAL)
    report = drops.report()
    assert sum(loss.points for loss in report) == 1_500
    assert len(report) <= 1_001


def test_points_and_other_log_calls_are_lost_together_and_nothing_is_unreported(
    caplog: pytest.LogCaptureFixture,
) -> None:
    drops = DropAccount()
    drops.drop_all(Counts(), "nothing")
    drops.drop_all(Counts(2, 1), "no room", TRIAL)
    assert (drops.dropped, drops.report()) == (3, [Dropped(TRIAL, 3, "no room")])
    assert caplog.messages == ["not logged: no room"]
