"""The ring buffer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from track_protocol.errors import BadArguments, BadValue
from track_protocol.model.ring import RingBuffer, typecode


def filled(*values: Any, size: int = 3, dtype: Any = "d") -> RingBuffer:
    ring = RingBuffer(size, dtype)
    for value in values:
        ring.append(value)
    return ring


@pytest.mark.parametrize(
    ("values", "stored"), [([], []), ([1, 2], [1, 2]), ([1, 2, 3], [1, 2, 3]), ([1, 2, 3, 4, 5], [3, 4, 5])]
)
def test_a_ring_buffer_lists_the_last_values_oldest_first(values: list[float], stored: list[float]) -> None:
    ring = filled(*values)
    assert (ring.to_list(), len(ring)) == (stored, len(stored))


def test_the_last_value_is_none_before_the_first() -> None:
    assert (filled().last(), filled(1, 2, 3, 4).last()) == (None, 4)


@pytest.mark.parametrize(
    ("dtype", "code"),
    [
        ("f", "f"),
        ("float32", "f"),
        (float, "d"),
        (int, "q"),
        (np.float32, "f"),
        (np.dtype("uint8"), "B"),
        ("torch.float64", "d"),
    ],
)
def test_types_go_by_code_by_name_and_as_the_libraries_write_them(dtype: Any, code: str) -> None:
    assert typecode(dtype) == code


@pytest.mark.parametrize("dtype", ["u", "float128", str, None, ["f"]])
def test_a_type_that_is_not_numeric_is_refused(dtype: Any) -> None:
    with pytest.raises(BadArguments, match="ring dtype"):
        RingBuffer(3, dtype)


@pytest.mark.parametrize("size", [0, -1, 1.5, True, 2**31])
def test_a_size_that_is_not_a_positive_integer_is_refused(size: Any) -> None:
    with pytest.raises(BadArguments):
        RingBuffer(size)


def test_a_value_that_does_not_fit_is_refused_and_changes_nothing() -> None:
    ring = filled(1, 2, dtype="int8")
    with pytest.raises(BadValue):
        ring.append(300)
    assert ring.to_list() == [1, 2]


def test_values_go_by_their_places_oldest_first() -> None:
    ring = filled(1, 2, 3, 4)
    assert (ring[0], ring[-1], ring[1:], list(ring)) == (2, 4, [3, 4], [2, 3, 4])
    with pytest.raises(IndexError):
        filled(1)[1]


def test_places_without_a_value_hold_the_default_value() -> None:
    ring = RingBuffer(3, "d", default_val=-1)
    assert (ring.last(), ring[2]) == (-1, -1)
    ring.append(5)
    assert (ring[:], ring.to_list(), len(ring)) == ([5, -1, -1], [5], 1)
