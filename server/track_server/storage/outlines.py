"""The outline of a chunk: its points in few buckets, so that a chart of very many points reads few.

An outline stands beside its chunk and follows from it entirely.  It cuts the points into groups of equal
count and says of each what `track_server.storage.chart_columns.Buckets` does:

======  ===============================================================================
bytes   what
======  ===============================================================================
1       version of this form, 1
1       traits of the points, see `track_server.storage.chart_columns.Traits`
4       count of points
2       count of buckets
…       zstd of eight planes, all first bytes before all second ones, of the columns:
        steps, times, last values, least, greatest and mean values, then, unless all
        values are finite, how many are not and the last of them; all float64
4       CRC-32 of all before
======  ===============================================================================
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final

import zstandard

from track_protocol.wire.columns import Column
from track_server.storage.chart_columns import Buckets, Traits, traits_of
from track_server.storage.chunk_columns import zstd
from track_server.storage.numbers import as_floats

__all__ = ["MIN_POINTS", "BadOutline", "Outline", "outline_of"]

MIN_POINTS: Final = 256
"""Points from which on a chunk has an outline."""

_VERSION: Final = 1
_HEAD: Final = struct.Struct("<BBIH")
_CRC: Final = struct.Struct("<I")
_BUCKET_POINTS: Final = 64
_MIN_BUCKETS: Final = 16
_MAX_BUCKETS: Final = 128
_FINITE_COLUMNS: Final = 6
_ALL_COLUMNS: Final = 8
_MEAN_BITS: Final = 24
"""Bits of a mean that are kept, from the distance of least and greatest value on."""


class BadOutline(ValueError):
    """Bytes that are not an outline as it was written."""


@lru_cache(maxsize=64)
def _edges(count: int, buckets: int) -> Sequence[int]:
    """Where each bucket begins, and the end of the last one."""
    return [count * i // buckets for i in range(buckets + 1)]


@lru_cache(maxsize=64)
def _counts(count: int, buckets: int) -> Sequence[int]:
    """How many points each bucket has."""
    return [behind - first for first, behind in pairwise(_edges(count, buckets))]


def outline_of(steps: Column, times: Column, values: Column) -> bytes | None:
    """The outline of a chunk with these points; None if it has too few of them."""
    count = len(times)
    if count < MIN_POINTS:
        return None
    edges = _edges(count, max(_MIN_BUCKETS, min(_MAX_BUCKETS, count // _BUCKET_POINTS)))
    places, moments = as_floats(steps), as_floats(times)
    found = Buckets.of(places, moments, as_floats(values), edges[:-1])
    found = found._replace(means=list(map(_rounded, found.means, found.lows, found.highs)))
    columns: Any = found[: _ALL_COLUMNS if any(found.nonfinite) else _FINITE_COLUMNS]
    numbers = b"".join([struct.pack(f"<{len(column)}d", *column) for column in columns])
    planes = b"".join([numbers[lane::8] for lane in range(8)])
    head = _HEAD.pack(_VERSION, traits_of(places, moments), count, len(edges) - 1)
    outline = head + zstd.compress(planes)
    return outline + _CRC.pack(zlib.crc32(outline))


def _rounded(mean: float, low: float, high: float) -> float:
    """A mean, as exactly as its distance from other values matters: the rest of its bits are noise."""
    extent = high - low
    if not 0 < extent < math.inf:
        return mean
    unit = math.ldexp(1.0, math.frexp(extent)[1] - _MEAN_BITS)
    return min(high, max(low, round(mean / unit) * unit)) if unit else mean


class Outline:
    """An outline whose checksum is right; the buckets are decoded when they are asked for.

    Args:
        data: as it was written.
        count: of the points of its chunk.

    Attributes:
        traits: of the chunk's points.

    Raises:
        BadOutline: it is damaged, of another version or of another chunk.
    """

    __slots__ = ("_buckets", "_count", "_data", "traits")

    def __init__(self, data: bytes, count: int) -> None:
        if len(data) < _HEAD.size + _CRC.size:
            raise BadOutline(f"it has {len(data)} bytes and is cut off")
        if zlib.crc32(memoryview(data)[: -_CRC.size]) != _CRC.unpack(data[-_CRC.size :])[0]:
            raise BadOutline("its checksum does not match")
        version, traits, points, buckets = _HEAD.unpack_from(data)
        if version != _VERSION:
            raise BadOutline(f"it has form {version}, and this version knows {_VERSION}")
        if points != count:
            raise BadOutline(f"it is of {points} points, and its chunk has {count}")
        self._data, self._count, self._buckets = data, count, int(buckets)
        self.traits = Traits(traits)

    def __len__(self) -> int:
        return self._buckets

    def ends(self) -> list[int]:
        """The last point of each bucket."""
        return [edge - 1 for edge in _edges(self._count, self._buckets)[1:]]

    def buckets(self) -> Buckets:
        """The buckets.

        Raises:
            BadOutline: they cannot be decoded.
        """
        width = self._buckets
        try:
            planes = zstd.decompress(
                memoryview(self._data)[_HEAD.size : -_CRC.size], max_output_size=8 * _ALL_COLUMNS * width
            )
        except zstandard.ZstdError as error:
            raise BadOutline(f"it cannot be decoded: {error}") from error
        count = len(planes) // 8
        if len(planes) % 8 or count not in (_FINITE_COLUMNS * width, _ALL_COLUMNS * width):
            raise BadOutline(f"it does not contain {width} buckets")
        numbers = bytearray(len(planes))
        for lane in range(8):
            numbers[lane::8] = planes[lane * count : (lane + 1) * count]
        flat = struct.unpack(f"<{count}d", numbers)
        columns: Any = [flat[at : at + width] for at in range(0, count, width)]
        if len(columns) == _FINITE_COLUMNS:
            columns += [(0.0,) * width] * 2
        return Buckets._make([*columns, _counts(self._count, width)])
