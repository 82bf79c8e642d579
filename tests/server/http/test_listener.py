"""The listener of HTTP: who is admitted, who is dropped, and how it ends."""

from __future__ import annotations

import asyncio
import inspect
import select
import socket
import threading
from collections.abc import MutableMapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from board_visits import SECONDS, Visit
from http_service import listening
from track_server.accounts.identity import Identity
from track_server.http.certificates import browser_context
from track_server.http.listener import PEER, HttpLimits, HttpListener
from track_server.network.limits import Limits
from track_server.network.listening import listen

HURRIED = HttpLimits(head_seconds=0.2, stalled_seconds=0.5, drain_seconds=0.2)


@dataclass
class Greeting:
    """An application that answers at once, or when it may."""

    body: bytes = b"hello"
    may_answer: threading.Event = field(default_factory=threading.Event)
    asked: threading.Event = field(default_factory=threading.Event)
    left: threading.Event = field(default_factory=threading.Event)
    peers: list[Any] = field(default_factory=list)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        self.peers.append(scope["state"][PEER])
        self.asked.set()
        if scope["path"] == "/who":
            await self.peers[-1].look()
        if scope["path"] == "/login":
            self.peers[-1].authenticated()
        if scope["path"] == "/late":
            await asyncio.to_thread(self.may_answer.wait, SECONDS)
        if scope["path"] == "/never":
            while (await receive())["type"] != "http.disconnect":
                pass
            self.left.set()
            return
        length = (b"content-length", str(len(self.body)).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": self.body})
        while (await receive())["type"] != "http.disconnect":
            pass
        self.left.set()


def caller(url: str) -> socket.socket:
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname or "", parts.port or 0), SECONDS)


def all_of(peer: socket.socket) -> bytes:
    """What comes until the connection ends, however it ends."""
    received = b""
    try:
        while part := peer.recv(65_536):
            received += part
    except ConnectionResetError:
        pass
    return received


def test_a_request_is_answered_and_its_connection_used_again() -> None:
    app = Greeting()
    with listening(app) as url:
        connection = Visit(url).connect()
        for _ in range(3):
            connection.request("GET", "/who")
            assert connection.getresponse().read() == b"hello"
        assert len({id(peer) for peer in app.peers}) == 1
        assert app.peers[0].is_own_user
        assert not app.peers[0].is_encrypted
        connection.close()


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: localhost\r\n"])
def test_a_head_that_is_not_complete_in_time_ends_the_connection(sent: bytes) -> None:
    with listening(Greeting(), limits=HURRIED) as url, caller(url) as peer:
        peer.sendall(sent or b"G")
        assert all_of(peer) == b""


def test_a_head_that_comes_byte_by_byte_has_no_more_time() -> None:
    with listening(Greeting(), limits=HURRIED) as url, caller(url) as peer:
        sent = 0
        try:
            for byte in b"GET / HTTP/1.1\r\n" + b"X-Slow: 1\r\n" * 100_000:
                peer.sendall(bytes([byte]))
                sent += 1
                if select.select([peer], [], [], 0.01)[0]:
                    break
        except OSError:
            pass
        assert all_of(peer) == b""
        assert sent < 100_000


def test_the_head_of_a_later_request_has_its_time_too() -> None:
    with listening(Greeting(), limits=HURRIED) as url, caller(url) as peer:
        peer.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HT")
        assert all_of(peer).endswith(b"hello")


