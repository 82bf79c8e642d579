"""When a computation will be done."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from typing import Any, Final, Protocol, SupportsIndex

from track_protocol.errors import UsageError
from track_protocol.model.values import text_of

__all__ = ["EstimatedTime", "Timer", "get_time", "minutes", "seconds", "to_list"]

seconds: Final = 1
minutes: Final = 60
"""Units of times."""


class Timer(Protocol):
    """What times the steps: a `StatStream` or a `StatAggregator` of seconds."""

    @property
    def avg(self) -> float:
        """Mean of what counts."""

    @property
    def count(self) -> float:
        """How much counts."""

    @property
    def val(self) -> Any:
        """The last observation, counted or not."""


class EstimatedTime:
    """The time that remains, from the mean time of a step and the number of steps that remain.

    Args:
        stat_timer: times the innermost steps, in seconds.
        total: how many steps there are; for nested loops one number for each, outermost first, such as
            ``(epochs, batches)``.
        start: the number of the first step (of each loop): 0, or 1 for loops that count from 1.
        name: of what is shown.

    Raises:
        UsageError: a total is no whole number from 0.
    """

    def __init__(
        self, stat_timer: Timer, total: int | Sequence[int], start: int = 0, name: str | None = None
    ) -> None:
        self.timer = stat_timer
        self.start = start
        self.name = name
        self._began = time.monotonic()
        self._totals: list[int] = []
        self.set_totals(total)

    @property
    def total(self) -> int:
        """How many innermost steps there are."""
        return self.count(self._totals)

    def set_totals(self, t: int | Sequence[int]) -> None:
        """Say how many steps there are; see `total` of the class.

        Raises:
            UsageError: one is no whole number from 0.
        """
        totals: list[Any] = to_list(t)
        if not totals or not all(isinstance(total, SupportsIndex) and int(total) >= 0 for total in totals):
            raise UsageError(
                f"total={text_of(t)}: give a number of steps, or one for each of the nested loops"
            )
        self._totals = totals

    @staticmethod
    def count(item: int | Sequence[int], offset: int = 0) -> int:
        """How many innermost steps so many steps of each loop make.

        Args:
            item: a number for each loop.
            offset: added to each.
        """
        return math.prod(each + offset for each in to_list(item))

    def elapsed(self, unit: float = minutes) -> float:
        """The time since this was made, in units of so many seconds (60: in minutes)."""
        return (time.monotonic() - self._began) / unit

    def estimated_time(self, step: int | Sequence[int], unit: float = minutes) -> float:
        """The time until the end, in units of so many seconds (60: in minutes).

        Args:
            step: the step that has just been done; a number for each loop.
            unit: seconds.

        Raises:
            UsageError: `step` has not one number for each loop.
        """
        return max(0, self.total - self._done(step)) * get_time(self.timer) / unit

    def estimate_time(self, step: int | Sequence[int], unit: float = minutes) -> float:
        """The same as `estimated_time`."""
        return self.estimated_time(step, unit)

    def show_eta(self, step: int | Sequence[int], msg: str = "", show: bool = True) -> str:
        """Print how far the computation is, and when it will be done.

        Args:
            step: the step that has just been done.
            msg: put in front.
            show: print it; else it is only returned.

        Raises:
            UsageError: `step` has not one number for each loop.
        """
        name = f"{self.name} " if self.name else ""
        places = " ".join(
            f"[{done - self.start + 1:{len(str(total))}d}/{total}]"
            for done, total in zip(to_list(step), self._totals, strict=False)
        )
        left, spent = self.estimated_time(step), self.elapsed()
        line = f"{msg}{' ' if msg else ''}{name}{places} | elapsed {spent:.2f} min | eta {left:.2f} min"
        if show:
            sys.stdout.write(line + "\n")
        return line

    def _done(self, step: int | Sequence[int]) -> int:
        places = to_list(step)
        if len(places) != len(self._totals):
            raise UsageError(f"step={step!r} is not one number for each of the loops {self._totals!r}")
        done = 0
        for place, total in zip(places, self._totals, strict=True):
            done = done * total + place - self.start
        return done + 1


def get_time(time: Timer) -> float:
    """The seconds of a step: the mean, or, while no observation counts, the last one; 0 before the first."""
    return float(time.avg if time.count else time.val or 0.0)


def to_list(item: int | Sequence[int]) -> list[int]:
    """The numbers of a sequence; one number as a list."""
    return list(item) if isinstance(item, Sequence) else [item]
