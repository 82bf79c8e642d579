"""A script of another tracker, as a process of its own, on every kind of store."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import track
from running_server import environment, serving
from track_server.app import Settings

SCRIPT = """
import sys
import track as wandb

wandb.init(project="digits", name="baseline", config={"lr": 0.1})
for epoch in range(3):
    wandb.log({"epoch": epoch, "loss": 1.0 / (1 + epoch)})
wandb.summary["best"] = 0.3
print("ready", flush=True)
if "wait" in sys.argv:
    sys.stdin.read()
if "fail" in sys.argv:
    raise ValueError("nan")
"""


@pytest.fixture(params=["sqlite:{}/runs.db", "file:{}/runs.json", "pickled:{}/runs", "socket"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "socket":
        with serving(Settings(f"sqlite:{tmp_path / 'runs.db'}", home=tmp_path / "home")) as served:
            yield served.join("ann")
    else:
        yield request.param.format(tmp_path)


@contextmanager
def script(folder: Path, uri: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    path = folder / "train.py"
    path.write_text(SCRIPT)
    with subprocess.Popen(
        [sys.executable, str(path), *arguments],
        cwd=folder,
        env=environment(TRACK_URI=uri, TRACK_CAPTURE="1", TRACK_SYSTEM_METRICS="1"),
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process


@pytest.mark.parametrize(
    ("argument", "status"), [("complete", "Completed"), ("fail", "Exception"), ("wait", "Interrupted")]
)
def test_a_run_is_stored_however_it_ends(uri: str, tmp_path: Path, argument: str, status: str) -> None:
    with script(tmp_path, uri, argument) as process:
        if argument == "wait":
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    (trial,) = track.runs(uri)
    assert trial.status is not None
    assert (trial.status.name, trial.parameters) == (status, {"lr": 0.1})
    assert list(trial.history("loss")["value"]) == [1.0, 0.5, 1.0 / 3]
    assert (trial.summary["best"], trial.summary["epoch"]) == (0.3, 2)
    assert trial.metadata["run"]["command"].endswith(f"train.py {argument}")
    assert trial.duration is not None
