"""Images: pixels of 1, 3 or 4 channels as PNG (RFC 2083), without a loss; enough of it to read them back."""

from __future__ import annotations

import hashlib
import logging
import struct
import zlib
from collections.abc import Iterator
from functools import cache
from typing import Any, Final, NamedTuple

from track.media.arrays import as_array, numpy
from track_protocol.errors import BadValue
from track_protocol.model.media import IMAGE, Media

__all__ = ["Pixels", "decode_png", "encode_png", "image"]

_log: Final = logging.getLogger("track")

_CHANNELS: Final = (1, 3, 4)
_MODES: Final = {"L": 1, "RGB": 3, "RGBA": 4}
_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_HEADER: Final = struct.Struct(">IIBBBBB")
_COLOR_TYPES: Final = {1: 0, 3: 2, 4: 6}
_CHANNELS_OF_COLOR: Final = {color: channels for channels, color in _COLOR_TYPES.items()}
_PLAIN: Final = 0
_UP: Final = 2
"""PNG filters of a row: none, or the difference to the row above, which compresses better."""
_REMEDY: Final = (
    "give height x width, or height x width x channels with 1, 3 or 4 of them, "
    "as floats from 0 to 1 or integers from 0 to 255"
)


class Pixels(NamedTuple):
    """An image: its size in pixels, 1, 3 or 4 channels, and a byte for each, row by row."""

    width: int
    height: int
    channels: int
    data: bytes


def image(value: Any) -> Media:
    """An image.

    Args:
        value: an array, a tensor or nested lists of height x width, or height x width x channels, with 1
            (gray), 3 (RGB) or 4 (RGBA) of them: floats from 0 to 1 (others are clipped), integers from 0 to
            255, or bools.  Or an image of Pillow's.

    Raises:
        BadValue: it is something else.
    """
    pixels = _pixels(value)
    content = encode_png(pixels)
    document = {
        "width": pixels.width,
        "height": pixels.height,
        "channels": pixels.channels,
        "format": "png",
        "digest": hashlib.sha256(content).hexdigest(),
        "size": len(content),
    }
    return Media(IMAGE, document, content)


def _pixels(value: Any) -> Pixels:
    if callable(getattr(value, "convert", None)) and isinstance(getattr(value, "mode", None), str):
        return _of_pillow(value)
    np = numpy()
    return _of_lists(value) if np is None else _of_array(np, as_array(np, value))


def _of_pillow(value: Any) -> Pixels:
    if value.mode not in _MODES:
        transparent = "A" in value.mode or "transparency" in value.info
        value = value.convert("RGBA" if transparent else "L" if value.mode == "1" else "RGB")
    width, height = value.size
    return _checked(height, width, _MODES[value.mode], value.tobytes())


def _of_array(np: Any, array: Any) -> Pixels:
    height, width, channels = _shape(array.shape)
    kind = array.dtype.kind
    if kind == "b":
        array = array.astype(np.uint8) * np.uint8(255)
    elif kind == "f":
        if not (array.min() >= 0 and array.max() <= 1):  # a NaN is neither
            _warn_of_clipping()
            array = np.clip(np.nan_to_num(array, nan=0.0), 0, 1)
        array = np.rint(array.astype(np.float64) * 255).astype(np.uint8)
    elif kind in "iu":
        if array.dtype != np.uint8 and not (array.min() >= 0 and array.max() <= 255):
            raise BadValue(
                f"an image of integers has values from 0 to 255, and this one has others: {_REMEDY}"
            )
        array = array.astype(np.uint8)
    else:
        raise BadValue(f"an image cannot have the type {array.dtype}: {_REMEDY}")
    return Pixels(width, height, channels, array.tobytes())


def _of_lists(value: Any) -> Pixels:
    rows = value.tolist() if callable(getattr(value, "tolist", None)) else value
    shape: list[int] = []
    first = rows
    while isinstance(first, (list, tuple)) and len(shape) < 4:
        shape.append(len(first))
        first = first[0] if first else None
    height, width, channels = _shape(tuple(shape))
    flat = [one for row in rows for pixel in row for one in (pixel if len(shape) == 3 else (pixel,))]
    if len(flat) != height * width * channels:
        raise BadValue(f"the rows of an image are equally long, and these are not: {_REMEDY}")
    if any(isinstance(one, float) for one in flat):
        if not all(0 <= one <= 1 for one in flat):
            _warn_of_clipping()
            flat = [min(max(0.0, one), 1.0) if one == one else 0.0 for one in flat]
        flat = [round(one * 255) for one in flat]
    elif all(isinstance(one, bool) for one in flat):
        flat = [255 * one for one in flat]
    if not all(isinstance(one, int) and 0 <= one <= 255 for one in flat):
        raise BadValue(f"an image of integers has values from 0 to 255, and this one has others: {_REMEDY}")
    return Pixels(width, height, channels, bytes(flat))


@cache
def _warn_of_clipping() -> None:
    """Once in a process: a training would say it at every step."""
    _log.warning(
        "an image of floats must have values from 0 to 1: others are clipped, and NaN becomes 0; give "
        "integers from 0 to 255, or scale the floats"
    )


def _shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Height, width and channels."""
    if len(shape) == 2:
        shape = (*shape, 1)
    if len(shape) != 3 or shape[2] not in _CHANNELS:
        channels_first = len(shape) == 3 and shape[0] in _CHANNELS
        hint = "move its channels to the end, as in permute(1, 2, 0)" if channels_first else _REMEDY
        raise BadValue(f"an image cannot have the shape {shape!r:.80}: {hint}")
    return _sides(shape[0], shape[1], shape[2])


def _sides(height: int, width: int, channels: int) -> tuple[int, int, int]:
    if not (height and width):
        raise BadValue(f"an image of {height} x {width} pixels is empty: {_REMEDY}")
    return height, width, channels


def _checked(height: int, width: int, channels: int, data: bytes) -> Pixels:
    _sides(height, width, channels)
    return Pixels(width, height, channels, data)


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
        raise BadValue(
            f"this PNG file was not written by Track ({error!r}): open it with an image library"
        ) from None
    channels = _CHANNELS_OF_COLOR.get(color, 0)
    stride = width * channels
    if depth != 8 or any(rest) or not stride or len(rows) != height * (stride + 1):
        raise BadValue("this PNG file was not written by Track: open it with an image library")
    above, found = bytes(stride), []
    for start in range(0, len(rows), stride + 1):
        row = rows[start + 1 : start + 1 + stride]
        if rows[start] == _UP:
            row = bytes([(left + right) & 255 for left, right in zip(row, above, strict=True)])
        elif rows[start] != _PLAIN:
            raise BadValue("this PNG file was not written by Track: open it with an image library")
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
