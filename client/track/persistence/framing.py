"""Messages one by one over a connection of your own: a 4-byte big-endian length, then msgpack.

The values are those that trials may have.  What a `SocketClient` sends is more than that (`track_protocol`):
these are for scripts that talk to each other.
"""

from __future__ import annotations

import asyncio
import socket as sockets
from typing import Any, Final

from track_protocol.errors import CallTimeout, ConnectionLost, FrameTooLarge
from track_protocol.wire.codec import decode, encode
from track_protocol.wire.frames import FRAME_LIMIT

__all__ = ["read", "recv", "send", "to_bytes", "to_obj", "write"]

_LENGTH: Final = 4


def to_bytes(message: Any) -> bytes:
    """A message's bytes, without its length.

    Raises:
        BadValue: it holds something that cannot be sent.
    """
    return encode(message)


def to_obj(message: bytes) -> Any:
    """The message of `to_bytes`.

    Raises:
        RemoteProtocolError: the bytes are no message.
    """
    return decode(message)


def send(socket: sockets.socket, msg: Any) -> None:
    """Send a message.

    Args:
        socket: a connected socket that blocks.
        msg: the message.

    Raises:
        BadValue: it holds something that cannot be sent.
        FrameTooLarge: it has over a MiB.
        ConnectionLost: the other side has disconnected.
    """
    framed = _framed(msg)
    try:
        socket.sendall(framed)
    except OSError as error:
        raise ConnectionLost(f"the message could not be sent ({error}): connect again") from error


def recv(socket: sockets.socket, timeout: float | None = None) -> Any:
    """Wait for a message.

    Args:
        socket: a connected socket that blocks.
        timeout: seconds; None waits for ever.

    Raises:
        CallTimeout: it did not arrive in time.
        ConnectionLost: the other side has disconnected.
        FrameTooLarge: it has over a MiB.
        RemoteProtocolError: the bytes are no message.
    """
    before = socket.gettimeout()
    socket.settimeout(timeout)
    try:
        return to_obj(_exactly(socket, _checked(_exactly(socket, _LENGTH))))
    except TimeoutError:
        raise CallTimeout(
            f"no message arrived within {timeout} s: check that the other side is running"
        ) from None
    except OSError as error:
        if isinstance(error, ConnectionLost):
            raise
        raise ConnectionLost(f"no message could be received ({error}): connect again") from error
    finally:
        socket.settimeout(before)


async def write(writer: asyncio.StreamWriter, msg: Any) -> None:
    """Send a message; see `send`."""
    framed = _framed(msg)
    try:
        writer.write(framed)
        await writer.drain()
    except OSError as error:
        raise ConnectionLost(f"the message could not be sent ({error}): connect again") from error


async def read(reader: asyncio.StreamReader, timeout: float | None = None) -> Any:  # noqa: ASYNC109 - as documented
    """Wait for a message; see `recv`."""

    async def message() -> bytes:
        return await reader.readexactly(_checked(await reader.readexactly(_LENGTH)))

    try:
        return to_obj(await asyncio.wait_for(message(), timeout))
    except TimeoutError:
        raise CallTimeout(
            f"no message arrived within {timeout} s: check that the other side is running"
        ) from None
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        raise ConnectionLost(f"the other side has disconnected ({error}): connect again") from error


def _framed(msg: Any) -> bytes:
    body = to_bytes(msg)
    return _checked_length(len(body)).to_bytes(_LENGTH, "big") + body


def _checked(head: bytes) -> int:
    return _checked_length(int.from_bytes(head, "big"))


def _checked_length(length: int) -> int:
    if length > FRAME_LIMIT:
        raise FrameTooLarge(f"a message of {length:,} bytes exceeds {FRAME_LIMIT:,}: send less at once")
    return length


def _exactly(socket: sockets.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        part = socket.recv(count - len(data))
        if not part:
            raise ConnectionLost("the other side has closed the connection: connect again")
        data += part
    return bytes(data)
