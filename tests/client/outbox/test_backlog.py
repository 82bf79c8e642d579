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
    return [(each.first, each.last) for each in backlog]


def send(backlog: Backlog, items: int) -> list[Entry]:
    """Send so many items, none of which has to be read."""
    sent = []
    for _ in range(items):
        entry = backlog.next()
        assert isinstance(entry, Entry)
        backlog.mark_sent()
        sent.append(entry)
    return sent


def extent(first: int, last: int, start: int = 40) -> Extent:
    return Extent(first, last, Counts(last - first + 1), Location(1, start, 40))


def written(*counts: int, segment: int = 1) -> Backlog:
    """Batches that lie one behind the other on disk, too."""
    backlog, start = filled(*counts), 40
    for entry in backlog.in_memory_after(0):
        entry.extent = Extent(entry.first, entry.last, Counts(1), Location(segment, start, 40))
        start += 40 + RECORD_OVERHEAD
    return backlog


def test_an_acknowledgement_removes_complete_batches_only() -> None:
    backlog = filled(2, 3)
    send(backlog, 2)
    backlog.ack(4)
    assert (numbers(backlog), backlog.acked, backlog.sent, backlog.nbytes) == ([(3, 5)], 4, 1, 100)


def test_an_acknowledgement_of_what_was_never_sent_is_the_servers_fault() -> None:
    backlog = filled(2, 3)
    send(backlog, 1)
    with pytest.raises(RemoteProtocolError, match="acknowledged record 5, but the last one sent is 2"):
        backlog.ack(5)


def test_a_store_may_work_off_what_came_on_the_link_before() -> None:
    backlog = filled(2, 3)
    send(backlog, 2)
    assert backlog.attach(0) == 0
    send(backlog, 1)
    backlog.ack(5)
    assert (numbers(backlog), backlog.sent, backlog.sent_nbytes) == ([], 0, 0)


def test_attaching_sends_again_from_where_the_store_stands() -> None:
    backlog = filled(2, 3, 1)
    send(backlog, 3)
    assert backlog.attach(3) == 0
    assert numbers(backlog) == [(3, 5), (6, 6)]
    assert (backlog.sent, backlog.horizon, backlog.acked) == (0, 2, 3)


def test_empty_batches_use_up_the_numbers_of_what_neither_side_has() -> None:
    backlog = filled(2, 3)
    send(backlog, 1)
    backlog.ack(2)
    assert backlog.attach(0) == 2
    assert backlog.acked == 0
    assert [entry.item for entry in send(backlog, 2)] == [Batch(1, 2, []), batch(3, 3)]


def test_what_a_store_has_no_more_is_sent_again_as_far_as_it_is_on_disk() -> None:
    backlog = filled(2, 2, 2, 3)
    send(backlog, 3)
    backlog.ack(6)
    stored = extent(3, 4)
    assert backlog.attach(0, [stored]) == 4
    (gap,) = send(backlog, 1)
    assert gap.item == Batch(1, 2, [])
    assert backlog.next() is stored
    backlog.load(stored, [Entry(batch(3, 2), 40)])
    assert [(entry.first, entry.last) for entry in send(backlog, 3)] == [(3, 4), (5, 6), (7, 9)]
    assert backlog.next() is None


def test_a_store_that_is_set_back_during_an_outage_gets_what_was_read_before_from_the_disk_again() -> None:
    # Fails when `Backlog._rewind` leaves the window where it is: it would come before what is older.
    backlog = written(1, 1, 1)
    send(backlog, 2)
    backlog.ack(1)
    backlog.evict(3)
    assert numbers(backlog) == [(2, 2), (3, 3)]
    assert backlog.attach(0, [extent(1, 1)]) == 0
    assert numbers(backlog) == [(1, 1), (2, 2), (3, 3)]
    assert not backlog.in_memory_after(0)


def test_a_new_session_numbers_everything_from_one() -> None:
    backlog = filled(2, 3)
    send(backlog, 1)
    backlog.ack(2)
    backlog.renumber()
    assert (numbers(backlog), backlog.next_seq, backlog.acked) == ([(1, 3)], 4, 0)


def test_what_is_synced_may_leave_memory() -> None:
    backlog = written(2, 3)
    backlog.evict(2)
    assert ([type(each) for each in backlog], backlog.nbytes) == ([Extent, Entry], 100)
    assert [entry.first for entry in backlog.in_memory_after(0)] == [3]


def test_what_was_sent_stays_in_memory() -> None:
    backlog = written(2, 3)
    send(backlog, 1)
    backlog.evict(5)
    assert [type(each) for each in backlog] == [Entry, Extent]
    assert backlog.attach(0) == 0
    assert [entry.first for entry in send(backlog, 1)] == [1]


def test_what_the_disk_did_not_flush_is_found_in_memory() -> None:
    backlog = filled(1, 2, 3)
    send(backlog, 2)
    assert [entry.first for entry in backlog.in_memory_after(1)] == [2, 4]


def test_records_from_disk_may_begin_anywhere_and_empty_batches_use_up_the_missing_numbers() -> None:
    backlog = Backlog()
    extents = [extent(5, 6), extent(9, 9, 99)]
    backlog.adopt(extents, 5)
    assert (backlog.acked, backlog.next_seq, backlog.highest, backlog.counts) == (4, 10, 9, Counts(3))
    for each in extents:
        assert backlog.next() is each
        backlog.load(each, [Entry(batch(each.first, each.last - each.first + 1))])
        send(backlog, 1)
        if each.first == 5:
            assert [entry.item for entry in send(backlog, 1)] == [Batch(7, 2, [])]
    assert backlog.next() is None


