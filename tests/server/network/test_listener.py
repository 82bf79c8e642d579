"""Which connections are accepted, queued or rejected, with real sockets."""

from __future__ import annotations

import asyncio
import resource
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from made_certificates import make_certificate
from track.connection.channel import client_context
from track_protocol.security.tls import ALPN
from track_protocol.wire.connection import Connection, Side
from track_protocol.wire.events import CloseReceived
from track_server.network.limits import Limits
from track_server.network.listener import Listener, PeerConnection, origin_of

SECONDS = 20.0


class Guest(asyncio.Protocol):
    """What the listener makes of a connection: greets, and calls the listener back when it ends."""

    def __init__(self, place: Place, connection: PeerConnection) -> None:
        self.place = place
        self.connection = connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(b"hello")
        self.place.guests.append(self)
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.place.listener.disconnected(self.connection)


class ListeningSocket(socket.socket):
    """Counts how often it was asked for a connection."""

    attempts = 0

    def accept(self) -> tuple[socket.socket, Any]:
        self.attempts += 1
        return super().accept()


class Place:
    """A listener and those that have a slot."""

    def __init__(self, limits: Limits, tls: ssl.SSLContext | None = None) -> None:
        self.listening = ListeningSocket()
        self.listening.bind(("127.0.0.1", 0))
        self.listening.listen()
        self.listening.setblocking(False)
        self.port: int = self.listening.getsockname()[1]
        self.guests: list[Guest] = []
        self.listener = Listener(self.listening, limits, tls, lambda connection: Guest(self, connection))
        self.accepting = asyncio.create_task(self.listener.accept())

    async def close(self) -> None:
        """As a server does it."""
        self.accepting.cancel()
        await asyncio.gather(self.accepting, return_exceptions=True)
        self.listener.close()


@asynccontextmanager
async def open_place(tls: ssl.SSLContext | None = None, **limits: float) -> AsyncIterator[Place]:
    place = Place(Limits(**{"slot_seconds": 60.0, **limits}), tls)  # type: ignore[arg-type] # some are counts
    try:
        yield place
    finally:
        await place.close()
        for guest in place.guests:
            guest.transport.abort()


