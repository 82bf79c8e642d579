"""Filters of a page, over calls that need threads themselves."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from board_visits import SECONDS
from track_server.board.filters import filter_query

NO_FIELDS: dict[str, Any] = {"total": 0, "fields": [], "series": [], "statuses": {}}


class CallsInThreads:
    """An empty store whose answers are decoded in a thread of the pool, as large ones are."""

    fault: str | None = None

    async def call(self, user: str, method: str, arguments: dict[str, Any]) -> Any:
        return await asyncio.to_thread(lambda: NO_FIELDS if method == "fetch_fields" else [])

    async def log(self, user: str, method: str, arguments: dict[str, Any]) -> None:
        raise AssertionError(method)

    async def changed(self) -> None:
        raise AssertionError("changed")


async def test_filters_take_no_threads_that_their_own_calls_need() -> None:
    with ThreadPoolExecutor(1) as pool:
        asyncio.get_running_loop().set_default_executor(pool)
        asked = (filter_query(CallsInThreads(), "rita", {"filter": "lr > 1"}) for _ in range(8))
        async with asyncio.timeout(SECONDS):
            assert len(await asyncio.gather(*asked)) == 8
