"""A load balancer: one address in front of several servers, which moves bytes and knows no protocol."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

__all__ = ["balancing"]

_SECONDS: Final = 20.0
_CHUNK: Final = 65_536

_Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextmanager
def balancing(places: Sequence[tuple[str, int]]) -> Iterator[tuple[str, int]]:
    """The address of a balancer, which carries each connection to the first of these that accepts it."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="balancer")
    thread.start()
    carrying: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = loop.create_task(_carry((reader, writer), places))
        carrying.add(task)
        task.add_done_callback(carrying.discard)

    async def end() -> None:
        listener.close()
        for task in carrying:
            task.cancel()
        await asyncio.gather(*carrying, return_exceptions=True)

    starting = asyncio.start_server(accept, "127.0.0.1", 0)
    listener = asyncio.run_coroutine_threadsafe(starting, loop).result(_SECONDS)
    try:
        host, port = listener.sockets[0].getsockname()
        yield host, port
    finally:
        asyncio.run_coroutine_threadsafe(end(), loop).result(_SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_SECONDS)
        loop.close()


async def _carry(client: _Ends, places: Sequence[tuple[str, int]]) -> None:
    server = await _first_of(places)
    try:
        if server is not None:
            pumps = [asyncio.create_task(_pump(client, server)), asyncio.create_task(_pump(server, client))]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in pumps:
                pump.cancel()
    finally:
        for _, writer in (client, *([] if server is None else [server])):
            writer.transport.abort()


async def _first_of(places: Sequence[tuple[str, int]]) -> _Ends | None:
    for place in places:
        with contextlib.suppress(OSError):
            return await asyncio.open_connection(*place)
    return None


async def _pump(source: _Ends, sink: _Ends) -> None:
    with contextlib.suppress(OSError):
        while data := await source[0].read(_CHUNK):
            sink[1].write(data)
            await sink[1].drain()
