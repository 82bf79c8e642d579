"""The board's ways to a store."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from track_protocol.errors import BadArguments, ItemNotFound, PermissionDenied, UnknownMethod
from track_protocol.wire.roles import Role
from track_server.board.calls import EngineCalls, JoinedCalls, StoreCalls
from track_server.engine.engine import Engine
from track_server.stores import open_store

SECRET = bytes(32)
PROJECT: dict[str, Any] = {"uid": "p", "name": "p", "metadata": {}}
QUERY: dict[str, Any] = {"query": {}}


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    engine = Engine(open_store(f"sqlite:{tmp_path / 'runs.db'}", exclusive=True))
    yield engine
    await asyncio.to_thread(engine.close)


async def test_writes_of_a_user_follow_each_other_in_one_session(engine: Engine) -> None:
    calls = EngineCalls(engine, SECRET)
    names = [f"project {number}" for number in range(20)]
    await asyncio.gather(
        *(calls.call("rita", "new_project", {"project": {**PROJECT, "uid": name}}) for name in names)
    )
    await calls.log("rita", "set_project_metadata", {"project": names[0], "metadata": {"a": 1}})
    found = await calls.call("rita", "fetch_projects", QUERY)
    assert {each["uid"] for each in found} == set(names)
    assert engine.last_seq(calls._session("rita")._writer) == 21


async def test_a_session_continues_after_a_restart_and_after_an_error(engine: Engine) -> None:
    first, second = EngineCalls(engine, SECRET), EngineCalls(engine, SECRET)
    await first.call("rita", "new_project", {"project": PROJECT})
    await second.call("rita", "new_project", {"project": {**PROJECT, "uid": "q"}})
    with contextlib.suppress(Exception):
        await first.call("rita", "new_project", {"project": {**PROJECT, "uid": "r"}})  # its place was taken
    await first.call("rita", "new_project", {"project": {**PROJECT, "uid": "r"}})
    assert len(await first.call("rita", "fetch_projects", QUERY)) == 3


async def test_sessions_of_users_are_apart_and_no_client_can_guess_them(engine: Engine) -> None:
    calls, others = EngineCalls(engine, SECRET), EngineCalls(engine, b"another" * 5)
    sids = {each._session(name)._writer.sid for each in (calls, others) for name in ("rita", "will")}
    assert len(sids) == 4


async def test_a_log_call_that_is_rejected_raises(engine: Engine) -> None:
    calls = EngineCalls(engine, SECRET)
    with pytest.raises(ItemNotFound):
        await calls.log("rita", "set_project_metadata", {"project": "none", "metadata": {}})


async def test_who_leaves_does_not_undo_a_write(engine: Engine) -> None:
    calls = EngineCalls(engine, SECRET)
    await calls.call("rita", "new_project", {"project": PROJECT})
    write = asyncio.create_task(calls.call("rita", "new_project", {"project": {**PROJECT, "uid": "q"}}))
    await asyncio.sleep(0)
    write.cancel()
    await asyncio.wait([write])
    await calls.call("rita", "new_project", {"project": {**PROJECT, "uid": "r"}})
    assert {"p", "r"} <= {each["uid"] for each in await calls.call("rita", "fetch_projects", QUERY)}


async def test_a_long_list_comes_whole(engine: Engine) -> None:
    calls = EngineCalls(engine, SECRET)
    large = {"text": "x" * 20_000}
    for number in range(12):
        project = {"uid": str(number), "name": "p", "metadata": large}
        await calls.call("rita", "new_project", {"project": project})
    assert len(await calls.call("rita", "fetch_projects", QUERY)) == 12


async def test_an_answer_that_is_too_long_is_refused(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("track_server.board.calls.ANSWER_LIMIT", 100_000)
    calls = EngineCalls(engine, SECRET)
    for number in range(12):
        project = {"uid": str(number), "name": "p", "metadata": {"text": "x" * 20_000}}
        await calls.call("rita", "new_project", {"project": project})
    with pytest.raises(BadArguments, match="ask for less"):
        await calls.call("rita", "fetch_projects", QUERY)
    assert len(await calls.call("rita", "fetch_projects", {**QUERY, "limit": 2})) == 2


async def test_a_commit_wakes_who_waits_for_changes(engine: Engine) -> None:
    calls = EngineCalls(engine, SECRET)
    waiting = asyncio.create_task(calls.changed())
    await asyncio.sleep(0)
    assert not waiting.done()
    await calls.call("rita", "new_project", {"project": PROJECT})
    await asyncio.wait_for(waiting, 30)
    await calls.call("rita", "new_project", {"project": {**PROJECT, "uid": "q"}})
    await asyncio.wait_for(calls.changed(), 30)  # also one that came before


class Counted:
    """Calls that end when the test lets them."""

    fault: str | None = None

    def __init__(self) -> None:
        self.made: list[str] = []
        self.may_end = asyncio.Event()

    async def call(self, user: str, method: str, arguments: dict[str, Any]) -> Any:
        self.made.append(method)
        await self.may_end.wait()
        if method == "fetch_trials":
            raise PermissionDenied("no")
        return object()

    async def log(self, user: str, method: str, arguments: dict[str, Any]) -> None:
        self.made.append(method)

    async def changed(self) -> None:
        raise UnknownMethod("changed")


async def test_reads_asked_for_while_one_runs_are_one_that_begins_behind_it_and_writes_are_not() -> None:
    counted = Counted()
    calls = JoinedCalls(counted)
    reads = [asyncio.create_task(calls.call("rita", "fetch_projects", QUERY)) for _ in range(5)]
    other = asyncio.create_task(calls.call("will", "fetch_projects", QUERY))
    writes = [asyncio.create_task(calls.call("rita", "new_project", {"project": PROJECT})) for _ in range(2)]
    await asyncio.sleep(0)
    reads.pop().cancel()  # one that leaves takes the answer from no other
    counted.may_end.set()
    first, *later = await asyncio.gather(*reads)
    assert len(set(map(id, later))) == 1
    # What was stored since the first one began may not be in its answer.
    assert later[0] is not first
    await asyncio.gather(other, *writes)
    assert counted.made.count("fetch_projects") == 3
    assert counted.made.count("new_project") == 2
    await calls.call("rita", "fetch_projects", QUERY)
    assert counted.made.count("fetch_projects") == 4


async def test_an_error_is_that_of_each_who_asked() -> None:
    counted = Counted()
    counted.may_end.set()
    calls = JoinedCalls(counted)
    outcomes = await asyncio.gather(
        *(calls.call("rita", "fetch_trials", QUERY) for _ in range(3)), return_exceptions=True
    )
    assert [type(each) for each in outcomes] == [PermissionDenied] * 3


class Failing:
    """A store of the client's side that cannot be reached."""

    shown = uri = "socket://localhost"
    role = Role.READER

    def call(self, method: str, arguments: dict[str, Any]) -> Any:
        raise PermissionDenied(method)

    def log(self, method: str, arguments: dict[str, Any]) -> None:
        raise PermissionDenied(method)


async def test_what_a_thread_raises_is_raised_where_it_was_asked() -> None:
    calls = StoreCalls(Failing())
    with pytest.raises(PermissionDenied, match="fetch_trials"):
        await calls.call("rita", "fetch_trials", QUERY)
    with pytest.raises(PermissionDenied, match="rename_trial"):
        await calls.log("rita", "rename_trial", {})
