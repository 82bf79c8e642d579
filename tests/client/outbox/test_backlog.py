"""What is numbered and not yet known to be durable."""

from __future__ import annotations

import pytest

from track.outbox.backlog import Backlog, Entry, NumberedCall
from track.outbox.futures import Call
from track.spool.reader import Extent
from track.spool.segments import RECORD_OVERHEAD
from track.spool.writer import Location
from track_protocol.errors import RemoteProtocolError
from track_protocol.wire.batch import Batch, CallOp
from track_protocol.wire.counts import Counts


def batch(first: int, count: int) -> Batch:
    return Batch(first, count, [CallOp(0, "commit", {})])


def filled(*counts: int) -> Backlog:
    backlog = Backlog()
    for count in counts:
        backlog.add(batch(backlog.next_seq, count), 100)
    return backlog


def numbers(backlog: Backlog) -> list[tuple[int, int]]:
    return [(entry.first, entry.last) for entry in backlog]


def test_an_acknowledgement_forgets_whole_batches_only() -> None:
    backlog = filled(2, 3)
    backlog.mark_sent()
    backlog.mark_sent()
    backlog.ack(4)
    assert (numbers(backlog), backlog.acked, backlog.sent, backlog.nbytes) == ([(3, 5)], 4, 1, 100)


def test_an_acknowledgement_of_what_was_never_sent_is_the_servers_fault() -> None:
    backlog = filled(2, 3)
    backlog.mark_sent()
    with pytest.raises(RemoteProtocolError, match="acknowledged record 5, but the last one sent is 2"):
        backlog.ack(5)


def test_a_store_may_work_off_what_came_on_the_link_before() -> None:
    backlog = filled(2, 3)
    backlog.mark_sent()
    backlog.mark_sent()
    assert backlog.attach(0) == 0
    backlog.mark_sent()
    backlog.ack(5)
    assert (numbers(backlog), backlog.sent, backlog.sent_nbytes) == ([], 0, 0)


def test_attaching_sends_again_from_where_the_store_stands() -> None:
    backlog = filled(2, 3, 1)
    for _ in range(3):
        backlog.mark_sent()
    assert backlog.attach(3) == 0
    assert numbers(backlog) == [(3, 5), (6, 6)]
    assert (backlog.sent, backlog.horizon, backlog.acked) == (0, 2, 3)


def test_what_a_store_has_no_more_counts_as_nothing() -> None:
    backlog = filled(2, 3)
    backlog.mark_sent()
    backlog.ack(2)
    assert backlog.attach(0) == 2
    assert numbers(backlog) == [(1, 2), (3, 5)]
    assert (next(iter(backlog)).item, backlog.acked) == (Batch(1, 2, []), 0)


def test_what_a_store_has_no_more_is_sent_again_as_far_as_it_is_kept() -> None:
    backlog = filled(2, 2, 2, 3)
    for _ in range(3):
        backlog.mark_sent()
    backlog.ack(6)
    kept = Entry(None, 3, 4, Counts(2), 40, Location(1, 40, 40))
    assert backlog.attach(0, [kept]) == 4
    assert numbers(backlog) == [(1, 2), (3, 4), (5, 6), (7, 9)]
    assert [entry.location for entry in backlog] == [None, kept.location, None, None]


def test_a_new_session_numbers_everything_from_one() -> None:
    backlog = filled(2, 3)
    backlog.mark_sent()
    backlog.ack(2)
    backlog.renumber()
    assert (numbers(backlog), backlog.next_seq, backlog.acked) == ([(1, 3)], 4, 0)


def test_what_is_on_disk_may_leave_memory() -> None:
    backlog = filled(2, 3)
    first, second = backlog.unlocated()
    backlog.put(first, Location(1, 40, 40))
    backlog.unload(first)
    backlog.unload(second)
    assert (first.item, second.item is None, backlog.nbytes) == (None, False, 100)
    assert backlog.unlocated() == [second]


def test_what_the_disk_did_not_flush_has_to_be_written_again() -> None:
    backlog = filled(1, 2, 3)
    for number, entry in enumerate(backlog.unlocated(), 1):
        backlog.put(entry, Location(number, 40, 40))
    backlog.unmark(1)
    assert [(entry.first, entry.location) for entry in backlog.unlocated()] == [(2, None), (4, None)]


def test_records_from_disk_may_begin_anywhere_and_what_is_missing_counts_as_nothing() -> None:
    backlog = Backlog()
    backlog.adopt(Extent(5, 6, Counts(2), Location(1, 40, 40)))
    backlog.adopt(Extent(9, 9, Counts(1), Location(1, 99, 40)))
    assert numbers(backlog) == [(5, 6), (7, 8), (9, 9)]
    assert (backlog.acked, backlog.next_seq, backlog.highest) == (4, 10, 9)
    assert [entry.counts for entry in backlog] == [Counts(2), Counts(), Counts(1)]


