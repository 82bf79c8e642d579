"""Series in the form that a browser reads in place."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from track_protocol.errors import InternalError
from track_server.http.frames import columns_frame


def read(frame: bytes) -> list[Any]:
    """The series of a frame, as the page reads them."""
    (length,) = struct.unpack_from("<I", frame)
    header = json.loads(frame[4 : 4 + length])
    at = 4 + length
    assert frame[at : at + -at % 8].strip(b"\0") == b""
    at += -at % 8
    found = []
    for described in header["series"]:
        arrays: dict[str, Any] = {}
        for column in (described or {}).get("arrays", []):
            name, *other = [column] if isinstance(column, str) else column
            if other:
                arrays[name] = arrays[other[0]]
                continue
            count, times = (described["n"], 1) if isinstance(column, str) else (1, described["n"])
            arrays[name] = struct.unpack_from(f"<{count}d", frame, at) * times
            at += 8 * count
        found.append(None if described is None else described | arrays)
    assert at == len(frame)
    return found


def packed(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}d", *values)


@given(st.lists(st.lists(st.floats(), max_size=5), max_size=4), st.text())
def test_columns_come_back_bit_by_bit(series: list[list[float]], name: str) -> None:
    frame = columns_frame(
        [
            {
                "axis": name,
                "x": packed(*values),
                "mean": packed(*values),
                "min": packed(*reversed(values)),
                "odd": bytes(8 * len(values)),
            }
            for values in series
        ]
    )
    for values, found in zip(series, read(frame), strict=True):
        assert found["axis"] == name
        assert found["n"] == len(values)
        assert packed(*found["x"]) == packed(*found["mean"]) == packed(*values)
        assert packed(*found["min"]) == packed(*reversed(values))
        assert packed(*found["odd"]) == bytes(8 * len(values))


def test_columns_that_say_nothing_new_take_no_room() -> None:
    steps = packed(*range(1_000))
    alone = len(columns_frame([{"x": steps}]))
    frame = columns_frame(
        [{"x": steps, "step": steps, "count_of": packed(*[7.0] * 1_000), "odd": bytes(8_000)}]
    )
    assert len(frame) < alone + 200


def test_missing_and_damaged_series_are_in_their_places() -> None:
    frame = columns_frame(
        [None, {"error": "damaged"}, {"total": 2, "low": -math.inf, "x": packed(1.0, math.nan)}]
    )
    missing, damaged, found = read(frame)
    assert missing is None
    assert damaged == {"error": "damaged"}
    assert (found["total"], found["low"], found["n"]) == (2, "-Infinity", 2)
    assert math.isnan(found["x"][1])


@pytest.mark.parametrize("columns", [{"x": b"12345678", "y": b""}, {"x": b"1234"}])
def test_columns_of_unequal_length_are_a_fault(columns: dict[str, bytes]) -> None:
    with pytest.raises(InternalError):
        columns_frame([columns])
