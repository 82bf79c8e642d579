"""Whether a store may be written: after a failed disk once it was opened again, after damage not at all."""

from __future__ import annotations

import logging
from collections import deque

import pytest

from track_protocol.errors import ItemNotFound, StoreCorrupt, StoreFailed, StoreFull, StoreUnavailable
from track_server.engine.recovery import Recovery

FAILED = StoreFailed("flush: Input/output error")
DAMAGED = StoreCorrupt("a chunk is damaged")


class Disk:
    """A store whose attempts to be opened again end as `ends` says, and then well."""

    uri = "sqlite:runs.db"

    def __init__(self, *ends: Exception) -> None:
        self.ends = deque(ends)
        self.attempts = 0

    def reopen(self) -> None:
        self.attempts += 1
        if self.ends:
            raise self.ends.popleft()


class Clock:
    """Continues on request."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now

    def a_minute(self) -> None:
        """Longer than until the next attempt, whenever that is."""
        self.now += 60.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_sound_store_is_written() -> None:
    disk = Disk()
    held = Recovery(disk)
    held.check_writable()
    assert (held.blocked, disk.attempts) == (False, 0)


def test_after_a_failure_the_store_is_opened_again_before_anything_is_written() -> None:
    disk = Disk()
    held = Recovery(disk)
    assert held.record_failure(FAILED)
    assert held.blocked
    held.check_writable()
    assert (held.blocked, disk.attempts) == (False, 1)


@pytest.mark.parametrize("end", [FAILED, StoreFull("no room"), OSError("anything")])
def test_it_is_tried_until_it_works(end: Exception, clock: Clock) -> None:
    disk = Disk(end, end)
    held = Recovery(disk, clock)
    held.record_failure(FAILED)
    for _ in range(2):
        with pytest.raises(
            StoreFailed, match=r"sqlite:runs\.db accepts no writes since its disk failed \(flush"
        ):
            held.check_writable()
        clock.a_minute()
    held.check_writable()
    assert disk.attempts == 3


def test_attempts_are_made_later_and_later(clock: Clock) -> None:
    disk = Disk(*[FAILED] * 9)
    held = Recovery(disk, clock)
    held.record_failure(FAILED)
    pauses, last = list[float](), clock.now
    while disk.ends:
        with pytest.raises(StoreFailed):
            held.check_writable()
        if len(pauses) < disk.attempts:
            pauses.append(clock.now - last)
            last = clock.now
        clock.now += 0.05
    assert pauses[0] == 0.0
    assert pauses == sorted(pauses)
    assert 10.0 < pauses[-1] < 31.0


def test_a_disk_that_fails_soon_again_is_not_opened_at_once(clock: Clock) -> None:
    held = Recovery(Disk(), clock)
    held.record_failure(FAILED)
    held.check_writable()
    held.record_failure(FAILED)
    with pytest.raises(StoreFailed):
        held.check_writable()
    clock.a_minute()
    held.check_writable()


def test_reads_are_not_durable_while_a_failed_store_is_not_reopened(clock: Clock) -> None:
    held = Recovery(Disk(FAILED), clock)
    before = held.check_durable()
    held.record_failure(FAILED)
    with pytest.raises(StoreFailed):
        held.check_durable()
    with pytest.raises(StoreFailed):
        held.check_writable()
    with pytest.raises(StoreFailed):
        held.check_durable()
    clock.a_minute()
    held.check_writable()
    assert held.check_durable() != before


def test_a_damaged_store_is_read_only_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    disk = Disk()
    held = Recovery(disk)
    for _ in range(3):
        assert held.record_failure(DAMAGED, reading=True)
        with pytest.raises(StoreCorrupt, match=r"read-only since damage .* 'track restore'"):
            held.check_writable()
    held.check_durable()
    assert (held.blocked, disk.attempts) == (True, 0)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_damage_that_is_found_when_a_store_is_opened_again_keeps_it_read_only() -> None:
    disk = Disk(DAMAGED)
    held = Recovery(disk)
    held.record_failure(FAILED)
    for _ in range(2):
        with pytest.raises(StoreCorrupt):
            held.check_writable()
    with pytest.raises(StoreCorrupt):
        held.check_writable()
    with pytest.raises(StoreFailed):
        held.check_durable()
    assert disk.attempts == 1


def test_a_read_that_the_disk_fails_hinders_nobody() -> None:
    held = Recovery(Disk())
    assert not held.record_failure(FAILED, reading=True)
    assert not held.blocked


@pytest.mark.parametrize("error", [ItemNotFound("no such trial"), RuntimeError("a fault")])
def test_other_errors_are_left_to_others(error: Exception) -> None:
    held = Recovery(Disk())
    assert not held.record_failure(error)
    assert not held.blocked


FULL = StoreFull("no space is left for runs.db")


def test_a_full_disk_is_reported_once_and_hinders_nothing(caplog: pytest.LogCaptureFixture) -> None:
    held = Recovery(Disk())
    for _ in range(3):
        assert held.record_failure(FULL)
        held.record_success()  # something small found room
    assert not held.blocked
    (reported,) = caplog.messages
    assert reported == "no space is left for runs.db; until then writes are refused, and clients queue them"


def test_that_there_is_room_again_is_reported_once(caplog: pytest.LogCaptureFixture, clock: Clock) -> None:
    caplog.set_level(logging.WARNING)
    held = Recovery(Disk(), clock)
    held.record_failure(FULL)
    clock.a_minute()
    for _ in range(3):
        held.record_success()
    held.record_failure(FULL)
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING", "ERROR"]
    assert caplog.messages[1] == "sqlite:runs.db has room again and accepts writes"


def test_a_database_that_was_gone_is_used_at_once_whenever_it_is_back(clock: Clock) -> None:
    disk = Disk()
    held = Recovery(disk, clock)
    for attempts in (1, 2, 3):
        held.record_failure(StoreUnavailable("connection reset"))
        held.check_writable()
        assert disk.attempts == attempts
        held.record_success()


def test_a_database_that_is_gone_is_named_as_such(clock: Clock) -> None:
    held = Recovery(Disk(StoreUnavailable("connection refused")), clock)
    held.record_failure(StoreUnavailable("connection reset"))
    with pytest.raises(StoreUnavailable, match="check the database"):
        held.check_writable()
