"""Attempts to connect, and the time between them."""

from __future__ import annotations

import threading

import pytest

from memory_link import MemoryLink, MemoryStore
from track.outbox.connecting import Attempt, Backoff
from track_protocol.errors import ServerUnreachable
from track_protocol.wire.link import Opened


class SlowLink(MemoryLink):
    """A link that opens when it is let."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.may_open = threading.Event()

    def open(self, session: bytes, timeout: float) -> Opened:
        """Wait, then attach."""
        assert self.may_open.wait(10.0)
        return super().open(session, timeout)


def attempt_at(link: MemoryLink) -> tuple[Attempt, threading.Event]:
    ended = threading.Event()
    return Attempt(link, b"s" * 16, 1.0, ended.set), ended


def test_an_attempt_that_works_gives_what_the_store_said() -> None:
    attempt, ended = attempt_at(MemoryLink(MemoryStore()))
    assert ended.wait(5.0)
    assert (attempt.done, attempt.error) == (True, None)
    assert attempt.opened == Opened(0, "one", "writer")


def test_an_attempt_that_fails_gives_the_error_and_lets_go_of_the_link() -> None:
    link = MemoryLink(MemoryStore(away=True))
    attempt, ended = attempt_at(link)
    assert ended.wait(5.0)
    assert isinstance(attempt.error, ServerUnreachable)
    assert (attempt.opened, link.closed) == (None, True)


@pytest.mark.parametrize("when", ["before it is open", "after it was opened"])
def test_a_link_that_nobody_wants_any_more_is_closed(when: str) -> None:
    link = SlowLink(MemoryStore())
    attempt, ended = attempt_at(link)
    if when == "after it was opened":
        link.may_open.set()
        assert ended.wait(5.0)
    attempt.give_up(0.0)
    link.may_open.set()
    assert ended.wait(5.0)
    assert link.closed


def test_attempts_come_later_each_time_until_one_works(monkeypatch: pytest.MonkeyPatch) -> None:
    def longest(count: int) -> bytes:
        return b"\xff" * count

    monkeypatch.setattr("os.urandom", longest)
    backoff, waits = Backoff(), []
    for _ in range(9):
        backoff.failed()
        waits.append(round(backoff.remaining(), 1))
    assert waits == [0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    backoff.worked()
    backoff.failed()
    assert backoff.remaining() < 0.1


def test_attempts_are_spread_at_random(monkeypatch: pytest.MonkeyPatch) -> None:
    # Fails without jitter: then all clients of a server that comes back come at once.
    waits = set()
    for _ in range(20):
        backoff = Backoff()
        for _ in range(8):
            backoff.failed()
        waits.add(round(backoff.remaining(), 3))
    assert len(waits) > 10


def test_what_a_person_has_to_mend_is_tried_more_rarely() -> None:
    backoff = Backoff()
    backoff.failed(30.0)
    assert backoff.remaining() > 29.0
