"""Labels and names that change while a trial runs, on stores of each kind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from running_server import serving
from track import TrackClient, Tracker
from track_server.app import Settings


@pytest.fixture(params=["none", "sqlite", "socket"])
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TrackClient]:
    if request.param == "socket":
        with serving(Settings("ephemeral:", home=tmp_path / "home")) as served:
            yield TrackClient(served.join("ann"))
    else:
        yield TrackClient("none:" if request.param == "none" else f"sqlite:{tmp_path / 'runs.db'}")


def test_a_running_trial_is_renamed_and_keeps_its_uid(client: TrackClient) -> None:
    with client.new_trial("first", arguments={"lr": 0.1}) as logger:
        uid = logger.trial.uid
        logger.rename("second", "why")
        logger.rename(description="because")
        assert (logger.trial.name, logger.trial.description) == ("second", "because")
        client.save()
        found = client.protocol.current_trial(logger.trial) or logger.trial
        assert (found.name, found.description, found.uid) == ("second", "because", uid)
        client.rename("")
        assert logger.trial.name is None


def test_labels_are_removed(client: TrackClient) -> None:
    with client.new_trial(arguments={"lr": 0.1}) as logger:
        logger.add_tags(a=1, b=2, c=3)
        logger.remove_tags("a", "nothing")
        client.remove_tags("b")
        client.save()
        assert (client.protocol.current_trial(logger.trial) or logger.trial).tags == {"c": 3}


@pytest.mark.parametrize("odd", [5, b"x", float("nan"), "\ud800", object(), ["a"]], ids=type)
def test_whatever_a_name_is_nothing_is_raised(client: TrackClient, odd: Any) -> None:
    with client.new_trial(arguments={"lr": 0.1}) as logger:
        logger.rename(odd, odd)
        logger.remove_tags(odd)
        client.save()


def test_a_run_of_a_tracker_is_renamed(client: TrackClient) -> None:
    tracker = Tracker(client.protocol)
    tracker.set_experiment("e")
    tracker.start_run()
    tracker.rename_run("best")
    tracker.end_run()
    assert [trial.name for trial in client.protocol.fetch_trials({})] == ["best"]
