from __future__ import annotations

import math
import struct
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from track_protocol.errors import BadValue, RemoteProtocolError
from track_protocol.wire.codec import decode, encode
from track_protocol.wire.columns import Column, column_from_wire, pack, unpack

INT64 = st.integers(-(2**63), 2**63 - 1)
VALUES = st.one_of(
    st.lists(st.floats()),
    st.lists(INT64),
    st.lists(st.none()),
    st.lists(INT64 | st.floats(allow_nan=False)),
    st.lists(INT64 | st.floats() | st.none() | st.text(max_size=3) | st.booleans() | st.tuples(INT64)),
)


def same(one: Sequence[Any], other: Sequence[Any]) -> bool:
    """Equal as numbers, where NaN is NaN and a bool is no number."""
    kinds = [(type(a) is bool, a) for a in one], [(type(b) is bool, b) for b in other]
    return all(
        a == b or (isinstance(a[1], float) and math.isnan(a[1]) and math.isnan(b[1]))
        for a, b in zip(*kinds, strict=True)
    )


@given(VALUES)
def test_packed_values_round_trip(values: list[Any]) -> None:
    column = pack(values)
    assert same(unpack(column), values)
    assert len(column) == len(values)


@given(VALUES)
def test_a_column_survives_the_wire(values: list[Any]) -> None:
    raw = decode(encode(list(pack(values))))
    assert same(unpack(column_from_wire(raw, len(values))), values)


@given(VALUES, st.data())
def test_taking_rows_is_indexing(values: list[Any], data: st.DataObject) -> None:
    indices = data.draw(st.lists(st.sampled_from(range(len(values))))) if values else []
    taken = pack(values).take(indices)
    assert same(unpack(taken), [values[i] for i in indices])


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ([1.0, math.nan, math.inf], "d"),
        ([1, -(2**63), 2**63 - 1], "q"),
        ([None, None], "n"),
        ([1, 2.5], "d"),
        ([2**53, -(2**53), 0.5], "d"),
        ([2**53 + 1, 0.5], "o"),
        ([-(2**53) - 1, 0.5], "o"),
        ([True, False], "o"),
        ([1, True], "o"),
        ([1.0, None], "o"),
        (["a", (1, 2)], "o"),
        ([], "o"),
    ],
)
def test_values_get_the_narrowest_exact_code(values: list[Any], code: str) -> None:
    assert pack(values).code == code


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1])
def test_an_integer_over_64_bits_cannot_be_packed(value: int) -> None:
    with pytest.raises(BadValue, match="does not fit 64 bits"):
        pack([1, value])


def test_the_payload_is_a_copy() -> None:
    values: list[Any] = ["a", None]
    column = pack(values)
    values.append("b")
    assert len(column) == 2
    assert unpack(column) is not column.payload


@pytest.mark.parametrize("order", ["little", "big"])
def test_numbers_travel_little_endian_from_any_machine(monkeypatch: pytest.MonkeyPatch, order: str) -> None:
    native = sys.byteorder
    monkeypatch.setattr(sys, "byteorder", order)
    there = pack([1, 2]).payload
    back = unpack(Column("q", there))
    as_seen = struct.unpack("<qq" if order == native else ">qq", there)
    assert (as_seen, list(back)) == ((1, 2), [1, 2])


@pytest.mark.parametrize(
    "raw",
    [
        None,
        b"dd",
        "dd",
        {},
        [],
        ["d"],
        ["d", bytes(16), 0],
        ["d", bytes(15)],
        ["d", bytes(17)],
        ["d", bytes(24)],
        ["d", "x" * 16],
        ["d", [1.0, 2.0]],
        ["d", 2],
        ["q", bytes(8)],
        ["q", None],
        ["q", "x" * 16],
        ["n", 1],
        ["n", 3],
        ["n", -2],
        ["n", 2.0],
        ["n", [None, None]],
        ["n", True],
        ["o", [1]],
        ["o", [1, 2, 3]],
        ["o", (1, 2)],
        ["o", "ab"],
        ["o", b"ab"],
        ["o", {1: 1, 2: 2}],
        ["o", 2],
        ["f", bytes(16)],
        ["", bytes(16)],
        ["dq", bytes(16)],
        [b"d", bytes(16)],
        [None, bytes(16)],
        [0, bytes(16)],
        [[], bytes(16)],
        [{}, bytes(16)],
        [["d"], bytes(16)],
    ],
)
def test_what_is_no_column_of_two_values_is_refused(raw: object) -> None:
    with pytest.raises(RemoteProtocolError, match="column"):
        column_from_wire(raw, 2)


def test_true_is_not_packed_as_one() -> None:
    with pytest.raises(RemoteProtocolError):
        column_from_wire(["n", True], 1)


@pytest.mark.parametrize(
    "raw", [["d", bytes(16)], ["q", bytes(16)], ["n", 2], ["o", [1, "a"]], ("d", bytes(16))]
)
def test_a_column_of_two_values_is_accepted(raw: Any) -> None:
    assert column_from_wire(raw, 2) == Column(*raw)
