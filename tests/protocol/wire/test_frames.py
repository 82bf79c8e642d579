from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from track_protocol.errors import (
    BadValue,
    EncryptionMismatch,
    FrameTooLarge,
    LocalProtocolError,
    RemoteProtocolError,
)
from track_protocol.wire.codec import decode, encode
from track_protocol.wire.frames import (
    FRAME_LIMIT,
    GREETING_LIMIT,
    FrameKind,
    FrameReader,
    encode_frame,
    frame_fields,
)
from wire_samples import allocation


def next_frame(reader: FrameReader) -> tuple[FrameKind, list[Any]] | None:
    """The next complete frame, as its kind and the other fields."""
    body = reader.next_body()
    return None if body is None else frame_fields(decode(body))


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


def read(data: bytes) -> tuple[FrameKind, list[object]] | None:
    reader = FrameReader()
    reader.feed(data)
    return next_frame(reader)


@pytest.mark.parametrize("kind", FrameKind)
def test_a_frame_round_trips(kind: FrameKind) -> None:
    assert read(encode_frame(kind, ["a", 1, None])) == (kind, ["a", 1, None])


def test_the_bytes_of_a_frame_are_its_length_and_an_array_with_its_kind() -> None:
    assert encode_frame(FrameKind.PING, [5]) == b"\x00\x00\x00\x03\x92\x0a\x05"


def test_nothing_is_no_frame() -> None:
    assert next_frame(FrameReader()) is None


@settings(max_examples=50)
@given(st.lists(st.sampled_from(FrameKind), max_size=8), st.data())
def test_frames_are_found_however_the_stream_is_cut(kinds: list[FrameKind], data: st.DataObject) -> None:
    stream = b"".join(encode_frame(kind, ["x" * kind]) for kind in kinds)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    reader = FrameReader()
    found = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        reader.feed(stream[start:end])
        while (frame := next_frame(reader)) is not None:
            found.append(frame)
    assert found == [(kind, ["x" * kind]) for kind in kinds]
    assert reader.buffered == 0


def test_the_bytes_of_an_incomplete_frame_are_counted() -> None:
    reader = FrameReader()
    reader.feed(encode_frame(FrameKind.PING, [5])[:-1])
    assert next_frame(reader) is None
    assert reader.buffered == 6


@pytest.mark.parametrize("limit", [GREETING_LIMIT, FRAME_LIMIT])
def test_a_frame_as_long_as_the_limit_is_made_and_read(limit: int) -> None:
    around = len(encode([2, b"x" * (limit - 9)])) - (limit - 9)
    frame = encode_frame(FrameKind.AUTH, [b"x" * (limit - around)], limit)
    assert len(frame) == 4 + limit
    reader = FrameReader(limit)
    reader.feed(frame)
    assert next_frame(reader) is not None


def test_a_frame_over_the_limit_is_refused_before_its_body_comes() -> None:
    with pytest.raises(FrameTooLarge, match="4,097 bytes exceeds the limit of 4,096"):
        read((GREETING_LIMIT + 1).to_bytes(4, "big"))


def test_the_limit_may_rise_between_frames() -> None:
    reader = FrameReader()
    reader.feed(encode_frame(FrameKind.READY, []))
    reader.feed(encode_frame(FrameKind.BATCH, [b"x" * 5000]))
    assert next_frame(reader) == (FrameKind.READY, [])
    reader.limit = FRAME_LIMIT
    assert next_frame(reader) == (FrameKind.BATCH, [b"x" * 5000])


@pytest.mark.parametrize("length", [GREETING_LIMIT + 1, FRAME_LIMIT, 2**31, 2**32 - 1])
def test_a_claimed_length_allocates_no_memory(length: int) -> None:
    reader = FrameReader()
    with allocation() as peak:
        reader.feed(length.to_bytes(4, "big"))
        with pytest.raises(FrameTooLarge):
            next_frame(reader)
        used = peak()
    assert used < 16 * 1024


@pytest.mark.parametrize(
    "start", [b"\x16\x03\x01\x02\x00\x01", b"\x16\x03\x03\x00\x7a\x02", b"\x15\x03\x01\x00\x02\x02"]
)
def test_tls_is_recognised(start: bytes) -> None:
    with pytest.raises(EncryptionMismatch, match="security_layer=AES"):
        read(start)


@pytest.mark.parametrize(
    "start", [b"\x16\x04\x00\x00", b"\x17\x03\x03\x00", b"GET / HTTP/1.1\r\n", b"SSH-2.0-"]
)
def test_another_protocol_is_no_tls(start: bytes) -> None:
    with pytest.raises(FrameTooLarge):
        read(start)


def test_a_long_frame_behind_others_is_no_tls() -> None:
    reader = FrameReader()
    reader.feed(encode_frame(FrameKind.PING, [5]) + b"\x16\x03\x01\x02")
    next_frame(reader)
    with pytest.raises(FrameTooLarge):
        next_frame(reader)


@pytest.mark.parametrize("body", [None, 1, "PING", b"\x0a", {}, {10: 5}, (10, 5), []])
def test_a_frame_is_an_array_that_starts_with_its_kind(body: object) -> None:
    with pytest.raises(RemoteProtocolError, match="starts with its kind"):
        read(framed(encode(body)))


@pytest.mark.parametrize(
    "kind", [0, 13, -1, 2**63 - 1, 10.0, True, None, "PING", b"\x0a", [10], (10,), {}, [[[]]]]
)
def test_a_kind_is_one_of_twelve_numbers(kind: object) -> None:
    with pytest.raises(RemoteProtocolError, match="a number from 1 to 12"):
        read(framed(encode([kind, 5])))


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x92\x0a", b"\x91\x0a\x00", b"\x92\x0a\xc7\x00\x05"])
def test_a_body_that_is_no_value_is_refused(body: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        read(framed(body))


@pytest.mark.parametrize("body", [b"\xc1", b"\xdd\x7f\xff\xff\xff", b"\x91\xc4\x05", b"\x91" * 600 + b"\x01"])
def test_bytes_after_a_refused_frame_are_accepted(body: bytes) -> None:
    reader = FrameReader()
    reader.feed(framed(body))
    with pytest.raises(RemoteProtocolError):
        next_frame(reader)
    reader.feed(b"more")


def test_a_frame_over_the_limit_is_not_made() -> None:
    with pytest.raises(LocalProtocolError, match="AUTH of 5,005 bytes exceeds the limit of 4,096"):
        encode_frame(FrameKind.AUTH, ["x" * 5000], GREETING_LIMIT)


def test_a_field_that_cannot_be_sent_makes_no_frame() -> None:
    with pytest.raises(BadValue):
        encode_frame(FrameKind.CALL, [object()])
