"""The link over a socket: a blocking shell around the protocol's connection.

One thread uses it, so that one TLS session is never used by two at once; other threads only wake
it.  All waiting is done in `select`, on the socket and on a pipe that `wake` writes to.
"""

from __future__ import annotations

import contextlib
import logging
import select
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, TypeVar

from track.connection.address import SocketAddress
from track.connection.channel import Channel, wait_for
from track.connection.credentials import LocalCredentials, local_credentials
from track.connection.hosts import Host, Hosts, server_name, share_of
from track.connection.login import find_login
from track.connection.trust import Trust, pins_for
from track.connection.wake import WakePipe
from track_protocol.errors import (
    AuthenticationError,
    CallTimeout,
    ConnectionLost,
    RemoteProtocolError,
    TrackError,
    UsageError,
    error_from_wire,
)
from track_protocol.security.tls import endpoint_binding, pin_of_certificate
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
from track_protocol.wire.login import ClientLogin

__all__ = ["SocketLink"]

_log: Final = logging.getLogger("track.connection")

_POLL_INTERVAL_S: Final = 5.0
"""Longest wait in one piece, in case a wake-up is lost because its pipe was closed from outside."""

_E = TypeVar("_E", bound=Event)


class SocketLink:
    """A `track_protocol.wire.link.Link` to one of the servers of a store.

    Args:
        address: the servers.
        authenticate: gives name and password or token; by default `find_login`.
        hosts: the order in which they are tried, which several links of one client share; by default a new
            one.
        silence: seconds of silence after which the server is asked for a sign of life.

    Attributes:
        pin: of the server that has let this link in; empty in plain text.
    """

    def __init__(
        self,
        address: SocketAddress,
        authenticate: Callable[[], tuple[str, str] | None] | None = None,
        hosts: Hosts | None = None,
        *,
        silence: float = SILENCE_S,
    ) -> None:
        self._address = address
        self._hosts = hosts or Hosts(address.hosts)
        self._host = address.hosts[0]
        self._is_refused = False
        self._silence = silence
        self._authenticate = authenticate or (lambda: find_login(address))
        self._connection = Connection(Side.CLIENT)
        self._channel: Channel | None = None
        self._ended: float | None = None
        self._unsent = bytearray()
        self._early: deque[Event] = deque()
        self._unanswered: set[int] = set()
        self._pipe = WakePipe()
        self.pin = ""

    # -- opening -------------------------------------------------------------------------------------

    def open(self, session: bytes, timeout: float, ended: float | None = None) -> Opened:
        """See `Link.open`; each host is tried once."""
        self._ended = ended
        login = self._authenticate()
        hosts, errors = self._hosts.in_turn(), dict[Host, TrackError]()
        deadline = time.monotonic() + timeout
        for number, host in enumerate(hosts):
            share = share_of(deadline - time.monotonic(), len(hosts) - number, timeout)
            try:
                opened = self._open_at(host, login, session, share)
            except TrackError as error:
                self._hosts.note_failed(host)
                errors[host] = error
                if self._is_refused or isinstance(error, UsageError):
                    raise  # the others have the same users, and this client is the same
                continue
            self._hosts.note_open(host)
            for other, reason in errors.items():
                self._hosts.report(other, reason)
            return opened
        raise self._hosts.failure(errors)

    def _open_at(self, host: Host, login: tuple[str, str] | None, session: bytes, timeout: float) -> Opened:
        self._disconnect()
        self._host = host
        self._is_refused = False
        self._connection = Connection(Side.CLIENT, self._silence)
        self._unsent.clear()
        self._early.clear()
        self._unanswered.clear()
        if not self._pipe.is_ours:
            self._pipe = WakePipe()
        try:
            opened = self._open(login, session, time.monotonic() + timeout)
        except BaseException as error:
            _log.debug("no connection to %s: %s", host.shown, error)
            self._disconnect()
            raise
        _log.debug(
            "session %s is attached to %s as %s, after record %d",
            session.hex(),
            host.shown,
            opened.role,
            opened.last_seq,
        )
        return opened

    def _open(self, login: tuple[str, str] | None, session: bytes, deadline: float) -> Opened:
        address, host = self._address, self._host
        local = local_credentials(host.port) if host.is_loopback else None
        if login is None and local is None and host.is_loopback:
            self._await_server(deadline)
            local = local_credentials(host.port)
        is_own = login is None
        if login is None and local is not None:
            login = (local.username, local.token.reveal())
        if login is None:
            raise AuthenticationError(self._no_login())
        name, secret = login[0], Secret(login[1])
        if address.plaintext:
            if local is None and not is_generated(secret.reveal()):
                raise AuthenticationError(
                    f"{host.shown}: over plain text, any user of this machine could impersonate the "
                    "server and try passwords against the login: use a token, or leave "
                    "security_layer=plaintext out"
                )
            self._connect(deadline)
            return self._log_in(name, secret, session, None, None, deadline, is_own)
        trust = self._trust(secret, local)
        der = self._connect(deadline).start_tls(host.name, address.cafile, deadline)
        if is_own and (fresh := local_credentials(host.port)) is not None and fresh != local:
            trust = self._trust(fresh.token, fresh)
        trust.check(der)
        return self._log_in(name, secret, session, der, trust, deadline, is_own)

    def _trust(self, secret: Secret, local: LocalCredentials | None) -> Trust:
        return pins_for(
            server_name(*self._host),
            uri_pins=self._address.pins,
            secret=secret,
            siblings=self._address.names,
            local=local,
        )

    def _connect(self, deadline: float) -> Channel:
        self._channel = Channel(*self._host, self._host.shown, deadline)
        return self._channel

    def _await_server(self, deadline: float) -> None:
        """See that a server is there: one that is yet to start, or just starts, is no missing login."""
        channel = self._connect(deadline)
        if not self._address.plaintext:
            # It accepts connections only once it has left its login.
            channel.start_tls(self._host.name, self._address.cafile, deadline)
        self._disconnect()

    def _no_login(self) -> str:
        shown = self._host.shown
        if self._host.is_loopback:
            return (
                f"no login for {shown}: the server there is not yours; run 'track login' with the URI that "
                "'track user add' printed, or start one of your own with 'track server'"
            )
        return (
            f"no login for {shown}: run 'track login', with the URI that 'track user add NAME --role writer' "
            "printed on the server's machine"
        )

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
        connection = self._connection
        connection.send_client_hello("track", session, self._ended)
        hello = self._expect(ServerHelloReceived, deadline)
        _log.debug("%s (%s) requires %s", self._host.shown, hello.agent, hello.mechanism)
        if is_own and (fresh := local_credentials(self._host.port)) is not None:
            # The credentials read before may be those of a killed server; this one has its own by now.
            name, secret = fresh.username, fresh.token
        binding = endpoint_binding(der) if der is not None else None
        may_reveal = self._address.may_reveal and trust is not None and bool(trust.pins)
        _log.debug("logging in to %s as %s", self._host.shown, name)
        connection.log_in(ClientLogin(name, secret, binding, may_reveal=may_reveal))
        try:
            ready = self._expect(ReadyReceived, deadline)
        except AuthenticationError:
            # A server with the key of all of them has spoken for all.
            self._is_refused = trust is not None and trust.is_common and not is_own
            raise
        if trust is not None and der is not None:
            trust.proven(der)
            self.pin = pin_of_certificate(der)
        return Opened(ready.last_seq, ready.generation, ready.role)

    def _expect(self, kind: type[_E], deadline: float) -> _E:
        """Send the pending bytes and wait for an event of that kind; later events wait in `_early`."""
        found: _E | None = None
        while True:
            self._write_out()
            for event in self._read_in():
                if isinstance(event, CloseReceived):
                    raise _closed(event)
                if found is None and isinstance(event, kind):
                    found = event
                elif found is None:
                    raise RemoteProtocolError(f"the server sent {type(event).__name__} during the login")
                else:
                    self._early.append(event)
            if found is not None:
                return found
            if time.monotonic() >= deadline:
                raise CallTimeout(
                    f"{self._host.shown} accepted the connection and did not finish the login in time: "
                    "is it overloaded?"
                )
            self._write_out()  # a challenge is answered when it is received
            self._wait(deadline - time.monotonic())

    # -- talking -------------------------------------------------------------------------------------

    def send_batch(self, batch: Batch) -> int:
        """See `Link.send_batch`; the server may have closed, and then the next `poll` raises why."""
        return self._connection.send_batch(batch) if self._is_open else 0

    def send_call(self, call_id: int, seq: int | None, method: str, arguments: dict[str, Any]) -> None:
        """See `Link.send_call` and `send_batch`."""
        if self._is_open:
            self._connection.send_call(call_id, seq, method, arguments)
            if seq is not None:
                self._unanswered.add(call_id)

    def poll(self, timeout: float | None) -> list[LinkEvent]:
        """See `Link.poll`."""
        try:
            return self._poll(timeout)
        except TrackError:
            self._hosts.note_lost(self._host)
            raise

    def _poll(self, timeout: float | None) -> list[LinkEvent]:
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            if not self._early:
                self._write_out()
                self._early += self._read_in()
            events = self._translated()
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
        self._pipe.wake()

    def close(self) -> None:
        """See `Link.close`."""
        if self._channel is not None and self._connection.state is not State.CLOSED:
            _log.debug("closing the connection to %s", self._host.shown)
            # After a goodbye the server deletes its last answer, which a caller that lacks it requests again.
            if not self._unanswered:
                self._connection.send_close()
            with contextlib.suppress(TrackError):
                self._write_out()
        self._disconnect()
        self._pipe.close()

    def after_fork_in_child(self) -> None:
        """Release this process's copies without a goodbye: the connection is the parent's."""
        self._disconnect()
        self._pipe.close_in_child()

    def _translated(self) -> list[LinkEvent]:
        """The link events in `_early`; a close waits until the answers before it were returned."""
        translated: list[LinkEvent] = []
        while self._early:
            if isinstance(self._early[0], CloseReceived):
                if translated:
                    break
                raise _closed(self._early[0])
            event = self._translate(self._early.popleft())
            if event is not None:
                translated.append(event)
        return translated

    def _translate(self, event: Event) -> LinkEvent | None:
        if isinstance(event, AckReceived):
            return Acked(event.last_seq, event.rejected)
        if isinstance(event, ResultReceived | ErrorReceived):
            self._unanswered.discard(event.call_id)
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
        """Send the bytes that the socket accepts now."""
        self._unsent += self._connection.data_to_send()
        while self._unsent:
            channel = self._open_channel
            try:
                sent = channel.send(self._unsent)
            except OSError as error:
                raise self._last_words() or _lost(channel, error) from None
            if not sent:
                return
            del self._unsent[:sent]

    def _read_in(self) -> list[Event]:
        """The events in what has arrived."""
        events: list[Event] = []
        while True:
            channel = self._open_channel
            try:
                data = channel.receive()
            except OSError as error:
                if events:
                    return events
                raise _lost(channel, error) from None
            if data is None or (events and not data):
                return events
            if not data:
                raise ConnectionLost(f"{self._host.shown} closed the connection")
            self._connection.note_life(time.monotonic())
            events += self._connection.receive_data(data)

    def _last_words(self) -> TrackError | None:
        """The server's reason for closing the connection, if one arrived before a write failed."""
        self._unsent = bytearray()  # the failed write still has a view of the old one
        try:
            events = self._read_in()
        except TrackError:
            return None
        return next((_closed(event) for event in events if isinstance(event, CloseReceived)), None)

    def _wait(self, seconds: float | None) -> bool:
        """Wait for the socket or a wake-up; whether it was a wake-up.

        Raises:
            ConnectionLost: the program has closed a descriptor of ours.
        """
        if not self._pipe.is_ours:
            raise ConnectionLost("the program has closed the descriptor by which this connection is woken")
        events = select.POLLIN | (select.POLLOUT if self._unsent else 0)
        ready = wait_for([(self._open_channel, events), (self._pipe, select.POLLIN)], seconds)
        woken = self._pipe.fileno() in ready
        if woken:
            self._pipe.drain()
        return woken

    def _watched(self, seconds: float | None) -> float:
        """How long to wait at most before the next look whether the server is still there."""
        now = time.monotonic()
        if now >= self._connection.next_timeout():
            _log.debug("%s is silent: sending a keepalive", self._host.shown)
        try:
            self._connection.handle_timeout(now)
        except ConnectionLost as error:
            raise ConnectionLost(f"{self._host.shown}: {error}") from None
        self._write_out()
        waits = [_POLL_INTERVAL_S, self._connection.next_timeout() - now]
        return min(waits if seconds is None else [*waits, seconds])

    @property
    def _is_open(self) -> bool:
        """Whether neither side has closed; the server's close may wait behind its answers."""
        return self._connection.state is State.OPEN

    @property
    def connected_socket(self) -> Any:
        """The connected socket; None while there is none."""
        return None if self._channel is None else self._channel.connected_socket

    @property
    def _open_channel(self) -> Channel:
        if self._channel is None:
            raise ConnectionLost(f"there is no connection to {self._host.shown}")
        return self._channel

    def _disconnect(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None


def _lost(channel: Channel, error: OSError) -> TrackError:
    return error if isinstance(error, TrackError) else channel.broken(error)


def _closed(event: CloseReceived) -> TrackError:
    if not event.code:
        return ConnectionLost("the server closed the connection")
    return error_from_wire(event.code, event.message)
