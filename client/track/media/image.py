"""Images: pixels of 1, 3 or 4 channels, compressed without a loss."""

from __future__ import annotations

import hashlib
from typing import Any, Final

from track.media.arrays import as_array, numpy
from track.media.png import Pixels, encode_png
from track_protocol.errors import BadValue
from track_protocol.model.media import IMAGE, Media

__all__ = ["image"]

_CHANNELS: Final = (1, 3, 4)
_MODES: Final = {"L": 1, "RGB": 3, "RGBA": 4}
_REMEDY: Final = (
    "give height x width, or height x width x channels with 1, 3 or 4 of them, "
    "as floats from 0 to 1 or integers from 0 to 255"
)


def image(value: Any) -> Media:
    """An image.

    Args:
        value: an array, a tensor or nested lists of height x width, or height x width x channels, with 1
            (gray), 3 (RGB) or 4 (RGBA) of them: floats from 0 to 1, integers from 0 to 255, or bools.  Or an
            image of Pillow's.

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
        if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
            raise BadValue(f"an image of floats has values from 0 to 1, and this one has others: {_REMEDY}")
        array = np.rint(array.astype(np.float64) * 255).astype(np.uint8)
    elif kind in "iu":
        if array.dtype != np.uint8 and not (array.min() >= 0 and array.max() <= 255):
            raise BadValue(
                f"an image of integers has values from 0 to 255, and this one has others: {_REMEDY}"
            )
        array = array.astype(np.uint8)
    else:
        raise BadValue(f"an image is not made of {array.dtype}: {_REMEDY}")
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
            raise BadValue(f"an image of floats has values from 0 to 1, and this one has others: {_REMEDY}")
        flat = [round(one * 255) for one in flat]
    elif all(isinstance(one, bool) for one in flat):
        flat = [255 * one for one in flat]
    if not all(isinstance(one, int) and 0 <= one <= 255 for one in flat):
        raise BadValue(f"an image of integers has values from 0 to 255, and this one has others: {_REMEDY}")
    return Pixels(width, height, channels, bytes(flat))


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
        raise BadValue(f"an image of {height} x {width} pixels has none: {_REMEDY}")
    return height, width, channels


def _checked(height: int, width: int, channels: int, data: bytes) -> Pixels:
    _sides(height, width, channels)
    return Pixels(width, height, channels, data)
