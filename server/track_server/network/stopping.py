"""SIGTERM and SIGINT as a wish to stop, for as long as an event loop serves."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["stopped_by_signals"]

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stopped_by_signals(stop: Callable[[], object]) -> Iterator[None]:
    """Call `stop` at SIGTERM and SIGINT within the block; afterwards they do what they did before.

    The handlers are taken back here because uvloop leaves them in place when a loop closes: Ctrl-C would
    then do nothing for the rest of the program.  Outside the main thread, where Python handles no signals,
    nothing is done.

    Args:
        stop: called on the running event loop, once a signal.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number in _SIGNALS:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
