from __future__ import annotations

import math
import struct
from operator import sub
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from track_protocol.wire.columns import pack
from track_server.storage.numbers import FloatSums, as_float_bytes, as_floats, taken


@given(st.lists(st.floats(), min_size=1), st.data())
def test_floats_by_their_bits_are_those_floats(numbers: list[float], data: st.DataObject) -> None:
    first, *others = struct.unpack(f"<{len(numbers)}q", struct.pack(f"<{len(numbers)}d", *numbers))
    differences = list(map(sub, others, (first, *others)))
    low = min(differences, default=0)
    bits = FloatSums(first, low, [each - low for each in differences])
    rows = sorted(data.draw(st.lists(st.integers(0, len(numbers) - 1))))
    assert as_float_bytes(taken(bits, rows)) == as_float_bytes(taken(numbers, rows))
    assert as_float_bytes(list(bits)) == as_float_bytes(numbers)
    first, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(numbers))] * 2)))
    assert as_float_bytes(list(bits[first:stop])) == as_float_bytes(numbers[first:stop])


def test_what_is_no_number_is_nan() -> None:
    values: list[Any] = [1, 2.5, None, "3", True, (4,), 2**60, -math.inf]
    assert list(map(repr, as_floats(pack(values)))) == list(
        map(repr, [1.0, 2.5, math.nan, math.nan, math.nan, math.nan, float(2**60), -math.inf])
    )
    assert as_floats(pack([3, 4])) == [3.0, 4.0]
    assert as_floats(pack([0.5])) == [0.5]
    assert all(map(math.isnan, as_floats(pack([None, None]))))
