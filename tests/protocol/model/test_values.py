from __future__ import annotations

import argparse
import collections
import dataclasses
import datetime
import decimal
import enum
import math
import pathlib
import subprocess
import sys
import types
import uuid
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from track_protocol.errors import BadValue
from track_protocol.model.values import (
    INT_MAX,
    INT_MIN,
    MAX_DEPTH,
    MAX_ITEMS,
    MAX_TEXT_BYTES,
    check_name,
    converter_of,
    normalise,
)
from track_protocol.security.tokens import new_token


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


@dataclasses.dataclass
class Optimiser:
    name: str
    betas: tuple[float, float]


class Tensor:
    """Speaks as a torch tensor does: numel() counts, size() is a method, item() needs one element."""

    def __init__(self, *values: float) -> None:
        self.values = values

    def numel(self) -> int:
        return len(self.values)

    def size(self) -> tuple[int]:
        return (len(self.values),)

    def item(self) -> float:
        (value,) = self.values
        return value

    def tolist(self) -> list[float]:
        return list(self.values)


class Broken:
    def item(self) -> float:
        raise RuntimeError("the device is gone")

    def tolist(self) -> list[float]:
        raise RuntimeError("the device is gone")


class Itself:
    size = 2

    def item(self) -> Itself:
        return self

    def tolist(self) -> Itself:
        return self


scalars = (
    st.none()
    | st.booleans()
    | st.integers(INT_MIN, INT_MAX)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    | st.binary(max_size=20)
)
keys = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.integers(INT_MIN, INT_MAX)
plain = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4) | st.tuples(inner, inner)
    ),
    max_leaves=12,
)


@settings(max_examples=60)
@given(plain)
def test_a_plain_value_is_unchanged(value: Any) -> None:
    assert normalise(value) == value


@pytest.mark.parametrize("value", [None, True, 0, INT_MIN, INT_MAX, 1.5, math.inf, "é", b"\x00", [], (), {}])
def test_plain_types_come_back_with_the_same_type(value: Any) -> None:
    assert type(normalise(value)) is type(value)


def test_nan_is_unchanged() -> None:
    assert math.isnan(normalise(math.nan))


