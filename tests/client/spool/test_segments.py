"""Segments: what can happen to their bytes, and what is found of the records then."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from track.spool.segments import (
    HEADER_SIZE,
    RECORD_OVERHEAD,
    pack_header,
    pack_record,
    scan,
)
from track_protocol.errors import SpoolCorrupt

SESSION = bytes(range(16))

payloads = st.lists(st.binary(max_size=60), min_size=1, max_size=8)
# Payloads full of zeros look most like the beginning of a record.
hollow = st.lists(st.integers(0, 60).map(bytes), min_size=1, max_size=8)


def segment(written: list[bytes]) -> bytes:
    return pack_header(SESSION) + b"".join(
        pack_record(seq, payload) for seq, payload in enumerate(written, start=1)
    )


def found_in(data: bytes) -> list[tuple[int, bytes]]:
    return [(seq, data[start : start + length]) for seq, start, length in scan(data, SESSION).records]


@given(payloads)
def test_what_was_written_is_found(written: list[bytes]) -> None:
    data = segment(written)
    assert found_in(data) == list(enumerate(written, start=1))
    assert scan(data, SESSION).damages == []
    assert scan(data, SESSION).end == len(data)


@given(payloads | hollow, st.data())
def test_a_truncated_segment_gives_the_intact_records_before_the_cut_and_a_torn_tail(
    written: list[bytes], data: st.DataObject
) -> None:
    intact = segment(written)
    cut = intact[: data.draw(st.integers(0, len(intact)))]
    found = scan(cut, SESSION)
    assert found_in(cut) == list(enumerate(written, start=1))[: len(found.records)]
    assert found.damages == []
    if len(cut) >= HEADER_SIZE:
        following = written[len(found.records) : len(found.records) + 1]
        assert all(found.end + RECORD_OVERHEAD + len(payload) > len(cut) for payload in following)


@given(payloads | hollow, st.data())
def test_a_flipped_bit_costs_one_record_at_most_and_makes_none_up(
    written: list[bytes], data: st.DataObject
) -> None:
    flipped = bytearray(segment(written))
    at = data.draw(st.integers(0, len(flipped) * 8 - 1))
    flipped[at // 8] ^= 1 << at % 8
    found = found_in(bytes(flipped))
    expected = list(enumerate(written, start=1))
    assert set(found) <= set(expected)
    assert len(found) >= len(expected) - 1
    assert [seq for seq, _ in found] == sorted({seq for seq, _ in found})


@given(payloads, st.data())
def test_a_flipped_bit_is_reported(written: list[bytes], data: st.DataObject) -> None:
    flipped = bytearray(segment(written))
    at = data.draw(st.integers(0, len(flipped) * 8 - 1))
    flipped[at // 8] ^= 1 << at % 8
    found = scan(bytes(flipped), SESSION)
    assert found.damages or found.end < len(flipped)


@given(payloads, st.binary(max_size=200), st.binary(max_size=200))
def test_arbitrary_bytes_around_records_make_no_record(
    written: list[bytes], before: bytes, after: bytes
) -> None:
    records = segment(written)[HEADER_SIZE:]
    found = found_in(pack_header(SESSION) + before + records + after)
    assert set(found) <= set(enumerate(written, start=1))


@pytest.mark.parametrize("at", [0, HEADER_SIZE - 1])
def test_damage_in_the_header_hides_nothing(at: int) -> None:
    data = bytearray(segment([b"one", b"two"]))
    data[at] ^= 0xFF
    assert found_in(bytes(data)) == [(1, b"one"), (2, b"two")]
    assert scan(bytes(data), SESSION).damages == [(0, HEADER_SIZE)]


def test_the_damage_of_a_last_record_that_was_finished_is_no_torn_tail() -> None:
    data = bytearray(segment([b"one", b"two"]))
    data[-1] ^= 1
    found = scan(bytes(data), SESSION)
    assert found.damages == [(HEADER_SIZE + RECORD_OVERHEAD + 3, len(data))]
    assert found.end == len(data)


def test_a_segment_of_another_session_is_refused() -> None:
    with pytest.raises(SpoolCorrupt, match="this session"):
        scan(segment([b"one"]), bytes(16))


def test_a_file_that_is_no_segment_is_refused() -> None:
    with pytest.raises(SpoolCorrupt, match="not a segment"):
        scan(b"#!/bin/sh\n", SESSION)


def test_a_segment_that_was_just_begun_holds_nothing() -> None:
    assert scan(b"", SESSION).records == []
    assert scan(pack_header(SESSION)[:10], SESSION).records == []


def test_a_length_that_a_flipped_bit_made_huge_is_not_believed() -> None:
    data = bytearray(segment([b"one", b"two"]))
    data[HEADER_SIZE] ^= 0x80
    assert found_in(bytes(data)) == [(2, b"two")]
