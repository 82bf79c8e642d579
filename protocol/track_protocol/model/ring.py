"""A buffer of the last values of one numeric type."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Any, Final, SupportsIndex

from track_protocol.errors import BadArguments, BadValue

__all__ = ["DTYPES", "RingBuffer", "typecode"]

DTYPES: Final = {
    "int8": "b",
    "uint8": "B",
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "int64": "q",
    "uint64": "Q",
    "float32": "f",
    "float64": "d",
    "int": "q",
    "float": "d",
}
"""Type codes of the `array` module by the names that numpy and torch give the same types."""

_CODES: Final = frozenset("bBhHiIlLqQfd")
_MAX_SIZE: Final = 2**31 - 1


def typecode(dtype: Any) -> str:
    """The type code of the `array` module for a type.

    Args:
        dtype: such a code, a name such as ``'float32'``, ``float``, ``int``, or a dtype of numpy or torch.

    Raises:
        BadArguments: it is none of these.
    """
    if isinstance(dtype, type):
        text = dtype.__name__
    else:
        text = str(dtype).removeprefix("torch.")
    if text in _CODES:
        return text
    try:
        return DTYPES[text]
    except KeyError:
        raise BadArguments(
            f"ring dtype {dtype!r} is not one of {''.join(sorted(_CODES))}: use 'f' or 'd'"
        ) from None


class RingBuffer:
    """Stores the last `size` values; memory is allocated as they arrive.

    Args:
        size: how many.
        dtype: their type, see `typecode`; ``'f'`` is a 32-bit float.
        default_val: what a place holds before a value was put there; without it, there is no such place.

    Attributes:
        default_val: see above.
        size: how many values it stores.
        dtype: the type code.

    Raises:
        BadArguments: `size` is not positive or `dtype` is not a numeric type.
    """

    __slots__ = ("_next", "_values", "default_val", "dtype", "size")

    def __init__(self, size: int, dtype: Any = "f", default_val: Any = None) -> None:
        if type(size) is not int or not 1 <= size <= _MAX_SIZE:
            raise BadArguments(f"n={size!r} is not an integer of at least 1: give a small number")
        self.size = size
        self.dtype = typecode(dtype)
        self.default_val = default_val
        self._values: array[Any] = array(self.dtype)
        self._next = 0

    def append(self, item: Any) -> None:
        """Take one value; at `size` values the oldest one is dropped.

        Raises:
            BadValue: the ring's type cannot hold the value.
        """
        try:
            if len(self._values) < self.size:
                self._values.append(item)
            else:
                self._values[self._next] = item
        except (TypeError, OverflowError) as error:
            raise BadValue(f"a ring of type {self.dtype!r} cannot hold {item!r}: {error}") from error
        self._next = (self._next + 1) % self.size

    def last(self) -> Any:
        """The last value; before the first, the default value."""
        return self._values[self._next - 1] if self._values else self.default_val

    def to_list(self) -> list[Any]:
        """The stored values, oldest first."""
        values = self._values.tolist()
        return values if len(values) < self.size else values[self._next :] + values[: self._next]

    def __getitem__(self, index: SupportsIndex | slice) -> Any:
        """A value by its place, 0 for the oldest; -1 for the last one; or those of a slice."""
        values = self.to_list()
        if self.default_val is not None:
            values += [self.default_val] * (self.size - len(values))
        return values[index]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.to_list())

    def __len__(self) -> int:
        return len(self._values)
