"""The provider `aim`, toward real Aim repositories: written by programs, read back by Aim."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import waiting
from running_server import environment
from track_protocol.security.tokens import new_token

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("aim") is None,
        reason="aim is not installed: pip install 'trackwire[aim]'; .ci/run does it",
    ),
    pytest.mark.timeout(300),  # importing Aim takes seconds on a busy machine
]

READER = Path(waiting.__file__).with_name("aim_reading.py")

HEAD = """
import json, sys
from pathlib import Path
from track.provider import RunConfig, tracker_from_config

tracker = tracker_from_config({"provider": "aim", "repo": ".", "experiment": "digits"})
hparams = {"lr": 0.1, "model": {"depth": 3}}
properties = RunConfig(name="baseline", description="longer warm-up", hparams=hparams)
"""


class Jobs:
    """Programs that log into one repository.

    Args:
        folder: which holds the repository.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, program: str, **changes: str) -> subprocess.CompletedProcess[str]:
        """A program of its own, after `HEAD`."""
        return self._python("-c", HEAD + textwrap.dedent(program), **changes)

    def runs(self) -> dict[str, dict[str, Any]]:
        """All runs by their hash."""
        done = self._python(str(READER), ".")
        assert done.returncode == 0, done.stderr
        found: dict[str, dict[str, Any]] = json.loads(done.stdout)
        return found

    def _python(self, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        env = environment(PYTHONPATH=os.pathsep.join(sys.path), **changes)
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True)


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return Jobs(tmp_path)


def test_an_aim_run_has_everything_logged(jobs: Jobs) -> None:
    done = jobs.run(
        """
        with tracker.open(properties) as run:
            for step in range(3):
                run.set_step(step)
                run.set_context({"phase": "train"})
                run.scalar("loss", step / 8)
                run.scalar("loss", step / 4, {"phase": "val", "fold": "1"})
            run.bins("weights", [1.0, 2.0, 3.0, float("nan"), float("inf")])
        print(json.dumps(tracker.state_dict()))
        """
    )
    assert done.returncode == 0, done.stderr
    runs = jobs.runs()
    (found,) = runs.values()
    assert json.loads(done.stdout) == {"run_hash": next(iter(runs))}
    assert (found["name"], found["description"], found["experiment"], found["ended"]) == (
        "baseline",
        "longer warm-up",
        "digits",
        True,
    )
    assert found["attributes"]["hparams"] == {"lr": 0.1, "model": {"depth": 3}}
    assert found["attributes"]["status"] == "completed"
    series = {(each["name"], json.dumps(each["context"], sort_keys=True)): each for each in found["series"]}
    assert series["loss", '{"phase": "train"}']["points"] == {"0": 0.0, "1": 0.125, "2": 0.25}
    assert series["loss", '{"fold": "1", "phase": "val"}']["points"] == {"0": 0.0, "1": 0.25, "2": 0.5}
    assert series["weights", '{"phase": "train"}']["points"] == {
        "2": {"counted": 3, "range": [1.0, 3.0], "bins": 64}
    }


def test_no_token_reaches_aim(jobs: Jobs) -> None:
    # Fails when anything of what is given to Aim passes `redact_tokens` by.
    token = new_token()
    done = jobs.run(
        """
        import os
        token = os.environ["A_TOKEN"]
        told = RunConfig(name=token, description=token, hparams={"a": {"b": token}, token: 1})
        try:
            with tracker.open(told) as run:
                run.set_step(1)
                run.set_context({token: "a", "b": token})
                run.scalar(token, 0.5)
                run.scalar("loss", 0.5, {"phase": token})
                run.bins(token, [1.0])
                raise ValueError(token)
        except ValueError:
            pass
        """,
        A_TOKEN=token,
    )
    assert done.returncode == 0, done.stderr
    stored = json.dumps(jobs.runs())
    assert (token in stored, stored.count("trk_***") > 5) == (False, True)


