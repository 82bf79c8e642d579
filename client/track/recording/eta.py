"""The estimated remaining time of a training."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Self

from track.chrono import timing_of
from track.utils.eta import EstimatedTime, Timer
from track.utils.throttle import throttled
from track_protocol.errors import UsageError
from track_protocol.model.aggregators import StatAggregator
from track_protocol.model.stat import StatStream
from track_protocol.model.values import text_of

__all__ = ["CountdownLogger"]

_log: Final = logging.getLogger("track")


class CountdownLogger:
    """Part of `track.logger.TrialLogger`."""

    def __init__(self) -> None:
        self._timings: dict[str, StatAggregator] = {}
        self._estimate: EstimatedTime | None = None
        self._shown: dict[tuple[int | None, float | None], Callable[..., str | None]] = {}
        self._complained: set[str] = set()

    @property
    def eta(self) -> EstimatedTime | None:
        """The estimate; None before `set_eta_total`."""
        return self._estimate

    @property
    def chronos(self) -> Mapping[str, StatAggregator]:
        """The statistics of the timers of this process, by name."""
        return self._timings

    def set_eta_total(self, t: int | Sequence[int]) -> Self:
        """Say how many steps the training has; the time it takes is counted from the first time on.

        It never raises for what it is given: there is one warning, and no estimate.

        Args:
            t: how many; for nested loops one number for each, outermost first, such as ``(epochs, batches)``.

        Returns:
            the logger.
        """
        try:
            if self._estimate is None:
                self._estimate = EstimatedTime(StatStream(0), t)
            else:
                self._estimate.set_totals(t)
        except Exception as error:  # noqa: BLE001  # numbers of foreign types may raise anything
            self._complain_of_eta("set_eta_total", error)
        return self

    def _complain_of_eta(self, call: str, error: Exception) -> None:
        if call not in self._complained:
            self._complained.add(call)
            _log.warning("%s: %s", call, text_of(error))

    def show_eta(
        self,
        step: int | Sequence[int],
        timer: Timer | str,
        msg: str = "",
        throttle: int | None = None,
        every: float | None = None,
        no_print: bool = False,
    ) -> Self:
        """Print how far the training is, and when it will be done; it never raises for what it is given.

        Args:
            step: the one that has just been done, counted from 0; for nested loops one number for each.
            timer: of the innermost steps: a `StatStream` or `StatAggregator` of seconds, what `chrono`
                returned, or the name of such a timer.
            msg: put in front.
            throttle: print the first of this many calls.
            every: minimum seconds between prints.
            no_print: print nothing; ``eta.show_eta(step, show=False)`` returns the line.

        Returns:
            the logger.
        """
        limits = (throttle, every)
        try:
            show = self._shown.get(limits) or self._shown.setdefault(limits, throttled(self._show, *limits))
            show(step, timer, msg, not no_print)
        except Exception as error:  # noqa: BLE001  # numbers of foreign types may raise anything
            self._complain_of_eta("show_eta", error)
        return self

    def _show(self, step: int | Sequence[int], timer: Timer | str, msg: str, show: bool) -> str:
        if self._estimate is None:
            raise UsageError("the number of steps is not known: call set_eta_total first")
        if isinstance(timer, str) and timer not in self._timings:
            raise UsageError(f"there is no timer {timer!r:.80}: give the name of a chrono of this process")
        self._estimate.timer = self._timings[timer] if isinstance(timer, str) else timer
        return self._estimate.show_eta(step, msg, show)

    def _timing(self, name: str, aggregator: Any) -> StatAggregator:
        """The statistics of a timer of this process, from its first run on."""
        found = self._timings.get(name)
        return found or self._timings.setdefault(name, timing_of(aggregator))
