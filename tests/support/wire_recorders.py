"""Servers and proxies that record their traffic."""

from __future__ import annotations

import select
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from track_protocol.security.tls import ALPN

__all__ = ["Recording", "recording_proxy", "recording_tls_server"]

_SECONDS = 20.0


class Recording:
    """The recorded traffic, and the port."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.upward = bytearray()
        self.downward = bytearray()
        self.connections = 0
        self.ended = threading.Event()

    @property
    def everything(self) -> bytes:
        """Both directions."""
        return bytes(self.upward) + bytes(self.downward)


@contextmanager
def recording_tls_server(certificate: Path, key: Path) -> Iterator[Recording]:
    """Accepts one connection, finishes its TLS handshake and records the application bytes that follow."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0
    context.set_alpn_protocols([ALPN])
    context.load_cert_chain(certificate, key)

    def record(listener: socket.socket, recording: Recording) -> None:
        plain, _ = listener.accept()
        plain.settimeout(_SECONDS)
        recording.connections += 1
        try:
            with context.wrap_socket(plain, server_side=True) as tls:
                while data := tls.recv(65_536):
                    recording.upward += data
        except OSError:
            pass  # the client hung up, as it should
        finally:
            recording.ended.set()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(_SECONDS)
        recording = Recording(listener.getsockname()[1])
        thread = threading.Thread(target=record, args=(listener, recording))
        thread.start()
        try:
            yield recording
        finally:
            thread.join(_SECONDS)
            assert not thread.is_alive()


@contextmanager
def recording_proxy(host: str, port: int) -> Iterator[Recording]:
    """Forwards bytes between its clients and a server, and records them."""
    stop_reading, stop = socket.socketpair()
    threads: list[threading.Thread] = []

    def accept(listener: socket.socket, recording: Recording) -> None:
        while True:
            ready, _, _ = select.select([listener, stop_reading], [], [])
            if stop_reading in ready:
                return
            client, _ = listener.accept()
            recording.connections += 1
            server = socket.create_connection((host, port), _SECONDS)
            ends = (client, server, stop_reading)
            threads.append(threading.Thread(target=_forward, args=(*ends, recording)))
            threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        recording = Recording(listener.getsockname()[1])
        threads.append(threading.Thread(target=accept, args=(listener, recording)))
        threads[0].start()
        try:
            yield recording
        finally:
            stop.send(b"!")
            for thread in threads:
                thread.join(_SECONDS)
                assert not thread.is_alive()
            stop.close()
            stop_reading.close()


def _forward(client: socket.socket, server: socket.socket, stop: socket.socket, recording: Recording) -> None:
    """Forward bytes until one side hangs up or `stop` is readable."""
    pairs = {client: (server, recording.upward), server: (client, recording.downward)}
    with client, server:
        while True:
            ready, _, _ = select.select([client, server, stop], [], [], _SECONDS)
            if not ready or stop in ready:
                return
            for end in ready:
                other, record = pairs[end]
                try:
                    data = end.recv(65_536)
                    other.sendall(data)
                except ConnectionError:
                    return  # one side broke the connection; the other is closed
                if not data:
                    return
                record += data
