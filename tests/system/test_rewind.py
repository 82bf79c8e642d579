"""A job that is killed, starts again from its last checkpoint, and rewinds its trial to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from running_server import Served, environment, serving
from track import Status, TrackClient
from track_server.app import Settings
from track_server.storage.sqlite.check import check_sqlite

TRAIN = """
import os, sys, time
from pathlib import Path
from track import TrackClient

stop, end = int(sys.argv[1]), int(sys.argv[2])
checkpoint = Path("checkpoint")
client = TrackClient(os.environ["TRACK_URI"])
client.set_project(name="digits")
with client.new_trial(arguments={"lr": 0.1}) as trial:
    first = 0
    if checkpoint.exists():
        first = int(checkpoint.read_text()) + 1
        trial.rewind(first - 1)
    for step in range(first, end + 1):
        trial.log_metrics(step=step, loss=step / 8, job=float(os.getpid()))
        if step % 25 == 0:
            client.save()
            checkpoint.write_text(str(step))
        if step == stop:
            client.save()
            print(os.getpid(), flush=True)
            while True:  # a signal just before a long sleep would have to wait for its end
                time.sleep(0.01)
client.save()
"""


class Cluster:
    """A server, and a folder in which the jobs find their checkpoint."""

    def __init__(self, folder: Path, served: Served) -> None:
        self.folder = folder
        self.uri = served.join("ann")
        (folder / "train.py").write_text(TRAIN)

    @contextmanager
    def job(self, stop: int, end: int, **changes: str) -> Iterator[subprocess.Popen[str]]:
        """A job that trains up to `end` and waits at `stop`, where all it logged is saved."""
        env = environment(PYTHONPATH=os.pathsep.join(sys.path), TRACK_URI=self.uri, **changes)
        command = [sys.executable, "train.py", str(stop), str(end)]
        with subprocess.Popen(
            command, cwd=self.folder, env=env, text=True, stdout=subprocess.PIPE
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def ended_at(self, stop: int, number: signal.Signals, **changes: str) -> float:
        """The process id of a job that got a signal where it waited."""
        with self.job(stop, 100, **changes) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == f"{process.pid}\n"
            process.send_signal(number)
            assert process.wait(30) == -number
        return float(process.pid)

    def completed(self, **changes: str) -> float:
        """The process id of a job that trained to the end."""
        with self.job(-1, 100, **changes) as process:
            assert process.wait(60) == 0
        return float(process.pid)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with serving(Settings(f"sqlite:{tmp_path / 'runs.db'}", home=tmp_path / "home")) as served:
        yield Cluster(tmp_path, served)


def points(client: TrackClient, trial: Any, kind: str = "metric") -> tuple[list[int], list[float]]:
    """Steps and process ids of all points of a kind."""
    found = client.protocol.fetch_metrics(trial, "job", kind)
    return list(found.steps), list(found.values)


def test_a_job_killed_behind_its_checkpoint_leaves_each_step_once(cluster: Cluster) -> None:
    killed = cluster.ended_at(70, signal.SIGKILL)
    with TrackClient(cluster.uri) as client:
        (trial,) = client.protocol.fetch_trials({})
        assert trial.status is Status.Running
        stopped = cluster.ended_at(80, signal.SIGTERM, TRACK_TRIAL=trial.uid)
        last = cluster.completed(TRACK_TRIAL=trial.uid)
        (trial,) = client.protocol.fetch_trials({})
        assert points(client, trial) == (
            list(range(101)),
            [*[killed] * 51, *[stopped] * 25, *[last] * 25],
        )
        assert points(client, trial, "superseded") == (
            [*range(51, 71), *range(76, 81)],
            [*[killed] * 20, *[stopped] * 5],
        )
        assert trial.metrics["loss"] == {step: step / 8 for step in range(101)}
        assert [(each["step"], each["points"]) for each in trial.metadata["rewinds"]] == [(50, 40), (75, 10)]
        sessions = client.protocol.fetch_metrics(trial, "runtime", "chrono").values
        assert (trial.status, len(sessions)) == (Status.Completed, 2)
        assert trial.chronos["runtime"] == pytest.approx(sum(sessions))
    assert check_sqlite(cluster.folder / "runs.db").findings == ()


def test_an_unchanged_script_resumes_by_its_parameters(cluster: Cluster) -> None:
    stopped = cluster.ended_at(70, signal.SIGTERM, TRACK_RESUME="1")
    last = cluster.completed(TRACK_RESUME="1")
    with TrackClient(cluster.uri) as client:
        (trial,) = client.protocol.fetch_trials({})
        assert points(client, trial) == (list(range(101)), [*[stopped] * 51, *[last] * 50])
        assert trial.status is Status.Completed
    (cluster.folder / "checkpoint").unlink()
    again = cluster.completed(TRACK_RESUME="1")
    with TrackClient(cluster.uri) as client:
        first, second = client.protocol.fetch_trials({})
        assert (second.hash, second.revision) == (first.hash, 1)
        assert set(points(client, second)[1]) == {again}
