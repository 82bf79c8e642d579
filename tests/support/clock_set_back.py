"""A program whose clock SIGUSR1 sets back by a year: ``python clock_set_back.py PROGRAM …``."""

from __future__ import annotations

import runpy
import signal
import sys
import time
from types import FrameType

__all__ = ["YEAR"]

YEAR = 365 * 24 * 3600.0
"""In seconds."""


class _Clock:
    """Returns the time, minus one year for each `set_back`."""

    def __init__(self) -> None:
        self._true = time.time
        self._behind = 0.0

    def __call__(self) -> float:
        return self._true() - self._behind

    def set_back(self, signum: int, frame: FrameType | None) -> None:
        """Subtract one more year."""
        self._behind += YEAR


if __name__ == "__main__":
    clock = _Clock()
    time.time = clock
    signal.signal(signal.SIGUSR1, clock.set_back)
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")
