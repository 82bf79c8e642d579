"""A script with argparse, started four times at once: one server, or one file that all write."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import waiting
from argparse_training import error_of
from running_server import environment, serving
from track import Status, TrackClient
from track_server.app import Settings

PROGRAM = Path(waiting.__file__).with_name("argparse_training.py")
RUNS = 4
EPOCHS = 5
STEPS = 20 * EPOCHS
SECONDS = 100.0


@pytest.fixture(params=["socket", "file", "sqlite"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A server, or no server at all."""
    if request.param != "socket":
        yield f"{request.param}:{tmp_path / 'runs'}"
        return
    with serving(Settings(f"sqlite:{tmp_path / 'runs.db'}", home=tmp_path / "home")) as served:
        yield served.join("ann")


def started(uri: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), "--epochs", str(EPOCHS), *arguments],
        env=environment(TRACK_URI=uri),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_four_runs_of_one_script_are_four_trials(uri: str) -> None:
    runs = [started(uri) for _ in range(RUNS)]
    other = started(uri, "--lr", "0.5")
    for run in [*runs, other]:
        printed, complained = run.communicate(timeout=SECONDS)
        assert run.returncode == 0, complained
        assert f'"epochs": {EPOCHS}' in printed
    with TrackClient(uri) as client:
        trials = client.protocol.fetch_trials({"parameters.lr": 0.1})
        assert sorted(trial.revision for trial in trials) == list(range(RUNS))
        assert len({trial.hash for trial in trials}) == 1
        (different,) = client.protocol.fetch_trials({"parameters.lr": 0.5})
        assert different.revision == 0
        for trial in [*trials, different]:
            assert trial.status is Status.Completed
            assert trial.metadata["seed"] is not None
            found = client.protocol.fetch_metrics(trial, "error_rate")
            assert list(found.steps) == list(range(STEPS))
            assert list(found.values) == [error_of(trial.metadata["seed"], step) for step in range(STEPS)]
            assert list(client.protocol.fetch_metrics(trial, "steps").values) == [STEPS]
            assert trial.chronos["epoch"]["count"] == EPOCHS
        assert len({trial.metadata["seed"] for trial in trials}) == RUNS
        (project,) = client.protocol.fetch_projects({})
        assert len(project.trials) == RUNS + 1
