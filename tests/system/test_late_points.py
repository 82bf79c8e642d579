"""Jobs that were killed, whose points arrive when the next one has rewound their trial.

A test here fails without either of these in ``methods/points.py``: `_supersede_late` (steps after 30 are in
the metric twice), and the time limit of a late rewind (it removes what the last job logged).
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from orphaned_spools import running_script
from spool_scenario import SpoolScenario
from track import Status, TrackClient
from track.spool.reader import look_in
from track_server.storage.sqlite.check import check_sqlite

TRAIN = """
checkpoint = "checkpoint"
client.set_version("1")
with client.new_trial(name="digits") as trial:
    def train(first, last):
        for step in range(first, last + 1):
            trial.log_metrics(step=step, loss=step / 8, job=float(os.getpid()))

    starts = not os.path.exists(checkpoint)
    if starts:
        train(0, 30)
    client.save()
    open(checkpoint, "w").close()
    say("at step 30")
    sys.stdin.readline()
    if not starts:
        trial.rewind(30)
    train(31, int(os.environ["LAST"]))
    say("trained")
    sys.stdin.readline()
client.save()
"""


class Node:
    """Where the jobs of one trial run, one after the other, on one folder of spools."""

    def __init__(self, folder: Path) -> None:
        self.scenario = SpoolScenario(folder)

    @contextmanager
    def job(self, last: int, **changes: str) -> Iterator[Popen[str]]:
        """A job that has come to its checkpoint, or was started from it, and trains up to `last`."""
        options = {"TRACK_SPOOL_SYNC": "always", "TRACK_SYNC": "manual", "LAST": str(last), **changes}
        spools = str(self.scenario.spools)
        with running_script(
            self.scenario.folder, TRAIN, self.scenario.uri, TRACK_SPOOL=spools, **options
        ) as process:
            yield process

    def killed(self, last: int, **changes: str) -> float:
        """The process id of a job whose server hung from its checkpoint on, until it was killed."""
        with self.job(last, **changes) as process:
            self.scenario.server.process.send_signal(signal.SIGSTOP)
            resume(process)
            process.kill()
            process.wait()
        return float(process.pid)

    def completed(self, last: int, **changes: str) -> float:
        """The process id of a job that came to its end."""
        with self.job(last, **changes) as process:
            resume(process)
            out = process.communicate("\n", timeout=60)
            assert process.returncode == 0, out
        return float(process.pid)

    def sync(self) -> None:
        """Send what the killed jobs have left."""
        assert len(look_in(self.scenario.spools)) > 0
        ran = self.scenario.track("sync")
        assert ran.returncode == 0, ran
        assert look_in(self.scenario.spools) == []


def resume(process: Popen[str]) -> None:
    """Let a job train from its checkpoint on; all of that is on disk."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "trained\n", process.communicate()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path)
    yield made
    with made.scenario.server:
        pass
    assert check_sqlite(tmp_path / "runs.db").findings == ()


def the_trial(client: TrackClient) -> Any:
    (trial,) = client.protocol.fetch_trials({})
    return trial


def points(client: TrackClient, kind: str = "metric") -> dict[float, list[int]]:
    """The steps that each job logged, by its process id."""
    found = client.protocol.fetch_metrics(the_trial(client), "job", kind)
    steps: dict[float, list[int]] = {}
    for step, job in zip(found.steps, found.values, strict=True):
        steps.setdefault(job, []).append(step)
    return steps


def uid_of(node: Node) -> str:
    with TrackClient(node.scenario.uri) as client:
        return str(the_trial(client).uid)


def test_what_a_killed_job_left_is_superseded_when_it_comes_behind_the_rewind(node: Node) -> None:
    # Of a log call a batch, 64 are under way: the rest is only on disk.
    first = node.killed(200)
    node.scenario.server.process.send_signal(signal.SIGCONT)
    last = node.completed(250, TRACK_TRIAL=uid_of(node))
    node.sync()
    with TrackClient(node.scenario.uri) as client:
        assert points(client) == {first: list(range(31)), last: list(range(31, 251))}
        assert points(client, "superseded") == {first: list(range(31, 201))}
        trial = the_trial(client)
        assert trial.metrics["loss"] == {step: step / 8 for step in range(251)}
        assert [(each["step"], each["points"]) for each in trial.metadata["rewinds"]] == [(30, 340)]
        assert trial.status is Status.Completed


def test_what_two_killed_jobs_left_and_a_rewind_of_theirs_leaves_the_last_job_alone(node: Node) -> None:
    first = node.killed(60)
    node.scenario.restart()
    uid = uid_of(node)
    second = node.killed(70, TRACK_TRIAL=uid)
    node.scenario.restart()
    last = node.completed(100, TRACK_TRIAL=uid)
    with TrackClient(node.scenario.uri) as client:
        assert points(client) == {first: list(range(31)), last: list(range(31, 101))}
    node.sync()
    with TrackClient(node.scenario.uri) as client:
        assert points(client) == {first: list(range(31)), last: list(range(31, 101))}
        assert points(client, "superseded") == {first: list(range(31, 61)), second: list(range(31, 71))}
        trial = the_trial(client)
        assert [each["points"] for each in trial.metadata["rewinds"]] == [140, 0]
        assert trial.status is Status.Completed
