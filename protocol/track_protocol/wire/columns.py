"""Columns: many values of one kind, packed so that neither side touches them one by one.

A column is a code and a payload:

====  =======================================================
code  payload
====  =======================================================
``d``  float64 values, little-endian, ``bytes`` of 8 x count
``q``  int64 values, little-endian, ``bytes`` of 8 x count
``n``  how many values, all of them None
``o``  a list of arbitrary plain values
====  =======================================================

A column of mixed ints and floats is packed as floats when no int loses a digit by it, so that the
numbers compare equal to the logged ones.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from track_protocol.errors import BadValue, RemoteProtocolError

__all__ = ["Column", "column_from_wire", "pack", "to_bytes", "unpack"]

_EXACT_FLOAT: Final = 2**53
_NUMERIC: Final = frozenset("dq")
_NONE: Final = type(None)


class Column(NamedTuple):
    """One packed column; see the module for the codes."""

    code: str
    payload: Any

    def __len__(self) -> int:
        if self.code in _NUMERIC:
            return len(self.payload) // 8
        return int(self.payload) if self.code == "n" else len(self.payload)

    def take(self, indices: Sequence[int]) -> Column:
        """The values at `indices`, as a column of the same code."""
        if self.code == "n":
            return Column("n", len(indices))
        values = unpack(self)
        chosen = [values[i] for i in indices]
        if self.code in _NUMERIC:
            return Column(self.code, to_bytes(array(self.code, chosen)))
        return Column("o", chosen)


def to_bytes(numbers: array[Any]) -> bytes:
    """Numbers as the payload of a column."""
    if sys.byteorder == "big":
        numbers = numbers[:]
        numbers.byteswap()
    return numbers.tobytes()


def pack(values: Sequence[Any]) -> Column:
    """Pack `values` (plain values, see `track_protocol.model.values`) into one column.

    Raises:
        BadValue: an int does not fit 64 bits.
    """
    kinds = set(map(type, values))
    if kinds == {float}:
        return Column("d", to_bytes(array("d", values)))
    if kinds == {int}:
        try:
            return Column("q", to_bytes(array("q", values)))
        except OverflowError:
            raise BadValue("an integer does not fit 64 bits: log it as a float or a string") from None
    if kinds == {_NONE}:
        return Column("n", len(values))
    if kinds == {int, float} and all(-_EXACT_FLOAT <= v <= _EXACT_FLOAT for v in values if type(v) is int):
        return Column("d", to_bytes(array("d", values)))
    return Column("o", list(values))


def unpack(column: Column) -> Sequence[Any]:
    """The values of `column`: an ``array`` for numbers, a list for everything else."""
    if column.code in _NUMERIC:
        numbers: array[Any] = array(column.code)
        numbers.frombytes(column.payload)
        if sys.byteorder == "big":
            numbers.byteswap()
        return numbers
    return [None] * column.payload if column.code == "n" else list(column.payload)


def column_from_wire(raw: object, count: int) -> Column:
    """Check a column that a peer sent.

    Args:
        raw: the decoded pair of code and payload.
        count: how many values it must contain.

    Raises:
        RemoteProtocolError: it is not a column, or contains another number of values.
    """
    if not isinstance(raw, list | tuple) or len(raw) != 2:
        raise RemoteProtocolError("a column is a pair of code and payload")
    code, payload = raw
    if code in ("d", "q"):
        good = isinstance(payload, bytes) and len(payload) == 8 * count
    elif code == "n":
        good = type(payload) is int and payload == count
    elif code == "o":
        good = isinstance(payload, list) and len(payload) == count
    else:
        raise RemoteProtocolError("a column's code is 'd', 'q', 'n' or 'o'")
    if not good:
        raise RemoteProtocolError(f"a column of {count} values came with code {code!r} and another payload")
    return Column(code, payload)
