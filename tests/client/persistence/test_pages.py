"""Fetching a part of what matches, from stores that store something and from the one that does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from track.persistence import get_protocol
from track.persistence.protocol import Protocol
from track_protocol.errors import BadArguments
from track_protocol.model.entities import Project, Trial, TrialGroup


@pytest.fixture(params=["sqlite:{}/runs.db", "none:"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Protocol]:
    protocol = get_protocol(request.param.format(tmp_path))
    for number, lr in enumerate([0.3, None, 0.1, 0.2]):
        parameters = {} if lr is None else {"lr": lr}
        protocol.new_trial(Trial(_hash=f"h{number}", name=f"trial {number}", parameters=parameters))
    for name in "ab":
        protocol.new_project(Project(_uid=name, name=name, metadata={"owner": name}))
        protocol.new_trial_group(TrialGroup(_uid=name, name=name, project_id=name))
    yield protocol
    protocol.close()


def test_a_page_of_trials_in_an_order(store: Protocol) -> None:
    page = store.fetch_trials({}, order=["-parameters.lr"], start=1, limit=2)
    assert [trial.name for trial in page] == ["trial 3", "trial 2"]
    assert [trial.name for trial in store.fetch_trials({}, start=3)] == ["trial 3"]
    assert [trial.name for trial in store.fetch_trials({}, order=("-created",), limit=1)] == ["trial 3"]


def test_projects_and_groups_have_pages_too(store: Protocol) -> None:
    assert [each.uid for each in store.fetch_projects({}, order=["-name"], limit=1)] == ["b"]
    assert [each.uid for each in store.fetch_groups({}, start=1)] == ["b"]


def test_a_name_that_nothing_has_is_refused(store: Protocol) -> None:
    with pytest.raises(BadArguments, match="did you mean 'parameters'"):
        store.fetch_trials({}, order=["parameter.lr"])
    with pytest.raises(BadArguments, match="did you mean 'parameters'"):
        store.fetch_trials({}, fields=["parameter"])


def test_fields_that_were_not_requested_are_empty(tmp_path: Path) -> None:
    protocol = get_protocol(f"sqlite:{tmp_path}/runs.db")
    trial = protocol.new_trial(Trial(_hash="h", name="first", parameters={"lr": 1}))
    assert trial is not None
    protocol.log_trial_metrics(trial, loss=1.0)
    protocol.new_project(Project(_uid="p", name="p", description="d"))
    (found,) = protocol.fetch_trials({}, fields=["name"])
    assert (found.uid, found.id, found.name) == (trial.uid, trial.id, "first")
    assert (found.parameters, dict(found.metrics)) == ({}, {})
    (project,) = protocol.fetch_projects({}, fields=[])
    assert (project.uid, project.name, project.description) == ("p", None, None)
    protocol.close()