def test_a_container_is_copied_so_that_later_changes_do_not_reach_the_queue() -> None:
    mine = {"a": [1]}
    plain = normalise(mine)
    mine["a"].append(2)
    assert plain == {"a": [1]}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5),
        (np.float64(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.longdouble(0.5), 0.5),
        (np.array(7), 7),
        (np.array([7]), 7),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (np.array([], dtype=float), []),
        (np.datetime64("2020-01-10T00:00:00"), "2020-01-10T00:00:00"),
        (Tensor(0.25), 0.25),
        (Tensor(0.25, 0.5), [0.25, 0.5]),
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        (datetime.datetime(2020, 1, 10, tzinfo=datetime.UTC), "2020-01-10T00:00:00+00:00"),
        (datetime.date(2020, 1, 10), "2020-01-10"),
        (datetime.time(12, 30), "12:30:00"),
        (datetime.timedelta(seconds=1.5), 1.5),
        (pathlib.PurePosixPath("a/b"), "a/b"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (argparse.Namespace(lr=0.1), {"lr": 0.1}),
        (types.SimpleNamespace(lr=0.1), {"lr": 0.1}),
        (Optimiser("adam", (0.9, 0.99)), {"name": "adam", "betas": (0.9, 0.99)}),
        ({3, 1, 2}, [1, 2, 3]),
        (frozenset({"b", "a"}), ["a", "b"]),
        ({"a", 1}, [1, "a"]),
        (range(3), [0, 1, 2]),
        (bytearray(b"a"), b"a"),
        (memoryview(b"a"), b"a"),
        (collections.OrderedDict(a=1), {"a": 1}),
        (types.MappingProxyType({"a": 1}), {"a": 1}),
        (collections.deque([1, 2]), [1, 2]),
        ({Colour.RED: np.float32(1)}, {"red": 1.0}),
        ({(1, np.int64(2)): 3}, {(1, 2): 3}),
    ],
)
def test_a_foreign_object_becomes_its_plain_form(value: Any, expected: Any) -> None:
    plain = normalise(value)
    assert (plain, type(plain)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (INT_MAX + 1, "does not fit 64 bits"),
        (INT_MIN - 1, "does not fit 64 bits"),
        pytest.param(10**5000, "does not fit 64 bits", id="huge"),
        ("a" * (MAX_TEXT_BYTES + 1), "65537 bytes"),
        ("é" * (MAX_TEXT_BYTES // 2 + 1), "65538 bytes"),
        (b"a" * (MAX_TEXT_BYTES + 1), "65537 bytes"),
        ("\ud800", "lone surrogate"),
        ([0] * (MAX_ITEMS + 1), "65537 items"),
        (range(10**12), "items"),
        (np.zeros(MAX_ITEMS + 1), "65537 elements"),
        (object(), "type object cannot"),
        (1j, "type complex cannot"),
        (np.complex128(1j), "type complex cannot"),
        (int, "type type cannot"),
        (np.ndarray, "type type cannot"),
        (Broken(), "the device is gone"),
        (Itself(), "its plain form is the object itself"),
        ({None: 1}, "key of type NoneType"),
        ({b"a": 1}, "key of type bytes"),
        ({(frozenset({1}),): 1}, "a key that contains a set"),
        ({10**5000: 1}, "does not fit 64 bits"),
        ({Colour.RED: 1, "red": 2}, "same plain form"),
    ],
)
def test_a_value_that_cannot_be_stored_is_refused_with_the_reason(value: Any, reason: str) -> None:
    with pytest.raises(BadValue, match=reason):
        normalise(value)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_token_in_bytes_is_redacted_as_in_a_text(kind: Any) -> None:
    token = new_token()
    assert normalise({"key": kind(b"Bearer " + token.encode())}) == {"key": b"Bearer trk_" + b"*" * 38}


@pytest.mark.parametrize("value", ["a" * MAX_TEXT_BYTES, [0] * MAX_ITEMS, b"a" * MAX_TEXT_BYTES])
def test_a_value_at_the_limit_is_accepted(value: Any) -> None:
    assert normalise(value) == value


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


def test_nesting_up_to_the_limit_is_accepted() -> None:
    assert normalise(nested(MAX_DEPTH)) == nested(MAX_DEPTH)


def test_nesting_over_the_limit_is_refused() -> None:
    with pytest.raises(BadValue, match="nested deeper than 32"):
        normalise(nested(MAX_DEPTH + 1))


def test_a_cycle_is_refused() -> None:
    value: dict[str, Any] = {}
    value["self"] = value
    with pytest.raises(BadValue, match="cycle"):
        normalise(value)


def test_the_message_names_the_part_by_its_path() -> None:
    with pytest.raises(BadValue, match=r"^parameters\.optimiser\.betas\[1\]: an object of type object "):
        normalise({"optimiser": {"betas": (0.9, object())}}, "parameters")


def test_a_control_character_in_a_key_does_not_reach_the_message() -> None:
    with pytest.raises(BadValue) as caught:
        normalise({"a\x1b[31m\ud800": object()})
    assert caught.value.message.isprintable()


def test_a_type_of_a_module_is_named_with_its_module() -> None:
    with pytest.raises(BadValue, match=r"decimal\.Context"):
        normalise(decimal.getcontext())


def test_nothing_foreign_is_imported() -> None:
    code = "import sys, track_protocol.model.values as v; v.normalise({'a': [1.5, {2}]}); print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"numpy", "torch", "argparse", "uuid", "datetime"} & set(loaded)


def test_an_object_without_a_plain_form_has_no_converter() -> None:
    assert converter_of(object()) is None


@pytest.mark.parametrize("name", ["a", "é" * 128, "loss/train 1", "a" * 256, "🙂"])
def test_a_valid_name_is_returned(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "0 bytes"),
        ("a" * 257, "257 bytes"),
        ("é" * 129, "258 bytes"),
        ("a\nb", "control character"),
        ("a\x7f", "control character"),
        ("a\x85", "control character"),
        ("\ud800", "lone surrogate"),
        (1, "type int"),
        (None, "type NoneType"),
    ],
)
def test_a_bad_name_is_refused_with_the_reason(name: Any, reason: str) -> None:
    with pytest.raises(BadValue, match=reason):
        check_name(name, "metric name")


def test_a_name_of_a_str_subclass_becomes_a_plain_str() -> None:
    class Name(str):
        pass

    assert type(check_name(Name("loss"))) is str
