"""Ctrl-C, SIGTERM and a closed terminal: the demo exits in order and removes its processes."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

__all__ = ["ended_by_signals", "undisturbed"]

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP unwind the stack, as Ctrl-C does; the exit code is 128 + the signal's number."""

    def end(number: int, frame: FrameType | None) -> None:
        sys.exit(128 + number)

    with _handled({number: end for number in _SIGNALS if number is not signal.SIGINT}):
        yield


@contextmanager
def undisturbed() -> Iterator[None]:
    """Put off these signals to the end of the block.

    For moments that must not be cut short: when a process was started and is not registered yet, and
    when processes are ended.
    """
    arrived: list[int] = []

    def put_off(number: int, frame: FrameType | None) -> None:
        arrived.append(number)

    with _handled(dict.fromkeys(_SIGNALS, put_off)):
        yield
    if arrived:
        signal.raise_signal(arrived[0])


@contextmanager
def _handled(handlers: dict[signal.Signals, Callable[[int, FrameType | None], Any]]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
