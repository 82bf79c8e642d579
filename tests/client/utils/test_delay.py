"""Delayed calls."""

from __future__ import annotations

import copy

import pytest

from track.utils.delay import DelayedCall, FutureIsNotReady, delay_call, is_delayed_call


def add(a: int, b: int, c: int = 0) -> int:
    return a + b + c


def test_a_delayed_call_is_made_when_it_is_called() -> None:
    call = delay_call(add, a=1)
    call.add_arguments(b=2)
    assert (call(), DelayedCall(add, {"b": 5})(1)) == (3, 6)


def test_a_delayed_call_is_made_once() -> None:
    calls: list[int] = []

    def count() -> int:
        calls.append(1)
        return len(calls)

    call = delay_call(count)
    assert (call(), call(), calls) == (1, 1, [1])


def test_an_attribute_is_one_of_the_result() -> None:
    call = delay_call(complex, real=1.0, imag=2.0)
    assert (call.real, call.conjugate()) == (1.0, 1 - 2j)
    with pytest.raises(AttributeError, match="nothing"):
        _ = call.nothing


def test_a_delayed_call_is_copied_without_being_made() -> None:
    copied = copy.copy(delay_call(add, a=1, b=2))
    assert not copied.get_future().is_ready()
    assert copied() == 3


def test_the_future_has_the_result_once_the_call_was_made() -> None:
    call = delay_call(add, a=1, b=2)
    future = call.get_future()
    assert not future.is_ready()
    with pytest.raises(FutureIsNotReady, match="add"):
        future.get()
    call()
    assert (future.is_ready(), future.get()) == (True, 3)


def test_the_future_of_a_call_that_failed_raises_the_same() -> None:
    call = delay_call(int, base=99)
    with pytest.raises(ValueError, match="base"):
        call("1")
    with pytest.raises(ValueError, match="base"):
        call.get_future().get()


def test_delayed_calls_are_distinguished_from_functions() -> None:
    assert (is_delayed_call(delay_call(add)), is_delayed_call(add)) == (True, False)
