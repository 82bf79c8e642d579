"""When a computation will be done."""

from __future__ import annotations

import pytest

from track.aggregators.aggregator import StatAggregator
from track.utils.eta import EstimatedTime, Timer, get_time, to_list
from track.utils.stat import StatStream
from track_protocol.errors import UsageError


def timer_of(*seconds: float, skip: int = 0) -> StatStream:
    timer = StatStream(skip)
    for each in seconds:
        timer.update(each)
    return timer


@pytest.mark.parametrize(("step", "minutes"), [(0, 99), (49, 50), (99, 0), (200, 0)])
def test_the_eta_is_the_remaining_steps_times_the_mean(step: int, minutes: float) -> None:
    eta = EstimatedTime(timer_of(50, 70), 100)
    assert eta.estimated_time(step) == eta.estimate_time(step) == minutes


@pytest.mark.parametrize(("step", "steps"), [((0, 0), 9999), ((1, 2), 8997), ([9, 999], 0)])
def test_in_nested_loops_the_innermost_steps_are_counted(step: tuple[int, int], steps: int) -> None:
    eta = EstimatedTime(timer_of(2), (10, 1000))
    assert eta.total == 10_000
    assert eta.estimated_time(step, unit=1) == 2 * steps


def test_loops_may_count_from_one() -> None:
    eta = EstimatedTime(timer_of(1), (2, 5), start=1)
    assert (eta.estimated_time((1, 1), 1), eta.estimated_time((2, 5), 1)) == (9, 0)


def test_totals_can_be_set_later() -> None:
    eta = EstimatedTime(timer_of(1), 5)
    eta.set_totals([3, 4])
    assert (eta.total, EstimatedTime.count(7), EstimatedTime.count((1, 2), offset=1)) == (12, 7, 6)


@pytest.mark.parametrize(
    ("timer", "seconds"), [(timer_of(4, 2, skip=10), 2), (timer_of(), 0), (StatAggregator(), 0)]
)
def test_while_no_observation_counts_the_last_one_does(timer: Timer, seconds: float) -> None:
    assert get_time(timer) == seconds


def test_the_estimate_is_printed_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    eta = EstimatedTime(timer_of(60), (10, 20), name="train")
    line = eta.show_eta((3, 4), "loss=0.5")
    assert capsys.readouterr().out == line + "\n"
    assert line.startswith("loss=0.5 train [ 4/10] [ 5/20] | elapsed 0.")
    assert line.endswith(" min | eta 135.00 min")
    eta.show_eta((3, 4), show=False)
    assert capsys.readouterr().out == ""


def test_elapsed_time_is_in_minutes() -> None:
    eta = EstimatedTime(timer_of(), 1)
    seconds = eta.elapsed(unit=1)
    assert 0 <= seconds / 60 <= eta.elapsed()


@pytest.mark.parametrize("total", [-1, (), (3, -4)])
def test_invalid_totals_are_refused(total: int | tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="total"):
        EstimatedTime(timer_of(), total)


def test_a_step_of_another_depth_is_refused() -> None:
    with pytest.raises(UsageError, match="step=3"):
        EstimatedTime(timer_of(), (10, 10)).estimated_time(3)


def test_one_number_becomes_a_list() -> None:
    assert (to_list(3), to_list((1, 2)), to_list([1])) == ([3], [1, 2], [1])
