"""Statistics of columns, in a few calls that never leave C."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from typing import Any, Final

from track_protocol.model.stat import Summary
from track_protocol.query.tree import is_number
from track_protocol.wire.columns import Column, unpack

__all__ = ["Bounds", "bounds_of", "summary_of"]

Bounds = tuple[float | None, float | None]
"""Smallest and largest finite number; None and None without any."""

_NOTHING: Final = Summary()


def summary_of(column: Column) -> Summary:
    """Summary of those values of a column that are numbers."""
    numbers = _numbers(column)
    if not numbers:
        return _NOTHING
    total = sum(numbers)
    if not math.isfinite(total):
        return Summary.of(numbers)
    count = len(numbers)
    mean = total / count
    distance = math.dist(numbers, [mean] * count)
    return Summary(count, 0, mean, distance * distance, min(numbers), max(numbers))


def bounds_of(column: Column) -> Bounds:
    """Bounds of those values of a column that are finite numbers."""
    numbers = _numbers(column)
    if numbers and not math.isfinite(sum(numbers)):
        numbers = list(filter(math.isfinite, numbers))
    # Steps and times mostly ascend, which sorted() finds out faster than min() and max() pass over them.
    ascending = sorted(numbers)
    return (ascending[0], ascending[-1]) if ascending else (None, None)


def _numbers(column: Column) -> Sequence[Any]:
    if column.code == "n":
        return ()
    values = unpack(column)
    # A list has its numbers as objects already, where an array makes them anew at each pass.
    return values.tolist() if isinstance(values, array) else list(filter(is_number, values))