class Caller:
    """A client of the listener, from an address of its own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def inside(self) -> bool:
        """Waits until it is greeted (True) or rejected."""
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

    async def call(
        place: Place, address: str = "127.0.0.1", tls: ssl.SSLContext | None = None, *, silent: bool = False
    ) -> Caller:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", place.port, local_addr=(address, 0), ssl=tls, server_hostname="x" if tls else None
        )
        if tls is None and not silent:
            writer.write(b"x")
        callers.append(Caller(reader, writer))
        return callers[-1]

    yield call
    for caller in callers:
        await caller.gone()


async def accepted(place: Place, count: int, *, spoke: bool = True) -> None:
    """Wait until the listener has taken so many connections from the listening socket, and heard of each."""
    async with asyncio.timeout(SECONDS):
        while place.listener.connections < count or (spoke and place.listener.silent):  # noqa: ASYNC110 - a counter
            await asyncio.sleep(0)


async def greeted(place: Place, count: int) -> None:
    """Wait until so many came inside."""
    async with asyncio.timeout(SECONDS):
        while len(place.guests) < count:  # noqa: ASYNC110 - a list
            await asyncio.sleep(0)


async def test_peers_over_the_limit_of_their_address_wait_and_then_come_in(call: Call) -> None:
    async with open_place(unauthenticated_per_address=2) as place:
        first, second, third = [await call(place) for _ in range(3)]
        assert await first.inside()
        assert await second.inside()
        await accepted(place, 3)
        assert await third.waits()
        place.listener.authenticated(place.guests[0].connection)
        assert await third.inside()


async def test_an_unauthenticated_peer_that_ends_frees_its_slot(call: Call) -> None:
    async with open_place(unauthenticated_per_address=1) as place:
        first, second = await call(place), await call(place)
        assert await first.inside()
        await first.gone()
        assert await second.inside()


async def test_peers_of_other_addresses_do_not_wait_behind(call: Call) -> None:
    async with open_place(unauthenticated_per_address=1) as place:
        assert await (await call(place)).inside()
        waiting = await call(place)
        assert await (await call(place, "127.0.0.2")).inside()
        assert await waiting.waits()


async def test_all_unauthenticated_peers_together_are_limited_too(call: Call) -> None:
    async with open_place(unauthenticated=2) as place:
        assert await (await call(place, "127.0.0.2")).inside()
        assert await (await call(place, "127.0.0.3")).inside()
        third = await call(place, "127.0.0.4")
        await accepted(place, 3)
        assert await third.waits()
        place.listener.authenticated(place.guests[0].connection)
        assert await third.inside()


async def test_addresses_take_turns(call: Call) -> None:
    async with open_place(unauthenticated=1) as place:
        crowd = [await call(place, "127.0.0.2") for _ in range(4)]
        assert await crowd[0].inside()
        await accepted(place, 4)
        late = await call(place, "127.0.0.3")
        await accepted(place, 5)
        for guest in range(2):
            place.listener.authenticated(place.guests[guest].connection)
            await greeted(place, guest + 2)
        assert await late.inside()
        assert await crowd[1].waits()


async def test_who_has_logged_in_takes_no_slot(call: Call) -> None:
    async with open_place(unauthenticated_per_address=1) as place:
        for guest in range(3):
            assert await (await call(place)).inside()
            place.listener.authenticated(place.guests[guest].connection)


async def test_who_has_logged_in_frees_no_slot_when_it_ends(call: Call) -> None:
    async with open_place(unauthenticated_per_address=1) as place:
        known = await call(place)
        assert await known.inside()
        place.listener.authenticated(place.guests[0].connection)
        assert await (await call(place)).inside()
        third = await call(place)
        await known.gone()
        await accepted(place, 2)
        assert await third.waits()


async def test_more_connections_than_allowed_are_rejected(call: Call) -> None:
    async with open_place(connections=1) as place:
        first = await call(place)
        assert await first.inside()
        assert not await (await call(place)).inside()
        await first.gone()
        async with asyncio.timeout(SECONDS):
            while not await (await call(place)).inside():
                pass


async def test_one_address_does_not_block_others_by_waiting(call: Call) -> None:
    async with open_place(connections=4, unauthenticated_per_address=1, handshake_seconds=60.0) as place:
        crowd = [await call(place, "127.0.0.2") for _ in range(4)]
        assert await crowd[0].inside()
        await accepted(place, 4)
        assert await (await call(place, "127.0.0.3")).inside()
        assert not await crowd[1].inside()  # it has waited longest


async def test_a_connection_that_ends_twice_is_counted_once(call: Call) -> None:
    async with open_place(unauthenticated_per_address=1) as place:
        assert await (await call(place)).inside()
        for _ in range(3):
            place.listener.disconnected(place.guests[0].connection)
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
    async with open_place(tls, unauthenticated_per_address=1) as place:
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
    async with open_place(tls, unauthenticated_per_address=1) as place:
        caller = await call(place, silent=True)
        caller.writer.write(start)
        caller.writer.write_eof()
        assert not await caller.inside()
        assert await (await call(place, tls=client_context())).inside()


@pytest.mark.parametrize("start", [b"", b"\x16\x03\x01"])
async def test_a_handshake_that_takes_too_long_is_ended(
    call: Call, tls: ssl.SSLContext, start: bytes
) -> None:
    async with open_place(tls, unauthenticated_per_address=1, handshake_seconds=0.1) as place:
        caller = await call(place, silent=True)
        caller.writer.write(start)
        assert await asyncio.wait_for(caller.reader.read(), SECONDS) == b""
        assert place.guests == []


async def test_closing_ends_who_waits_and_who_is_greeted(call: Call, tls: ssl.SSLContext) -> None:
    async with open_place(tls, unauthenticated_per_address=1, handshake_seconds=3600) as place:
        admitted, waiting = await call(place, silent=True), await call(place, silent=True)
        admitted.writer.write(b"\x16")
        await accepted(place, 2, spoke=False)
        await place.close()
        assert not await admitted.inside()
        assert not await waiting.inside()
        with pytest.raises(ConnectionError):
            await call(place)


async def test_a_silent_connection_takes_no_slot(call: Call) -> None:
    async with open_place(unauthenticated_per_address=1) as place:
        for _ in range(20):
            await call(place, silent=True)
        await accepted(place, 20, spoke=False)
        assert await (await call(place)).inside()


async def test_a_silent_connection_is_closed_after_a_while(call: Call) -> None:
    async with open_place(handshake_seconds=0.1) as place:
        assert not await (await call(place, silent=True)).inside()
        assert place.guests == []


async def test_a_connection_whose_handshake_has_not_begun_is_closed_with_the_listener(call: Call) -> None:
    async with open_place() as place:
        caller = await call(place, silent=True)
        await accepted(place, 1, spoke=False)
        (connection,) = place.listener._silent
        place.listener._speaks(connection)  # in the loop it would be only luck to close before the next step
        place.listener.close()
        assert not await caller.inside()
        assert connection.socket.fileno() == -1


async def test_a_slot_that_was_held_for_long_goes_to_the_next(call: Call) -> None:
    async with open_place(unauthenticated_per_address=1, slot_seconds=0.1) as place:
        idle = await call(place)
        assert await idle.inside()
        assert await (await call(place)).inside()
        assert await asyncio.wait_for(idle.reader.read(), SECONDS) == b""


async def test_a_slot_without_a_waiter_is_retained(call: Call) -> None:
    async with open_place(unauthenticated_per_address=1, slot_seconds=0.01, handshake_seconds=0.1) as place:
        slow = await call(place)
        assert await slow.inside()
        assert not await (await call(place, silent=True)).inside()  # closed without freeing the slot
        assert await slow.waits()


@pytest.mark.parametrize(
    ("address", "origin"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("a name", "a name"),
    ],
)
def test_what_one_machine_can_have_counts_as_one_address(address: str, origin: str) -> None:
    assert origin_of(address) == origin


async def test_accepting_continues_when_descriptors_were_exhausted(
    call: Call, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_place() as place:
        first = await call(place)
        assert await first.inside()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with socket.socket() as connecting:
            connecting.setblocking(False)
            resource.setrlimit(resource.RLIMIT_NOFILE, (connecting.fileno() + 1, hard))
            try:
                await asyncio.get_running_loop().sock_connect(connecting, ("127.0.0.1", place.port))
                async with asyncio.timeout(SECONDS):
                    while "could not be accepted" not in caplog.text:  # noqa: ASYNC110 - a text
                        await asyncio.sleep(0.01)
                    seen = place.listening.attempts
                    while place.listening.attempts < seen + 3:  # noqa: ASYNC110 - a counter
                        await asyncio.sleep(0.01)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert caplog.text.count("could not be accepted") == 1
            await asyncio.get_running_loop().sock_sendall(connecting, b"x")
            assert await asyncio.get_running_loop().sock_recv(connecting, 5) == b"hello"
