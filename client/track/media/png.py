"""PNG (RFC 2083), as far as it takes to keep 8-bit pixels without a loss and to read them back."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

from track.media.arrays import numpy
from track_protocol.errors import BadValue

__all__ = ["Pixels", "decode_png", "encode_png"]

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_HEADER: Final = struct.Struct(">IIBBBBB")
_COLOR_TYPES: Final = {1: 0, 3: 2, 4: 6}
_CHANNELS: Final = {color: channels for channels, color in _COLOR_TYPES.items()}
_PLAIN: Final = 0
_UP: Final = 2
"""Filters of a row: as it is, or what it adds to the row above, which takes less room."""


class Pixels(NamedTuple):
    """An image: its size in pixels, 1, 3 or 4 channels, and a byte for each, row by row."""

    width: int
    height: int
    channels: int
    data: bytes


def encode_png(pixels: Pixels) -> bytes:
    """The file of an image."""
    color = _COLOR_TYPES[pixels.channels]
    header = _HEADER.pack(pixels.width, pixels.height, 8, color, 0, 0, 0)
    body = zlib.compress(_filtered(pixels), 6)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def decode_png(data: bytes) -> Pixels:
    """The image of a file that `encode_png` made.

    Raises:
        BadValue: it is none of these.
    """
    parts = dict(_chunks(data)) if data.startswith(_SIGNATURE) else {}
    try:
        width, height, depth, color, *rest = _HEADER.unpack(parts[b"IHDR"])
        rows = zlib.decompress(parts[b"IDAT"])
    except (KeyError, struct.error, zlib.error) as error:
        raise BadValue(f"this is no PNG file of ours ({error!r}): open it with an image library") from None
    channels = _CHANNELS.get(color, 0)
    stride = width * channels
    if depth != 8 or any(rest) or not stride or len(rows) != height * (stride + 1):
        raise BadValue("this PNG file is not one of ours: open it with an image library")
    above, found = bytes(stride), []
    for start in range(0, len(rows), stride + 1):
        row = rows[start + 1 : start + 1 + stride]
        if rows[start] == _UP:
            row = bytes([(left + right) & 255 for left, right in zip(row, above, strict=True)])
        elif rows[start] != _PLAIN:
            raise BadValue("this PNG file is not one of ours: open it with an image library")
        found.append(row)
        above = row
    return Pixels(width, height, channels, b"".join(found))


def _filtered(pixels: Pixels) -> bytes:
    np, stride = numpy(), pixels.width * pixels.channels
    if np is None:
        data = pixels.data
        rows = [data[start : start + stride] for start in range(0, len(data), stride)]
        return b"".join([bytes([_PLAIN]) + row for row in rows])
    image = np.frombuffer(pixels.data, np.uint8).reshape(pixels.height, stride)
    filtered = np.full((pixels.height, stride + 1), _UP, np.uint8)
    filtered[0, 1:] = image[0]
    np.subtract(image[1:], image[:-1], out=filtered[1:, 1:])
    result: bytes = filtered.tobytes()
    return result


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(_SIGNATURE)
    while at + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        at += 12 + length
