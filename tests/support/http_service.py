"""An application behind the HTTP listener, on a thread of its own."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import uvloop

from track_server.http.listener import Application, HttpLimits, HttpListener
from track_server.network.listening import listen

__all__ = ["listening"]

_TIMEOUT = 30.0


@contextmanager
def listening(
    app: Application, *, limits: HttpLimits | None = None, tls: ssl.SSLContext | None = None
) -> Iterator[str]:
    """The URL of an application; the listener is closed at the end."""
    started: Future[str] = Future()
    ends = threading.Event()

    async def run() -> None:
        socket = listen("127.0.0.1", 0)
        listener = HttpListener(socket, app, tls, limits)
        scheme, port = "http" if tls is None else "https", socket.getsockname()[1]
        listener.start()
        started.set_result(f"{scheme}://127.0.0.1:{port}/")
        await asyncio.to_thread(ends.wait)
        await listener.close()

    def main() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run())

    with ThreadPoolExecutor(1, thread_name_prefix="test-http") as thread:
        ended = thread.submit(main)
        try:
            yield started.result(_TIMEOUT)
        finally:
            ends.set()
            ended.result(_TIMEOUT)
