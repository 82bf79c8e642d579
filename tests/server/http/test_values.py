"""Values of the wire as JSON, and back."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from track_protocol.errors import BadArguments
from track_server.http.values import from_json, to_json


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (math.nan, '"NaN"'),
        ([1, math.inf, -math.inf], '[1,"Infinity","-Infinity"]'),
        ({"a": (1.5, None, True)}, '{"a":[1.5,null,true]}'),
        (bytes(range(16)), '"000102030405060708090a0b0c0d0e0f"'),
        ([b"\xff\x00"], '["/wA="]'),
        (2**63 - 1, "9223372036854775807"),
        ("é 猫 </script>", '"é 猫 </script>"'),
        ([[1, 2], ["a", math.nan]], '[[1,2],["a","NaN"]]'),
        ("a\ud800\\ud800", '"a\\ud800\\\\ud800"'),
    ],
)
def test_a_value_is_written(value: Any, text: str) -> None:
    assert to_json(value).decode() == text
    json.loads(text)


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
