"""Frames: a 4-byte big-endian length, then one encoded array whose first item is the kind."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final

from track_protocol.errors import EncryptionMismatch, FrameTooLarge, LocalProtocolError, RemoteProtocolError
from track_protocol.wire.codec import encode, encode_own

__all__ = [
    "FRAME_LIMIT",
    "GREETING_LIMIT",
    "ITEMS_LIMIT",
    "FrameKind",
    "FrameReader",
    "check_items",
    "encode_frame",
    "frame_fields",
    "frame_parts",
]

GREETING_LIMIT: Final = 4 * 1024
"""Largest frame, in bytes, before the peers have proved themselves."""

FRAME_LIMIT: Final = 1024 * 1024
"""Largest frame, in bytes, afterwards."""

ITEMS_LIMIT: Final = 256 * 1024
"""Maximum items in a frame from a client: those of real clients take four bytes an item or more.

An item takes some 64 bytes of memory and a microsecond, so a megabyte of empty maps would take a second.
"""

_TLS_ALERT: Final = 0x15
_TLS_HANDSHAKE: Final = 0x16


class FrameKind(IntEnum):
    """Kind of a frame; the value travels on the wire."""

    HELLO = 1
    AUTH = 2
    READY = 3
    CALL = 4
    RESULT = 5
    ERROR = 6
    BATCH = 7
    ACK = 8
    NACK = 9
    PING = 10
    PONG = 11
    CLOSE = 12


_WITH_VALUES: Final = frozenset({FrameKind.CALL, FrameKind.BATCH})
"""Frames with values that others gave; the fields of the others are this protocol's own."""

_KINDS: Final = {kind.value: kind for kind in FrameKind}


def encode_frame(kind: FrameKind, fields: list[Any], limit: int = FRAME_LIMIT) -> bytes:
    """One frame's bytes; raises as `frame_parts`."""
    return b"".join(frame_parts(kind, fields, limit))


def frame_parts(kind: FrameKind, fields: list[Any], limit: int = FRAME_LIMIT) -> tuple[bytes, bytes]:
    """One frame's bytes in two parts, its length and its body, since a long body is not to be copied.

    Raises:
        LocalProtocolError: it is longer than `limit`.
        BadValue: a field cannot be encoded.
    """
    content = [int(kind), *fields]
    body = encode(content) if kind in _WITH_VALUES else encode_own(content)
    if len(body) > limit:
        raise LocalProtocolError(
            f"a {kind.name} of {len(body):,} bytes exceeds the limit of {limit:,}: send less at once"
        )
    return len(body).to_bytes(4, "big"), body


def check_items(count: int) -> None:
    """Refuse a frame of too many items.

    Raises:
        FrameTooLarge: it has more than `ITEMS_LIMIT`.
    """
    if count > ITEMS_LIMIT:
        raise FrameTooLarge(
            f"a frame of {count:,} items exceeds the limit of {ITEMS_LIMIT:,}: send less at once"
        )


def frame_fields(value: Any) -> tuple[FrameKind, list[Any]]:
    """The kind and the other fields of a frame's decoded body.

    Raises:
        RemoteProtocolError: the body is not an array that starts with a known kind.
    """
    if not isinstance(value, list) or not value:
        raise RemoteProtocolError("a frame is an array that starts with its kind")
    number = value[0]
    if type(number) is not int or number not in _KINDS:
        raise RemoteProtocolError(f"a frame's kind is a number from 1 to {len(_KINDS)}")
    return _KINDS[number], value[1:]


class FrameReader:
    """Cuts a byte stream into the bodies of frames; `limit` may be raised between frames."""

    def __init__(self, limit: int = GREETING_LIMIT) -> None:
        self.limit = limit
        self._buffer = bytearray()
        self._seen = False

    def feed(self, data: bytes) -> None:
        """Add received bytes."""
        self._buffer += data

    @property
    def buffered(self) -> int:
        """Buffered bytes of frames that are incomplete or not read yet."""
        return len(self._buffer)

    @property
    def announced(self) -> int:
        """Length of the frame that has begun to arrive; 0 without one."""
        return int.from_bytes(self._buffer[:4], "big") if len(self._buffer) >= 4 else 0

    def next_body(self) -> bytes | None:
        """The next complete frame's body, or None while it is incomplete.

        Raises:
            FrameTooLarge: the length exceeds `limit`; raised before the body arrives.
            EncryptionMismatch: the stream starts like TLS.
        """
        buffer = self._buffer
        if len(buffer) < 4:
            return None
        length = self.announced
        if length > self.limit:
            if not self._seen and buffer[0] in (_TLS_ALERT, _TLS_HANDSHAKE) and buffer[1] == 3:
                raise EncryptionMismatch("the peer uses TLS and this side plain text: use security_layer=AES")
            raise FrameTooLarge(f"a frame of {length:,} bytes exceeds the limit of {self.limit:,}")
        if len(buffer) < 4 + length:
            return None
        body = bytes(memoryview(buffer)[4 : 4 + length])
        del buffer[: 4 + length]
        self._seen = True
        return body
