from __future__ import annotations

import itertools
import math
import threading
from collections import OrderedDict
from collections.abc import Callable
from enum import IntEnum
from itertools import product
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from every_case import every
from track_protocol.errors import BadValue, RemoteProtocolError
from track_protocol.model.values import MAX_DEPTH
from track_protocol.wire.codec import NESTING_LIMIT, decode, decode_own, encode
from wire_samples import allocation

INT64 = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(codec="utf-8"), max_size=40)
SCALARS = st.none() | st.booleans() | INT64 | st.floats() | TEXT | st.binary(max_size=300)
KEYS = st.recursive(SCALARS, lambda keys: st.lists(keys, max_size=3).map(tuple), max_leaves=4)
PLAIN = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=20)
        | st.lists(inner, max_size=20).map(tuple)
        | st.dictionaries(KEYS, inner, max_size=18)
    ),
    max_leaves=30,
)


WRAP: dict[str, Callable[[Any], Any]] = {
    "list": lambda v: [v],
    "tuple": lambda v: (v,),
    "map": lambda v: {"k": v},
}


def nested(kind: str, depth: int) -> Any:
    """A value whose containers of that kind nest to `depth`."""
    value: Any = 1
    for _ in range(depth):
        value = WRAP[kind](value)
    return value


@given(PLAIN)
def test_every_plain_value_round_trips(value: Any) -> None:
    assert repr(decode(encode(value))) == repr(decode_own(encode(value))) == repr(value)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_refused(data: bytes) -> None:
    try:
        value = decode(data)
    except RemoteProtocolError:
        return
    assert repr(decode(encode(value))) == repr(value)


