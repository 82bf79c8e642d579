"""Functions that are called less often than they are asked to be, by number or by time."""

from __future__ import annotations

import functools
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from track_protocol.errors import UsageError

__all__ = [
    "ThrottleRepeatedCalls",
    "Throttler",
    "TimeThrottler",
    "is_throttled",
    "throttle_repeated",
    "throttled",
]

R = TypeVar("R")


class _Throttle(ABC, Generic[R]):
    """Base of the throttles: a function that is sometimes called, None the other times.

    The first call always goes through.  It may be called by several threads.
    """

    def __init__(self, fun: Callable[..., R]) -> None:
        self.fun = fun
        self._lock = threading.Lock()
        functools.update_wrapper(self, fun, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> R | None:
        with self._lock:
            due = self._is_due()
        return self.fun(*args, **kwargs) if due else None

    @abstractmethod
    def _is_due(self) -> bool:
        """Whether this call goes through; asked once for each, under the lock."""


class Throttler(_Throttle[R]):
    """Calls a function at the first of every `throttle` calls; None is returned for the others.

    Args:
        fun: the function.
        throttle: how many calls make one.

    Raises:
        UsageError: `throttle` is less than 1.
    """

    def __init__(self, fun: Callable[..., R], throttle: int = 1) -> None:
        super().__init__(fun)
        if not throttle >= 1:
            raise UsageError(f"throttle={throttle!r} must be 1 or more")
        self.throttle = throttle
        self._asked = 0

    def _is_due(self) -> bool:
        due = self._asked % self.throttle == 0
        self._asked += 1
        return due


class ThrottleRepeatedCalls(Throttler[R]):
    """Calls a function at the first of every `every` calls; None is returned for the others.

    Args:
        fun: the function.
        every: how many calls make one.

    Raises:
        UsageError: `every` is less than 1.
    """

    def __init__(self, fun: Callable[..., R], every: int = 10) -> None:
        super().__init__(fun, every)
        self.every = every


class TimeThrottler(_Throttle[R]):
    """Calls a function unless it was called less than `every` seconds ago; None is returned then.

    Args:
        fun: the function.
        every: seconds from one call to the next.

    Raises:
        UsageError: `every` is negative.
    """

    def __init__(self, fun: Callable[..., R], every: float = 10) -> None:
        super().__init__(fun)
        if not every >= 0:
            raise UsageError(f"every={every!r} must be a number of seconds, 0 or more")
        self.every = every
        self._last: float | None = None

    def _is_due(self) -> bool:
        now = time.monotonic()
        if self._last is not None and now - self._last < self.every:
            return False
        self._last = now
        return True


def is_throttled(fun: Callable[..., Any]) -> bool:
    """Whether a function is already one of these."""
    return isinstance(fun, _Throttle)


def throttle_repeated(fun: Callable[..., R], every: int | None = None) -> Callable[..., R | None]:
    """A function that is called once in `every` calls; itself when `every` is None."""
    return fun if every is None else ThrottleRepeatedCalls(fun, every)


def throttled(
    fun: Callable[..., R], throttle: int | None = None, every: float | None = None
) -> Callable[..., R | None]:
    """A function that is called once in `throttle` calls, and no sooner than after `every` seconds.

    Args:
        fun: the function.
        throttle: number of calls; None for no limit.
        every: seconds; None for no limit.

    Returns:
        The function itself without any limit.
    """
    by_time: Callable[..., R | None] = fun if every is None else TimeThrottler(fun, every)
    return by_time if throttle is None else Throttler(by_time, throttle)
