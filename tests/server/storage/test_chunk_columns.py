from __future__ import annotations

import math
import random
import struct
from array import array
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from track_protocol.wire.columns import Column, pack, unpack
from track_server.storage.chunk_columns import (
    decode_column,
    decode_numbers,
    encode_column,
    encode_times,
    range_of,
    size_of,
)
from track_server.storage.numbers import as_float_bytes, as_floats

INT64 = st.integers(-(2**63), 2**63 - 1)
COLUMNS = st.one_of(
    st.lists(st.floats(), min_size=1),
    st.lists(INT64, min_size=1),
    st.lists(st.none(), min_size=1),
    st.lists(st.one_of(st.floats(), INT64, st.none()), min_size=1),
    st.lists(st.one_of(st.text(), st.booleans(), st.tuples(INT64, st.floats()), st.binary()), min_size=1),
).map(pack)


def restored(column: Column, *, packed: bool, smooth: bool = False) -> Column:
    code, form, data = encode_column(column, packed=packed, smooth=smooth)
    return decode_column(code, form, data, len(column))


def bits(value: Any) -> Any:
    return struct.pack("<d", value) if isinstance(value, float) else value


def exactly(column: Column) -> list[Any]:
    """Values with their types; floats by their bits."""
    return [
        (type(value), repr(value) if isinstance(value, tuple) else bits(value)) for value in unpack(column)
    ]


@given(COLUMNS, st.booleans(), st.booleans())
def test_a_column_comes_back_exactly(column: Column, packed: bool, smooth: bool) -> None:
    back = restored(column, packed=packed, smooth=smooth)
    assert back.code == column.code
    assert exactly(back) == exactly(column)


@given(COLUMNS, st.booleans(), st.booleans(), st.booleans())
def test_a_column_is_decoded_as_the_numbers_that_it_has(
    column: Column, packed: bool, smooth: bool, sparse: bool
) -> None:
    encoded = encode_column(column, packed=packed, smooth=smooth)
    found = decode_numbers(*encoded, len(column), sparse=sparse)
    assert len(found) == len(column)
    # Which of the many NaN one is does not matter.
    numbers, wanted = (
        [math.nan if number != number else number for number in some] for some in (found, as_floats(column))
    )
    assert as_float_bytes(numbers) == as_float_bytes(wanted)


@given(st.lists(st.binary(min_size=8, max_size=8), min_size=1), st.booleans())
def test_floats_keep_all_their_bits(payloads: list[bytes], smooth: bool) -> None:
    column = Column("d", b"".join(payloads))
    assert restored(column, packed=True, smooth=smooth) == column


@given(st.integers(0, 2**40), st.integers(0, 2**20), st.integers(1, 500), st.booleans())
def test_evenly_spaced_integers_come_back(first: int, stride: int, count: int, packed: bool) -> None:
    column = pack(range(first, first + stride * count, stride) if stride else [first] * count)
    assert restored(column, packed=packed) == column


@given(st.sampled_from([0, 2**16, 2**24, 2**48, 2**62]), st.integers(-3, 3), st.integers(3, 500))
def test_integers_that_ascend_by_one_come_back(base: int, offset: int, count: int) -> None:
    first = max(0, base + offset)
    column = pack(range(first, first + count))
    assert range_of(encode_column(column, packed=False), count) == (first, first + count - 1)
    assert restored(column, packed=False) == column


@pytest.mark.parametrize("values", [[-3, -2, -1], [0, -1, -2], [5, 5, 6], [0, 2**63 - 1, -(2**63)], [7]])
def test_integers_that_are_not_evenly_spaced_come_back(values: list[int]) -> None:
    assert list(unpack(restored(pack(values), packed=True))) == values


def test_evenly_spaced_steps_take_no_room() -> None:
    assert len(encode_column(pack(range(10, 10_000, 3)), packed=False)[2]) == 16


def test_the_range_of_evenly_spaced_integers_is_known() -> None:
    column = pack(range(10, 40, 3))
    assert range_of(encode_column(column, packed=False), len(column)) == (10, 37)


def test_the_range_of_other_integers_is_not_known() -> None:
    assert range_of(encode_column(pack([1, 2, 4]), packed=False), 3) is None


def test_the_same_times_of_several_series_are_packed_once() -> None:
    times = [1.7e9 + step / 7 for step in range(1_000)]
    first, other = encode_times(pack(times)), encode_times(pack(times[1:]))
    assert encode_times(pack(times[1:])) is other
    assert decode_column(*other, 999) == pack(times[1:])
    assert encode_times(pack(times)) == first


def test_times_take_about_two_bytes() -> None:
    gaps = random.Random(1)
    times = array("d", accumulate((0.01 + gaps.random() * 0.001 for _ in range(10_000)), initial=1.7e9))
    assert len(encode_column(Column("d", times.tobytes()), packed=True, smooth=True)[2]) < 2 * len(times)


def test_random_values_take_no_more_than_seven_bytes() -> None:
    numbers = random.Random(1)
    values = pack([numbers.random() for _ in range(10_000)])
    assert len(encode_column(values, packed=True)[2]) < 7 * len(values)


def test_times_that_fall_back_take_little_room() -> None:
    times = pack([1.7e9 + i % 7 for i in range(10_000)])
    assert len(encode_column(times, packed=True, smooth=True)[2]) < 2 * len(times)


def test_numbers_with_gaps_take_little_room() -> None:
    steps = pack([None if i % 3 == 0 else i for i in range(10_000)])
    assert len(encode_column(steps, packed=True)[2]) < 4 * len(steps)


def test_integers_among_floats_stay_integers() -> None:
    back = restored(Column("o", [1, 2.5, None, -0.0]), packed=True)
    assert [type(value) for value in unpack(back)] == [int, float, type(None), float]


def test_an_integer_that_no_float_can_be_stays_exact() -> None:
    assert unpack(restored(Column("o", [2**53 + 1, None]), packed=True)) == [2**53 + 1, None]


def test_a_boolean_among_numbers_stays_one() -> None:
    assert exactly(restored(Column("o", [True, 1, 1.0]), packed=True)) == [
        (bool, True),
        (int, 1),
        (float, bits(1.0)),
    ]


def test_the_size_of_text_is_that_of_its_bytes() -> None:
    assert size_of(encode_column(pack(["x" * 1000]), packed=False), 1) > 1000


def test_nan_and_infinities_survive_packing() -> None:
    nan, *infinities = unpack(restored(pack([math.nan, math.inf, -math.inf]), packed=True))
    assert math.isnan(nan)
    assert infinities == [math.inf, -math.inf]