def test_an_executed_call_stays_until_its_answer_is_here() -> None:
    backlog = filled(1)
    item = NumberedCall(2, Call("commit", {}, writes=True))
    backlog.add(item, 10)
    backlog.mark_sent()
    backlog.mark_sent()
    assert backlog.attach(2) == 0
    assert (numbers(backlog), backlog.resolved_through) == ([(2, 2)], 1)
    backlog.mark_sent()
    backlog.answered(item)
    assert (numbers(backlog), backlog.acked) == ([], 2)


def test_a_call_that_nobody_waits_for_becomes_nothing_of_the_same_number() -> None:
    backlog = filled(1)
    call = Call("commit", {}, writes=True)
    backlog.add(NumberedCall(2, call), 10)
    backlog.mark_sent()
    call.cancelled = True
    assert backlog.attach(1) == 0
    assert [entry.item for entry in backlog] == [Batch(2, 1, [])]


def test_giving_up_uses_the_numbers_again() -> None:
    backlog = filled(2, 3)
    backlog.mark_sent()
    backlog.ack(2)
    assert [entry.first for entry in backlog.clear()] == [3]
    assert (backlog.next_seq, backlog.nbytes, len(backlog)) == (3, 0, 0)


def test_a_call_that_nobody_waits_for_keeps_nobody_waiting() -> None:
    backlog = Backlog()
    call = Call("commit", {}, writes=True)
    backlog.add(NumberedCall(1, call), 100)
    assert backlog.resolved_through == 0
    call.cancelled = True
    assert backlog.resolved_through == 1
    backlog.add(batch(2, 3), 100)
    assert backlog.resolved_through == 1


def on_disk(*counts: int) -> Backlog:
    """Batches that lie one behind the other on disk only."""
    backlog, start = filled(*counts), 40
    for entry in backlog.unlocated():
        backlog.put(entry, Location(1, start, 40))
        backlog.unload(entry)
        start += 40 + RECORD_OVERHEAD
    return backlog


def test_neighbours_that_are_on_disk_only_become_one_item() -> None:
    backlog = on_disk(1, 2, 3)
    backlog.coalesce(3)
    (entry,) = backlog
    assert (entry.first, entry.last, entry.records) == (1, 6, 3)
    assert entry.location == Location(1, 40, 3 * 40 + 2 * RECORD_OVERHEAD)
    assert backlog.located == 1


def test_what_was_sent_stays_an_item_of_its_own() -> None:
    backlog = on_disk(1, 2, 3)
    backlog.mark_sent()
    backlog.coalesce(3)
    assert numbers(backlog) == [(1, 1), (2, 6)]
    assert backlog.sent == 1


def test_records_of_different_segments_are_no_neighbours() -> None:
    backlog = on_disk(1, 2)
    list(backlog)[1].location = Location(2, 40, 40)
    backlog.coalesce(2)
    assert numbers(backlog) == [(1, 1), (2, 3)]


def test_one_item_stands_for_no_more_than_can_be_read_back_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("track.spool.writer.EXTENT_RECORDS", 2)
    backlog = on_disk(1, 1, 1, 1, 1)
    backlog.coalesce(5)
    assert numbers(backlog) == [(1, 2), (3, 4), (5, 5)]


def test_an_item_gives_way_to_those_that_it_stands_for() -> None:
    backlog = on_disk(1, 2, 3)
    backlog.mark_sent()
    backlog.coalesce(3)
    backlog.expand([Entry(batch(2, 2), 2, 3, Counts(), 40), Entry(batch(4, 3), 4, 6, Counts(), 40)])
    assert numbers(backlog) == [(1, 1), (2, 3), (4, 6)]
    assert (backlog.sent, backlog.located, backlog.nbytes) == (1, 3, 80)


def test_of_a_batch_that_is_durable_in_part_only_the_rest_counts() -> None:
    # Fails when `Backlog.counts` adds up whole items.
    backlog = Backlog()
    item = Batch(1, 4, [CallOp(offset, "commit", {}) for offset in range(4)])
    backlog.add(item, 100, item.counts)
    assert backlog.counts == Counts(calls=4)
    backlog.mark_sent()
    backlog.attach(3)
    assert backlog.counts == Counts(calls=1)


def test_what_stood_for_several_records_is_one_when_it_is_written_anew() -> None:
    # Fails when `Backlog.put` leaves an item the number of records that it had elsewhere.
    backlog = filled(3)
    (entry,) = backlog
    entry.records = 3
    backlog.put(entry, Location(1, RECORD_OVERHEAD, 100))
    assert (entry.records, backlog.located) == (1, 1)


def test_what_is_in_memory_need_not_be_read_though_it_is_several_records() -> None:
    # Fails when `Entry.is_extent` asks for the number of records only.
    backlog = filled(3)
    (entry,) = backlog
    entry.records = 3
    assert not entry.is_extent
