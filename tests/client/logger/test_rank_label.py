"""Points of several ranks in one trial, distinguished by a label."""

from __future__ import annotations

import pickle

import pytest

from track import TrackClient, Trial
from track.recording.resume import rank_in
from track_protocol.model.aggregators import StatAggregator


def stored(client: TrackClient) -> Trial:
    client.protocol.flush()
    (trial,) = client.protocol.fetch_trials({})
    return trial


def test_each_rank_has_series_of_its_own_in_one_trial() -> None:
    first = TrackClient("ephemeral:", rank=0, rank_label=True)
    trial = first.new_trial(arguments={"a": 1}).trial
    other = TrackClient(first.protocol, rank=3, rank_label=True)
    other.set_trial(trial)
    for client in (first, other):
        client.log_metrics(step=1, loss=0.5)
        client.log_metrics({"acc": 0.5, "step": 1.0}, step=1, context={"phase": "val"})
        client.log_metrics(step=1, aggregator=StatAggregator.lazy(0), top=0.5)
        with client.chrono("batch"):
            pass
    found = stored(first)
    assert set(found.metrics) == {
        text.format(rank)
        for rank in (0, 3)
        for text in (
            'loss{{rank="{}"}}',
            'acc{{phase="val",rank="{}"}}',
            'step{{phase="val",rank="{}"}}',
            'top{{rank="{}"}}',
        )
    }
    assert set(found.chronos) >= {'batch{rank="0"}', 'batch{rank="3"}'}


def test_a_pickled_trial_keeps_the_label() -> None:
    client = TrackClient("ephemeral:", rank=2, rank_label=True)
    client.new_trial(arguments={"a": 1})
    pickle.loads(pickle.dumps(client.logger)).log_metrics(loss=1.0)  # noqa: S301 # our own bytes
    assert list(stored(client).metrics) == ['loss{rank="2"}']


def test_the_environment_may_ask_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("TRACK_RANK_LABEL", "1")
    client = TrackClient("ephemeral:")
    client.new_trial(arguments={"a": 1})
    client.log_metrics(loss=1.0)
    assert list(stored(client).metrics) == ['loss{rank="1"}']


def test_without_a_rank_there_is_no_label() -> None:
    client = TrackClient("ephemeral:", rank_label=True)
    client.log_metrics(loss=1.0)
    assert list(stored(client).metrics) == ["loss"]


@pytest.mark.parametrize("variable", ["SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK"])
def test_other_launchers_are_asked_when_the_job_names_its_trial(variable: str) -> None:
    assert rank_in({variable: "3"}) is None
    assert rank_in({variable: "3", "TRACK_TRIAL": "t"}) == 3
    assert rank_in({variable: "3", "TRACK_TRIAL": "t", "RANK": "1"}) == 1


def test_series_are_fetched_by_what_people_call_a_trial() -> None:
    client = TrackClient("ephemeral:")
    trial = client.new_trial("baseline", arguments={"a": 1})
    trial.log_metrics(step=3, loss=0.5)
    for name in ("baseline", trial.trial.uid, trial.trial.uid[:8]):
        assert client.protocol.fetch_metrics(name, "loss").by_step() == {3: 0.5}
