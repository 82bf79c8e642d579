"""The changes that pages receive, over real streams of a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from board_visits import Visit
from running_server import Served, serving
from track import TrackClient
from track_protocol.errors import TooBusy
from track_protocol.wire.roles import Role
from track_server.accounts.users import UserStore
from track_server.app import Settings
from track_server.board.changes import Hub
from waiting import wait_until

SECONDS = 30.0
Events = Iterator[tuple[str, str, Any]]


def next_change(events: Events, kind: str, wanted: str) -> tuple[str, set[str]]:
    """Read on until a thing is named; returns the last id, and all that was named."""
    named: set[str] = set()
    for name, cursor, data in events:
        if name == "changed":
            named.update(data[kind])
        if wanted in named:
            return cursor, named
    raise AssertionError(f"{wanted} was not named among {named}")


def new_trial(client: TrackClient) -> str:
    trial = client.new_trial(force=True)
    client.save()
    assert trial.trial.id is not None
    return trial.trial.id.hex()


def test_a_page_is_told_which_trials_change(own: Visit, client: TrackClient) -> None:
    with own.listening() as events:
        assert next(events)[0] == ""  # where it begins
        first = new_trial(client)
        next_change(events, "trials", first)
        second = new_trial(client)
        _, named = next_change(events, "trials", second)
        assert first not in named or second in named
        own.call("delete_trial", trial=first, force=True)
        next_change(events, "deleted", first)


def test_groups_and_projects_are_named_by_their_uids(own: Visit) -> None:
    with own.listening() as events:
        next(events)
        own.call("new_project", project={"uid": "p", "name": "p", "metadata": {}})
        next_change(events, "projects", "p")


def test_every_page_is_told(own: Visit, reader: Visit, client: TrackClient) -> None:
    with own.listening() as first, own.listening() as second, reader.listening() as third:
        for events in (first, second, third):
            next(events)
        trial = new_trial(client)
        for events in (first, second, third):
            next_change(events, "trials", trial)


def test_a_page_that_was_away_is_told_what_it_has_missed(own: Visit, client: TrackClient) -> None:
    with own.listening() as events:
        _, since, _ = next(events)
    trial = new_trial(client)
    with own.listening(Last_Event_ID=since) as events:
        next_change(events, "trials", trial)


def test_a_page_is_told_to_read_again_when_the_past_is_not_known(own: Visit) -> None:
    with own.listening(Last_Event_ID="of another store") as events:
        names = {next(events)[0] for _ in range(2)}
    assert "reset" in names


def test_the_stream_ends_with_its_session(served: Served, url: str) -> None:
    visit = Visit(url)
    visit.log_in(name="rita", token=UserStore(served.home).add("rita", Role.READER))
    with visit.listening() as events:
        next(events)
        UserStore(served.home).remove("rita")
        assert list(events) == []


def test_nobody_listens_without_a_session(url: str) -> None:
    assert Visit(url).get("/api/v1/events").status == 401


def test_a_server_ends_while_pages_listen(settings: Settings) -> None:
    with serving(settings) as served:
        assert served.server is not None
        visit = Visit(served.server.board_url or "")
        visit.log_in()
        with visit.listening() as events:
            next(events)
            served.server.close()
            assert list(events) == []


class Store:
    """Calls of a store in which a test makes things change."""

    fault: str | None = None

    def __init__(self) -> None:
        self.answers: list[dict[str, Any]] = []
        self.asked = 0
        self.committed = asyncio.Event()

    async def call(self, user: str, method: str, arguments: dict[str, Any]) -> Any:
        assert method == "fetch_changes"
        self.asked += 1
        if arguments["cursor"] is not None and self.answers:
            return self.answers.pop(0)
        return changed(arguments["cursor"] or "0")

    async def log(self, user: str, method: str, arguments: dict[str, Any]) -> None:
        raise NotImplementedError

    async def changed(self) -> None:
        await self.committed.wait()
        self.committed.clear()

    def commit(self, *answers: dict[str, Any]) -> None:
        self.answers += answers
        self.committed.set()


def changed(cursor: str, *trials: bytes, known: bool = True, more: bool = False) -> dict[str, Any]:
    return {
        "cursor": cursor,
        "known": known,
        "more": more,
        "trials": list(trials),
        "deleted": [],
        "groups": [],
        "projects": [],
    }


async def told(events: AsyncIterator[bytes]) -> bytes:
    """The next event."""
    return await asyncio.wait_for(anext(events), SECONDS)


@pytest.fixture
async def store() -> Store:
    return Store()


async def test_what_changes_between_two_events_is_one_event(store: Store) -> None:
    hub = Hub(store)
    listener = await hub.join("rita", None)
    events = hub.events(listener, lambda: True)
    await told(events)
    ids = [number.to_bytes(16, "big") for number in range(5)]
    store.commit(*(changed(str(at), each, more=at < 4) for at, each in enumerate(ids)))
    event = await told(events)
    assert all(each.hex().encode() in event for each in ids)
    assert b"id: 4\n" in event
    hub.close()


async def test_a_page_that_does_not_read_is_told_to_read_again_and_takes_no_memory(store: Store) -> None:
    hub = Hub(store)
    listener = await hub.join("rita", None)
    events = hub.events(listener, lambda: True)
    await told(events)
    many = [number.to_bytes(16, "big") for number in range(10_001)]
    store.commit(changed("1", *many))
    assert (await told(events)).startswith(b"event: reset\nid: 1\n")
    store.commit(changed("2", many[0]))
    assert (await told(events)).startswith(b"event: changed\nid: 2\n")
    hub.close()


async def test_the_store_is_asked_a_few_times_a_second_however_often_it_changes(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("track_server.board.changes._INTERVAL_S", 1_000.0)
    hub = Hub(store)
    listener = await hub.join("rita", None)
    events = hub.events(listener, lambda: True)
    await told(events)
    store.commit(changed("1", bytes(16)))
    await told(events)
    asked = store.asked
    store.commit(changed("2", bytes(16)))
    for _ in range(100):
        await asyncio.sleep(0)
    assert store.asked == asked
    hub.close()


async def test_nobody_asks_the_store_while_nobody_listens(store: Store) -> None:
    hub = Hub(store)
    listener = await hub.join("rita", None)
    events = hub.events(listener, lambda: True)
    await told(events)
    hub.leave(listener)
    asked = store.asked
    store.commit(changed("1", bytes(16)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert store.asked == asked
    hub.close()


async def test_listeners_are_limited(store: Store) -> None:
    hub = Hub(store)
    listeners = [await hub.join("rita", None) for _ in range(32)]
    with pytest.raises(TooBusy, match="rita"):
        await hub.join("rita", None)
    await hub.join("will", None)
    hub.leave(listeners[0])
    await hub.join("rita", None)
    hub.close()
    with pytest.raises(TooBusy):
        await hub.join("will", None)


def test_pages_that_leave_at_once_keep_no_one_out(own: Visit) -> None:
    for _ in range(40):
        connection = own.connect()
        connection.request("GET", "/api/v1/events", headers=own.headers())
        connection.close()

    def listens() -> bool:
        connection = own.connect()
        connection.request("GET", "/api/v1/events", headers=own.headers())
        status = connection.getresponse().status
        connection.close()
        return status == 200

    wait_until(listens, "the pages that left are forgotten")
