"""The file of an image, byte by byte."""

from __future__ import annotations

import zlib

import pytest

from track.media.image import Pixels, decode_png, encode_png
from track_protocol.errors import BadValue


def test_a_file_has_the_form_of_the_standard() -> None:
    data = encode_png(Pixels(2, 1, 3, b"abcdef"))
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert data[8:29] == b"\0\0\0\x0dIHDR\0\0\0\x02\0\0\0\x01\x08\x02\0\0\0"
    assert data[29:33] == zlib.crc32(data[12:29]).to_bytes(4, "big")
    assert data[-12:] == b"\0\0\0\0IEND\xaeB`\x82"


@pytest.mark.parametrize(
    "data",
    [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n", encode_png(Pixels(2, 1, 3, b"abcdef"))[:40]],
)
def test_other_files_are_not_decoded(data: bytes) -> None:
    with pytest.raises(BadValue, match="PNG"):
        decode_png(data)
