"""The storage form of a chunk: consecutive points of one series as three columns of bytes.

A chunk has two forms that hold exactly the same values.  The *raw* one is what a commit can afford:
columns as they came.  The *packed* one is for the disk: small, and still decoded without
touching values one by one where it can be.  Both look like this, numbers little-endian:

======  ===============================================================================
bytes   what
======  ===============================================================================
1       version of this form, 1
4       count of points
3 x 6   for steps, times and values: code of the column, its form, length of its bytes
…       the three columns, see `track_server.storage.chunk_columns`
4       CRC-32 of all before
======  ===============================================================================
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence, Sized
from typing import Any, Final, TypeVar

import zstandard

from track_protocol.errors import BadValue
from track_protocol.wire.columns import Column, unpack
from track_server.storage.chunk_columns import Encoded, decode_column, decode_numbers

__all__ = [
    "BadChunk",
    "assemble",
    "decode_chunk",
    "decode_chunk_numbers",
    "join_columns",
    "slice_column",
    "value_at",
]

_VERSION: Final = 1
_HEAD: Final = struct.Struct("<BI" + "cBI" * 3)
_CRC: Final = struct.Struct("<I")
_NUMERIC: Final = frozenset("dq")
_VALUES: Final = 2
_T = TypeVar("_T", bound=Sized)
_ONE: Final = {"d": struct.Struct("<d"), "q": struct.Struct("<q")}


class BadChunk(ValueError):
    """Bytes that are not a chunk as it was written."""


def join_columns(columns: Sequence[Column]) -> Column:
    """The columns as one; when their codes differ, a list of exactly the same values."""
    if len(columns) == 1:
        return columns[0]
    codes = {column.code for column in columns}
    if len(codes) == 1 and codes <= _NUMERIC:
        return Column(columns[0].code, b"".join([column.payload for column in columns]))
    if codes == {"n"}:
        return Column("n", sum([column.payload for column in columns]))
    return Column("o", [value for column in columns for value in unpack(column)])


def slice_column(column: Column, start: int, stop: int) -> Column:
    """The values from `start` up to `stop`, both within the column."""
    if column.code == "n":
        return Column("n", stop - start)
    width = 8 if column.code in _NUMERIC else 1
    return Column(column.code, column.payload[start * width : stop * width])


def value_at(column: Column, index: int) -> Any:
    """The first (0) or the last (-1) value of a column."""
    if column.code == "n":
        return None
    if column.code == "o":
        return column.payload[index]
    return _ONE[column.code].unpack(column.payload[:8] if index == 0 else column.payload[-8:])[0]


def assemble(count: int, steps: Encoded, times: Encoded, values: Encoded) -> bytes:
    """The chunk of three encoded columns of `count` values each."""
    fields: list[Any] = [_VERSION, count]
    for code, form, data in (steps, times, values):
        fields += (code.encode(), form, len(data))
    parts = (_HEAD.pack(*fields), steps[2], times[2], values[2])
    checksum = 0
    for part in parts:
        checksum = zlib.crc32(part, checksum)
    return b"".join((*parts, _CRC.pack(checksum)))


def decode_chunk(chunk: bytes) -> tuple[Column, Column, Column]:
    """Steps, times and values of a chunk.

    Raises:
        BadChunk: the bytes are not what was written.
    """
    steps, times, values = _decoded(chunk, lambda _, *column: decode_column(*column))
    return steps, times, values


def decode_chunk_numbers(
    chunk: bytes, *, sparse: bool = False
) -> tuple[Sequence[float], Sequence[float], Sequence[float]]:
    """Steps, times and values of a chunk as numbers, NaN for what is no number.

    Args:
        chunk: the bytes.
        sparse: few of the steps and times will be looked at.

    Raises:
        BadChunk: the bytes are not what was written.
    """
    steps, times, values = _decoded(
        chunk, lambda at, *column: decode_numbers(*column, sparse=sparse and at != _VALUES)
    )
    return steps, times, values


def _decoded(chunk: bytes, decode: Callable[[int, str, int, bytes, int], _T]) -> list[_T]:
    """The three columns of a chunk, each decoded by a function, which gets the column's number first."""
    if len(chunk) < _HEAD.size + _CRC.size:
        raise BadChunk(f"it has {len(chunk)} bytes and is cut off")
    if zlib.crc32(memoryview(chunk)[: -_CRC.size]) != _CRC.unpack(chunk[-_CRC.size :])[0]:
        raise BadChunk("its checksum does not match")
    version, count, *fields = _HEAD.unpack_from(chunk)
    if version != _VERSION:
        raise BadChunk(f"it has form {version}, and this version knows {_VERSION}")
    columns, at = [], _HEAD.size
    try:
        for number, (code, form, length) in enumerate((fields[:3], fields[3:6], fields[6:])):
            columns.append(decode(number, code.decode(), form, chunk[at : at + length], count))
            at += length
    except (ValueError, LookupError, OverflowError, struct.error, zstandard.ZstdError, BadValue) as error:
        raise BadChunk(f"it cannot be decoded: {error}") from error
    if any(len(column) != count for column in columns):
        raise BadChunk(f"it does not contain {count} points")
    return columns
