"""Claims take the first that matches and update it."""

from __future__ import annotations

from typing import Any

import pytest

from engine_calls import Caller
from track_protocol.errors import BadArguments, TrackError, UnknownMethod

RUNNING = {"value": 101, "name": "Running"}


def test_a_claim_updates_the_oldest_that_matches_and_returns_it(ann: Caller) -> None:
    ann.new_trial("a", tags={"kind": "x"})
    ann.new_trial("b", tags={"kind": "x"})
    update = {"method": "set_trial_status", "arguments": {"status": RUNNING}}
    query = {"tags.kind": "x", "status.value": 0}
    claims = [ann.call("fetch_and_update_trial", query=query, update=update) for _ in range(3)]
    assert [claim and claim["uid"] for claim in claims] == ["a_0", "b_0", None]
    assert claims[0]["status"] == RUNNING


def test_a_group_is_claimed_likewise(ann: Caller) -> None:
    ann.call("new_trial_group", group={"uid": "g"})
    update = {"method": "set_group_metadata", "arguments": {"metadata": {"taken": True}}}
    query = {"metadata.taken": {"$exists": False}}
    claims = [ann.call("fetch_and_update_group", query=query, update=update) for _ in range(2)]
    assert [claim and claim["metadata"] for claim in claims] == [{"taken": True}, None]


@pytest.mark.parametrize(
    ("update", "kind"),
    [
        ({"method": "nothing", "arguments": {}}, UnknownMethod),
        ({"method": "new_trial", "arguments": {}}, UnknownMethod),
        ({"method": "__class__", "arguments": {}}, UnknownMethod),
        ({"method": "set_group_metadata", "arguments": {"metadata": {}}}, BadArguments),
        ({"method": "add_trial_tags", "arguments": {"tags": 7}}, BadArguments),
        ({"method": "add_trial_tags", "arguments": {"trial": "other_0", "tags": {}}}, BadArguments),
        ({"method": "add_trial_tags"}, BadArguments),
    ],
)
@pytest.mark.parametrize("exists", [True, False])
def test_a_claim_that_cannot_be_is_refused_whether_or_not_something_matches(
    ann: Caller, update: dict[str, Any], kind: type[TrackError], exists: bool
) -> None:
    if exists:
        ann.new_trial("h")
    with pytest.raises(kind):
        ann.call("fetch_and_update_trial", query={}, update=update)


@pytest.mark.parametrize("exists", [True, False])
def test_what_updates_a_trial_cannot_claim_a_group(ann: Caller, exists: bool) -> None:
    if exists:
        ann.call("new_trial_group", group={"uid": "g"})
    with pytest.raises(BadArguments, match="set_group_metadata"):
        ann.call(
            "fetch_and_update_group",
            query={},
            update={"method": "add_trial_tags", "arguments": {"tags": {}}},
        )