def test_an_executed_call_stays_until_its_answer_is_here() -> None:
    backlog = filled(1)
    item = NumberedCall(2, Call("commit", {}, writes=True))
    backlog.add(item, 10)
    send(backlog, 2)
    assert backlog.attach(2) == 0
    assert (numbers(backlog), backlog.resolved_through) == ([(2, 2)], 1)
    send(backlog, 1)
    backlog.answered(item)
    assert (numbers(backlog), backlog.acked) == ([], 2)


def test_a_call_that_left_memory_is_not_forgotten_before_its_answer_is_here() -> None:
    # Fails when `Backlog._forget` asks only the window for calls.
    backlog = filled(1)
    item = NumberedCall(2, Call("commit", {}, writes=True))
    backlog.add(item, 10)
    send(backlog, 2)
    backlog.ack(1)
    backlog.attach(0, [extent(1, 1)])
    assert backlog.attach(2) == 0
    assert (numbers(backlog), backlog.resolved_through) == ([(2, 2)], 1)
    assert [entry.item for entry in send(backlog, 1)] == [item]


def test_an_empty_batch_uses_up_the_number_of_a_cancelled_call() -> None:
    backlog = filled(1)
    call = Call("commit", {}, writes=True)
    backlog.add(NumberedCall(2, call), 10)
    send(backlog, 1)
    call.cancelled = True
    assert backlog.attach(1) == 0
    assert backlog.next() is not None
    backlog.skip()
    assert [entry.item for entry in send(backlog, 1)] == [Batch(2, 1, [])]
    assert not backlog.calls


def test_giving_up_uses_the_numbers_again() -> None:
    backlog = filled(2)
    backlog.add(item := batch(3, 3), 100, item.counts)
    send(backlog, 1)
    backlog.ack(2)
    assert backlog.clear() == Counts(calls=1)
    assert (backlog.next_seq, backlog.nbytes, len(backlog)) == (3, 0, 0)


def test_a_cancelled_call_delays_no_other() -> None:
    backlog = Backlog()
    call = Call("commit", {}, writes=True)
    backlog.add(NumberedCall(1, call), 100)
    assert backlog.resolved_through == 0
    call.cancelled = True
    assert backlog.resolved_through == 1
    backlog.add(batch(2, 3), 100)
    assert backlog.resolved_through == 1


def test_neighbours_that_leave_memory_become_one_extent() -> None:
    backlog = written(1, 2, 3)
    backlog.evict(6)
    (found,) = backlog
    location = Location(1, 40, 3 * 40 + 2 * RECORD_OVERHEAD)
    assert found == Extent(1, 6, Counts(3), location, records=3)


def test_records_of_different_segments_are_no_neighbours() -> None:
    backlog = written(1, 2)
    backlog.in_memory_after(1)[0].extent = Extent(2, 3, Counts(), Location(2, 40, 40))
    backlog.evict(3)
    assert numbers(backlog) == [(1, 1), (2, 3)]


def test_an_extent_is_no_more_than_can_be_read_back_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("track.spool.writer.EXTENT_RECORDS", 2)
    backlog = written(1, 1, 1, 1, 1)
    backlog.evict(5)
    assert numbers(backlog) == [(1, 2), (3, 4), (5, 5)]


def test_what_is_read_comes_behind_what_was_sent() -> None:
    backlog = written(1, 2, 3)
    send(backlog, 1)
    backlog.evict(6)
    unread = backlog.next()
    assert isinstance(unread, Extent)
    backlog.load(unread, [Entry(batch(2, 2), 40), Entry(batch(4, 3), 40)])
    assert numbers(backlog) == [(1, 1), (2, 3), (4, 6)]
    assert (backlog.sent, backlog.cursor, backlog.nbytes) == (1, 7, 180)


def test_empty_batches_use_up_the_numbers_of_damaged_records() -> None:
    # Fails when `Backlog.load` does not look for gaps.
    backlog = written(1, 1, 1, 1)
    backlog.evict(4)
    unread = backlog.next()
    assert isinstance(unread, Extent)
    backlog.load(unread, [Entry(batch(2, 1))])
    items = [entry.item for entry in send(backlog, 3)]
    assert items == [Batch(1, 1, []), batch(2, 1), Batch(3, 2, [])]


def test_what_cannot_be_read_is_skipped() -> None:
    backlog = written(1, 1)
    backlog.evict(2)
    assert isinstance(backlog.next(), Extent)
    backlog.skip()
    assert [entry.item for entry in send(backlog, 1)] == [Batch(1, 2, [])]


def test_a_call_does_not_go_with_the_disk_that_its_number_was_written_to() -> None:
    # Fails when `Backlog._fill` uses up the numbers of calls: nothing behind them would ever be forgotten.
    backlog, item = filled(2), NumberedCall(3, Call("commit", {}, writes=True))
    backlog.add(item, 10)
    backlog.add(batch(4, 2), 100)
    for entry in backlog.in_memory_after(0):
        entry.extent = extent(entry.first, entry.last)
    backlog.evict(5)
    backlog.discard_unread()
    assert [entry.item for entry in send(backlog, 3)] == [Batch(1, 2, []), item, Batch(4, 2, [])]


def test_of_a_batch_that_is_durable_in_part_only_the_rest_counts() -> None:
    # Fails when `Backlog.counts` counts partly confirmed records in full.
    backlog = Backlog()
    item = Batch(1, 4, [CallOp(offset, "commit", {}) for offset in range(4)])
    backlog.add(item, 100, item.counts)
    assert backlog.counts == Counts(calls=4)
    send(backlog, 1)
    backlog.attach(3)
    assert backlog.counts == Counts(calls=1)
