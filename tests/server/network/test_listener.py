"""Who is let in, who waits and who is turned away, with real sockets."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from made_certificates import make_certificate
from track.connection.tls import client_context
from track_protocol.security.tls import ALPN
from track_protocol.wire.connection import Connection, Side
from track_protocol.wire.events import CloseReceived
from track_server.network.limits import Limits
from track_server.network.listener import Door, Visitor

SECONDS = 20.0


class Guest(asyncio.Protocol):
    """What the door makes of a visitor: says hello, and tells the door when it is gone."""

    def __init__(self, place: Place, visitor: Visitor) -> None:
        self.place = place
        self.visitor = visitor

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(b"hello")
        self.place.guests.append(self)
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.place.door.left(self.visitor)


class Place:
    """A door and those inside."""

    def __init__(self, limits: Limits, tls: ssl.SSLContext | None = None) -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        listening.setblocking(False)
        self.port: int = listening.getsockname()[1]
        self.guests: list[Guest] = []
        self.door = Door(listening, limits, tls, lambda visitor: Guest(self, visitor))
        self.accepting = asyncio.create_task(self.door.accept())

    async def close(self) -> None:
        """As a server does it."""
        self.accepting.cancel()
        await asyncio.gather(self.accepting, return_exceptions=True)
        self.door.close()


@asynccontextmanager
async def open_place(tls: ssl.SSLContext | None = None, **limits: float) -> AsyncIterator[Place]:
    place = Place(Limits(**limits), tls)  # type: ignore[arg-type] # some are counts
    try:
        yield place
    finally:
        await place.close()
        for guest in place.guests:
            guest.transport.abort()


class Caller:
    """A client of the door, from an address of its own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def inside(self) -> bool:
        """Waits until it is greeted (True) or turned away."""
        try:
            return await asyncio.wait_for(self.reader.read(5), SECONDS) == b"hello"
        except ConnectionError:
            return False

    async def waits(self) -> bool:
        """Whether nothing has happened to it, though there was time for it."""
        for _ in range(100):
            await asyncio.sleep(0)
        arrived: bytes = vars(self.reader)["_buffer"]  # there is no public way to look without waiting
        return not self.reader.at_eof() and not arrived

    async def gone(self) -> None:
        """Hang up."""
        self.writer.close()
        await asyncio.gather(self.writer.wait_closed(), return_exceptions=True)


Call = Callable[..., Awaitable[Caller]]


@pytest.fixture
async def call() -> AsyncIterator[Call]:
    callers: list[Caller] = []

    async def call(place: Place, address: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> Caller:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", place.port, local_addr=(address, 0), ssl=tls, server_hostname="x" if tls else None
        )
        callers.append(Caller(reader, writer))
        return callers[-1]

    yield call
    for caller in callers:
        await caller.gone()


async def accepted(place: Place, count: int) -> None:
    """Wait until the door has taken so many connections from the listening socket."""
    async with asyncio.timeout(SECONDS):
        while place.door._inside < count:  # noqa: ASYNC110 - a counter
            await asyncio.sleep(0)


async def greeted(place: Place, count: int) -> None:
    """Wait until so many came inside."""
    async with asyncio.timeout(SECONDS):
        while len(place.guests) < count:  # noqa: ASYNC110 - a list
            await asyncio.sleep(0)


async def test_strangers_over_the_limit_of_their_address_wait_and_then_come_in(call: Call) -> None:
    async with open_place(strangers_per_address=2) as place:
        first, second, third = [await call(place) for _ in range(3)]
        assert await first.inside()
        assert await second.inside()
        await accepted(place, 3)
        assert await third.waits()
        place.door.known(place.guests[0].visitor)
        assert await third.inside()


async def test_a_stranger_who_leaves_makes_room(call: Call) -> None:
    async with open_place(strangers_per_address=1) as place:
        first, second = await call(place), await call(place)
        assert await first.inside()
        await first.gone()
        assert await second.inside()


async def test_strangers_of_other_addresses_do_not_wait_behind(call: Call) -> None:
    async with open_place(strangers_per_address=1) as place:
        assert await (await call(place)).inside()
        waiting = await call(place)
        assert await (await call(place, "127.0.0.2")).inside()
        assert await waiting.waits()


async def test_all_strangers_together_are_limited_too(call: Call) -> None:
    async with open_place(strangers=2) as place:
        assert await (await call(place, "127.0.0.2")).inside()
        assert await (await call(place, "127.0.0.3")).inside()
        third = await call(place, "127.0.0.4")
        await accepted(place, 3)
        assert await third.waits()
        place.door.known(place.guests[0].visitor)
        assert await third.inside()


