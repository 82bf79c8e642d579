"""Guessing takes time: after some wrong logins a name has to wait, twice as long each time."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

__all__ = ["Backoff"]

_FREE: Final = 5
"""Wrong logins of a name without a wait, for people who mistype."""
_LONGEST_S: Final = 60.0
_FORGET_S: Final = 3_600.0
_MAX_NAMES: Final = 10_000


class Backoff:
    """How long each name has to wait for its next login.

    Args:
        clock: seconds that only advance.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def wait(self, name: str) -> float:
        """Seconds for which logins of that name are refused; 0 when it may try."""
        count, last = self._failures.get(name, (0, 0.0))
        if count < _FREE:
            return 0.0
        pause = min(_LONGEST_S, 2.0 ** (count - _FREE))
        return max(0.0, last + pause - self._clock())

    def failed(self, name: str) -> None:
        """A login of that name was wrong."""
        now = self._clock()
        count, last = self._failures.pop(name, (0, now))
        self._failures[name] = (1 if now - last > _FORGET_S else count + 1, now)
        if len(self._failures) > _MAX_NAMES:
            self._failures.popitem(last=False)

    def succeeded(self, name: str) -> None:
        """A login of that name was right."""
        self._failures.pop(name, None)
