"""A TCP proxy that injects faults into its connections: delays, cuts, resets and repeated bytes.

Every connection gets one fault that ends it, and perhaps a delay before, both at offsets drawn from the
test's dice.  Two of three fail early, usually during the login; the third carries
enough data that a client which reconnects makes progress.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Any, Final, TypeVar

__all__ = ["ChaosProxy", "Fault"]

_T = TypeVar("_T")

_SECONDS: Final = 20.0
_CHUNK: Final = 65_536
_EARLY: Final = (1, 2_500)
_LATE: Final = {True: (2_500, 12_000), False: (1_500, 2_500)}
_LONGEST_DELAY: Final = 0.2
_REPLAY_SECONDS: Final = 2.0


class Fault(StrEnum):
    """A fault of a connection."""

    DELAY = "delay"
    CUT = "cut"
    HALF_CLOSE = "half-close"
    RESET = "reset"
    REPLAY = "replay"
    """Cut; then everything that the client had sent is sent again on a new connection."""
    LOST_REPLY = "lost reply"
    """Drop all further answers of the server, then cut the connection."""


_ENDINGS: Final = [Fault.CUT, Fault.HALF_CLOSE, Fault.RESET, Fault.REPLAY, Fault.LOST_REPLY, Fault.LOST_REPLY]


@dataclass(slots=True)
class _Injection:
    fault: Fault
    upward: bool
    at: int


@dataclass(slots=True)
class _Carried:
    """One connection: both ends, the faults to inject, and the bytes that the client has sent."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    injections: list[_Injection]
    sent: bytearray = field(default_factory=bytearray)


class ChaosProxy:
    """Carries connections to a server on this machine, on as many ports as the test opens.

    Args:
        port: of the server.
        dice: source of offsets and faults.

    Attributes:
        faults: number of injected faults of each kind.
    """

    def __init__(self, port: int, dice: random.Random) -> None:
        self.faults: Counter[Fault] = Counter()
        self._port = port
        self._dice = dice
        self._faultless = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._listeners: list[asyncio.Server] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="chaos")

    def __enter__(self) -> ChaosProxy:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_SECONDS)
        self._loop.close()

    def new_port(self) -> int:
        """Open and return a new port, meant for one client."""
        return self._do(self._open())

    def stop_faults(self) -> None:
        """Forward all further data unchanged."""
        self._faultless = True

    def _do(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_SECONDS)

    # -- in the loop's thread --------------------------------------------------------------------

    async def _open(self) -> int:
        came = 0

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal came
            came += 1
            task = self._loop.create_task(self._carry(reader, writer, early=came % 3 != 0))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        listener = await asyncio.start_server(accept, "127.0.0.1", 0)
        self._listeners.append(listener)
        port: int = listener.sockets[0].getsockname()[1]
        return port

    async def _end(self) -> None:
        for listener in self._listeners:
            listener.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _injections(self, early: bool) -> list[_Injection]:
        dice = self._dice
        fault = dice.choice(_ENDINGS)
        upward = fault is not Fault.LOST_REPLY and dice.random() < 0.5
        injections = [_Injection(fault, upward, dice.randint(*(_EARLY if early else _LATE[upward])))]
        if dice.random() < 0.3:
            injections.insert(0, _Injection(Fault.DELAY, upward, dice.randint(0, injections[0].at)))
        return injections

    async def _carry(
        self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter, early: bool
    ) -> None:
        try:
            from_server, to_server = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            to_client.transport.abort()
            return
        carried = _Carried(to_client, to_server, [] if self._faultless else self._injections(early))
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(from_client, to_server, carried, upward=True))
                both.create_task(self._pump(from_server, to_client, carried, upward=False))
        finally:
            to_client.transport.abort()
            to_server.transport.abort()

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, carried: _Carried, upward: bool
    ) -> None:
        passed = 0
        injections = [injection for injection in carried.injections if injection.upward == upward]
        try:
            while data := await source.read(_CHUNK):
                if upward:
                    carried.sent += data
                while injections and not self._faultless and passed + len(data) > injections[0].at:
                    injection = injections.pop(0)
                    before = data[: injection.at - passed]
                    await _forward(sink, before)
                    passed, data = passed + len(before), data[len(before) :]
                    await self._inject(injection.fault, source, sink, carried)
                await _forward(sink, data)
                passed += len(data)
            sink.write_eof()
        except (OSError, RuntimeError):
            # One side has disconnected, by a fault or by itself: disconnect the other too.
            carried.client.transport.abort()
            carried.server.transport.abort()

    async def _inject(
        self, fault: Fault, source: asyncio.StreamReader, sink: asyncio.StreamWriter, carried: _Carried
    ) -> None:
        """Inject a fault; one that ends the connection raises `ConnectionError`."""
        self.faults[fault] += 1
        if fault is Fault.DELAY:
            await asyncio.sleep(self._dice.random() * _LONGEST_DELAY)
            return
        if fault is Fault.HALF_CLOSE:
            sink.write_eof()
            while await source.read(_CHUNK):
                pass
        if fault is Fault.RESET:
            _reset(carried.client)
            _reset(carried.server)
        if fault is Fault.REPLAY:
            carried.client.transport.abort()
            carried.server.transport.abort()
            await self._replay(bytes(carried.sent))
        raise ConnectionResetError

    async def _replay(self, sent: bytes) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            async with asyncio.timeout(_REPLAY_SECONDS):
                await _forward(writer, sent)
                while await reader.read(_CHUNK):
                    pass
        except TimeoutError:
            pass  # the server waits for more
        finally:
            writer.transport.abort()


async def _forward(sink: asyncio.StreamWriter, data: bytes) -> None:
    sink.write(data)
    await sink.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    connected: socket.socket = writer.get_extra_info("socket")
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