async def test_addresses_take_turns(call: Call) -> None:
    async with open_place(strangers=1) as place:
        crowd = [await call(place, "127.0.0.2") for _ in range(4)]
        assert await crowd[0].inside()
        await accepted(place, 4)
        late = await call(place, "127.0.0.3")
        await accepted(place, 5)
        for guest in range(2):
            place.door.known(place.guests[guest].visitor)
            await greeted(place, guest + 2)
        assert await late.inside()
        assert await crowd[3].waits()


async def test_somebody_known_does_not_count_as_a_stranger(call: Call) -> None:
    async with open_place(strangers_per_address=1) as place:
        for guest in range(3):
            assert await (await call(place)).inside()
            place.door.known(place.guests[guest].visitor)


async def test_somebody_known_who_leaves_makes_no_room_for_strangers(call: Call) -> None:
    async with open_place(strangers_per_address=1) as place:
        known = await call(place)
        assert await known.inside()
        place.door.known(place.guests[0].visitor)
        assert await (await call(place)).inside()
        third = await call(place)
        await known.gone()
        await accepted(place, 2)
        assert await third.waits()


async def test_more_connections_than_allowed_are_turned_away(call: Call) -> None:
    async with open_place(connections=1) as place:
        first = await call(place)
        assert await first.inside()
        assert not await (await call(place)).inside()
        await first.gone()
        async with asyncio.timeout(SECONDS):
            while not await (await call(place)).inside():
                pass


async def test_one_address_does_not_keep_others_out_by_waiting(call: Call) -> None:
    async with open_place(connections=4, strangers_per_address=1) as place:
        crowd = [await call(place, "127.0.0.2") for _ in range(4)]
        assert await crowd[0].inside()
        await accepted(place, 4)
        assert await (await call(place, "127.0.0.3")).inside()
        assert not await crowd[3].inside()


async def test_a_visitor_who_leaves_twice_is_counted_once(call: Call) -> None:
    async with open_place(strangers_per_address=1) as place:
        assert await (await call(place)).inside()
        for _ in range(3):
            place.door.left(place.guests[0].visitor)
        assert await (await call(place)).inside()
        third = await call(place)
        await accepted(place, 2)
        assert await third.waits()


# -- TLS -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    certificate, key = make_certificate().write(tmp_path_factory.mktemp("tls"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols([ALPN])
    context.load_cert_chain(certificate, key)
    return context


async def test_a_handshake_leads_inside(call: Call, tls: ssl.SSLContext) -> None:
    async with open_place(tls) as place:
        assert await (await call(place, tls=client_context())).inside()


async def test_plain_text_is_answered_in_plain_text_and_ended(call: Call, tls: ssl.SSLContext) -> None:
    async with open_place(tls, strangers_per_address=1) as place:
        caller = await call(place)
        greeting = Connection(Side.CLIENT)
        greeting.send_client_hello("test", b"\0" * 16)
        caller.writer.write(greeting.data_to_send())
        answer = await asyncio.wait_for(caller.reader.read(), SECONDS)
        (event,) = greeting.receive_data(answer)
        assert isinstance(event, CloseReceived)
        assert event.code == "encryption"
        assert await (await call(place, tls=client_context())).inside()


@pytest.mark.parametrize("start", [b"\x16\x03\x01\x00\x05hello", b"\x16", b"", b"GET / HTTP/1.1\r\n\r\n"])
async def test_what_is_no_handshake_gives_its_place_back(
    call: Call, tls: ssl.SSLContext, start: bytes
) -> None:
    async with open_place(tls, strangers_per_address=1) as place:
        caller = await call(place)
        caller.writer.write(start)
        caller.writer.write_eof()
        assert not await caller.inside()
        assert await (await call(place, tls=client_context())).inside()


@pytest.mark.parametrize("start", [b"", b"\x16\x03\x01"])
async def test_a_handshake_that_takes_too_long_is_ended(
    call: Call, tls: ssl.SSLContext, start: bytes
) -> None:
    async with open_place(tls, strangers_per_address=1, handshake_seconds=0.1) as place:
        caller = await call(place)
        caller.writer.write(start)
        assert await asyncio.wait_for(caller.reader.read(), SECONDS) == b""
        assert place.guests == []


async def test_closing_ends_who_waits_and_who_is_greeted(call: Call, tls: ssl.SSLContext) -> None:
    async with open_place(tls, strangers_per_address=1, handshake_seconds=3600) as place:
        admitted, waiting = await call(place), await call(place)
        await accepted(place, 2)
        await place.close()
        assert not await admitted.inside()
        assert not await waiting.inside()
        with pytest.raises(ConnectionError):
            await call(place)
