"""Serves HTTP/1.1 on one socket: admission, time limits and the end are ours, the protocol is uvicorn's.

`uvicorn.Server` leaves a half-sent request head open for ever, and stops late while an idle TLS connection is
left.  So the listening socket is our own: `track_server.network.listener.Listener` admits by its limits, and
each admitted connection gets a protocol object of uvicorn's that is watched:

- a request's head has to be complete after 5 s, however slowly its bytes come;
- a peer that reads nothing of its answer for 30 s is dropped;
- at the end, who is idle is closed at once, who is being answered has a second, and is then dropped.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final

import h11
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from track_protocol.errors import TooBusy
from track_protocol.loopback import is_loopback
from track_server.http.peers import Address, is_own_user
from track_server.network.limits import Limits
from track_server.network.listener import Listener, PeerConnection

__all__ = ["PEER", "Application", "HttpLimits", "HttpListener", "HttpPeer", "TooManyConnections"]

Application = Callable[[MutableMapping[str, Any], Any, Any], Any]
"""An ASGI application."""

PEER: Final = "track.peer"
"""Of the state in a request's scope: its `HttpPeer`."""

_MAX_HEAD_BYTES: Final = 64 * 1024
"""Of one request: cookies of all servers on localhost come with each."""
_LOOK_EVERY_S: Final = 0.01
_LEAVE_S: Final = 0.2


def _is_of_ours(record: logging.LogRecord) -> bool:
    """Whether a record of uvicorn is about a fault of this program.

    It warns of what peers do wrong, as often as they like to; and a request that is cancelled at the end is
    no fault.
    """
    cancelled = record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError)
    return record.levelno != logging.WARNING and not cancelled


