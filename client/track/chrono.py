"""Timers as context managers."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final

from track.persistence.protocol import TIMINGS, MakeAggregator, Protocol
from track.serialization import SerializerChronoContext, add_serializer
from track_protocol.model.aggregators import Aggregator, StatAggregator
from track_protocol.model.entities import Trial

__all__ = ["ChronoContext", "LoggerChronoContext", "timing_of"]

_UNNAMED: Final = "chrono"


class ChronoContext:
    """Times a block of code into an aggregator.

    Args:
        acc: receives the seconds of each run.
        start_callback: called before the clock starts.
        end_callback: called before the clock stops, for example to wait for a device.
    """

    def __init__(
        self,
        acc: Aggregator,
        start_callback: Callable[[], Any] | None = None,
        end_callback: Callable[[], Any] | None = None,
    ) -> None:
        self.acc = acc
        self._start_callback = start_callback
        self._end_callback = end_callback
        self._started = 0.0

    def __enter__(self) -> Aggregator:
        if self._start_callback is not None:
            self._start_callback()
        self._started = time.perf_counter()
        return self.acc

    def __exit__(self, *exc: object) -> None:
        if self._end_callback is not None:
            self._end_callback()
        self.acc.append(time.perf_counter() - self._started)


add_serializer(ChronoContext, SerializerChronoContext())


class LoggerChronoContext:
    """Times a block of code of a trial; a block that an exception cuts short is not recorded.

    It also knows its own statistics (`avg`, `count`, `val`, in seconds), which is what
    `track.logger.TrialLogger.show_eta` and `track.utils.eta.EstimatedTime` want of a timer.

    Args:
        protocol: where the trial is stored.
        trial: the trial.
        acc: makes the aggregator by which the timings read back; or one, which then takes them here, too.
        name: of the timer; ``chrono`` unless it is given.
        start_callback: called before the clock starts.
        end_callback: called before the clock stops.
        timing: statistics to add to; new ones by default.

    Attributes:
        acc: the aggregator that receives the seconds of each run in this process.
    """

    def __init__(
        self,
        protocol: Protocol,
        trial: Trial,
        acc: MakeAggregator | Aggregator | None = TIMINGS,
        name: str | None = None,
        start_callback: Callable[[], Any] | None = None,
        end_callback: Callable[[], Any] | None = None,
        timing: StatAggregator | None = None,
    ) -> None:
        self._protocol = protocol
        self._trial = trial
        self._name = _UNNAMED if name is None else name
        self._callbacks = (start_callback, end_callback)
        self._timing = timing_of(acc) if timing is None else timing
        self.acc: Aggregator = acc if isinstance(acc, Aggregator) else self._timing
        self._make = _again(acc) if isinstance(acc, Aggregator) else acc
        self._started: list[float] = []

    @property
    def avg(self) -> float:
        """Mean seconds of the runs that count; 0 before the first."""
        return self._timing.avg

    @property
    def count(self) -> float:
        """How many runs count."""
        return self._timing.count

    @property
    def val(self) -> Any:
        """Seconds of the last run; None before the first."""
        return self._timing.val

    def __enter__(self) -> LoggerChronoContext:
        self._protocol.log_trial_chrono_start(self._trial, self._name, self._make, *self._callbacks)
        self._started.append(time.perf_counter())
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        self._protocol.log_trial_chrono_finish(self._trial, self._name, exc_type, exc_val, exc_tb)
        # Afterwards: the wait for a device at the end is part of the block.
        seconds = time.perf_counter() - self._started.pop()
        if exc_type is None:
            self._timing.append(seconds)
            if self.acc is not self._timing:
                self.acc.append(seconds)


def timing_of(aggregator: object) -> StatAggregator:
    """Statistics for the timings of this process; they skip what a given `StatAggregator` skips."""
    if isinstance(aggregator, StatAggregator):
        return aggregator
    kind, *arguments = getattr(aggregator, "spec", None) or [None]
    return StatAggregator(*arguments) if kind == "stat" else StatAggregator(0)


def _again(aggregator: Aggregator) -> MakeAggregator:
    """An ``aggregator=`` argument: a callable that makes one."""
    return lambda: aggregator