def test_a_failed_run_resumes_by_its_hash(jobs: Jobs) -> None:
    failed = jobs.run(
        """
        try:
            with tracker.open(properties) as run:
                for step in range(4):
                    run.set_step(step)
                    run.scalar("loss", 1.0)
                    if step == 1:
                        Path("checkpoint").write_text(json.dumps(tracker.state_dict()))
                raise ValueError("the loss diverged")
        except ValueError:
            print("raised again")
        """
    )
    assert failed.stdout == "raised again\n", failed.stderr
    (before,) = jobs.runs().values()
    assert before["attributes"]["status"] == "failed"
    assert "ValueError: the loss diverged" in before["attributes"]["error"]
    resumed = jobs.run(
        """
        tracker.load_state_dict(json.loads(Path("checkpoint").read_text()))
        with tracker.open(RunConfig(name="again", hparams={"epochs": 9})) as run:
            for step in range(2, 4):
                run.set_step(step)
                run.scalar("loss", 2.0)
        """
    )
    assert resumed.returncode == 0, resumed.stderr
    ((known, after),) = jobs.runs().items()
    assert json.loads((jobs.folder / "checkpoint").read_text()) == {"run_hash": known}
    assert after["attributes"]["status"] == "completed"
    assert after["attributes"]["hparams"] == {"lr": 0.1, "model": {"depth": 3}, "epochs": 9}
    assert after["series"][0]["points"] == {"0": 1.0, "1": 1.0, "2": 2.0, "3": 2.0}


def test_a_killed_run_resumes(jobs: Jobs) -> None:
    killed = jobs.run(
        """
        import os, signal
        with tracker.open(properties) as run:
            run.set_step(0)
            run.scalar("loss", 1.0)
            Path("checkpoint").write_text(json.dumps(tracker.state_dict()))
            os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    assert killed.returncode == -9
    resumed = jobs.run(
        """
        tracker.load_state_dict(json.loads(Path("checkpoint").read_text()))
        with tracker.open(properties) as run:
            run.set_step(1)
            run.scalar("loss", 2.0)
        """
    )
    assert resumed.returncode == 0, resumed.stderr
    (found,) = jobs.runs().values()
    assert found["series"][0]["points"] == {"0": 1.0, "1": 2.0}


def test_a_state_whose_run_was_deleted_is_an_error(jobs: Jobs) -> None:
    done = jobs.run(
        """
        with tracker.open(properties):
            pass
        state = tracker.state_dict()
        import aim
        aim.Repo(".").delete_run(state["run_hash"])
        fresh = tracker_from_config({"provider": "aim", "repo": "."})
        fresh.load_state_dict(state)
        try:
            with fresh.open(properties):
                print("the body ran")
        except LookupError as error:
            print(error)
        """
    )
    assert "is not in the Aim repository .: it was deleted" in done.stdout, done.stderr


def test_a_value_that_aim_refuses_is_reported_once_and_does_not_end_the_training(jobs: Jobs) -> None:
    done = jobs.run(
        """
        with tracker.open(properties) as run:
            run.scalar("loss", 1.0)
            run.bins("loss", [1.0, 2.0])  # Aim does not mix the two in one series
            run.bins("nothing", [float("nan")])
            run.scalar("loss", "high")
            run.set_step(1)
            run.scalar("loss", 2.0)
        """
    )
    assert done.returncode == 0, done.stderr
    (found,) = jobs.runs().values()
    assert [(each["name"], each["points"]) for each in found["series"]] == [("loss", {"0": 1.0, "1": 2.0})]
    assert done.stderr.count("was not logged") == 1


def test_only_rank_0_opens_the_repository(jobs: Jobs) -> None:
    done = jobs.run(
        """
        with tracker.open(properties) as run:
            run.scalar("loss", 1.0)
        print(tracker.state_dict())
        """,
        RANK="1",
    )
    assert done.stdout == "{}\n", done.stderr
    assert not (jobs.folder / ".aim").exists()
