"""The line to a store: links, attempts, and their reports."""

from __future__ import annotations

import logging
import threading

import pytest

from memory_link import MemoryLink, MemoryStore
from track.outbox.connector import Backoff, ConnectAttempt, Connector
from track_protocol.errors import AuthenticationError, ServerUnreachable, StoreFull, TrackError
from track_protocol.wire.link import Opened
from waiting import wait_until

SESSION = b"s" * 16
DISCONNECTED = ServerUnreachable("it is unreachable")


class Watched:
    """A line to a store in memory, and whether an attempt has ended."""

    def __init__(self, store: MemoryStore) -> None:
        self.ended = threading.Event()
        self.connector = Connector(store.link, "the store", 1.0, self.ended.set)

    def attempt(self) -> None:
        """Make an attempt and wait for its end."""
        self.ended.clear()
        wait_until(lambda: self.connector.next_attempt == 0.0, "it is time for an attempt")
        self.connector.try_again(SESSION)
        assert self.ended.wait(5.0)
        assert self.connector.has_outcome

    def open(self) -> Connector:
        """Make an attempt that works, and use its link."""
        self.attempt()
        link, _ = self.connector.outcome()
        self.connector.use(link)
        return self.connector


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def watched(store: MemoryStore) -> Watched:
    return Watched(store)


def test_a_line_that_was_opened_has_a_link_and_was_reached(watched: Watched) -> None:
    connector = watched.connector
    assert (connector.link, connector.opening, connector.reached, connector.next_attempt) == (
        None,
        None,
        False,
        0.0,
    )
    watched.open()
    assert (connector.link is not None, connector.opening, connector.reached, connector.is_unreachable) == (
        True,
        None,
        True,
        False,
    )


def test_while_an_attempt_is_under_way_no_other_begins(watched: Watched, store: MemoryStore) -> None:
    watched.attempt()
    watched.connector.try_again(SESSION)
    assert watched.connector.next_attempt is None
    assert store.opened == 1


def test_an_attempt_that_failed_raises_why_and_leaves_the_line_to_try_again(
    watched: Watched, store: MemoryStore
) -> None:
    store.unreachable = True
    watched.attempt()
    with pytest.raises(ServerUnreachable, match="unreachable"):
        watched.connector.outcome()
    assert not watched.connector.has_outcome
    store.unreachable = False
    assert watched.open().link is not None


def test_a_line_that_failed_waits_before_it_tries_again(watched: Watched) -> None:
    connector = watched.connector
    for _ in range(20):
        connector.fail(DISCONNECTED)
    assert connector.is_unreachable
    assert connector.problem is DISCONNECTED
    connector.need_help(AuthenticationError("wrong token"), "")
    assert 25.0 < (connector.next_attempt or 0.0) <= 30.0
    connector.try_again(SESSION)
    assert connector.opening is None


@pytest.mark.parametrize(
    ("error", "first", "later"),
    [
        (DISCONNECTED, True, True),
        (StoreFull("no room"), False, True),
        (AuthenticationError("wrong token"), False, False),
    ],
)
def test_what_passes_by_itself_depends_on_whether_the_store_was_reached(
    watched: Watched, error: TrackError, first: bool, later: bool
) -> None:
    assert watched.connector.is_transient(error) is first
    watched.open()
    assert watched.connector.is_transient(error) is later


def test_a_lost_connection_is_reported_once_and_so_is_its_return(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "track")
    connector = watched.open()
    for _ in range(3):
        connector.fail(DISCONNECTED)
        connector.drop()
    connector.works_again()
    connector.works_again()
    assert [record.getMessage() for record in caplog.records] == [
        "the connection to the store was lost; log calls are queued on this machine: it is unreachable",
        "connected to the store again",
    ]


def test_a_store_that_was_never_reached_is_no_lost_connection(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    watched.connector.fail(DISCONNECTED)
    assert not caplog.records


def test_what_a_person_has_to_mend_is_reported_once_with_what_becomes_of_the_records(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        watched.connector.need_help(AuthenticationError("wrong token"), "; log calls are queued")
    assert [record.getMessage() for record in caplog.records] == [
        "nothing can be sent to the store: wrong token; log calls are queued"
    ]
    assert isinstance(watched.connector.final, AuthenticationError)


def test_a_link_that_is_used_ends_what_a_person_had_to_mend(watched: Watched) -> None:
    watched.connector.fail(DISCONNECTED)
    connector = watched.open()
    assert (connector.final, connector.problem) == (None, None)


def test_a_line_that_is_closed_closes_its_link_and_its_attempt(watched: Watched, store: MemoryStore) -> None:
    connector = watched.open()
    connector.close(1.0)
    assert connector.link is None
    assert all(link.closed for link in store.links)
    watched.attempt()
    connector.close(1.0)
    assert not connector.has_outcome
    assert all(link.closed for link in store.links)


class SlowLink(MemoryLink):
    """A link that opens when it is let."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.may_open = threading.Event()

    def open(self, session: bytes, timeout: float, ended: float | None = None) -> Opened:
        """Wait, then attach."""
        assert self.may_open.wait(10.0)
        return super().open(session, timeout, ended)


def attempt_at(link: MemoryLink) -> tuple[ConnectAttempt, threading.Event]:
    ended = threading.Event()
    return ConnectAttempt(link, b"s" * 16, 1.0, ended.set), ended


def test_an_attempt_that_works_gives_what_the_store_said() -> None:
    attempt, ended = attempt_at(MemoryLink(MemoryStore()))
    assert ended.wait(5.0)
    assert (attempt.done, attempt.error) == (True, None)
    assert attempt.opened == Opened(0, "one", "writer")


def test_an_attempt_that_fails_gives_the_error_and_lets_go_of_the_link() -> None:
    link = MemoryLink(MemoryStore(unreachable=True))
    attempt, ended = attempt_at(link)
    assert ended.wait(5.0)
    assert isinstance(attempt.error, ServerUnreachable)
    assert (attempt.opened, link.closed) == (None, True)


@pytest.mark.parametrize("when", ["before it is open", "after it was opened"])
def test_the_link_of_a_cancelled_attempt_is_closed(when: str) -> None:
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
