"""Servers that break the protocol, which clients must detect."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from track.connection.channel import client_context
from track_protocol.security.scram import Verifier
from track_protocol.security.tls import ALPN
from track_protocol.wire.connection import Connection, Side
from track_protocol.wire.events import Event
from track_protocol.wire.login import ServerLogin

__all__ = ["FakePeer", "fake_server", "relaying_server"]

_SECONDS = 20.0


class FakePeer:
    """The server's end of one conversation."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self.protocol = Connection(Side.SERVER)
        self.heard: list[Event] = []
        self.received = bytearray()
        self.sent = bytearray()

    def flush(self) -> None:
        """Send the queued output of the connection."""
        data = self.protocol.data_to_send()
        self.sent += data
        self.socket.sendall(data)

    def listen(self) -> bool:
        """Receive events into `heard`; return False at the end of the stream."""
        data = self.socket.recv(65_536)
        self.received += data
        self.heard += self.protocol.receive_data(data)
        return bool(data)

    def admit(self, verifier: Verifier) -> None:
        """Log a client in, without TLS."""
        self.hear(1)
        self.protocol.send_server_hello("fake", ServerLogin(None))
        self.flush()
        self.hear(2)
        self.protocol.send_challenge(verifier, bytes(32))
        self.flush()
        self.hear(3)
        self.protocol.send_ready(0, "generation", "writer")
        self.flush()

    def reset(self) -> None:
        """End the connection as a machine that crashed does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def hear(self, count: int) -> None:
        """Receive until `heard` holds so many events."""
        while len(self.heard) < count:
            self.listen()

    def listen_to_the_end(self) -> None:
        """Receive until the client hangs up."""
        while self.listen():
            pass


@contextmanager
def fake_server(
    behave: Callable[[FakePeer], None], certificate: Path | None = None, key: Path | None = None
) -> Iterator[int]:
    """The port of a server, with TLS if it has a certificate, that serves one client with `behave`."""

    def serve(listener: socket.socket) -> None:
        plain, _ = listener.accept()
        plain.settimeout(_SECONDS)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            with _wrapped(plain, certificate, key) as connected:
                behave(FakePeer(connected))
        except OSError:
            pass  # the client hung up

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(_SECONDS)
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            thread.join(_SECONDS)
            assert not thread.is_alive()


@contextmanager
def relaying_server(port: int, certificate: Path, key: Path) -> Iterator[int]:
    """A man in the middle: shows a certificate of its own and forwards every byte to a real server."""

    def relay(peer: FakePeer) -> None:
        with (
            socket.create_connection(("127.0.0.1", port), _SECONDS) as plain,
            client_context().wrap_socket(plain, server_hostname="localhost") as real,
        ):
            upward = threading.Thread(target=_pump, args=(peer.socket, real))
            upward.start()
            _pump(real, peer.socket)
            upward.join(_SECONDS)

    with fake_server(relay, certificate, key) as own:
        yield own


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65_536):
            target.sendall(data)
    except OSError:
        pass  # one side hung up; the other is closed below
    try:
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # already disconnected


def _wrapped(plain: socket.socket, certificate: Path | None, key: Path | None) -> socket.socket:
    if certificate is None or key is None:
        return plain
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0
    context.set_alpn_protocols([ALPN])
    context.load_cert_chain(certificate, key)
    try:
        return context.wrap_socket(plain, server_side=True)
    except OSError:
        plain.close()
        raise
