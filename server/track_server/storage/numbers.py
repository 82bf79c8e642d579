"""Columns of any values as numbers, which is how charts see them."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any, overload

from track_protocol.query.tree import is_number
from track_protocol.wire.columns import Column, unpack

__all__ = ["FloatBits", "as_float_bytes", "as_floats", "taken"]


class FloatBits(Sequence[float]):
    """Floats of which only the bits are known yet, as integers, because few of them will be looked at.

    Args:
        bits: of each float.
    """

    def __init__(self, bits: list[int]) -> None:
        self._bits = bits

    def __len__(self) -> int:
        return len(self._bits)

    @overload
    def __getitem__(self, at: int) -> float: ...
    @overload
    def __getitem__(self, at: slice) -> FloatBits: ...
    def __getitem__(self, at: int | slice) -> float | FloatBits:
        return FloatBits(self._bits[at]) if isinstance(at, slice) else self.take((at,))[0]

    def take(self, rows: Sequence[int]) -> Sequence[float]:
        """The floats of some rows."""
        bits = self._bits
        return struct.unpack(f"<{len(rows)}d", struct.pack(f"<{len(rows)}q", *[bits[row] for row in rows]))


def taken(numbers: Sequence[float], rows: Sequence[int]) -> Sequence[float]:
    """The numbers of some rows."""
    return numbers.take(rows) if isinstance(numbers, FloatBits) else [numbers[row] for row in rows]


def as_floats(column: Column) -> list[float]:
    """The values of a column as floats; NaN for what is no number."""
    values: Any = unpack(column)
    if column.code == "d":
        return list(values)
    if column.code == "q":
        return list(map(float, values))
    if column.code == "n":
        return [math.nan] * len(column)
    return [float(each) if is_number(each) else math.nan for each in values]


def as_float_bytes(values: Sequence[float]) -> bytes:
    """Numbers as float64, little-endian."""
    return struct.pack(f"<{len(values)}d", *values)
