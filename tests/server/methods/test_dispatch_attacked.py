"""Calls that would store something unreadable: refused before anything changes, on every store."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine_calls import Caller
from track_protocol.errors import BadArguments
from track_protocol.wire.batch import CallOp
from track_server.engine.engine import Engine
from track_server.stores import open_store


@pytest.fixture(params=["ephemeral:", "file:{}/store.json", "sqlite:{}/store.db"])
def caller(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Caller]:
    engine = Engine(open_store(request.param.format(tmp_path), exclusive=True))
    yield Caller(engine)
    engine.close()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("revision", -1),
        ("revision", 2**31),
        ("revision", 2**63 - 1),
        ("status", {}),
        ("status", {"value": "0", "name": "Running"}),
        ("status", {"value": 0, "name": [1]}),
    ],
)
def test_an_unreadable_trial_is_refused(caller: Caller, field: str, value: Any) -> None:
    trial = {"id": uuid.uuid4().bytes, "hash": "h", "revision": 0, field: value}
    with pytest.raises(BadArguments, match=field):
        caller.call("new_trial", trial=trial)
    assert caller.read("fetch_trials", query={}) == []


def test_revisions_end_where_numbers_end(caller: Caller) -> None:
    last = {"id": uuid.uuid4().bytes, "hash": "h", "revision": 2**31 - 1}
    caller.call("new_trial", trial=last)
    with pytest.raises(BadArguments, match="revision"):
        caller.new_trial("h")
    assert len(caller.read("fetch_trials", query={})) == 1


@pytest.mark.parametrize(
    ("method", "argument", "document"),
    [
        ("get_project", "project", {"uid": ["p"]}),
        ("get_trial_group", "group", {"uid": {}}),
        ("get_trial", "trial", {"id": [1]}),
        ("get_trial", "trial", {"uid": 1.5}),
        ("get_trial", "trial", {"hash": []}),
    ],
)
def test_what_something_is_looked_up_by_has_its_type(
    caller: Caller, method: str, argument: str, document: Any
) -> None:
    with pytest.raises(BadArguments, match=next(iter(document))):
        caller.read(method, **{argument: document})


def test_an_empty_aggregator_is_a_fault_of_the_caller(caller: Caller) -> None:
    trial = caller.new_trial()["id"]
    arguments = {"trial": trial, "metadata": {"a": 1}, "aggregator": []}
    outcome = caller.log(CallOp(0, "log_trial_metadata", arguments))
    assert [rejection.code for rejection in outcome.rejected] == [BadArguments.code]
