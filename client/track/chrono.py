"""Timers as context managers."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from track_protocol.aggregators import Aggregator
from track_protocol.model import Trial
from track_protocol.protocol import TIMINGS, MakeAggregator, Protocol
from track_protocol.serialization import SerializerChronoContext, add_serializer

__all__ = ["ChronoContext", "LoggerChronoContext"]


class ChronoContext:
    """Times a block of code into an aggregator.

    Args:
        acc: takes the seconds of each run.
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

    def __enter__(self) -> ChronoContext:
        if self._start_callback is not None:
            self._start_callback()
        self._started = time.perf_counter()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        if self._end_callback is not None:
            self._end_callback()
        self.acc.append(time.perf_counter() - self._started)


add_serializer(ChronoContext, SerializerChronoContext())


class LoggerChronoContext:
    """Times a block of code of a trial; a block that an exception cuts short is not recorded.

    Args:
        protocol: where the trial is stored.
        trial: the trial.
        acc: makes the aggregator by which the timings read back.
        name: of the timer.
        start_callback: called before the clock starts.
        end_callback: called before the clock stops.
    """

    def __init__(
        self,
        protocol: Protocol,
        trial: Trial,
        acc: MakeAggregator | None = TIMINGS,
        name: str = "",
        start_callback: Callable[[], Any] | None = None,
        end_callback: Callable[[], Any] | None = None,
    ) -> None:
        self._protocol = protocol
        self._trial = trial
        self._acc = acc
        self._name = name
        self._callbacks = (start_callback, end_callback)

    def __enter__(self) -> LoggerChronoContext:
        self._protocol.log_trial_chrono_start(self._trial, self._name, self._acc, *self._callbacks)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        self._protocol.log_trial_chrono_finish(self._trial, self._name, exc_type, exc_val, exc_tb)
