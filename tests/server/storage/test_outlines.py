from __future__ import annotations

import math
import random
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from track_protocol.wire.columns import pack
from track_server.storage.chart_columns import Buckets, Traits
from track_server.storage.contract import Points
from track_server.storage.outlines import BadOutline, Outline, outline_of
from track_server.storage.series import packed_chunk

FULL = 16_384


def made(values: list[Any], steps: Any = None, times: Any = None) -> bytes:
    count = len(values)
    outline = outline_of(
        pack(steps or range(count)), pack(times or [i / 8 for i in range(count)]), pack(values)
    )
    assert outline is not None
    return outline


@pytest.mark.parametrize(
    ("count", "buckets"), [(256, 16), (1_024, 16), (5_000, 78), (8_192, 128), (FULL, 128)]
)
def test_an_outline_has_as_many_buckets_as_its_chunk_is_worth(count: int, buckets: int) -> None:
    outline = Outline(made([float(i) for i in range(count)]), count)
    found = outline.buckets()
    assert len(outline) == len(found.counts) == buckets
    assert sum(found.counts) == count
    assert outline.ends()[-1] == count - 1
    assert list(found.steps) == list(found.lasts) == list(map(float, outline.ends()))


def test_a_short_chunk_has_none() -> None:
    assert outline_of(pack(range(255)), pack([0.5] * 255), pack([1.0] * 255)) is None


@given(
    st.lists(
        st.one_of(st.floats(-1e9, 1e9), st.sampled_from([math.nan, math.inf, -math.inf, None, "text", 7])),
        min_size=1,
        max_size=300,
    )
)
def test_an_outline_says_of_its_buckets_what_the_points_say(some: list[Any]) -> None:
    values = (some * 300)[:300]
    numbers = [float(each) if isinstance(each, int | float) else math.nan for each in values]
    outline = Outline(made(values), 300)
    found = outline.buckets()
    starts = [0, *[end + 1 for end in outline.ends()[:-1]]]
    expected = Buckets.of(list(map(float, range(300))), [i / 8 for i in range(300)], numbers, starts)
    for name in Buckets._fields:
        one, other = getattr(found, name), getattr(expected, name)
        if name == "means":
            scale = max((abs(each) for each in numbers if math.isfinite(each)), default=1.0)
            assert one == pytest.approx(other, abs=1e-6 * scale + 1e-300)
        else:
            assert list(map(repr, map(float, one))) == list(map(repr, map(float, other)))


def test_a_mean_is_as_near_as_its_neighbours_are() -> None:
    # With 24 bits of the mean itself it would be 0.06 away.
    found = Outline(made([1e6 + 1e-3 * (i % 7) for i in range(512)]), 512).buckets()
    assert found.means[0] == pytest.approx(1e6 + 3e-3, abs=2e-4)
    assert found.means[0] != found.lows[0]
    assert found.lows[0] <= found.means[0] <= found.highs[0]


@pytest.mark.parametrize("values", [[5e-324, 0.0], [1e308, -1e308], [1e308], [-5e-324, 1e-320], [1e300, 0.0]])
def test_a_mean_of_any_numbers_lies_between_them(values: list[float]) -> None:
    found = Outline(made(values * 256), 256 * len(values)).buckets()
    assert all(min(values) <= mean <= max(values) for mean in found.means)


@pytest.mark.parametrize(
    ("steps", "times", "traits"),
    [
        (None, None, 7),
        ([*range(255), 3], None, Traits.TIMES_ARE_FINITE | Traits.TIMES_ASCEND),
        ([*range(255), None], [float(-i) for i in range(256)], Traits.TIMES_ARE_FINITE),
        (None, [math.nan] * 256, Traits.STEPS_ASCEND),
    ],
)
def test_an_outline_tells_what_may_be_an_axis(steps: Any, times: Any, traits: int) -> None:
    assert Outline(made([1.0] * 256, steps, times), 256).traits == traits


@pytest.mark.parametrize("count", [5_000, 8_192, FULL])
def test_an_outline_takes_a_small_part_of_the_room_of_its_chunk(count: int) -> None:
    numbers = random.Random(1)
    times = [1.7e9 + 0.01 * i + 1e-4 * numbers.random() for i in range(count)]
    values = [numbers.gauss(0, 1) for _ in range(count)]
    chunk = packed_chunk(0, Points(pack(range(count)), pack(times), pack(values)))
    assert len(made(values, times=times)) < 0.06 * len(chunk.data)


def test_any_flipped_bit_is_noticed() -> None:
    intact = made([math.sin(i) for i in range(256)])
    for at in range(len(intact)):
        damaged = intact[:at] + bytes([intact[at] ^ 0x10]) + intact[at + 1 :]
        with pytest.raises(BadOutline):
            Outline(damaged, 256)


def sealed(content: bytes) -> bytes:
    return content + struct.pack("<I", zlib.crc32(content))


def test_what_is_not_an_outline_of_the_chunk_is_refused() -> None:
    intact = made([1.0] * 256)
    for end in (0, 5, len(intact) - 1):
        with pytest.raises(BadOutline):
            Outline(intact[:end], 256)
    with pytest.raises(BadOutline, match="of 256 points, and its chunk has 300"):
        Outline(intact, 300)
    with pytest.raises(BadOutline, match="form 2"):
        Outline(sealed(b"\2" + intact[1:-4]), 256)
    for body in (b"", b"no zstd", intact[8:-6]):
        with pytest.raises(BadOutline):
            Outline(sealed(intact[:8] + body), 256).buckets()
