"""Two ends of a TLS session over a real socket, and OpenSSL's own tool as a peer."""

from __future__ import annotations

import shutil
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

__all__ = ["SECONDS", "listening", "needs_openssl", "session", "stock_server_context"]

SECONDS = 20.0

needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="the openssl command, which can offer a single cipher suite"
)


@contextmanager
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(SECONDS)
        yield listener


@contextmanager
def session(server: ssl.SSLContext, client: ssl.SSLContext) -> Iterator[tuple[ssl.SSLSocket, ssl.SSLSocket]]:
    """The server's and the client's end of one session, their handshake done."""
    with listening() as listener, ThreadPoolExecutor(1) as thread:
        accepted = thread.submit(_accept, listener, server)
        with (
            socket.create_connection(listener.getsockname(), SECONDS) as plain,
            client.wrap_socket(plain, server_hostname="localhost") as client_end,
            accepted.result(SECONDS) as server_end,
        ):
            yield server_end, client_end


def stock_server_context(certificate: str, key: str) -> ssl.SSLContext:
    """The context of a server without Track: any version, no ALPN."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


def _accept(listener: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket:
    plain, _ = listener.accept()
    plain.settimeout(SECONDS)
    try:
        return context.wrap_socket(plain, server_side=True)
    except OSError:
        plain.close()
        raise
