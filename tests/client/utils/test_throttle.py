"""Throttled functions."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from track.utils.throttle import (
    Throttler,
    ThrottleRepeatedCalls,
    TimeThrottler,
    is_throttled,
    throttle_repeated,
    throttled,
)
from track_protocol.errors import UsageError
from waiting import wait_until


def double(value: int) -> int:
    """Twice the value."""
    return 2 * value


def results(fun: Callable[[int], int | None], count: int = 7) -> list[int | None]:
    return [fun(value) for value in range(count)]


@pytest.mark.parametrize(
    "fun", [Throttler(double, 3), ThrottleRepeatedCalls(double, every=3), throttled(double, throttle=3)]
)
def test_the_first_of_every_few_calls_is_made(fun: Callable[[int], int | None]) -> None:
    assert results(fun) == [0, None, None, 6, None, None, 12]


def test_by_default_every_call_is_made_or_one_in_ten_repeated_ones() -> None:
    assert results(Throttler(double), 3) == [0, 2, 4]
    assert results(ThrottleRepeatedCalls(double), 21).count(None) == 18


def test_after_the_time_limit_calls_are_made_again() -> None:
    rare, often = TimeThrottler(double, 3600), TimeThrottler(double, 0.01)
    assert results(rare, 3) == [0, None, None]
    assert often(1) == 2
    wait_until(lambda: often(1) == 2, "another call goes through")


def test_both_limits_hold_together() -> None:
    assert results(throttled(double, throttle=2, every=3600)) == [0, None, None, None, None, None, None]
    assert results(throttled(double, throttle=2, every=0), 4) == [0, None, 4, None]


def test_without_a_limit_the_function_is_returned_unchanged() -> None:
    assert (throttled(double), throttle_repeated(double)) == (double, double)


def test_throttled_functions_are_recognisable_and_keep_their_name() -> None:
    fun = throttle_repeated(double, 5)
    assert (is_throttled(fun), is_throttled(double)) == (True, False)
    assert (fun.__name__, fun.__doc__) == ("double", "Twice the value.")


def test_threads_together_make_as_many_calls_as_one() -> None:
    fun = Throttler(double, 10)
    with ThreadPoolExecutor(8) as pool:
        made = [result for result in pool.map(fun, range(1000)) if result is not None]
    assert len(made) == 100


@pytest.mark.parametrize(
    "make", [lambda: Throttler(double, 0), lambda: TimeThrottler(double, -1), lambda: throttled(double, 0)]
)
def test_limits_that_allow_no_call_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(UsageError):
        make()
