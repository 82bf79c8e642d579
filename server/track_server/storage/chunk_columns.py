"""The storage forms of one column, each of which gives back exactly the values it was made from.

========  =============================================================================
form      bytes, numbers little-endian
========  =============================================================================
RAW       the column's own; none for Nones
RANGE     first value and stride of integers that are evenly spaced
PLANES    64-bit values split into eight planes, all first bytes before all second ones;
          each plane is a constant, zstd or verbatim
DELTA     the first value, the smallest difference if negative, and PLANES of the
          differences of neighbours; floats as the integers that have their bits, which
          keeps times exact and their differences small
MIXED     floats, integers and Nones: a flag byte each, and everything as float64
JSON      any other values as one exact JSON list, zstd when packed
========  =============================================================================
"""

from __future__ import annotations

import struct
import sys
import threading
from array import array
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import accumulate, compress, repeat
from operator import add, sub
from typing import Any, Final

import zstandard

from track_protocol.wire.columns import Column, unpack
from track_server.storage import exactjson
from track_server.storage.numbers import FloatSums, as_floats

__all__ = [
    "MAX_POINTS",
    "Encoded",
    "decode_column",
    "decode_numbers",
    "encode_column",
    "encode_times",
    "range_of",
    "size_of",
    "zstd",
]

MAX_POINTS: Final = 32_768
"""Points in one chunk at most."""

_PAIR: Final = struct.Struct("<qq")
_RAW, _RANGE, _PLANES, _DELTA, _MIXED, _JSON = range(6)
_SAME, _VERBATIM, _ZSTD = range(3)
_PLANE: Final = struct.Struct("<BI")
_LEVEL: Final = 3
_EXACT_FLOAT: Final = 2**53
_FLOAT, _INT, _NONE = range(3)
_FLAGS: Final[dict[type, int]] = {float: _FLOAT, int: _INT, type(None): _NONE}
_NUMERIC: Final = frozenset("dq")

Encoded = tuple[str, int, bytes]
"""Code, form and bytes of one column."""


class _Zstd(threading.local):
    """Contexts are costly to make and must not be used by two threads at once."""

    def __init__(self) -> None:
        self.compress = zstandard.ZstdCompressor(level=_LEVEL).compress
        self.decompress = zstandard.ZstdDecompressor().decompress


zstd: Final = _Zstd()
"""Compresses and decompresses, for the thread that calls."""


def range_of(encoded: Encoded, count: int) -> tuple[int, int] | None:
    """First and last value of a column that was found to be evenly spaced, and so ascends."""
    if encoded[1] != _RANGE:
        return None
    first, stride = _PAIR.unpack(encoded[2])
    return first, first + stride * (count - 1)


def size_of(encoded: Encoded, count: int) -> int:
    """How many bytes a column takes when it is decoded, about."""
    code, form, data = encoded
    if code in _NUMERIC:
        return 8 * count
    return 0 if code == "n" else 32 * count if form == _MIXED else len(data)


def _numbers(code: str, data: bytes | bytearray) -> array[Any]:
    numbers: array[Any] = array(code)
    numbers.frombytes(data)
    return _swapped(numbers)


def _swapped(numbers: array[Any]) -> array[Any]:
    """Stored bytes are little-endian whatever the machine is."""
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


# -- encoding ------------------------------------------------------------------------------------


def encode_column(column: Column, *, packed: bool, smooth: bool = False) -> Encoded:
    """One column of a chunk.

    Args:
        column: one or more values.
        packed: small rather than fast.
        smooth: neighbours are expected to be near each other, as times are.
    """
    code, payload = column
    if code == "n":
        return code, _RAW, b""
    if code == "o":
        return code, *_encode_others(payload, packed)
    if code == "q" and len(payload) > _PAIR.size and (evenly := _encode_range(payload)):
        return code, _RANGE, evenly
    if not packed:
        return code, _RAW, payload
    delta = _encode_delta(payload) if smooth or code == "q" else None
    if smooth and delta is not None:
        return code, _DELTA, delta
    planes = _encode_planes(payload)
    if delta is not None and len(delta) < len(planes):
        return code, _DELTA, delta
    return code, _PLANES, planes