@given(PLAIN, st.data())
def test_damaged_bytes_are_a_value_or_refused(value: Any, data: st.DataObject) -> None:
    packed = bytearray(encode(value))
    for _ in range(data.draw(st.integers(1, 3))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode(packed)
    except RemoteProtocolError:
        return


@given(PLAIN)
def test_a_value_cut_short_is_refused(value: Any) -> None:
    packed = encode(value)
    for end in range(len(packed)):
        with pytest.raises(RemoteProtocolError):
            decode(packed[:end])


@pytest.mark.parametrize("size", [0, 1, 15, 16, 31, 32, 255, 256, 65_535, 65_536])
def test_lengths_around_every_header_round_trip(size: int) -> None:
    value = ["x" * size, b"x" * size, [1] * size, (1,) * size, dict.fromkeys(range(size))]
    assert decode(encode(value)) == value


@pytest.mark.parametrize("value", [0.0, -0.0, math.inf, -math.inf, math.nan, 5e-324, 0.1])
def test_every_float_survives(value: float) -> None:
    assert repr(decode(encode(value))) == repr(value)


@pytest.mark.parametrize("value", [2**63 - 1, -(2**63), 2**32, 127, 128, -32, -33])
def test_integers_of_64_bits_survive(value: int) -> None:
    assert decode(encode(value)) == value


@pytest.mark.parametrize("value", [2**63, 2**64 - 1, 2**64, -(2**63) - 1, 2**2000], ids=hex)
def test_an_integer_over_64_bits_is_not_sent(value: int) -> None:
    with pytest.raises(BadValue, match="does not fit 64 bits"):
        encode([value])


@pytest.mark.parametrize("value", [2**63, 2**64 - 1])
def test_an_integer_over_64_bits_is_not_accepted(value: int) -> None:
    with pytest.raises(RemoteProtocolError, match="does not fit 64 bits"):
        decode(msgpack.packb([1, value]))


def test_a_long_form_of_a_small_integer_is_accepted() -> None:
    assert decode(b"\xcf" + bytes(7) + b"\x05") == 5


def test_a_lone_surrogate_is_not_sent() -> None:
    with pytest.raises(BadValue, match="lone surrogate"):
        encode({"name": "\ud800"})


@pytest.mark.parametrize("body", [b"\xed\xa0\x80", b"\xff", b"\xc3"])
def test_a_string_that_is_not_utf8_is_not_accepted(body: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode(bytes([0xA0 + len(body)]) + body)


class Colour(IntEnum):
    RED = 1


@pytest.mark.parametrize(
    "value",
    [
        object(),
        {1, 2},
        Colour.RED,
        OrderedDict(),
        1 + 2j,
        range(3),
        msgpack.ExtType(5, b""),
        msgpack.ExtType(1, b"x"),
        msgpack.Timestamp(0),
        len,
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_not_plain_is_not_sent(value: object) -> None:
    with pytest.raises(BadValue):
        encode([value])


def extension(code: int, data: bytes) -> bytes:
    """An extension in its shortest form; msgpack itself makes none with a code below 0."""
    short = {1: 0xD4, 2: 0xD5, 4: 0xD6, 8: 0xD7, 16: 0xD8}.get(len(data))
    width = 1 if len(data) < 2**8 else 2 if len(data) < 2**16 else 4
    head = bytes([short or {1: 0xC7, 2: 0xC8, 4: 0xC9}[width]])
    size = b"" if short else len(data).to_bytes(width, "big")
    return head + size + code.to_bytes(1, "big", signed=True) + data


@every(product([-1, 0, 2, 5, 127, -128], [0, 1, 2, 4, 8, 12, 16, 17, 300, 70_000]))
def test_an_extension_other_than_a_tuples_mark_is_not_accepted(code: int, size: int) -> None:
    with pytest.raises(RemoteProtocolError):
        decode(b"\x92" + extension(code, bytes(size)) + b"\x01")


@pytest.mark.parametrize("size", [1, 2, 4, 8, 16, 300])
def test_a_tuples_mark_with_data_is_not_accepted(size: int) -> None:
    with pytest.raises(RemoteProtocolError):
        decode(b"\x92" + extension(1, bytes(size)) + b"\x01")


MARK = b"\xc7\x00\x01"


@pytest.mark.parametrize(
    "data",
    [
        MARK,
        b"\x92\x01" + MARK,
        b"\x92" + MARK + MARK,
        b"\x81\x01" + MARK,
        b"\x81" + MARK + b"\x01",
        b"\x81\x93" + MARK + b"\x01" + MARK + b"\x01",
        b"\x81\x01\x92\x01" + MARK,
    ],
)
def test_a_tuples_mark_that_begins_no_array_is_not_accepted(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="begins no array"):
        decode(data)


def test_an_empty_tuple_is_not_an_empty_list() -> None:
    assert decode(encode([(), []])) == [(), []]


@pytest.mark.parametrize(
    "data",
    [
        b"\x82\x01\x01\x01\x02",
        b"\x82\xa1a\x01\xa1a\x01",
        b"\x82\x01\x01\xc3\x02",
        b"\x82\x00\x01\xcb" + b"\x80" + bytes(7) + b"\x02",
        b"\x81\x01\x82\xc0\x01\xc0\x02",
    ],
    ids=["integers", "strings", "one and true", "zero and minus zero", "an inner map"],
)
def test_a_map_with_the_same_key_twice_is_not_accepted(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="same key twice"):
        decode(data)


@pytest.mark.parametrize("key", [[1], {}, ([1],), (({},),)], ids=repr)
def test_a_map_with_an_invalid_key_is_not_accepted(key: object) -> None:
    with pytest.raises(RemoteProtocolError):
        decode(b"\x81" + encode(key) + b"\x01")


def test_nan_may_be_a_key() -> None:
    assert repr(decode(b"\x81" + encode(math.nan) + b"\x01")) == "{nan: 1}"


@pytest.mark.parametrize("tail", [b"\x00", b"\xc1", b"\x90" * 9])
def test_bytes_behind_the_value_are_refused(tail: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode(encode({"a": 1}) + tail)


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x91\xc1"])
def test_what_is_no_value_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode(data)


@pytest.mark.parametrize("kind", ["list", "tuple", "map"])
def test_the_deepest_value_survives(kind: str) -> None:
    value = nested(kind, NESTING_LIMIT)
    assert decode(encode(value)) == value


def test_the_nesting_limit_of_users_fits_inside_that_of_the_wire() -> None:
    assert NESTING_LIMIT >= MAX_DEPTH + 8


@pytest.mark.parametrize("kind", ["list", "tuple", "map"])
@pytest.mark.parametrize("depth", [NESTING_LIMIT + 1, 300, 600])
def test_a_value_nested_too_deep_is_not_sent(kind: str, depth: int) -> None:
    with pytest.raises(BadValue):
        encode(nested(kind, depth))


def test_a_value_that_contains_itself_is_not_sent() -> None:
    ring: list[Any] = []
    ring.append(ring)
    with pytest.raises(BadValue):
        encode(ring)


OPENERS = {"list": b"\x91", "tuple": b"\x92" + MARK, "map": b"\x81\xa1k", "key": b"\x81\x92" + MARK}


@pytest.mark.parametrize("opener", OPENERS.values(), ids=OPENERS)
@pytest.mark.parametrize("depth", [NESTING_LIMIT + 1, 500, 1000, 10_000])
def test_a_value_nested_too_deep_is_not_accepted(opener: bytes, depth: int) -> None:
    closed = opener * depth + b"\x01" * (1 + depth * opener.startswith(b"\x81\x92"))
    with pytest.raises(RemoteProtocolError):
        decode(closed)


@pytest.mark.parametrize(
    ("data", "reason"), [(b"\x91" * 10_000, "StackError"), (b"\x81\x90\x01", "unhashable type")]
)
def test_a_refusal_gives_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(RemoteProtocolError, match=f"^not a value in the wire's form: {reason}"):
        decode(data)


def test_deep_keys_that_are_equal_are_refused_and_do_not_exhaust_the_stack() -> None:
    key = (b"\x92" + MARK) * 1000 + b"\x01"
    with pytest.raises(RemoteProtocolError):
        decode(b"\x82" + key + b"\x01" + key + b"\x01")


def test_nesting_costs_no_stack() -> None:
    """A thread with the smallest usual stack decodes the deepest value there can be."""
    before = threading.stack_size(256 * 1024)
    try:
        seen: list[object] = []
        data = encode(nested("tuple", NESTING_LIMIT))
        thread = threading.Thread(target=lambda: seen.append(decode(data)))
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    assert seen == [nested("tuple", NESTING_LIMIT)]


BOMBS = {
    "one array": b"\xdd\x7f\xff\xff\xff",
    "one map": b"\xdf\x7f\xff\xff\xff",
    "arrays of just under the size": b"\xdc\x0f\x00" * 1000,
    "long arrays of just under the size": b"\xdd\x00\x00\x0f\x00" * 800,
    "maps of just under half the size": b"\xde\x07\xff" * 1000,
    "a string": b"\xdb\x7f\xff\xff\xff",
    "bytes": b"\xc6\x7f\xff\xff\xff",
    "an extension": b"\xc9\x7f\xff\xff\xff\x01",
}


@pytest.mark.parametrize("start", BOMBS.values(), ids=BOMBS)
def test_a_claim_of_more_than_was_sent_allocates_no_memory(start: bytes) -> None:
    data = start.ljust(4096, b"\x01")
    with allocation() as peak:
        with pytest.raises(RemoteProtocolError):
            decode(data)
        used = peak()
    assert used < 128 * 1024


def test_tuples_inside_each_other_are_not_copied_at_each_level() -> None:
    value: Any = b"x" * 500_000
    for _ in range(NESTING_LIMIT):
        value = (value,)
    data = encode(value)
    with allocation() as peak:
        decode(data)
        used = peak()
    assert used < 2 * len(data)


def colliding_keys(count: int) -> list[tuple[float, ...]]:
    """Tuples with one and the same hash: that of a float does not change with a factor of 2**61."""
    numbers = [3.0 * 2.0 ** (61 * power) for power in range(-16, 16)]
    return list(itertools.islice(itertools.product(numbers, repeat=3), count))


def test_a_map_whose_keys_were_made_to_collide_is_not_accepted() -> None:
    keys = colliding_keys(5000)
    assert len({hash(key) for key in keys}) == 1
    data = b"\xde" + len(keys).to_bytes(2, "big") + b"".join(encode(key) + b"\x01" for key in keys)
    with pytest.raises(RemoteProtocolError, match="same hash"):
        decode(data)


@pytest.mark.parametrize("count", [1, 100, 128])
def test_a_map_with_a_few_keys_of_the_same_hash_is_accepted(count: int) -> None:
    value = dict.fromkeys([*colliding_keys(count), *range(1000)], 1)
    assert decode(encode(value)) == value


def test_a_map_with_many_ordinary_keys_is_accepted() -> None:
    value = {(x, y): 1 for x in range(-100, 100) for y in range(100)}
    assert decode(encode(value)) == value


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_every_kind_of_buffer_is_decoded(kind: type) -> None:
    assert decode(kind(encode(["loss", (1, 2.5), b"x" * 40]))) == ["loss", (1, 2.5), b"x" * 40]


def test_a_buffer_can_change_again_after_it_was_refused() -> None:
    buffer = bytearray(b"\x92\x01\xc1")
    with memoryview(buffer) as view, pytest.raises(RemoteProtocolError):
        decode(view)
    del buffer[:]
    assert buffer == b""
