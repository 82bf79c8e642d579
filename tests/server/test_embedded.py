"""The engine as a link, in the process itself."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine_calls import points
from track_protocol.errors import BadArguments, ItemNotFound, SequenceGap, StoreInUse, UriError
from track_protocol.wire.batch import Batch, CallOp
from track_protocol.wire.columns import column_from_wire, unpack
from track_protocol.wire.link import Acked, Failed, LinkEvent, Refused, Replied
from track_server.embedded import EngineLink, open_ephemeral, open_file, open_sqlite
from track_server.stores import open_store

SECONDS = 20.0
SID = b"\x05" * 16


@pytest.fixture(params=["sqlite", "file", "ephemeral"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    scheme = str(request.param)
    return "ephemeral:" if scheme == "ephemeral" else f"{scheme}:{tmp_path / 'runs'}"


@pytest.fixture
def link(uri: str) -> Iterator[EngineLink]:
    link = {"sqlite": open_sqlite, "file": open_file, "ephemeral": open_ephemeral}[uri.partition(":")[0]](
        uri
    )()
    link.open(SID, SECONDS)
    yield link
    link.close()


def next_event(link: EngineLink) -> LinkEvent:
    events: list[LinkEvent] = []
    while not events:
        events = link.poll(SECONDS)
    (event,) = events
    return event


def new_trial(link: EngineLink, seq: int = 1) -> Any:
    trial = {"id": uuid.uuid4().bytes, "hash": "h", "revision": 0}
    link.send_call(1, seq, "new_trial", {"trial": trial, "auto_increment": True})
    event = next_event(link)
    assert isinstance(event, Replied)
    return event.value


def test_a_new_session_starts_at_zero_as_an_admin(uri: str) -> None:
    link = {"sqlite": open_sqlite, "file": open_file, "ephemeral": open_ephemeral}[uri.partition(":")[0]](
        uri
    )()
    opened = link.open(uuid.uuid4().bytes, SECONDS)
    link.close()
    assert (opened.last_seq, opened.role) == (0, "admin")


def test_batches_are_acknowledged_and_read_back(link: EngineLink) -> None:
    id = new_trial(link)["id"]
    link.send_batch(Batch(2, 2, [points(id, loss=[1.5, float("inf")])]))
    link.send_call(2, None, "fetch_metrics", {"trial": id, "name": "loss"})
    answers: list[LinkEvent] = []
    while len(answers) < 2:
        answers += link.poll(SECONDS)
    assert answers[0] == Acked(3)
    assert isinstance(answers[1], Replied)
    stored = unpack(column_from_wire(answers[1].value["values"], 2))
    assert list(stored) == [1.5, float("inf")]


def test_errors_come_as_what_they_are(link: EngineLink) -> None:
    link.send_call(1, None, "fetch_trials", {})
    event = next_event(link)
    assert isinstance(event, Failed)
    assert type(event.error) is BadArguments
    link.send_batch(Batch(7, 1, [CallOp(0, "add_trial_tags", {"trial": "t", "tags": {}})]))
    refused = next_event(link)
    assert isinstance(refused, Refused)
    assert type(refused.error) is SequenceGap


def test_a_wake_from_another_thread_ends_a_poll(link: EngineLink) -> None:
    threading.Thread(target=link.wake).start()
    assert link.poll(3600.0) == []


def test_a_poll_ends_in_time(link: EngineLink) -> None:
    assert link.poll(0) == []
    assert link.poll(0.01) == []


def test_closing_twice_is_harmless(link: EngineLink) -> None:
    link.close()
    link.close()


@pytest.mark.parametrize("uri", ["sqlite", "file"], indirect=True)
def test_a_session_continues_after_the_store_was_closed(uri: str, link: EngineLink) -> None:
    id = new_trial(link)["id"]
    link.close()
    assert link.open(SID, SECONDS).last_seq == 1
    link.send_call(1, None, "get_trial", {"trial": {"id": id}})
    event = next_event(link)
    assert isinstance(event, Replied)
    assert event.value[0]["uid"] == "h_0"


@pytest.mark.parametrize("uri", ["sqlite", "file"], indirect=True)
def test_a_call_whose_answer_was_not_read_gets_it_from_the_next_engine(uri: str, link: EngineLink) -> None:
    """Fails when `close` says goodbye all the same: the store then forgets the answer."""
    trial = {"id": uuid.uuid4().bytes, "hash": "h", "revision": 0}
    link.send_call(1, 1, "new_trial", {"trial": trial, "auto_increment": True})
    link.close()
    assert isinstance(next_event(link), Replied)  # too late for whoever closed it
    assert link.open(SID, SECONDS).last_seq == 1
    link.send_call(2, 1, "new_trial", {"trial": trial, "auto_increment": True})
    event = next_event(link)
    assert isinstance(event, Replied)
    assert event.value["uid"] == "h_0"


@pytest.mark.parametrize("uri", ["sqlite", "file"], indirect=True)
def test_what_was_sent_before_closing_is_stored(uri: str, link: EngineLink) -> None:
    new_trial(link)
    for seq in range(2, 100):
        link.send_batch(Batch(seq, 1, [CallOp(0, "add_trial_tags", {"trial": "h_0", "tags": {"n": seq}})]))
    link.close()
    assert link.open(SID, SECONDS).last_seq == 99


@pytest.mark.parametrize("uri", ["sqlite", "file"], indirect=True)
def test_a_store_that_a_server_holds_is_refused(uri: str, link: EngineLink) -> None:
    link.close()
    held = open_store(uri, exclusive=True)
    try:
        with pytest.raises(StoreInUse):
            link.open(SID, SECONDS)
    finally:
        held.close()


def test_a_memory_is_one_store_for_all_its_links() -> None:
    connect = open_ephemeral("ephemeral:")
    first, second = connect(), connect()
    first.open(SID, SECONDS)
    second.open(uuid.uuid4().bytes, SECONDS)
    try:
        new_trial(first)
        second.send_call(1, None, "fetch_trials", {"query": {}})
        event = next_event(second)
        assert isinstance(event, Replied)
        assert [trial["uid"] for trial in event.value] == ["h_0"]
    finally:
        first.close()
        second.close()


@pytest.mark.parametrize(
    ("opener", "uri"),
    [(open_sqlite, "sqlite:"), (open_file, "file:x?a=1"), (open_ephemeral, "ephemeral:?a=1")],
)
def test_a_uri_that_cannot_be_meant_is_refused_before_anything_is_opened(opener: Any, uri: str) -> None:
    with pytest.raises(UriError):
        opener(uri)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("uri", ["sqlite", "file"], indirect=True)
def test_parent_and_child_both_go_on_after_a_fork(uri: str, link: EngineLink) -> None:
    new_trial(link)
    link.before_fork()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            own = (open_sqlite if uri.startswith("sqlite") else open_file)(uri)()
            own.open(b"\x06" * 16, SECONDS)
            assert new_trial(own)["uid"] == "h_1"
            own.close()
            code = 0
        finally:
            os._exit(code)
    link.after_fork_in_parent()
    assert os.waitpid(child, 0)[1] == 0
    assert new_trial(link, 2)["uid"] == "h_2"


def test_a_read_of_what_is_not_there_fails_and_ends_nothing(link: EngineLink) -> None:
    link.send_call(1, None, "fetch_metrics", {"trial": "nothing_0", "name": "loss"})
    event = next_event(link)
    assert isinstance(event, Failed)
    assert type(event.error) is ItemNotFound
    assert new_trial(link)["uid"] == "h_0"
