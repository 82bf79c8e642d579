"""What futures wait for: reads for records to be sent, flushes and syncs for records to be durable."""

from __future__ import annotations

import pytest

from memory_link import MemoryLink, MemoryStore
from track.outbox.backlog import Backlog
from track.outbox.futures import Call, FlushFuture, SyncFuture
from track.outbox.waiters import Waiters
from track_protocol.errors import BadArguments, SpoolError
from track_protocol.wire.batch import Batch
from track_protocol.wire.link import Failed, Replied


def read(method: str = "get_project") -> Call:
    return Call(method, {}, writes=False)


@pytest.fixture
def backlog() -> Backlog:
    return Backlog()


@pytest.fixture
def waiting(backlog: Backlog) -> Waiters:
    return Waiters(backlog)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def link(store: MemoryStore) -> MemoryLink:
    link = MemoryLink(store)
    link.open(b"s" * 16, 1.0)
    return link


def log(backlog: Backlog, records: int = 1) -> None:
    backlog.add(Batch(backlog.next_seq, records, []), 100)


def send_reads(waiting: Waiters, link: MemoryLink) -> None:
    for call_id, call in waiting.sendable_reads():
        link.send_call(call_id, None, call.method, call.arguments)


def send(backlog: Backlog) -> None:
    assert backlog.next() is not None
    backlog.mark_sent()


def store_all(backlog: Backlog) -> None:
    while backlog.next() is not None:
        send(backlog)
    backlog.ack(backlog.next_seq - 1)


def test_a_flush_behind_nothing_is_resolved_at_once(waiting: Waiters) -> None:
    future = FlushFuture()
    waiting.add(future)
    assert future.wait(0.0)
    assert not waiting


def test_a_flush_is_resolved_when_what_stands_before_it_is_durable(
    waiting: Waiters, backlog: Backlog
) -> None:
    first, second = FlushFuture(), FlushFuture()
    log(backlog)
    waiting.add(first)
    log(backlog)
    waiting.add(second)
    send(backlog)
    backlog.ack(1)
    waiting.resolve_flushes()
    assert (first.wait(0.0), second.wait(0.0)) == (True, False)
    store_all(backlog)
    waiting.resolve_flushes()
    assert second.wait(0.0)


def test_a_sync_is_resolved_by_the_disk_or_by_the_store(waiting: Waiters, backlog: Backlog) -> None:
    synced, stored = SyncFuture(), SyncFuture()
    log(backlog)
    waiting.add(synced)
    log(backlog)
    waiting.add(stored)
    waiting.resolve_syncs(1, None)
    assert (synced.wait(0.0), stored.wait(0.0)) == (True, False)
    store_all(backlog)
    waiting.resolve_syncs(1, None)
    assert stored.wait(0.0)


def test_a_sync_fails_with_what_is_wrong_with_the_disk(waiting: Waiters, backlog: Backlog) -> None:
    log(backlog)
    future = SyncFuture()
    waiting.add(future)
    waiting.resolve_syncs(0, SpoolError("the disk is full"))
    with pytest.raises(SpoolError, match="the disk is full"):
        future.result()
    assert not waiting


def test_a_read_is_sent_behind_what_was_logged_before_it(
    waiting: Waiters, backlog: Backlog, link: MemoryLink, store: MemoryStore
) -> None:
    log(backlog)
    waiting.add(read())
    send_reads(waiting, link)
    assert store.reads == []
    send(backlog)
    send_reads(waiting, link)
    send_reads(waiting, link)
    assert len(store.reads) == 1


def test_a_read_is_sent_again_on_the_next_link(
    waiting: Waiters, link: MemoryLink, store: MemoryStore
) -> None:
    waiting.add(read())
    send_reads(waiting, link)
    waiting.detach()
    send_reads(waiting, link)
    assert len(store.reads) == 2


def test_an_answer_resolves_the_call_it_belongs_to_once(waiting: Waiters) -> None:
    call, failing = read(), read()
    waiting.add(call)
    waiting.add(failing)
    waiting.answered(Replied(1, "found"))
    waiting.answered(Replied(1, "found twice"))
    waiting.answered(Failed(2, BadArguments("no such project")))
    assert call.result() == "found"
    with pytest.raises(BadArguments):
        failing.result()
    assert not waiting


def test_a_cancelled_read_is_not_sent(waiting: Waiters, link: MemoryLink, store: MemoryStore) -> None:
    call = read()
    waiting.add(call)
    call.cancelled = True
    send_reads(waiting, link)
    assert store.reads == []
    assert not waiting


def test_whoever_waited_waits_behind_the_last_record_when_numbers_change(
    waiting: Waiters, backlog: Backlog, link: MemoryLink, store: MemoryStore
) -> None:
    log(backlog, 5)
    store_all(backlog)
    log(backlog)
    flush = FlushFuture()
    waiting.add(flush)
    waiting.add(read())
    backlog.renumber()
    waiting.renumbered()
    send_reads(waiting, link)
    assert store.reads == []
    store_all(backlog)
    waiting.resolve_flushes()
    send_reads(waiting, link)
    assert flush.wait(0.0)
    assert len(store.reads) == 1


def test_those_who_wait_in_vain_are_named(waiting: Waiters, backlog: Backlog) -> None:
    log(backlog)
    flush, call = FlushFuture(), read()
    waiting.add(flush)
    waiting.add(call)
    assert [*waiting.drop_flushes(), *waiting.drop_reads()] == [flush, call]
    assert not waiting


def test_reads_whose_records_were_given_up_wait_for_nothing(
    waiting: Waiters, backlog: Backlog, link: MemoryLink, store: MemoryStore
) -> None:
    log(backlog)
    waiting.add(read())
    waiting.free_reads()
    send_reads(waiting, link)
    assert len(store.reads) == 1
