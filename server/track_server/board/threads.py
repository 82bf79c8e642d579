"""Waiting in threads: of a pool they would keep others waiting, and the end of the process waits for them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

__all__ = ["in_own_thread"]


async def in_own_thread(function: Callable[[], Any]) -> Any:
    """What a function returns or raises that may wait for long, also for what this event loop does.

    Args:
        function: runs in a thread of its own, which ends with the process.
    """
    made: Future[Any] = Future()
    made.set_running_or_notify_cancel()  # from now on nobody cancels it, whoever stops waiting

    def run() -> None:
        try:
            made.set_result(function())
        except Exception as error:  # noqa: BLE001 - raised again where the answer is awaited
            made.set_exception(error)

    threading.Thread(target=run, name="track-board", daemon=True).start()
    return await asyncio.wrap_future(made)