def test_a_body_that_nobody_reads_has_only_the_time_of_a_head_however_it_comes() -> None:
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n{"
    with listening(Greeting(), limits=replace(HURRIED, idle_seconds=SECONDS)) as url, caller(url) as peer:
        peer.sendall(head)
        sent = 0
        try:
            while sent < 3_000:
                peer.sendall(b" ")
                sent += 1
                if select.select([peer], [], [], 0.01)[0] and not peer.recv(65_536):
                    break
        except OSError:
            pass
        assert sent < 3_000


def test_a_body_that_comes_after_its_answer_costs_no_connection() -> None:
    with listening(Greeting(), limits=HURRIED) as url, caller(url) as peer:
        peer.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{")
        assert peer.recv(65_536).endswith(b"hello")
        peer.sendall(b"}")
        with caller(url) as slow:  # is dropped after the head's time, so that has passed
            slow.sendall(b"G")
            assert all_of(slow) == b""
        peer.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert all_of(peer).endswith(b"hello")


def test_who_takes_long_to_answer_loses_no_peer() -> None:
    app = Greeting()
    with listening(app, limits=replace(HURRIED, head_seconds=0.05)) as url:
        connection = Visit(url).connect()
        connection.request("GET", "/late")
        assert app.asked.wait(SECONDS)
        with caller(url) as slow:  # is dropped after the head's time, so that has passed
            slow.sendall(b"G")
            assert all_of(slow) == b""
        app.may_answer.set()
        assert connection.getresponse().read() == b"hello"
        connection.close()


def test_a_head_without_end_is_refused() -> None:
    with listening(Greeting()) as url, caller(url) as peer:
        try:
            peer.sendall(b"GET / HTTP/1.1\r\nX: " + b"a" * 200_000)
        except OSError:
            return  # refused before all of it was sent
        assert all_of(peer).startswith((b"HTTP/1.1 4", b""))


def test_what_is_no_http_is_refused() -> None:
    with listening(Greeting()) as url, caller(url) as peer:
        peer.sendall(b"\x00\x01\x02 nonsense\r\n\r\n")
        assert all_of(peer).startswith(b"HTTP/1.1 400")


def test_an_upgrade_to_a_websocket_is_answered_as_any_request() -> None:
    with listening(Greeting()) as url:
        connection = Visit(url).connect()
        connection.request("GET", "/", headers={"Connection": "Upgrade", "Upgrade": "websocket"})
        assert connection.getresponse().status == 200
        connection.close()


def test_a_peer_that_reads_nothing_of_its_answer_is_dropped() -> None:
    app = Greeting(bytes(64 * 1024 * 1024))
    with listening(app, limits=HURRIED) as url, caller(url) as peer:
        peer.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert app.left.wait(SECONDS)
        assert len(all_of(peer)) < len(app.body)


def test_a_peer_that_reads_its_answer_slowly_gets_all_of_it() -> None:
    app = Greeting(bytes(64 * 1024 * 1024))
    with listening(app, limits=replace(HURRIED, stalled_seconds=2.0)) as url:
        connection = Visit(url).connect()
        connection.request("GET", "/")
        answer = connection.getresponse()
        read = 0
        while part := answer.read(2 * 1024 * 1024):
            read += len(part)
            select.select([], [], [], 0.1)  # longer in all than a peer may read nothing
        assert read == len(app.body)
        connection.close()


def test_silent_connections_keep_nobody_out() -> None:
    limits = replace(HURRIED, head_seconds=30.0, admission=Limits(connections=8))
    with listening(Greeting(), limits=limits) as url:
        silent = [caller(url) for _ in range(8)]
        visit = Visit(url, source="127.0.0.2")
        assert visit.get("/").body == b"hello"
        for each in silent:
            each.close()


@pytest.mark.parametrize("proof", ["/login", "/who"])
def test_slots_are_for_those_who_have_not_proven_who_they_are(proof: str) -> None:
    admission = Limits(unauthenticated_per_address=1, slot_seconds=30.0, handshake_seconds=30.0)
    app = Greeting()
    with listening(app, limits=HttpLimits(admission=admission)) as url:
        first, second = Visit(url).connect(), Visit(url).connect()
        first.request("GET", "/")
        assert first.getresponse().read() == b"hello"
        second.request("GET", "/")
        assert second.sock is not None
        assert not select.select([second.sock], [], [], 0.1)[0]
        first.request("GET", proof)
        assert second.getresponse().read() == b"hello"
        first.close()
        second.close()


class Ending:
    """A listener on this test's own loop."""

    def __init__(self, app: Greeting, limits: HttpLimits = HURRIED) -> None:
        self.socket = listen("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}/"
        self.listener = HttpListener(self.socket, app, None, limits)
        self.listener.start()

    async def connection(self, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(self.url).port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        return reader, writer


async def test_at_the_end_idle_connections_close_and_answers_in_flight_are_sent() -> None:
    app = Greeting()
    ending = Ending(app, replace(HURRIED, drain_seconds=SECONDS))
    idle, idle_writer = await ending.connection("/")
    assert (await idle.readuntil(b"hello")).startswith(b"HTTP/1.1 200")
    app.asked.clear()
    late, late_writer = await ending.connection("/late")
    await asyncio.to_thread(app.asked.wait, SECONDS)
    closing = asyncio.create_task(ending.listener.close())
    assert await idle.read() == b""
    assert not closing.done()
    app.may_answer.set()
    assert (await late.read()).endswith(b"hello")
    await closing
    with pytest.raises(OSError, match=r"refused|Connect"):
        await asyncio.open_connection("127.0.0.1", urlsplit(ending.url).port)
    idle_writer.close()
    late_writer.close()


async def test_at_the_end_who_does_not_finish_is_dropped() -> None:
    app = Greeting()
    ending = Ending(app)
    _, writer = await ending.connection("/never")
    await asyncio.to_thread(app.asked.wait, SECONDS)
    await ending.listener.close()
    assert app.left.is_set()
    await ending.listener.close()
    writer.close()


async def test_at_the_end_an_idle_encrypted_connection_does_not_delay(tmp_path: Path) -> None:
    identity = Identity.load_or_create(tmp_path / "home")
    tls = browser_context(identity.certificate_path, identity.key_path)
    app = Greeting()
    with listening(app, tls=tls, limits=replace(HURRIED, drain_seconds=0.5)) as url:
        connection = Visit(url).connect()
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"hello"
        assert app.peers[0].is_encrypted
    connection.close()


def test_what_is_used_of_uvicorn_is_there() -> None:
    """The listener overrides these methods and reads these attributes of a class that promises neither."""
    overridden = {"connection_made", "data_received", "connection_lost", "on_response_complete", "shutdown"}
    assert overridden <= {name for name, _ in inspect.getmembers(H11Protocol, inspect.isfunction)}
    assert {"config", "server_state", "app_state"} <= set(inspect.signature(H11Protocol).parameters)
    assert {"connections", "tasks"} <= vars(ServerState()).keys()