def _range(first: int, stride: int, count: int) -> int:
    """`count` evenly spaced integers, none negative, as the 64-bit digits of one huge integer."""
    ones, ordinals = _lanes(count)
    return first * ones + stride * ordinals


@lru_cache(maxsize=4)
def encode_times(times: Column) -> Encoded:
    """Times, packed.  It takes six times as long as values do.

    But series that are logged together have the same times, and are compacted one after the other, each a
    few chunks at once.
    """
    return encode_column(times, packed=True, smooth=True)


_BLOCK: Final = 2**16


def _consecutive(first: int, count: int) -> bytes:
    """So many integers from `first` on, none negative: the last two bytes of each are copied from a table."""
    parts = []
    for base in range(first - first % _BLOCK, first + count, _BLOCK):
        start, stop = max(first - base, 0), min(first + count - base, _BLOCK)
        part = bytearray(_block()[8 * start : 8 * stop])
        for lane, digit in enumerate(base.to_bytes(8, "little")):
            if digit:
                part[lane::8] = bytes((digit,)) * (stop - start)
        parts.append(part)
    return bytes(parts[0]) if len(parts) == 1 else b"".join(parts)


@lru_cache(maxsize=1)
def _block() -> bytes:
    return _swapped(array("q", range(_BLOCK))).tobytes()


@lru_cache(maxsize=1)
def _all_lanes() -> tuple[bytes, bytes]:
    return b"\1\0\0\0\0\0\0\0" * MAX_POINTS, _swapped(array("q", range(MAX_POINTS))).tobytes()


@lru_cache(maxsize=8)
def _lanes(count: int) -> tuple[int, int]:
    """Huge integers whose 64-bit digits are 1, 1, 1 … and 0, 1, 2 …"""
    ones, ordinals = _all_lanes()
    return int.from_bytes(ones[: 8 * count], "little"), int.from_bytes(ordinals[: 8 * count], "little")


def _encode_range(payload: bytes) -> bytes | None:
    first, last = _PAIR.unpack(payload[:8] + payload[-8:])
    count = len(payload) // 8
    stride, rest = divmod(last - first, count - 1)
    if rest or stride < 0 or first < 0 or count > MAX_POINTS:
        return None
    # One comparison for all of them, instead of one for each.
    if stride == 1:
        evenly = payload == _consecutive(first, count)
    else:
        evenly = int.from_bytes(payload, "little") == _range(first, stride, count)
    if not evenly:
        return None
    return _PAIR.pack(first, stride)


def _encode_planes(payload: bytes) -> bytes:
    parts: list[bytes] = []
    for lane in range(8):
        plane = payload[lane::8]
        kind, data = _VERBATIM, plane
        if plane.count(plane[0]) == len(plane):
            kind, data = _SAME, plane[:1]
        elif len(smaller := zstd.compress(plane)) < len(plane):
            kind, data = _ZSTD, smaller
        parts += (_PLANE.pack(kind, len(data)), data)
    return b"".join(parts)


def _encode_delta(payload: bytes) -> bytes | None:
    """None when there is nothing to gain, or a difference does not fit 64 bits."""
    numbers = _numbers("q", payload)
    if len(numbers) < 2:
        return None
    try:
        deltas = array("q", map(sub, numbers[1:], numbers))
        smallest = min(deltas)
        low = min(smallest, 0)
        if low:
            # Signs would spread one bit of noise over all high bytes.
            deltas = array("q", map(sub, deltas, repeat(low)))
    except OverflowError:
        return None
    return _PAIR.pack(numbers[0], low) + _encode_planes(_swapped(deltas).tobytes())


def _encode_others(values: list[Any], packed: bool) -> tuple[int, bytes]:
    kinds = set(map(type, values))
    if kinds <= _FLAGS.keys() and all(abs(v) <= _EXACT_FLOAT for v in values if type(v) is int):
        return _MIXED, _encode_mixed(values, packed)
    text = exactjson.dumps(values).encode()
    return _JSON, zstd.compress(text) if packed else text


