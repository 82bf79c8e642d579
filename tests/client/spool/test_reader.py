"""Taking over a spool, whatever happened to its bytes."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orphaned_spools import SESSION, left_spool, records_in
from track.spool import reader, writer
from track.spool.folder import Checkpoint, SpoolFolder, segments_in
from track.spool.options import SpoolOptions, SpoolSync
from track.spool.reader import ExtentIndex, Recovered, batch_in, look_at, look_in, recover, survey
from track.spool.segments import HEADER_SIZE, RECORD_OVERHEAD, pack_header, pack_record
from track.spool.writer import Location, Spool
from track_protocol.errors import SpoolCorrupt
from track_protocol.wire.batch import Batch, CallOp, batch_to_wire
from track_protocol.wire.codec import encode
from track_protocol.wire.counts import Counts


def take_over(path: Path) -> Recovered:
    folder = SpoolFolder.open(path)
    spool, found = recover(folder, SpoolOptions(path.parent))
    spool.close()
    folder.close()
    return found


def ranges(found: Recovered) -> list[tuple[int, int]]:
    return [(each.first, each.last) for each in found.intact]


def segment(path: Path) -> Path:
    return next(path.glob("*.segment"))


def damage(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def nothing(first: int, count: int) -> bytes:
    return encode(batch_to_wire(Batch(first, count, [])))


def test_all_records_are_found_with_their_points(tmp_path: Path) -> None:
    found = take_over(left_spool(tmp_path, batches=3, width=10))
    assert (ranges(found), found.intact[0].records, found.waiting) == ([(1, 30)], 3, Counts(30))
    assert (found.begins, found.is_cut, found.damages, found.missing, found.torn_bytes) == (
        True,
        False,
        [],
        [],
        0,
    )


def test_a_torn_tail_is_cut_and_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = left_spool(tmp_path)
    intact = segment(path).read_bytes()
    segment(path).write_bytes(intact + pack_record(31, nothing(31, 1))[:-2])
    found = take_over(path)
    assert found.torn_bytes == len(pack_record(31, nothing(31, 1))) - 2
    assert segment(path).read_bytes() == intact
    assert "were cut off" in caplog.text
    assert not (path / "damaged").exists()


def test_a_flipped_bit_is_quarantined_and_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = left_spool(tmp_path)
    length = (segment(path).stat().st_size - HEADER_SIZE) // 3
    damage(segment(path), HEADER_SIZE + length + 30)
    found = take_over(path)
    assert ranges(found) == [(1, 10), (21, 30)]
    assert (found.missing, found.missing_after(0), found.missing_after(15)) == ([(11, 20)], 10, 5)
    (quarantined,) = (path / "damaged").iterdir()
    assert len(quarantined.read_bytes()) == length
    assert "log calls 11 to 20 are damaged" in caplog.text


def test_a_file_that_is_no_segment_is_quarantined(tmp_path: Path) -> None:
    path = left_spool(tmp_path)
    (path / "00000002.segment").write_bytes(b"something else entirely, of some length")
    found = take_over(path)
    assert ranges(found) == [(1, 30)]
    assert found.is_cut
    assert (path / "damaged" / "00000002-0").read_bytes().startswith(b"something else")


def test_an_intact_record_that_is_no_batch_is_damage(tmp_path: Path) -> None:
    path = left_spool(tmp_path)
    with segment(path).open("ab") as file:
        file.write(pack_record(31, b"no batch") + pack_record(32, nothing(32, 1)))
    found = take_over(path)
    assert found.missing == [(31, 31)]
    assert len(found.damages) == 1
    (quarantined,) = (path / "damaged").iterdir()
    assert quarantined.read_bytes() == pack_record(31, b"no batch")


def test_records_that_were_written_again_count_once(tmp_path: Path) -> None:
    path = left_spool(tmp_path, batches=2)
    again = pack_header(SESSION) + pack_record(11, nothing(11, 10)) + pack_record(21, nothing(21, 5))
    (path / "00000002.segment").write_bytes(again)
    assert ranges(take_over(path)) == [(1, 20), (21, 25)]


def test_a_damaged_record_that_was_written_again_is_not_missing(tmp_path: Path) -> None:
    path = left_spool(tmp_path)
    length = (segment(path).stat().st_size - HEADER_SIZE) // 3
    damage(segment(path), HEADER_SIZE + length + 30)
    again = pack_header(SESSION) + pack_record(11, nothing(11, 10)) + pack_record(21, nothing(21, 10))
    (path / "00000002.segment").write_bytes(again)
    found = take_over(path)
    assert ranges(found) == [(1, 10), (11, 20), (21, 30)]
    assert found.missing == []


def test_what_is_missing_at_the_beginning_is_damage_only_if_nothing_was_removed_there(tmp_path: Path) -> None:
    assert take_over(left_spool(tmp_path, first=101)).missing_after(0) == 0
    path = left_spool(tmp_path, session=b"2" * 16)
    damage(segment(path), 60)
    assert take_over(path).missing_after(0) == 10


def test_a_survey_changes_nothing_and_finds_the_same(tmp_path: Path) -> None:
    path = left_spool(tmp_path)
    segment(path).write_bytes(segment(path).read_bytes() + b"\0" * 7)
    damage(segment(path), 60)
    before = {each: each.read_bytes() for each in path.iterdir()}
    seen = survey(path, SESSION.hex())
    assert {each: each.read_bytes() for each in path.iterdir()} == before
    found = take_over(path)
    assert (seen.intact, seen.damages, seen.torn_bytes) == (found.intact, found.damages, 7)


def test_what_is_written_after_a_recovery_goes_to_a_new_segment(tmp_path: Path) -> None:
    path = left_spool(tmp_path)
    folder = SpoolFolder.open(path)
    spool, _ = recover(folder, SpoolOptions(tmp_path, SpoolSync.NONE))
    assert isinstance(spool, Spool)
    assert spool.append(31, 31, nothing(31, 1)).segment == 2
    spool.close()
    folder.close()
    assert ranges(take_over(path))[-1] == (31, 31)


def test_recovering_twice_finds_the_same(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "track")
    path = left_spool(tmp_path)
    damage(segment(path), 60)
    assert take_over(path) == take_over(path)


def test_a_payload_that_is_no_batch_is_damage() -> None:
    with pytest.raises(SpoolCorrupt, match="cannot be decoded"):
        batch_in(encode([0, 0, 0]))


# -- how much --------------------------------------------------------------------------------------


def test_points_and_other_log_calls_are_counted_apart(tmp_path: Path) -> None:
    assert take_over(left_spool(tmp_path, calls=3)).waiting == Counts(30, 3)


def test_of_what_was_confirmed_in_part_only_the_rest_waits(tmp_path: Path) -> None:
    # Fails when partly confirmed records are counted in full.
    path = left_spool(tmp_path, calls=3, checkpoint=Checkpoint(15, "one"))
    assert survey(path, SESSION.hex(), 15).waiting == take_over(path).waiting == Counts(15, 3)


def test_what_is_known_of_a_million_records_does_not_grow_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Fails when `ExtentIndex.add` joins nothing.
    monkeypatch.setattr("track.spool.writer.EXTENT_RECORDS", 500)
    path = left_spool(tmp_path, batches=2_000, width=1)
    found = take_over(path)
    assert [(each.records, each.counts) for each in found.intact] == [(500, Counts(500))] * 4
    assert survey(path, SESSION.hex()).intact == found.intact


def test_damage_within_an_extent_takes_that_record_only(tmp_path: Path) -> None:
    path = left_spool(tmp_path, batches=100, width=1)
    damaged, _ = records_in(path)[49]
    damage(segment(path), damaged.start)
    found = take_over(path)
    assert (ranges(found), found.missing, found.waiting) == ([(1, 49), (51, 100)], [(50, 50)], Counts(99))
    (quarantined,) = (path / "damaged").iterdir()
    assert len(quarantined.read_bytes()) == damaged.length + RECORD_OVERHEAD


def test_each_segment_is_given_up_behind_its_own_last_record(tmp_path: Path) -> None:
    # Fails when `recover` takes one number for all segments: what is not confirmed would be removed.
    options = SpoolOptions(tmp_path, SpoolSync.NONE, segment_bytes=2_000, retained_seconds=0.0)
    path = left_spool(tmp_path, batches=40, width=1, options=options)
    last_of = {location.segment: batch.last for location, batch in records_in(path)}
    folder = SpoolFolder.open(path)
    spool, _ = recover(folder, options)
    spool.acknowledge(last_of[2] - 1)
    assert [int(each.stem) for each in folder.segments()] == [number for number in last_of if number > 1]
    spool.acknowledge(last_of[2])
    assert [int(each.stem) for each in folder.segments()] == [number for number in last_of if number > 2]
    spool.close()
    folder.close()


LENGTH = 40


def batch(first: int, last: int) -> Batch:
    return Batch(first, last - first + 1, [CallOp(0, "commit", {})])


def location(slot: int, segment: int = 1) -> Location:
    """Of the record with that number of records before it in its segment."""
    return Location(segment, 24 + RECORD_OVERHEAD + slot * (LENGTH + RECORD_OVERHEAD), LENGTH)


def indexed(*ranges: tuple[int, int], segment: int = 1, into: ExtentIndex | None = None) -> ExtentIndex:
    """Records with these numbers, one behind the other on writer."""
    found = ExtentIndex() if into is None else into
    for slot, (first, last) in enumerate(ranges):
        found.add(batch(first, last), location(slot, segment))
    return found


def extent_ranges(found: ExtentIndex) -> list[tuple[int, int]]:
    return [(each.first, each.last) for each in found.extents]


def test_neighbours_are_one_extent() -> None:
    (one,) = indexed((5, 6), (7, 7), (8, 20)).extents
    assert (one.first, one.last, one.records, one.counts) == (5, 20, 3, Counts(calls=3))
    assert one.location == Location(1, location(0).start, 3 * LENGTH + 2 * RECORD_OVERHEAD)


def test_a_hole_in_the_numbers_or_between_the_bytes_ends_an_extent() -> None:
    found = indexed((1, 1), (3, 3))
    found.add(batch(4, 4), location(9))
    assert extent_ranges(found) == [(1, 1), (3, 3), (4, 4)]
    assert found.missing == [(2, 2)]


def test_an_extent_does_not_reach_into_the_next_segment() -> None:
    found = indexed((1, 1), (2, 2))
    found.add(batch(3, 3), location(2, segment=2))
    assert extent_ranges(found) == [(1, 2), (3, 3)]


def test_an_extent_is_no_more_than_can_be_read_back_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # Fails when `Location.coalesced` has no limit.
    with monkeypatch.context() as patched:
        patched.setattr(writer, "EXTENT_RECORDS", 2)
        assert extent_ranges(indexed(*((n, n) for n in range(1, 6)))) == [(1, 2), (3, 4), (5, 5)]
    monkeypatch.setattr(writer, "EXTENT_BYTES", 3 * LENGTH)
    assert extent_ranges(indexed(*((n, n) for n in range(1, 6)))) == [(1, 2), (3, 4), (5, 5)]


def test_what_was_written_again_counts_once_and_what_was_damaged_before_it_is_not_missing() -> None:
    found = indexed((1, 5), (11, 15))
    assert found.missing == [(6, 10)]
    indexed((6, 10), (11, 15), (16, 20), segment=2, into=found)
    assert extent_ranges(found) == [(1, 5), (6, 10), (11, 15), (16, 20)]
    assert (found.missing, sum((each.counts for each in found.extents), Counts())) == ([], Counts(calls=4))


def test_what_lies_within_a_later_and_longer_record_is_left_out() -> None:
    found = indexed((21, 25))
    indexed((5, 30), segment=2, into=found)
    assert extent_ranges(found) == [(5, 30)]


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 5)), max_size=60))
def test_each_number_is_found_whatever_the_order(records: list[tuple[int, int]]) -> None:
    found, known = ExtentIndex(), set[int]()
    for slot, (first, more) in enumerate(records):
        numbers = set(range(first, first + more + 1))
        assert found.add(batch(first, first + more), location(2 * slot)) == (not numbers <= known)
        known |= numbers
    lasts = [each.last for each in found.extents]
    assert lasts == sorted(set(lasts))
    assert {n for each in found.extents for n in range(each.first, each.last + 1)} == known
    missing = {n for first, last in found.missing for n in range(first, last + 1)}
    assert missing == set(range(min(known, default=1), max(known, default=0))) - known


def test_what_waits_is_counted_behind_what_was_confirmed(tmp_path: Path) -> None:
    found = look_at(left_spool(tmp_path, checkpoint=Checkpoint(10, "one", "away")))
    assert (found.waiting, found.state, found.in_use) == (Counts(20), "waits", False)
    assert 0 < found.nbytes < sum(path.stat().st_size for path in found.path.glob("*.segment"))


def test_a_spool_that_is_held_is_in_use_and_can_be_looked_at(tmp_path: Path) -> None:
    path = left_spool(tmp_path)
    holder = SpoolFolder.open(path)
    assert (look_at(path).in_use, look_at(path).waiting) == (True, Counts(30))
    holder.close()
    assert not look_at(path).in_use


def test_a_damaged_one_says_so(tmp_path: Path) -> None:
    path = left_spool(tmp_path)
    segment = next(path.glob("*.segment"))
    data = bytearray(segment.read_bytes())
    data[60] ^= 1
    segment.write_bytes(data)
    found = look_at(path)
    assert (found.state, found.waiting, len(found.held.damages)) == ("waits, damaged", Counts(20), 1)


def test_one_that_cannot_be_used_says_why(tmp_path: Path) -> None:
    path = left_spool(tmp_path)
    (path / "spool.json").write_text('{"format": 99}')
    found = look_at(path)
    assert found.state == "unusable"
    assert "newer version" in found.as_json()["error"]


def test_one_that_was_sent_but_for_damaged_bytes_says_so(tmp_path: Path) -> None:
    path = left_spool(tmp_path)
    folder = SpoolFolder.open(path)
    folder.quarantine("1-24", b"odd")
    folder.remove()
    assert look_at(path).state == "sent, damaged bytes remain"


def test_what_a_process_left_that_died_at_its_first_breath_is_no_spool(tmp_path: Path) -> None:
    shell = tmp_path / ("0" * 32)
    shell.mkdir()
    (shell / "lock").touch()
    assert look_in(tmp_path) == []


def test_the_oldest_comes_first(tmp_path: Path) -> None:
    newer, older = (left_spool(tmp_path, session=bytes([number]) * 16) for number in (1, 2))
    metadata = older / "spool.json"
    metadata.write_text(metadata.read_text().replace("1700000000", "1600000000"))
    assert [found.path for found in look_in(tmp_path)] == [older, newer]


def test_a_segment_that_is_removed_meanwhile_was_confirmed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = left_spool(tmp_path)
    listed = [path / "00000000.segment", *segments_in(path)]
    monkeypatch.setattr(reader, "segments_in", lambda folder: listed)
    assert look_at(path).waiting == Counts(30)


def test_what_is_not_looked_into_is_not_read(tmp_path: Path) -> None:
    # Fails when `look_at` surveys all the same: sending a large spool would read it once more.
    path = left_spool(tmp_path)
    next(path.glob("*.segment")).rename(path / "00000001.segment.away")
    (path / "00000001.segment").mkdir()
    (found,) = look_in(tmp_path, inside=False)
    assert (found.state, found.error, found.waiting) == ("waits", None, Counts())
    assert look_at(path).state == "unusable"
