"""Columns of any values as numbers, which is how charts see them."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, overload

from track_protocol.query.tree import is_number
from track_protocol.wire.columns import Column, unpack

__all__ = ["FloatSums", "as_float_bytes", "as_floats", "taken"]


class FloatSums(Sequence[float]):
    """Floats whose bits, as integers, are sums, which are made of those few that will be looked at.

    Args:
        first: bits of the first float.
        low: to be added to each of the differences.
        deltas: differences of the bits of each float from those before, without the first one.
    """

    def __init__(self, first: int, low: int, deltas: Sequence[int]) -> None:
        self._first, self._low, self._deltas = first, low, deltas

    def __len__(self) -> int:
        return len(self._deltas) + 1

    @overload
    def __getitem__(self, at: int) -> float: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[float]: ...
    def __getitem__(self, at: int | slice) -> float | Sequence[float]:
        if isinstance(at, slice):
            start, stop, _ = at.indices(len(self))
            if start >= stop:
                return ()
            (first,) = self._bits([start])
            return FloatSums(first, self._low, self._deltas[start : stop - 1])
        return self.take([range(len(self))[at]])[0]

    def take(self, rows: Sequence[int]) -> Sequence[float]:
        """The floats of some rows, in ascending order."""
        bits = self._bits(rows)
        return struct.unpack(f"<{len(bits)}d", struct.pack(f"<{len(bits)}q", *bits))

    def _bits(self, rows: Sequence[int]) -> list[int]:
        parts = map(self._deltas.__getitem__, map(slice, [0, *rows], rows))
        sums = list(accumulate(map(sum, parts), initial=self._first))[1:]
        return [total + self._low * row for total, row in zip(sums, rows, strict=True)] if self._low else sums


def taken(numbers: Sequence[float], rows: Sequence[int]) -> Sequence[float]:
    """The numbers of some rows, in ascending order."""
    return numbers.take(rows) if isinstance(numbers, FloatSums) else [numbers[row] for row in rows]


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
