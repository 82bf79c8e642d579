"""One call to several backends, of which some fail."""

from __future__ import annotations

import logging

import pytest

from track.persistence.multiplexer import Fanout
from track.persistence.protocol import Protocol
from track_protocol.errors import BadArguments, StoreFull


class Backend(Protocol):
    """Has a name, and fails with an error if it is given one."""

    def __init__(self, name: str, error: Exception | None = None) -> None:
        super().__init__(f"byob:{name}")
        self.name = name
        self.error = error

    def answer(self) -> str:
        """Its name, unless it fails."""
        if self.error is not None:
            raise self.error
        return self.name


def asked(fanout: Fanout) -> str:
    return fanout.read("answer", lambda each: each.answer() if isinstance(each, Backend) else "")


def reported(fanout: Fanout) -> str:
    return fanout.write("answer", lambda _, each: each.answer() if isinstance(each, Backend) else "")


def failures(fanout: Fanout) -> list[tuple[str, str]]:
    return [(failure.backend, failure.method) for failure in fanout.failures]


def test_every_backend_runs_a_write_and_the_first_answer_counts() -> None:
    done: list[int] = []

    def do(number: int, backend: Protocol) -> str:
        done.append(number)
        return backend.uri

    assert Fanout([Backend("a"), Backend("b")]).write("answer", do) == "byob:a"
    assert done == [0, 1]


def test_a_sufficient_answer_ends_the_call() -> None:
    done: list[int] = []
    fanout = Fanout([Backend("a"), Backend("b")])
    fanout.write("answer", lambda number, each: done.append(number), until=lambda: True)
    assert done == [0]


def test_a_failure_is_recorded_and_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    fanout = Fanout([Backend("a", StoreFull("no room")), Backend("b")])
    with caplog.at_level(logging.WARNING, "track"):
        assert [reported(fanout), reported(fanout)] == ["b", "b"]
    assert failures(fanout) == [("byob:a", "answer")] * 2
    assert caplog.text.count("byob:a failed answer") == 1


def test_a_backend_that_failed_is_asked_last() -> None:
    first = Backend("a", StoreFull("no room"))
    fanout = Fanout([first, Backend("b")])
    assert asked(fanout) == "b"
    first.error = None
    assert asked(fanout) == "b"


def test_what_all_fail_is_raised_and_the_callers_own_fault_first() -> None:
    fanout = Fanout([Backend("a", StoreFull("no room")), Backend("b", BadArguments("no such name"))])
    for ask in (asked, reported):
        with pytest.raises(BadArguments, match="no such name"):
            ask(fanout)
    assert failures(fanout) == []
