"""Trackers inside real torch.distributed jobs, killed and started again from their checkpoints."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

import waiting
from running_server import ServerProcess, environment
from track import Status, TrackClient, Trial

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("torch") is None,
        reason="torch is not installed: pip install -r .ci/requirements.txt; .ci/run does it",
    ),
    pytest.mark.timeout(1200),  # two processes that import torch, several times, perhaps on a busy machine
    pytest.mark.slow,
]

PROGRAM = Path(waiting.__file__).with_name("distributed_training.py")
WORLD = 2
SECONDS = 400
STEPS = 8
CHECKPOINT = 3
KILLED = 5
LOSS = 'loss{phase="train"}'


class Cluster:
    """A server, and two-process jobs that log to it.

    Args:
        folder: of the checkpoint and of what the ranks leave behind.
        uri: of the server.
    """

    def __init__(self, folder: Path, uri: str) -> None:
        self.folder = folder
        self.uri = uri

    def tracker(self, **settings: Any) -> dict[str, Any]:
        """The configuration of our own provider."""
        return {"provider": "track", "uri": self.uri, "project": "digits", **settings}

    def train(self, **job: Any) -> list[int]:
        """Both ranks from start to end; their exit codes."""
        path = self.folder / "job.json"
        meeting = self.folder / f"meeting.{uuid.uuid4()}"
        defaults = {
            "folder": str(self.folder),
            "meeting": str(meeting),
            "steps": STEPS,
            "checkpoint_at": CHECKPOINT,
        }
        path.write_text(json.dumps({**defaults, **job}))
        with ExitStack() as stack:
            ranks = [stack.enter_context(self._rank(number, path)) for number in range(WORLD)]
            return [rank.wait(SECONDS) for rank in ranks]

    @contextmanager
    def _rank(self, number: int, path: Path) -> Iterator[subprocess.Popen[bytes]]:
        env = environment(
            PYTHONPATH=os.pathsep.join(sys.path), OMP_NUM_THREADS="1", RANK=str(number), WORLD_SIZE=str(WORLD)
        )
        with self.log(number).open("wb") as log:
            command = [sys.executable, str(PROGRAM), str(path)]
            process = subprocess.Popen(command, env=env, cwd=self.folder, stdout=log, stderr=log)
        with process:
            try:
                yield process
            finally:
                process.kill()

    def log(self, rank: int) -> Path:
        """What a rank of the last job has printed."""
        return self.folder / f"rank.{rank}.log"

    def trained(self, **job: Any) -> None:
        """A job that comes to its end."""
        assert self.train(**job) == [0] * WORLD, "".join(self.log(rank).read_text() for rank in range(WORLD))

    def killed_and_resumed(self, **job: Any) -> None:
        """A job that is killed behind its checkpoint, and started again."""
        codes = self.train(killed_at=KILLED, **job)
        assert codes == [-signal.SIGKILL] * WORLD, self.log(0).read_text()
        self.trained(killed_at=KILLED, **job)

    def states(self) -> list[dict[str, Any]]:
        """Of the trackers of rank 0 and 1 at the end."""
        return [json.loads((self.folder / f"state.{rank}.json").read_text()) for rank in range(WORLD)]

    def trials(self) -> list[Trial]:
        with TrackClient(self.uri) as client:
            return client.protocol.fetch_trials({})

    def series(self, name: str, kind: str = "metric", index: int = 0) -> list[tuple[Any, float]]:
        """Steps and values in the order in which they are stored."""
        with TrackClient(self.uri) as client:
            trial = client.protocol.fetch_trials({})[index]
            found = client.protocol.fetch_metrics(trial, name, kind=kind)
            return list(zip(found.steps, found.values, strict=True))

    def histogram_steps(self) -> set[Any]:
        """Of the only trial's weights."""
        with TrackClient(self.uri) as client:
            (trial,) = client.protocol.fetch_trials({})
            found = client.protocol.fetch_media(trial, "histogram", "weights", context={"phase": "train"})
            return set(found.steps)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with ServerProcess(f"sqlite:{tmp_path / 'runs.db'}", tmp_path / "home") as server:
        yield Cluster(tmp_path, server.served.join("ann"))


def steps(series: list[tuple[Any, float]]) -> list[Any]:
    return [step for step, _ in series]


def assert_resumed(cluster: Cluster) -> None:
    """The only trial has each step once, and beside it what was logged again."""
    (trial,) = cluster.trials()
    assert trial.id is not None
    assert (trial.name, trial.status) == ("digits", Status.Completed)
    assert trial.parameters == {"lr": 0.1, "batch": 64}
    assert steps(cluster.series(LOSS)) == list(range(STEPS))
    # What the killed job has logged behind its checkpoint, and the restarted one has logged again.
    assert steps(cluster.series(LOSS, "superseded")) == list(range(CHECKPOINT + 1, KILLED + 1))
    assert cluster.histogram_steps() == set(range(STEPS))
    assert cluster.states() == [{"trial_id": trial.id.hex(), "trial_uid": trial.uid, "step": STEPS - 1}, {}]


def test_a_killed_job_resumes_the_trial_that_rank_0_alone_opens(cluster: Cluster) -> None:
    cluster.killed_and_resumed(tracker=cluster.tracker(), opened_by="first")
    assert_resumed(cluster)


def test_a_killed_job_resumes_its_trial_to_the_series_of_one_that_was_not_killed(cluster: Cluster) -> None:
    cluster.killed_and_resumed(tracker=cluster.tracker())
    assert_resumed(cluster)
    (cluster.folder / "checkpoint").rename(cluster.folder / "old")
    cluster.trained(tracker=cluster.tracker())
    killed, undisturbed = cluster.series(LOSS, index=0), cluster.series(LOSS, index=1)
    assert dict(killed) == pytest.approx(dict(undisturbed))


def test_all_ranks_log_into_one_trial_and_resume_it(cluster: Cluster) -> None:
    cluster.killed_and_resumed(tracker=cluster.tracker(ranks="all"), labelled=True)
    (trial,) = cluster.trials()
    assert trial.status is Status.Completed
    assert sorted(trial.metadata["ranks"]) == [0, 1]
    for rank in range(WORLD):
        found = cluster.series(f'loss{{phase="train",rank="{rank}"}}')
        assert steps(found) == list(range(STEPS))
    assert cluster.histogram_steps() == set(range(STEPS))
    of_first, of_second = cluster.states()
    assert of_first == of_second


def test_ranks_do_not_wait_for_a_rank_0_that_cannot_open_its_run(cluster: Cluster) -> None:
    codes = cluster.train(tracker=cluster.tracker(ranks="all", uri="nowhere:x"))
    assert codes == [1, 1]
    assert "rank 0 could not open the run: UnknownScheme" in cluster.log(1).read_text()
