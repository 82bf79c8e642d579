"""How long the training takes yet."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from track import TrackClient
from track.aggregators.aggregator import RingAggregator, StatAggregator
from track.chrono import LoggerChronoContext
from track.logger import TrialLogger
from track.utils.stat import StatStream


@pytest.fixture
def trial() -> Iterator[TrialLogger]:
    with TrackClient("ephemeral:") as client:
        yield client.new_trial()


def minutes(count: int, skip: int = 0) -> StatStream:
    timer = StatStream(skip)
    for _ in range(count):
        timer.update(60)
    return timer


def test_the_estimate_is_printed(trial: TrialLogger, capsys: pytest.CaptureFixture[str]) -> None:
    trial.set_eta_total((2, 10)).show_eta((0, 4), minutes(3), "loss=0.5")
    line = "loss=0.5 [1/2] [ 5/10] | elapsed 0.00 min | eta 15.00 min\n"
    assert capsys.readouterr().out == line


def test_it_may_only_be_computed(trial: TrialLogger, capsys: pytest.CaptureFixture[str]) -> None:
    trial.set_eta_total(10).show_eta(0, minutes(3), no_print=True)
    assert trial.eta is not None
    assert trial.eta.show_eta(0, show=False).endswith("eta 9.00 min")
    assert capsys.readouterr().out == ""


def test_it_is_printed_once_every_throttle_calls(
    trial: TrialLogger, capsys: pytest.CaptureFixture[str]
) -> None:
    trial.set_eta_total(10)
    for step in range(10):
        trial.show_eta(step, minutes(1), throttle=4)
    assert [line.split("/")[0] for line in capsys.readouterr().out.splitlines()] == ["[ 1", "[ 5", "[ 9"]


def test_it_is_printed_once_every_few_seconds(trial: TrialLogger, capsys: pytest.CaptureFixture[str]) -> None:
    trial.set_eta_total(10)
    for step in range(10):
        trial.show_eta(step, minutes(1), every=3600)
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_a_chrono_is_a_timer_over_all_its_runs(
    trial: TrialLogger, capsys: pytest.CaptureFixture[str]
) -> None:
    trial.set_eta_total(3)
    timer = trial.chrono("batch", aggregator=StatAggregator.lazy(1))
    for step in range(3):
        with trial.chrono("batch"):
            pass
        trial.show_eta(step, timer)
        assert timer.count == step
    assert timer.avg < timer.val + 3600
    trial.show_eta(2, "batch")
    assert len(capsys.readouterr().out.splitlines()) == 4
    assert trial.chronos["batch"].count == 2
    with pytest.raises(ArithmeticError), timer:
        raise ArithmeticError
    assert timer.count == 2


def test_a_chrono_of_any_aggregator_is_a_timer(trial: TrialLogger) -> None:
    ring = RingAggregator(3, "d")
    timer = LoggerChronoContext(trial.protocol, trial.ensure(), ring)
    for _ in range(2):
        with timer:
            time.monotonic()
    assert len(ring.to_json()) == timer.count == 2
    assert timer.acc is ring
    assert len((trial.protocol.get_trial(trial.trial) or [])[0].chronos["chrono"]) == 2


@pytest.mark.parametrize(
    ("total", "step", "timer", "reason"),
    [
        (None, 1, minutes(1), "call set_eta_total first"),
        (5, (1, 2), minutes(1), "not one number for each"),
        (5, 1, "batch", "there is no timer 'batch'"),
        (5, 1, 0.5, "'float' object has no attribute"),
    ],
)
def test_an_invalid_estimate_warns_once_and_does_not_end_the_training(
    trial: TrialLogger,
    caplog: pytest.LogCaptureFixture,
    total: int | None,
    step: int,
    timer: StatStream,
    reason: str,
) -> None:
    if total is not None:
        trial.set_eta_total(total)
    assert trial.show_eta(step, timer).show_eta(step, timer) is trial
    (record,) = caplog.records
    assert reason in record.getMessage()


def test_an_invalid_total_is_warned_about_once_and_can_be_corrected(
    trial: TrialLogger, caplog: pytest.LogCaptureFixture
) -> None:
    wrong: Any
    for wrong in (-1, None, "x", 2.5, (3, None), ()):
        trial.set_eta_total(wrong)
    assert caplog.text.count("set_eta_total: total=") == 1
    trial.set_eta_total(3)
    trial.set_eta_total(5).show_eta(0, minutes(1), no_print=True)
    assert trial.eta is not None
    assert trial.eta.show_eta(0, show=False).endswith("eta 4.00 min")
