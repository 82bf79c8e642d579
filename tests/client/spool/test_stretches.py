"""Whole records of a spool, counted together where they are neighbours."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from track.spool import writer
from track.spool.segments import RECORD_OVERHEAD
from track.spool.stretches import Gathering
from track.spool.writer import Place
from track_protocol.wire.amount import Amount
from track_protocol.wire.batch import Batch, CallOp

LENGTH = 40


def batch(first: int, last: int) -> Batch:
    return Batch(first, last - first + 1, [CallOp(0, "commit", {})])


def place(slot: int, segment: int = 1) -> Place:
    """Of the record with that number of records before it in its segment."""
    return Place(segment, 24 + RECORD_OVERHEAD + slot * (LENGTH + RECORD_OVERHEAD), LENGTH)


def gathered(*ranges: tuple[int, int], segment: int = 1, into: Gathering | None = None) -> Gathering:
    """Records with these numbers, one behind the other on writer."""
    found = Gathering() if into is None else into
    for slot, (first, last) in enumerate(ranges):
        found.add(batch(first, last), place(slot, segment))
    return found


def ranges(found: Gathering) -> list[tuple[int, int]]:
    return [(each.first, each.last) for each in found.stretches]


def test_neighbours_are_one_stretch() -> None:
    (one,) = gathered((5, 6), (7, 7), (8, 20)).stretches
    assert (one.first, one.last, one.records, one.amount) == (5, 20, 3, Amount(calls=3))
    assert one.place == Place(1, place(0).start, 3 * LENGTH + 2 * RECORD_OVERHEAD)


def test_a_hole_in_the_numbers_or_between_the_bytes_ends_a_stretch() -> None:
    found = gathered((1, 1), (3, 3))
    found.add(batch(4, 4), place(9))
    assert ranges(found) == [(1, 1), (3, 3), (4, 4)]
    assert found.missing == [(2, 2)]


def test_a_stretch_does_not_reach_into_the_next_segment() -> None:
    found = gathered((1, 1), (2, 2))
    found.add(batch(3, 3), place(2, segment=2))
    assert ranges(found) == [(1, 2), (3, 3)]


def test_a_stretch_is_no_more_than_can_be_read_back_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # Fails when `Place.joined` knows no bound.
    with monkeypatch.context() as patched:
        patched.setattr(writer, "STRETCH_RECORDS", 2)
        assert ranges(gathered(*((n, n) for n in range(1, 6)))) == [(1, 2), (3, 4), (5, 5)]
    monkeypatch.setattr(writer, "STRETCH_BYTES", 3 * LENGTH)
    assert ranges(gathered(*((n, n) for n in range(1, 6)))) == [(1, 2), (3, 4), (5, 5)]


def test_what_was_written_again_counts_once_and_what_was_damaged_before_it_is_not_missing() -> None:
    found = gathered((1, 5), (11, 15))
    assert found.missing == [(6, 10)]
    gathered((6, 10), (11, 15), (16, 20), segment=2, into=found)
    assert ranges(found) == [(1, 5), (6, 10), (11, 15), (16, 20)]
    assert (found.missing, sum((each.amount for each in found.stretches), Amount())) == ([], Amount(calls=4))


def test_what_lies_within_a_later_and_longer_record_is_left_out() -> None:
    found = gathered((21, 25))
    gathered((5, 30), segment=2, into=found)
    assert ranges(found) == [(5, 30)]


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 5)), max_size=60))
def test_each_number_is_found_whatever_the_order(records: list[tuple[int, int]]) -> None:
    found, known = Gathering(), set[int]()
    for slot, (first, more) in enumerate(records):
        numbers = set(range(first, first + more + 1))
        assert found.add(batch(first, first + more), place(2 * slot)) == (not numbers <= known)
        known |= numbers
    lasts = [each.last for each in found.stretches]
    assert lasts == sorted(set(lasts))
    assert {n for each in found.stretches for n in range(each.first, each.last + 1)} == known
    missing = {n for first, last in found.missing for n in range(first, last + 1)}
    assert missing == set(range(min(known, default=1), max(known, default=0))) - known
