"""When a trial was made, started and ended, as a client reads it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from track.persistence import get_protocol
from track.persistence.protocol import Protocol
from track_protocol.model.entities import Status, Trial


@pytest.fixture(params=["sqlite:{}/runs.db", "file:{}/runs.json", "ephemeral:"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Protocol]:
    protocol = get_protocol(request.param.format(tmp_path))
    yield protocol
    protocol.close()


def test_every_answer_reports_the_times_of_a_trial(store: Protocol) -> None:
    before = time.time()
    made = store.new_trial(Trial(_hash="h"))
    assert made is not None
    assert before <= (made.created or 0) <= time.time()
    assert (made.started, made.ended) == (None, None)
    store.log_trial_start(made)
    store.log_trial_finish(made, None, None, None)
    (found,) = store.fetch_trials({})
    assert made.created == found.created
    assert before <= (found.started or 0) <= (found.ended or 0) <= time.time()
    again = store.get_trial(Trial(_hash="h")) or []
    assert [(each.started, each.ended) for each in again] == [(found.started, found.ended)]
    claimed = store.fetch_and_update_trial({"uid": made.uid}, "set_trial_status", status=Status.Running)
    assert claimed is not None
    assert (claimed.created, claimed.started, claimed.ended) == (made.created, found.started, None)


def test_trials_are_found_and_ordered_by_their_times(store: Protocol) -> None:
    trials = [store.new_trial(Trial(_hash=f"h{number}")) for number in range(3)]
    for trial in reversed(trials[1:]):
        assert trial is not None
        store.log_trial_start(trial)
    assert [each.hash for each in store.fetch_trials({"started": None})] == ["h0"]
    assert [each.hash for each in store.fetch_trials({}, order=["started"])] == ["h2", "h1", "h0"]
    assert [each.hash for each in store.fetch_trials({}, order=["-created"], limit=1)] == ["h2"]
    assert store.fetch_trials({"created": {"$gt": time.time() + 60}}) == []
