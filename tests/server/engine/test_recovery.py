"""Whether a store may be written: after a failed disk once it was opened again, after damage not at all."""

from __future__ import annotations

import logging
from collections import deque

import pytest

from track_protocol.errors import ItemNotFound, StoreCorrupt, StoreFailed, StoreFull
from track_server.engine import recovery
from track_server.engine.recovery import Recovery
from waiting import wait_until

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


@pytest.fixture(autouse=True)
def without_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "_BACKOFF_S", (0.0, 0.0))


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
def test_it_is_tried_until_it_works(end: Exception) -> None:
    disk = Disk(end, end)
    held = Recovery(disk)
    held.record_failure(FAILED)
    for _ in range(2):
        with pytest.raises(
            StoreFailed, match=r"sqlite:runs\.db takes no writes since its disk failed \(flush"
        ):
            held.check_writable()
    held.check_writable()
    assert disk.attempts == 3


def test_attempts_are_made_later_and_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "_BACKOFF_S", (3600.0, 3600.0))
    disk = Disk(FAILED, FAILED)
    held = Recovery(disk)
    held.record_failure(FAILED)
    for _ in range(3):
        with pytest.raises(StoreFailed):
            held.check_writable()
    assert disk.attempts == 1


def test_a_disk_that_fails_soon_again_is_not_opened_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "_BACKOFF_S", (3600.0, 3600.0))
    held = Recovery(Disk())
    held.record_failure(FAILED)
    held.check_writable()
    held.record_failure(FAILED)
    with pytest.raises(StoreFailed):
        held.check_writable()


def test_waiting_for_the_next_attempt_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "_BACKOFF_S", (0.01, 0.05))
    held = Recovery(Disk(FAILED, FAILED, FAILED))

    def admitted() -> bool:
        try:
            held.check_writable()
        except StoreFailed:
            return False
        return True

    held.record_failure(FAILED)
    wait_until(admitted, "the store is opened again")


def test_nobody_vouches_for_what_is_read_while_a_failed_store_is_not_opened_again() -> None:
    held = Recovery(Disk(FAILED))
    before = held.check_durable()
    held.record_failure(FAILED)
    with pytest.raises(StoreFailed):
        held.check_durable()
    with pytest.raises(StoreFailed):
        held.check_writable()
    with pytest.raises(StoreFailed):
        held.check_durable()
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


def test_a_full_disk_is_told_once_and_hinders_nothing(caplog: pytest.LogCaptureFixture) -> None:
    held = Recovery(Disk())
    for _ in range(3):
        assert held.record_failure(FULL)
        held.record_success()  # something small found room
    assert not held.blocked
    (told,) = caplog.messages
    assert told == "no space is left for runs.db; what clients send is refused meanwhile, and they keep it"


def test_that_there_is_room_again_is_told_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(recovery, "_ROOM_AFTER_S", 0.0)
    held = Recovery(Disk())
    held.record_failure(FULL)
    for _ in range(3):
        held.record_success()
    held.record_failure(FULL)
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING", "ERROR"]
    assert caplog.messages[1] == "sqlite:runs.db has room again and accepts writes"
