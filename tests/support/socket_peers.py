"""Clients of a server at two levels: a complete `SocketLink`, and a peer that may send anything."""

from __future__ import annotations

import socket
import ssl
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from running_server import Served
from track.connection.address import SocketAddress
from track.connection.channel import client_context
from track.connection.link import SocketLink
from track_protocol.errors import ConnectionLost, error_from_wire
from track_protocol.security.tls import endpoint_binding
from track_protocol.uri import Uri
from track_protocol.wire.batch import Batch, CallOp, Op
from track_protocol.wire.connection import Connection, Side
from track_protocol.wire.events import CloseReceived, Event, ReadyReceived, ServerHelloReceived
from track_protocol.wire.link import Acked, Failed, LinkEvent, Refused, Replied
from track_protocol.wire.login import ClientLogin

__all__ = ["SECONDS", "Joined", "Peer", "joined", "peer", "plain_peer"]

SECONDS = 20.0

_E = TypeVar("_E", bound=Event)


class Joined:
    """An open link with its numbers."""

    def __init__(self, uri: str, session: bytes | None = None) -> None:
        self.link = SocketLink(SocketAddress(uri))
        self.session = session or uuid.uuid4().bytes
        self.opened = self.link.open(self.session, SECONDS)
        self.seq = self.opened.last_seq
        self._calls = 0

    def next_events(self) -> list[LinkEvent]:
        """Return all events that arrive next."""
        for _ in range(100):
            if events := self.link.poll(SECONDS / 100):
                return events
        raise AssertionError("the server does not answer")

    def next(self) -> LinkEvent:
        """Return the next event, which must arrive alone."""
        (event,) = self.next_events()
        return event

    def call(self, method: str, **arguments: Any) -> Any:
        """Make a write with an answer; return its value, or raise its error."""
        self.seq += 1
        return self._ask(method, self.seq, arguments)

    def read(self, method: str, **arguments: Any) -> Any:
        """Make a read; return its value, or raise its error."""
        return self._ask(method, None, arguments)

    def send(self, *ops: Op) -> None:
        """Send the next operations of this session; do not wait."""
        count = sum(1 if isinstance(op, CallOp) else len(op) for op in ops)
        self.link.send_batch(Batch(self.seq + 1, count, list(ops)))
        self.seq += count

    def log(self, *ops: Op) -> Acked:
        """Send operations; return their acknowledgement, or raise the error."""
        self.send(*ops)
        event = self.next()
        if isinstance(event, Refused):
            raise event.error
        assert isinstance(event, Acked)
        return event

    def new_trial(self, hash: str = "h", **fields: Any) -> Any:
        """Create the next revision of a trial with that hash."""
        trial = {"id": uuid.uuid4().bytes, "hash": hash, "revision": 0, **fields}
        return self.call("new_trial", trial=trial, auto_increment=True)

    def _ask(self, method: str, seq: int | None, arguments: dict[str, Any]) -> Any:
        self._calls += 1
        self.link.send_call(self._calls, seq, method, arguments)
        event = self.next()
        if isinstance(event, Failed):
            raise event.error
        assert isinstance(event, Replied)
        return event.value


@contextmanager
def joined(uri: str, session: bytes | None = None) -> Iterator[Joined]:
    """A `Joined`, closed at the end."""
    found = Joined(uri, session)
    try:
        yield found
    finally:
        found.link.close()


class Peer:
    """A socket, TLS or plain, and the protocol's connection, which the test may go around."""

    def __init__(self, connected: socket.socket, binding: bytes | None) -> None:
        self.socket = connected
        self.binding = binding
        self.protocol = Connection(Side.CLIENT)
        self._events: list[Event] = []

    def flush(self) -> None:
        """Send the queued output of the connection."""
        self.socket.sendall(self.protocol.data_to_send())

    def expect(self, kind: type[_E]) -> _E:
        """Return the next event, which must be of that kind; raise the error with which the server closes."""
        while not self._events:
            self.flush()  # a challenge is answered when it is received
            data = self.socket.recv(65_536)
            if not data:
                raise ConnectionLost("end of stream")
            self._events += self.protocol.receive_data(data)
        event = self._events.pop(0)
        if isinstance(event, CloseReceived) and kind is not CloseReceived:
            raise error_from_wire(event.code, event.message)
        assert isinstance(event, kind), event
        return event

    def greet(self, session: bytes | None = None) -> ServerHelloReceived:
        """Exchange greetings."""
        self.protocol.send_client_hello("test", session or uuid.uuid4().bytes)
        return self.expect(ServerHelloReceived)

    def log_in(self, uri: str, session: bytes | None = None) -> ReadyReceived:
        """Greet and log in with the URI's user and token."""
        parsed = Uri.parse(uri)
        self.greet(session)
        self.protocol.log_in(ClientLogin(parsed.username or "", parsed.password or "", self.binding))
        return self.expect(ReadyReceived)

    def ended(self) -> bool:
        """Whether the server ends the connection; waits for it and skips what it says before."""
        try:
            while self.socket.recv(65_536):
                pass
        except ConnectionError:
            pass
        return True


@contextmanager
def plain_peer(served: Served) -> Iterator[Peer]:
    """A peer on a plain socket."""
    with socket.create_connection((served.host, served.port), SECONDS) as connected:
        yield Peer(connected, None)


@contextmanager
def peer(served: Served) -> Iterator[Peer]:
    """A peer inside TLS, which looks at no pin."""
    with (
        socket.create_connection((served.host, served.port), SECONDS) as plain,
        client_context().wrap_socket(plain, server_hostname="localhost") as tls,
    ):
        tls.settimeout(SECONDS)
        yield Peer(tls, endpoint_binding(certificate_of(tls)))


def certificate_of(tls: ssl.SSLSocket) -> bytes:
    """The certificate that the other side showed, DER encoded."""
    found = tls.getpeercert(binary_form=True)
    assert found is not None
    return found
