"""Functions that wait, beside an event loop."""

from __future__ import annotations

import asyncio
import threading

import pytest

from track_server.board.threads import in_own_thread


async def test_what_a_function_returns_or_raises_is_awaited_in_a_thread_that_ends_with_the_process() -> None:
    thread = await in_own_thread(threading.current_thread)
    assert thread is not threading.current_thread()
    assert thread.daemon
    with pytest.raises(ValueError, match="invalid"):
        await in_own_thread(lambda: int("x"))


async def test_who_waits_no_longer_is_not_disturbed_by_the_outcome() -> None:
    may_end = threading.Event()
    waiting = asyncio.ensure_future(in_own_thread(lambda: may_end.wait(30)))
    await asyncio.sleep(0)
    waiting.cancel()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await in_own_thread(lambda: 1) == 1
