"""Values of the wire as JSON, and back."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from track_protocol.errors import BadArguments
from track_server.http.values import NOT_FINITE, from_json, to_json


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (math.nan, '"NaN"'),
        ([1, math.inf, -math.inf], '[1,"Infinity","-Infinity"]'),
        ({"a": (1.5, None, True)}, '{"a":[1.5,null,true]}'),
        (bytes(range(16)), '"000102030405060708090a0b0c0d0e0f"'),
        ([b"\xff\x00"], '["/wA="]'),
        (2**63 - 1, "9223372036854775807"),
        (2**70, "1180591620717411303424"),
        (-0.5, "-0.5"),
        ([], "[]"),
        ({}, "{}"),
        ({"": {"b": []}}, '{"":{"b":[]}}'),
        ("é 猫 </script>", '"é 猫 </script>"'),
        ([[1, 2], ["a", math.nan]], '[[1,2],["a","NaN"]]'),
        ("a\ud800\\ud800", '"a\\ud800\\\\ud800"'),
    ],
)
def test_a_value_is_written(value: Any, text: str) -> None:
    assert to_json(value).decode() == text
    json.loads(text)


def test_a_long_value_is_written_in_parts_and_is_the_same() -> None:
    long: list[Any] = [{"a": [0.5 + i, None], "b": "x" * (i % 3)} for i in range(1_000)]
    ids = [bytes([i % 256]) * 16 for i in range(1_000)]
    columns: list[Any] = [long, list(range(500))]
    value = {"ids": ids, "columns": columns}
    assert json.loads(to_json(value)) == {"ids": [each.hex() for each in ids], "columns": columns}
    # What is odd in one of the parts is written there, and the others are as they were.
    long[700]["a"][0], long[999]["b"] = math.nan, "\ud800"
    found = json.loads(to_json(value))["columns"][0]
    assert found[700]["a"] == ["NaN", None]
    assert found[999]["b"] == "\ud800"
    assert found[:700] + found[701:999] == long[:700] + long[701:999]


@given(st.floats())
def test_numbers_that_are_finite_come_back_and_others_are_texts(number: float) -> None:
    (found,) = json.loads(to_json([number]))
    assert found == number if math.isfinite(number) else found in NOT_FINITE


@pytest.mark.parametrize("data", [b"", b"[1]", b'"a"', b"{", b'{"a": NaN}', b'{"a": Infinity}', b"\xff\xfe{"])
def test_what_is_no_json_object_is_refused(data: bytes) -> None:
    with pytest.raises(BadArguments):
        from_json(data)


def test_json_that_is_nested_too_deep_is_refused() -> None:
    with pytest.raises(BadArguments):
        from_json(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}")


@pytest.mark.parametrize("item", [b"[]", b"{}", b"1"])
def test_a_body_of_very_many_values_is_refused_before_they_are_made(item: bytes) -> None:
    def body(count: int) -> bytes:
        return b'{"a": [' + b",".join([item] * count) + b"]}"

    assert len(from_json(body(30_000))["a"]) == 30_000
    with pytest.raises(BadArguments, match="65,536 values"):
        from_json(body(70_000))