def _encode_mixed(values: list[Any], packed: bool) -> bytes:
    flags = bytes([_FLAGS[type(value)] for value in values])
    floats = _swapped(array("d", [0.0 if value is None else value for value in values])).tobytes()
    if not packed:
        return _PLANE.pack(_VERBATIM, len(flags)) + flags + floats
    smaller = zstd.compress(flags)
    return _PLANE.pack(_ZSTD, len(smaller)) + smaller + _encode_planes(floats)


# -- decoding ----------------------------------------------------------------------------------


def decode_column(code: str, form: int, data: bytes, count: int) -> Column:
    """The column that was encoded.

    Args:
        code: of the column.
        form: in which it was encoded.
        data: its bytes.
        count: how many values it has.
    """
    if code == "n":
        return Column("n", count)
    if form == _RAW:
        return Column(code, data)
    return Column(code, _DECODERS[form](data, count))


def decode_numbers(code: str, form: int, data: bytes, count: int, *, sparse: bool = False) -> Sequence[float]:
    """The values of a column as numbers, NaN for what is no number; arguments as of `decode_column`.

    Args:
        sparse: few of them will be looked at.
    """
    if form == _RANGE:
        first, stride = _PAIR.unpack(data)
        return range(first, first + stride * count, stride) if stride else [first] * count
    if form == _DELTA and code == "d" and sparse:
        return FloatSums(*_differences(data, count))
    column = decode_column(code, form, data, count)
    return unpack(column) if code in _NUMERIC else as_floats(column)


def _decode_range(data: bytes, count: int) -> bytes:
    first, stride = _PAIR.unpack(data)
    if stride == 1:
        return _consecutive(first, count)
    return _range(first, stride, count).to_bytes(8 * count, "little")


def _decode_planes(data: bytes, count: int) -> bytes:
    out = bytearray(8 * count)
    at = 0
    for lane in range(8):
        kind, length = _PLANE.unpack_from(data, at)
        at += _PLANE.size
        out[lane::8] = _decode_plane(kind, data[at : at + length], count)
        at += length
    return bytes(out)


def _decode_plane(kind: int, data: bytes, count: int) -> bytes:
    if kind == _SAME:
        return data * count
    return zstd.decompress(data, max_output_size=count) if kind == _ZSTD else data


def _differences(data: bytes, count: int) -> tuple[int, int, Sequence[int]]:
    """The first value, what is to be added to each difference, and the differences."""
    first, low = _PAIR.unpack_from(data)
    return first, low, _numbers("q", _decode_planes(data[_PAIR.size :], count - 1))


def _accumulated(data: bytes, count: int) -> Iterable[int]:
    first, low, deltas = _differences(data, count)
    increments = map(add, deltas, repeat(low)) if low else deltas
    return accumulate(increments, initial=first)


def _decode_delta(data: bytes, count: int) -> bytes:
    # Twice as fast as an array, which grows value by value.
    return struct.pack(f"<{count}q", *_accumulated(data, count))


def _decode_mixed(data: bytes, count: int) -> list[Any]:
    kind, length = _PLANE.unpack_from(data)
    behind = _PLANE.size + length
    flags = _decode_plane(kind, data[_PLANE.size : behind], count)
    rest = data[behind:]
    values: list[Any] = _numbers("d", _decode_planes(rest, count) if kind == _ZSTD else rest).tolist()
    for i in compress(range(count), flags):
        values[i] = int(values[i]) if flags[i] == _INT else None
    return values


def _decode_json(data: bytes, count: int) -> list[Any]:
    text = zstd.decompress(data) if data[:4] == zstandard.FRAME_HEADER else data
    values = exactjson.loads(text.decode())
    if not isinstance(values, list):
        raise ValueError("its values are not a list")
    return values


_DECODERS: Final[dict[int, Any]] = {
    _RANGE: _decode_range,
    _PLANES: _decode_planes,
    _DELTA: _decode_delta,
    _MIXED: _decode_mixed,
    _JSON: _decode_json,
}
