"""What is numbered and not yet known to be durable."""

from __future__ import annotations

import pytest

from track.backlog import Backlog, NumberedCall
from track.tickets import Call
from track_protocol.batch import Batch, CallOp
from track_protocol.errors import RemoteProtocolError


def batch(first: int, count: int) -> Batch:
    return Batch(first, count, [CallOp(0, "commit", {})])


def filled(*counts: int) -> Backlog:
    backlog = Backlog()
    for count in counts:
        backlog.add(batch(backlog.next_seq, count), 100)
    return backlog


def numbers(backlog: Backlog) -> list[tuple[int, int]]:
    return [(item.first, item.last) for item in backlog]


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
    assert backlog.attach(0)
    backlog.mark_sent()
    backlog.ack(5)
    assert (numbers(backlog), backlog.sent, backlog.sent_nbytes) == ([], 0, 0)


def test_attaching_sends_again_from_where_the_store_stands() -> None:
    backlog = filled(2, 3, 1)
    for _ in range(3):
        backlog.mark_sent()
    assert backlog.attach(3)
    assert numbers(backlog) == [(3, 5), (6, 6)]
    assert (backlog.sent, backlog.horizon, backlog.acked) == (0, 2, 2)


@pytest.mark.parametrize("last_seq", [0, 7])
def test_a_store_whose_end_does_not_meet_the_backlog_needs_a_new_session(last_seq: int) -> None:
    backlog = filled(2, 3)
    backlog.mark_sent()
    backlog.ack(2)
    assert not backlog.attach(last_seq)
    backlog.renumber()
    assert (numbers(backlog), backlog.next_seq, backlog.acked) == ([(1, 3)], 4, 0)


def test_an_executed_call_stays_until_its_answer_is_here() -> None:
    backlog = filled(1)
    item = NumberedCall(2, Call("commit", {}, writes=True))
    backlog.add(item, 10)
    backlog.mark_sent()
    backlog.mark_sent()
    assert backlog.attach(2)
    assert numbers(backlog) == [(2, 2)]
    backlog.mark_sent()
    backlog.answered(item)
    assert (numbers(backlog), backlog.acked) == ([], 2)


def test_a_call_that_nobody_waits_for_becomes_nothing_of_the_same_number() -> None:
    backlog = filled(1)
    call = Call("commit", {}, writes=True)
    backlog.add(NumberedCall(2, call), 10)
    backlog.mark_sent()
    call.abandoned = True
    assert backlog.attach(1)
    assert list(backlog) == [Batch(2, 1, [])]


def test_giving_up_uses_the_numbers_again() -> None:
    backlog = filled(2, 3)
    backlog.mark_sent()
    backlog.ack(2)
    assert [item.first for item in backlog.clear()] == [3]
    assert (backlog.next_seq, backlog.nbytes, len(backlog)) == (3, 0, 0)


def test_a_call_that_nobody_waits_for_keeps_nobody_waiting() -> None:
    backlog = Backlog()
    call = Call("commit", {}, writes=True)
    backlog.add(NumberedCall(1, call), 100)
    assert backlog.settled == 0
    call.abandoned = True
    assert backlog.settled == 1
    backlog.add(batch(2, 3), 100)
    assert backlog.settled == 1
