"""The line to a store: links, attempts, and what is told of them."""

from __future__ import annotations

import logging
import threading

import pytest

from memory_link import MemoryStore
from track.outbox.connector import Line
from track_protocol.errors import AuthenticationError, ServerUnreachable, StoreFull, TrackError
from waiting import wait_until

SESSION = b"s" * 16
GONE = ServerUnreachable("it is gone")


class Watched:
    """A line to a store in memory, and whether an attempt has ended."""

    def __init__(self, store: MemoryStore) -> None:
        self.ended = threading.Event()
        self.line = Line(store.link, "the store", 1.0, self.ended.set)

    def attempt(self) -> None:
        """Make an attempt and wait for its end."""
        self.ended.clear()
        wait_until(lambda: self.line.next_attempt == 0.0, "it is time for an attempt")
        self.line.try_again(SESSION)
        assert self.ended.wait(5.0)
        assert self.line.has_outcome

    def open(self) -> Line:
        """Make an attempt that works, and use its link."""
        self.attempt()
        link, _ = self.line.outcome()
        self.line.use(link)
        return self.line


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def watched(store: MemoryStore) -> Watched:
    return Watched(store)


def test_a_line_that_was_opened_has_a_link_and_was_reached(watched: Watched) -> None:
    line = watched.line
    assert (line.link, line.opening, line.reached, line.next_attempt) == (None, None, False, 0.0)
    watched.open()
    assert (line.link is not None, line.opening, line.reached, line.is_away) == (True, None, True, False)


def test_while_an_attempt_is_under_way_no_other_begins(watched: Watched, store: MemoryStore) -> None:
    watched.attempt()
    watched.line.try_again(SESSION)
    assert watched.line.next_attempt is None
    assert store.opened == 1


def test_an_attempt_that_failed_raises_why_and_leaves_the_line_to_try_again(
    watched: Watched, store: MemoryStore
) -> None:
    store.away = True
    watched.attempt()
    with pytest.raises(ServerUnreachable, match="it is away"):
        watched.line.outcome()
    assert not watched.line.has_outcome
    store.away = False
    assert watched.open().link is not None


def test_a_line_that_failed_waits_before_it_tries_again(watched: Watched) -> None:
    line = watched.line
    for _ in range(20):
        line.fail(GONE)
    assert line.is_away
    assert line.problem is GONE
    line.need_help(AuthenticationError("wrong token"), "")
    assert 25.0 < (line.next_attempt or 0.0) <= 30.0
    line.try_again(SESSION)
    assert line.opening is None


@pytest.mark.parametrize(
    ("error", "first", "later"),
    [
        (GONE, True, True),
        (StoreFull("no room"), False, True),
        (AuthenticationError("wrong token"), False, False),
    ],
)
def test_what_passes_by_itself_depends_on_whether_the_store_was_reached(
    watched: Watched, error: TrackError, first: bool, later: bool
) -> None:
    assert watched.line.passes(error) is first
    watched.open()
    assert watched.line.passes(error) is later


def test_a_lost_connection_is_told_once_and_so_is_its_return(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "track")
    line = watched.open()
    for _ in range(3):
        line.fail(GONE)
        line.drop()
    line.works_again()
    line.works_again()
    assert [record.getMessage() for record in caplog.records] == [
        "the connection to the store was lost; what is logged waits here: it is gone",
        "connected to the store again",
    ]


def test_a_store_that_was_never_reached_is_no_lost_connection(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    watched.line.fail(GONE)
    assert not caplog.records


def test_what_a_person_has_to_mend_is_told_once_with_what_becomes_of_the_records(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        watched.line.need_help(AuthenticationError("wrong token"), "; it is kept here")
    assert [record.getMessage() for record in caplog.records] == [
        "nothing can be sent to the store: wrong token; it is kept here"
    ]
    assert isinstance(watched.line.final, AuthenticationError)


def test_a_link_that_is_used_ends_what_a_person_had_to_mend(watched: Watched) -> None:
    watched.line.fail(GONE)
    line = watched.open()
    assert (line.final, line.problem) == (None, None)


def test_a_line_that_is_closed_closes_its_link_and_its_attempt(watched: Watched, store: MemoryStore) -> None:
    line = watched.open()
    line.close(1.0)
    assert line.link is None
    assert all(link.closed for link in store.links)
    watched.attempt()
    line.close(1.0)
    assert not line.has_outcome
    assert all(link.closed for link in store.links)
