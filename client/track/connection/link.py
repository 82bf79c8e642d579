"""The link over a socket: a blocking shell around the protocol's connection.

One thread uses it, so that one TLS session is never used by two at once; other threads only wake
it.  All waiting is done in `select`, on the socket and on a pipe that `wake` writes to.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from track_protocol.errors import (
    AuthenticationError,
    ConnectionLost,
    EncryptionMismatch,
    RemoteProtocolError,
    ServerUnreachable,
    TrackError,
    error_from_wire,
)
from track_protocol.loopback import is_loopback
from track_protocol.security.tokens import Secret, is_generated
from track_protocol.wire.batch import Batch
from track_protocol.wire.connection import Connection, Side, State
from track_protocol.wire.events import (
    AckReceived,
    CloseReceived,
    ErrorReceived,
    Event,
    NackReceived,
    PingReceived,
    ReadyReceived,
    ResultReceived,
    ServerHelloReceived,
)
from track_protocol.wire.keepalive import SILENCE_S
from track_protocol.wire.link import Acked, Failed, LinkEvent, Opened, Refused, Replied

if TYPE_CHECKING:
    import ssl

    from track.connection.address import SocketAddress
    from track.connection.trust import Trust

__all__ = ["SocketLink"]

_CHUNK: Final = 256 * 1024
_SHORTEST: Final = 0.001
_LOOK_EVERY_S: Final = 5.0
"""Longest wait in one piece, in case a wake-up is lost because its pipe was closed from outside."""

_E = TypeVar("_E", bound=Event)


class SocketLink:
    """A `track_protocol.wire.link.Link` to a server.

    Args:
        address: the server.
        authenticate: gives name and password or token; by default `SocketAddress.credentials`.
        silence: seconds of silence after which the server is asked for a sign of life.
    """

    def __init__(
        self,
        address: SocketAddress,
        authenticate: Callable[[], tuple[str, str] | None] | None = None,
        *,
        silence: float = SILENCE_S,
    ) -> None:
        self._address = address
        self._silence = silence
        self._authenticate = authenticate or address.credentials
        self._connection = Connection(Side.CLIENT)
        self._socket: socket.socket | ssl.SSLSocket | None = None
        self._unsent = bytearray()
        self._early: deque[Event] = deque()
        # Held while the pipe is written to or closed: a closed descriptor may already be another file.
        # Reentrant, because a signal handler may log, and so wake, in the middle of a wake-up.
        self._pipe = threading.RLock()
        self._awake, self._waker = os.pipe()
        os.set_blocking(self._awake, False)
        os.set_blocking(self._waker, False)

    # -- opening -------------------------------------------------------------------------------------

    def open(self, session: bytes, timeout: float) -> Opened:
        """See `Link.open`."""
        deadline = time.monotonic() + timeout
        self._disconnect()
        self._connection = Connection(Side.CLIENT, self._silence)
        self._unsent.clear()
        self._early.clear()
        try:
            return self._open(session, deadline)
        except BaseException:
            self._disconnect()
            raise

    def _open(self, session: bytes, deadline: float) -> Opened:
        from track.connection.credentials import local_credentials
        from track.connection.trust import pins_for

        address = self._address
        local = local_credentials(address.port) if is_loopback(address.host) else None
        login = self._authenticate()
        if login is None and local is None and is_loopback(address.host):
            self._await_anybody(deadline)
            local = local_credentials(address.port)
        is_own = login is None
        if login is None and local is not None:
            login = (local.username, local.token.reveal())
        if login is None:
            raise AuthenticationError(self._no_login())
        name, secret = login[0], Secret(login[1])
        if address.plaintext:
            if local is None and not is_generated(secret.reveal()):
                raise AuthenticationError(
                    f"{address.shown}: in plain text anybody on this machine could pose as the server and "
                    "try passwords against the login: use a token, or leave security_layer=plaintext out"
                )
            self._socket = self._connect(deadline)
            self._socket.setblocking(False)
            return self._log_in(name, secret, session, None, None, deadline, is_own)
        trust = pins_for(address.host, address.port, uri_pins=address.pins, secret=secret, local=local)
        raw = self._connect(deadline)
        self._socket = raw
        tls, der = self._handshake(raw, deadline)
        self._socket = tls
        if is_own and (fresh := local_credentials(address.port)) is not None and fresh != local:
            trust = pins_for(
                address.host, address.port, uri_pins=address.pins, secret=fresh.token, local=fresh
            )
        trust.check(der)
        tls.setblocking(False)
        return self._log_in(name, secret, session, der, trust, deadline, is_own)

    def _await_anybody(self, deadline: float) -> None:
        """See that a server is there: one that is yet to start, or just starts, is no missing login."""
        raw = self._socket = self._connect(deadline)
        if not self._address.plaintext:
            # It accepts connections only once it has left its login.
            self._handshake(raw, deadline)
        self._disconnect()

    def _no_login(self) -> str:
        shown = self._address.shown
        if is_loopback(self._address.host):
            return (
                f"no login for {shown}: the server there is not yours; use the URI that 'track user add' "
                "printed, or start one of your own with 'track server'"
            )
        return (
            f"no login for {shown}: use the URI that 'track user add NAME --role writer' printed on the "
            "server's machine"
        )

    def _connect(self, deadline: float) -> socket.socket:
        address = self._address
        try:
            connected = socket.create_connection((address.host, address.port), timeout=_left(deadline))
        except (OSError, UnicodeError) as error:  # the latter for what can be no host name
            reason = _why(error) if isinstance(error, OSError) else "it is no host name"
            raise ServerUnreachable(
                f"no server answers at {address.shown} ({reason}): is it running, and is the address right?"
            ) from None
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connected

    def _handshake(self, raw: socket.socket, deadline: float) -> tuple[ssl.SSLSocket, bytes]:
        import ssl
        from pathlib import Path

        from track.connection.tls import check_negotiated, client_context

        address = self._address
        context = client_context(Path(address.cafile) if address.cafile else None)
        raw.settimeout(_left(deadline))
        try:
            tls = context.wrap_socket(raw, server_hostname=address.host)
        except ssl.SSLCertVerificationError as error:
            raise AuthenticationError(
                f"the certificate of {address.shown} is not signed for it by {address.cafile}: "
                f"{error.verify_message}"
            ) from None
        except OSError as error:
            # A server that stops, or has no connection left, ends the stream: that may be over soon.
            if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
                raise EncryptionMismatch(
                    f"{address.shown} does not speak TLS 1.3 ({error.reason or error}): if it is a server "
                    "started with security_layer=plaintext, say so in the URI too; otherwise something else "
                    "listens there"
                ) from None
            raise ServerUnreachable(
                f"{address.shown} ended the TLS handshake ({_why(error)}): try again"
            ) from None
        self._socket = tls
        check_negotiated(tls)
        der = tls.getpeercert(binary_form=True)
        if der is None:
            raise AuthenticationError(f"{address.shown} showed no certificate")
        return tls, der

    def _log_in(
        self,
        name: str,
        secret: Secret,
        session: bytes,
        der: bytes | None,
        trust: Trust | None,
        deadline: float,
        is_own: bool,
    ) -> Opened:
        from track.connection.credentials import local_credentials
        from track_protocol.security.pins import endpoint_binding
        from track_protocol.wire.login import ClientLogin

        connection = self._connection
        connection.send_client_hello("track", session)
        self._expect(ServerHelloReceived, deadline)
        if is_own and (fresh := local_credentials(self._address.port)) is not None:
            # What was read before may be what a killed server left; this one has left its own by now.
            name, secret = fresh.username, fresh.token
        binding = endpoint_binding(der) if der is not None else None
        may_reveal = trust is not None and bool(trust.pins)
        connection.log_in(ClientLogin(name, secret, binding, may_reveal=may_reveal))
        ready = self._expect(ReadyReceived, deadline)
        if trust is not None and der is not None:
            trust.proven(der)
        return Opened(ready.last_seq, ready.generation, ready.role)

    def _expect(self, kind: type[_E], deadline: float) -> _E:
        """Say what is to be said and wait for an event of that kind; what comes behind it is kept."""
        found: _E | None = None
        while True:
            self._write_out()
            for event in self._read_in():
                if isinstance(event, CloseReceived):
                    raise _closed(event)
                if found is None and isinstance(event, kind):
                    found = event
                elif found is None:
                    raise RemoteProtocolError(f"the server said {type(event).__name__} during the login")
                else:
                    self._early.append(event)
            if found is not None:
                return found
            if _left(deadline) <= _SHORTEST:
                raise ServerUnreachable(
                    f"{self._address.shown} did not finish the login in time: is it overloaded?"
                )
            self._write_out()  # a challenge is answered when it is received
            self._wait(_left(deadline))

    # -- talking -------------------------------------------------------------------------------------

    def send_batch(self, batch: Batch) -> int:
        """See `Link.send_batch`; the server may have closed, and then the next `poll` tells why."""
        return self._connection.send_batch(batch) if self._is_open else 0

    def send_call(self, call_id: int, seq: int | None, method: str, arguments: dict[str, Any]) -> None:
        """See `Link.send_call` and `send_batch`."""
        if self._is_open:
            self._connection.send_call(call_id, seq, method, arguments)

    def poll(self, timeout: float | None) -> list[LinkEvent]:
        """See `Link.poll`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            if not self._early:
                self._write_out()
                self._early += self._read_in()
            events = self._told()
            if events:
                return events
            self._write_out()
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return []
            if self._wait(self._watched(left)):
                return []

    def wake(self) -> None:
        """See `Link.wake`."""
        with self._pipe, contextlib.suppress(BlockingIOError):  # the pipe is full of wake-ups already
            if self._waker >= 0:
                os.write(self._waker, b"!")

    def close(self) -> None:
        """See `Link.close`."""
        if self._socket is not None and self._connection.state is not State.CLOSED:
            self._connection.send_close()
            with contextlib.suppress(TrackError):
                self._write_out()
        self._release()

    def after_fork_in_child(self) -> None:
        """Release this process's copies without a goodbye: the connection is the parent's."""
        self._pipe = threading.RLock()
        self._release()

    def _release(self) -> None:
        self._disconnect()
        with self._pipe:
            ends, self._awake, self._waker = (self._awake, self._waker), -1, -1
            for end in ends:
                if end >= 0:
                    os.close(end)

    def _told(self) -> list[LinkEvent]:
        """What the events in `_early` tell; a close waits until the answers before it were taken."""
        told: list[LinkEvent] = []
        while self._early:
            if isinstance(self._early[0], CloseReceived):
                if told:
                    break
                raise _closed(self._early[0])
            event = self._tell(self._early.popleft())
            if event is not None:
                told.append(event)
        return told

    def _tell(self, event: Event) -> LinkEvent | None:
        if isinstance(event, AckReceived):
            return Acked(event.last_seq, event.rejected)
        if isinstance(event, ResultReceived):
            return Replied(event.call_id, event.value)
        if isinstance(event, ErrorReceived):
            return Failed(event.call_id, error_from_wire(event.code, event.message, event.trace))
        if isinstance(event, NackReceived):
            return Refused(error_from_wire(event.code, event.message))
        if isinstance(event, PingReceived) and self._is_open:
            self._connection.send_pong(event.token)
        return None

    # -- bytes ---------------------------------------------------------------------------------------

    def _write_out(self) -> None:
        """Send what the socket takes now."""
        self._unsent += self._connection.data_to_send()
        while self._unsent:
            try:
                with memoryview(self._unsent) as view:
                    sent = self._open_socket.send(view[:_CHUNK])
            except OSError as error:
                if _would_block(error):
                    return
                raise self._last_words() or self._broken(error) from None
            del self._unsent[:sent]

    def _read_in(self) -> list[Event]:
        """The events in what has arrived."""
        events: list[Event] = []
        while True:
            try:
                data = self._open_socket.recv(_CHUNK)
            except OSError as error:
                if events or _would_block(error):
                    return events
                raise self._broken(error) from None
            if not data:
                if events:
                    return events
                raise ConnectionLost(f"{self._address.shown} ended the connection")
            self._connection.note_life(time.monotonic())
            events += self._connection.receive_data(data)

    def _last_words(self) -> TrackError | None:
        """Why the server closed the connection, if it still said so before a write failed."""
        self._unsent = bytearray()  # the failed write still holds a view of the old one
        try:
            events = self._read_in()
        except TrackError:
            return None
        return next((_closed(event) for event in events if isinstance(event, CloseReceived)), None)

    def _broken(self, error: OSError) -> ConnectionLost:
        return ConnectionLost(f"the connection to {self._address.shown} broke: {_why(error)}")

    def _wait(self, seconds: float | None) -> bool:
        """Wait for the socket or a wake-up; whether it was a wake-up."""
        poller = select.poll()
        poller.register(self._open_socket, select.POLLIN | (select.POLLOUT if self._unsent else 0))
        poller.register(self._awake, select.POLLIN)
        ready = poller.poll(None if seconds is None else max(0, math.ceil(seconds * 1000)))
        woken = any(descriptor == self._awake for descriptor, _ in ready)
        if woken:
            with contextlib.suppress(BlockingIOError):
                while len(os.read(self._awake, 4096)) == 4096:
                    pass
        return woken

    def _watched(self, seconds: float | None) -> float:
        """How long to wait at most before the next look whether the server is still there."""
        now = time.monotonic()
        try:
            self._connection.handle_timeout(now)
        except ConnectionLost as error:
            raise ConnectionLost(f"{self._address.shown}: {error}") from None
        self._write_out()
        waits = [_LOOK_EVERY_S, self._connection.next_timeout() - now]
        return min(waits if seconds is None else [*waits, seconds])

    @property
    def _is_open(self) -> bool:
        """Whether neither side has closed; the server's close may wait to be told behind its answers."""
        return self._connection.state is State.OPEN

    @property
    def _open_socket(self) -> socket.socket:
        if self._socket is None:
            raise ConnectionLost(f"there is no connection to {self._address.shown}")
        return self._socket

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _left(deadline: float) -> float:
    return max(_SHORTEST, deadline - time.monotonic())


def _why(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__


def _would_block(error: OSError) -> bool:
    """Whether a non-blocking socket, plain or TLS, only has to wait."""
    if isinstance(error, BlockingIOError):
        return True
    import ssl

    return isinstance(error, ssl.SSLWantReadError | ssl.SSLWantWriteError)


def _closed(event: CloseReceived) -> TrackError:
    if not event.code:
        return ConnectionLost("the server closed the connection")
    return error_from_wire(event.code, event.message)
