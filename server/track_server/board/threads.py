"""Waiting in threads: of a pool they would keep others waiting, and the end of the process waits for them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from track_server.network.requests import resolve

__all__ = ["in_own_thread"]


async def in_own_thread(function: Callable[[], Any]) -> Any:
    """What a function returns or raises that may wait for long, also for what this event loop does.

    Args:
        function: runs in a thread of its own, which ends with the process.
    """
    loop = asyncio.get_running_loop()
    made: asyncio.Future[Any] = loop.create_future()

    def run() -> None:
        try:
            outcome = function()
        except Exception as error:  # noqa: BLE001 - raised again where the answer is awaited
            outcome = error
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(resolve, made, outcome)

    threading.Thread(target=run, name="track-board", daemon=True).start()
    outcome = await made
    if isinstance(outcome, Exception):
        raise outcome
    return outcome
