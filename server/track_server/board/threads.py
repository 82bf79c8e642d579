"""What would hold up the event loop runs in threads: one that computes, and one for each that waits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, TypeVar

__all__ = ["in_own_thread", "in_turn"]

_Made = TypeVar("_Made")

_COMPUTING: Final = ThreadPoolExecutor(1, "track-board-computing")


async def in_turn(function: Callable[[], _Made]) -> _Made:
    """What a function returns or raises that computes for long.

    Args:
        function: runs in the one thread that there is for such functions: more of them would not make them
            faster, but take the interpreter from this event loop and from the threads that write.
    """
    return await asyncio.get_running_loop().run_in_executor(_COMPUTING, function)


async def in_own_thread(function: Callable[[], Any]) -> Any:
    """What a function returns or raises that may wait for long, also for what this event loop does.

    Args:
        function: runs in a thread of its own, which ends with the process: of a pool it would keep others
            waiting, and the end of the process would wait for it.
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
