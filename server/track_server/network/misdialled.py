"""Answers to a peer that speaks another protocol than the port it has reached."""

from __future__ import annotations

from typing import Final

from track_protocol.errors import EncryptionMismatch
from track_protocol.wire.connection import Connection, Side

__all__ = ["FIRST_BYTES", "http_answer", "is_http", "is_tls", "tls_only"]

FIRST_BYTES: Final = 16
"""How many bytes of a peer tell what it speaks."""

_HANDSHAKE: Final = b"\x16"
"""First byte of every TLS connection (RFC 8446, 5.1)."""
_METHODS: Final = (b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"OPTIONS ", b"PATCH ", b"PRI ")


def is_tls(first: bytes) -> bool:
    """Whether a peer's first bytes begin a TLS handshake; none say nothing against it."""
    return not first or first.startswith(_HANDSHAKE)


def is_http(first: bytes) -> bool:
    """Whether a peer's first bytes are a request of HTTP without TLS."""
    return first.startswith(_METHODS)


def http_answer(line: str) -> bytes:
    """One line for a browser."""
    body = f"{line}\n".encode()
    head = (
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


def tls_only() -> bytes:
    """Tell a client in plain text that the server accepts TLS only, in the only language it understands."""
    connection = Connection(Side.SERVER)
    connection.send_close(
        EncryptionMismatch("this server accepts TLS only: leave security_layer=plaintext out of the URI")
    )
    return connection.data_to_send()
