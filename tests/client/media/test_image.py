"""Images: every form of pixels, without a loss."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
import pytest

from track.media import image as module
from track.media import media_of
from track.media.image import decode_png, image
from track_protocol.errors import BadValue
from track_protocol.model.media import IMAGE

RNG = np.random.default_rng(7)


def read(made: Any) -> Any:
    """The pixels of an image, as an array."""
    assert isinstance(made.content, bytes)
    assert made.document["digest"] == hashlib.sha256(made.content).hexdigest()
    pixels = decode_png(made.content)
    assert pixels[:3] == tuple(made.document[each] for each in ("width", "height", "channels"))
    return np.frombuffer(pixels.data, np.uint8).reshape(pixels.height, pixels.width, pixels.channels)


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (5, 7, 1), (5, 7, 3), (5, 7, 4), (1, 300, 3), (300, 1, 4)])
def test_bytes_read_back_as_they_were(shape: tuple[int, ...]) -> None:
    array = RNG.integers(0, 256, shape, dtype=np.uint8)
    assert np.array_equal(read(image(array)), array.reshape(*shape[:2], -1))


def test_a_view_of_other_strides_is_read_in_its_own_order() -> None:
    array = RNG.integers(0, 256, (3, 8, 6), dtype=np.uint8).transpose(1, 2, 0)[::-1, ::2]
    assert np.array_equal(read(image(array)), array)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_reach_from_0_to_1(dtype: Any) -> None:
    assert read(image(np.array([[0, 0.5, 1]], dtype=dtype))).ravel().tolist() == [0, 128, 255]


def test_integers_of_any_type_and_bools_are_pixels() -> None:
    assert read(image(np.array([[0, 7, 255]], dtype=np.int64))).ravel().tolist() == [0, 7, 255]
    assert read(image(np.array([[True, False]]))).ravel().tolist() == [255, 0]


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ([[0, 255], [7, 8]], [0, 255, 7, 8]),
        ([[0.0, 1.0]], [0, 255]),
        ([[True, False]], [255, 0]),
        ([[[1, 2, 3], [4, 5, 6]]], [1, 2, 3, 4, 5, 6]),
    ],
)
def test_lists_are_pixels_with_and_without_numpy(
    rows: Any, found: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read(image(rows)).ravel().tolist() == found
    monkeypatch.setattr(module, "numpy", lambda: None)
    assert read(image(rows)).ravel().tolist() == found


WRONG = [
    np.zeros((2, 2, 2)),
    np.zeros((0, 5)),
    np.zeros((5, 0, 3)),
    np.zeros(5),
    np.zeros((1, 2, 2, 3)),
    np.zeros((3, 8, 8)),
    np.array([[256]]),
    np.array([[-1]]),
    np.array([[1j]]),
    np.array([["a"]]),
    [[1, 2], [3]],
    [],
    [[]],
    [[None]],
    "path.png",
    None,
    5,
]


@pytest.mark.parametrize("value", WRONG, ids=lambda value: repr(value)[:40])
def test_a_value_that_is_not_an_image_is_refused(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadValue, match="image"):
        media_of(IMAGE, value)
    monkeypatch.setattr(module, "numpy", lambda: None)
    with pytest.raises(BadValue, match="image"):
        media_of(IMAGE, value)


def test_channels_first_is_recognised() -> None:
    with pytest.raises(BadValue, match=r"permute\(1, 2, 0\)"):
        image(np.zeros((3, 8, 8)))


class Picture:
    """As Pillow has them."""

    def __init__(self, mode: str, data: bytes, converted: str | None = None) -> None:
        self.mode, self.data, self.converted = mode, data, converted
        self.size = (2, 1)
        self.info: dict[str, Any] = {}

    def convert(self, mode: str) -> Picture:
        assert mode == self.converted
        return Picture(mode, self.data)

    def tobytes(self) -> bytes:
        return self.data


@pytest.mark.parametrize(
    ("picture", "channels"),
    [
        (Picture("L", b"ab"), 1),
        (Picture("RGB", b"abcdef"), 3),
        (Picture("RGBA", b"abcdefgh"), 4),
        (Picture("P", b"abcdef", "RGB"), 3),
        (Picture("LA", b"abcdefgh", "RGBA"), 4),
        (Picture("1", b"ab", "L"), 1),
    ],
)
def test_pillow_images_are_accepted(picture: Picture, channels: int) -> None:
    found = read(image(picture))
    assert (found.shape, found.tobytes()) == ((1, 2, channels), picture.data)


def test_smooth_images_take_little_room() -> None:
    ramp = np.add.outer(np.arange(256), np.arange(256)).astype(np.uint8)
    content = image(ramp).content
    assert isinstance(content, bytes)
    assert len(content) < ramp.size / 20


@pytest.mark.parametrize("has_numpy", [True, False])
def test_floats_outside_0_to_1_are_clipped_with_one_warning(
    has_numpy: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    module._warn_of_clipping.cache_clear()
    if not has_numpy:
        monkeypatch.setattr(module, "numpy", lambda: None)
    rows = [[-0.5, 0.0, 1.0, 1.5, math.nan, math.inf, -math.inf]]
    for _ in range(2):
        assert read(image(rows)).ravel().tolist() == [0, 0, 255, 255, 0, 255, 0]
    (record,) = caplog.records
    assert "others are clipped" in record.getMessage()
