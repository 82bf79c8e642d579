"""A real training run in PyTorch over an encrypted socket: all that it logs, prints and saves is stored."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

import waiting
from running_server import ServerProcess
from track import Status, TrackClient
from track.media.image import decode_png

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("torch") is None,
        reason="torch is not installed: pip install -r .ci/requirements.txt; .ci/run does it",
    ),
    pytest.mark.timeout(300),
    pytest.mark.slow,
]

PROGRAM = Path(waiting.__file__).with_name("cnn_training.py")
EPOCHS = 3
BATCHES = 10
STEPS = list(range(EPOCHS * BATCHES))


def test_a_cnn_training_is_tracked_completely(tmp_path: Path) -> None:
    with ServerProcess(f"sqlite:{tmp_path / 'runs.db'}", tmp_path / "home") as server:
        uri = server.served.join("ann")
        run = subprocess.run(
            [sys.executable, str(PROGRAM), "--uri", uri, "--epochs", str(EPOCHS)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        # What is printed behind the trial is the report.
        printed, report = run.stdout.split("{\n", 1)
        reported = json.loads("{\n" + report)
        with TrackClient(uri) as client:
            (trial,) = client.protocol.fetch_trials({})
            assert (trial.name, trial.status, trial.errors) == ("cnn", Status.Completed, [])
            assert reported["parameters"] == trial.parameters
            assert trial.parameters == {"batch_size": 64, "epochs": EPOCHS, "lr": 0.01, "seed": 1}

            losses = client.protocol.fetch_metrics(trial, "loss", context={"phase": "train"})
            assert list(losses.steps) == STEPS
            assert min(losses.values[-BATCHES:]) < losses.values[0] / 2, "it has learned"
            rates = client.protocol.fetch_metrics(trial, "error_rate", context={"phase": "test"})
            assert list(rates.steps) == list(range(EPOCHS))
            assert trial.chronos["batch_time"]["count"] == len(STEPS)

            images = client.protocol.fetch_media(trial, "image", "first_wrong")
            assert list(images.steps) == list(range(EPOCHS))
            image = decode_png(images.content(0))
            assert (image.width, image.height, image.channels) == (28, 28, 1)
            weights = client.protocol.fetch_media(trial, "histogram", "conv1.weight")
            assert [sum(value["counts"]) for value in weights.values] == [4 * 5 * 5] * EPOCHS
            kept = client.protocol.fetch_media(trial, "file", "model.pt")
            assert kept.content(0) == (tmp_path / "model.pt").read_bytes()

            lines = printed.splitlines()
            assert trial.metadata["out"] == lines
            assert trial.metadata["err"][-1] == "done"
            assert sum("eta" in line for line in lines) == len(STEPS)
            assert sum(line.startswith("epoch ") for line in lines) == EPOCHS
