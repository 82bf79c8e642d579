"""The guide's tutorial as it is printed, on every scheme: its trial ends completed, with a runtime."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from running_server import environment, serving
from track import Status, TrackClient
from track_protocol.model.entities import Trial
from track_server.app import Settings

TUTORIAL = Path(__file__).with_name("examples") / "tutorial.py"

# A store in memory ends with the process: it is asked behind the end of the trial, before its own.
ASKED_AT_THE_END = """
import atexit
from track import TrackClient

def show(client):
    (trial,) = client.protocol.fetch_trials()
    print(trial.status, trial.chronos["runtime"], len(trial.metrics["error_rate"]))

class TrackClient(TrackClient):
    def __init__(self, uri):
        super().__init__(uri)
        atexit.register(show, self)
"""


@pytest.fixture(params=["file", "pickled", "sqlite", "server"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A store that outlives the program."""
    if request.param == "server":
        with serving(Settings(backend=f"sqlite:{tmp_path}/s.db", home=tmp_path / "server")) as served:
            yield served.join("student")
        return
    ending = {"file": "json", "pickled": "pkl", "sqlite": "db"}[request.param]
    yield f"{request.param}:{tmp_path}/runs.{ending}"


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment(TRACK_HOME=str(folder / "home")),
        capture_output=True,
        text=True,
        timeout=100,
    )


def only_trial(uri: str) -> Trial:
    with TrackClient(uri) as client:
        (trial,) = client.protocol.fetch_trials()
        trial.chronos, trial.metrics = dict(trial.chronos), dict(trial.metrics)
        return trial


def test_it_ends_completed_with_a_runtime(tmp_path: Path, uri: str) -> None:
    done = run(tmp_path, str(TUTORIAL), "--store", uri)
    assert done.returncode == 0, done.stderr
    trial = only_trial(uri)
    assert (trial.status, trial.errors) == (Status.Completed, [])
    assert 0 < trial.chronos["runtime"] < 100
    assert len(trial.metrics["error_rate"]) == 3
    assert (trial.parameters["epochs"], trial.parameters["lr"]) == (3, 0.01)


def test_in_memory_it_ends_completed_with_a_runtime(tmp_path: Path) -> None:
    program = TUTORIAL.read_text().replace("from track import TrackClient\n", ASKED_AT_THE_END)
    done = run(tmp_path, "-c", program, "--store", "ephemeral:")
    assert done.returncode == 0, done.stderr
    status, runtime, points = done.stdout.split()
    assert (status, int(points)) == ("completed", 3), done.stderr
    assert 0 < float(runtime) < 100


# One store in the program's own process, and one in another: what a program dies of reaches both by one way.
@pytest.mark.parametrize("uri", ["file", "server"], indirect=True)
def test_a_program_that_fails_says_so(tmp_path: Path, uri: str) -> None:
    failing = f"import runpy, sys; sys.argv = [{str(TUTORIAL)!r}, '--store', {uri!r}, '--epochs', '1']\n"
    done = run(
        tmp_path, "-c", f"{failing}program = runpy.run_path(sys.argv[0])\nraise ValueError('no more data')"
    )
    assert done.returncode == 1
    trial = only_trial(uri)
    assert trial.status is Status.Exception
    assert "no more data" in trial.errors[0]