_protocol_log = logging.getLogger(f"{__name__}.protocol")
_protocol_log.addFilter(_is_of_ours)


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What HTTP peers may take.

    Attributes:
        admission: how many connections at once, and how many of those that have not logged in.
        head_seconds: for a request's head.
        idle_seconds: between two requests of a connection.
        stalled_seconds: for which a peer may read nothing of its answer.
        drain_seconds: for answering what is in flight at the end.
        connections_per_user: how many of one user at once: others find some, too.
    """

    admission: Limits = field(
        default_factory=lambda: Limits(connections=1_024, unauthenticated=256, unauthenticated_per_address=32)
    )
    head_seconds: float = 5.0
    idle_seconds: float = 75.0
    stalled_seconds: float = 30.0
    drain_seconds: float = 1.0
    connections_per_user: int = 256


class TooManyConnections(TooBusy):
    """A user has very many connections open."""


@dataclass(eq=False, slots=True)
class HttpPeer:
    """Who sends the requests of one connection.

    Attributes:
        address: the peer's host.
        is_encrypted: whether the connection uses TLS.
        belongs_to: to be called with the user who was proven to send a request of it; raises
            `TooManyConnections`.
        authenticated: to be called when a request of it needs no proof of who sends it.
        ends: of the connection, ours and the peer's.
        is_own_user: whether it is a process of this server's user on this machine; known after `look`.
    """

    address: str
    is_encrypted: bool
    belongs_to: Callable[[str], None]
    authenticated: Callable[[], None]
    ends: tuple[Address, Address]
    is_own_user: bool = False
    _has_looked: bool = False

    async def look(self) -> None:
        """Find out whose process the peer is, once a connection.

        In a thread: with thousands of connections the kernel's table takes milliseconds to read.
        """
        if not self._has_looked and is_loopback(self.address):
            self.is_own_user = await asyncio.to_thread(is_own_user, *self.ends)
        self._has_looked = True
        if self.is_own_user:
            self.authenticated()


class _Connection(H11Protocol):
    """A connection whose peer has only so much time."""

    def __init__(
        self,
        config: Config,
        state: ServerState,
        limits: HttpLimits,
        listener: Listener,
        peer: PeerConnection,
        of_users: Counter[str],
    ) -> None:
        super().__init__(config=config, server_state=state, app_state={})
        self.logger = _protocol_log
        self._limits = limits
        self._listener = listener
        self._peer = peer
        self._of_users = of_users
        self._user: str | None = None
        self._head_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # TCP only
        super().connection_made(transport)
        ours, theirs = transport.get_extra_info("sockname")[:2], transport.get_extra_info("peername")[:2]
        encrypted = transport.get_extra_info("ssl_object") is not None
        self.app_state = {
            PEER: HttpPeer(theirs[0], encrypted, self._belongs_to, self._authenticated, (ours, theirs))
        }
        self._watch_head()

    def _belongs_to(self, user: str) -> None:
        """Count the connection among those of a user."""
        if user != self._user:
            if self._of_users[user] >= self._limits.connections_per_user:
                raise TooManyConnections(
                    f"{user} has {self._of_users[user]} connections open: close some, or try again later"
                )
            self._leave_user()
            self._of_users[user] += 1
            self._user = user
        self._authenticated()

    def _leave_user(self) -> None:
        if self._user is not None:
            self._of_users[self._user] -= 1
            self._of_users += Counter()  # without those that have none
            self._user = None

    def _authenticated(self) -> None:
        self._listener.authenticated(self._peer)

    def data_received(self, data: bytes) -> None:
        had_unread_body = self._has_unread_body()
        super().data_received(data)
        if had_unread_body and self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]:
            self._end_watch()  # the body is complete, and no head has begun
        else:
            self._watch_head()

    def _has_unread_body(self) -> bool:
        """Whether a request was answered before the end of its body, which stands before the next head."""
        return self.conn.their_state is h11.SEND_BODY and self.cycle.response_complete

    def on_response_complete(self) -> None:
        super().on_response_complete()
        # A part of the next head is here already, or the rest of a body that nobody has read is not.
        if self.conn.trailing_data[0] or self._has_unread_body():
            self._watch_head()

    def _watch_head(self) -> None:
        """Start the time of a head that is being waited for, or end that of a complete one."""
        if self.conn.their_state is not h11.IDLE and not self._has_unread_body():
            self._end_watch()
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(self._limits.head_seconds, self.transport.abort)

    def _end_watch(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reading(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _watch_reading(self, unread: int) -> None:
        """Look in a while whether the peer has read any of what waits for it."""
        self._stall_timer = self.loop.call_later(self._limits.stalled_seconds, self._check_reading, unread)

    def _check_reading(self, unread: int) -> None:
        left = self.transport.get_write_buffer_size()
        if left < unread:
            self._watch_reading(left)
        else:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._head_timer, self._stall_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)
        self._leave_user()
        self._listener.disconnected(self._peer)


class HttpListener:
    """Serves an application on one socket.

    Args:
        listening: bound, listening and non-blocking; closed at the end.
        app: what answers; the state in its requests' scopes has a `PEER`.
        tls: the context of the handshake, None for plain text.
        limits: what peers may take.
        refusal: see `Listener`.
    """

    def __init__(
        self,
        listening: socket.socket,
        app: Application,
        tls: ssl.SSLContext | None = None,
        limits: HttpLimits | None = None,
        refusal: Callable[[bytes], bytes | None] | None = None,
    ) -> None:
        self._limits = limits or HttpLimits()
        self._state = ServerState()
        self._of_users: Counter[str] = Counter()
        self._config = Config(
            app,
            interface="asgi3",
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            timeout_keep_alive=int(self._limits.idle_seconds),
            h11_max_incomplete_event_size=_MAX_HEAD_BYTES,
        )
        self._listener = Listener(listening, self._limits.admission, tls, self._connection, refusal)
        self._accepting: asyncio.Task[None] | None = None

    def _connection(self, peer: PeerConnection) -> _Connection:
        return _Connection(self._config, self._state, self._limits, self._listener, peer, self._of_users)

    def start(self) -> None:
        """Accept connections from now on."""
        self._accepting = asyncio.get_running_loop().create_task(self._listener.accept())

    async def close(self) -> None:
        """Accept no more, let what is in flight end, and drop the rest; harmless when repeated."""
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.wait([self._accepting])
            self._accepting = None
        self._listener.close()
        connections = self._state.connections
        for connection in list(connections):
            if not connection.transport.is_closing():
                connection.shutdown()
        loop = asyncio.get_running_loop()
        until = loop.time() + self._limits.drain_seconds
        while connections and loop.time() < until:  # noqa: ASYNC110 -- rare, and short
            await asyncio.sleep(_LOOK_EVERY_S)
        for connection in list(connections):
            connection.transport.abort()
        if tasks := list(self._state.tasks):
            # They see that their peer has left; who does not end of this is cancelled.
            await asyncio.wait(tasks, timeout=_LEAVE_S)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
