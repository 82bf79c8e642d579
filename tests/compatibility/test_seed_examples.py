"""Every example of the documents as a program of its own, as its reader would run it.

The programs are in the folder ``examples``: the calls are those of the documents.  What needs a GPU, a
download or a running CockroachDB is replaced by what this machine has.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from running_server import environment
from track import Status, TrackClient
from track.tracker import Tracker
from track_protocol.uri import Uri
from waiting import wait_until

EXAMPLES = Path(__file__).with_name("examples")
SECONDS = 100.0

# The document and the heading an example stands under, and the test that runs it.
COVERED = {
    ("004", "1 Installation"): "../test_packaging.py",
    ("004", "3 Overview"): "test_overview",
    ("004", "3.1.1 Overview"): "test_a_trial_and_its_report",
    ("004", "3.1.1 Overview, the report"): "test_a_trial_and_its_report",
    ("004", "3.1.2 Log Metrics"): "test_a_trial_logs_values_and_metrics",
    ("004", "3.1.3 Time things"): "test_a_trial_logs_values_and_metrics",
    ("004", "3.1.4 Save arbitrary data"): "test_a_trial_logs_values_and_metrics",
    ("004", "3.1.5 Experiment Report"): "test_a_trial_logs_values_and_metrics",
    ("004", "3.2.1 Local Backend"): "test_local_backend",
    ("004", "3.2.2 CockroachDB backend"): "test_cockroachdb_backend_names_the_missing_program",
    ("004", "3.2.3 Socket backend, server"): "test_socket_backend",
    ("004", "3.2.3 Socket backend, client"): "test_socket_backend",
    ("004", "3.2.4 Bring Your Own Backend"): "test_own_backend",
    ("004", "3.3.2 Adapting the code of MNIST example, main"): "test_mnist_example",
    ("004", "3.3.2 Adapting the code of MNIST example, test"): "test_mnist_example",
    ("004", "track.utils.eta, EstimatedTime"): "test_estimated_time",
    ("001", "Tracking"): "test_tracker",
    ("001", "Tracker.run"): "test_tracker_run_context",
    ("000", "Tracker"): "test_documented_tracker.py",  # listings only, no example of its use
    ("002", "Adding a New Tracker"): "test_documented_provider.py",
    ("003", "track.persistence"): "test_documented_names.py",  # signatures only, no example
}
"""Left out: how older documents were built (004, 2), and what is downloaded from elsewhere (004, 3.3.1)."""


@pytest.mark.parametrize("where", COVERED, ids=" ".join)
def test_each_example_has_its_test(where: tuple[str, str]) -> None:
    test = COVERED[where]
    if test.endswith(".py"):
        assert (Path(__file__).parent / test).exists()
    else:
        assert callable(globals()[test])


def run(folder: Path, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """An example in a process of its own, in an empty folder."""
    return subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments],
        cwd=folder,
        env=environment(TRACK_HOME=str(folder / "home")),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def ran(folder: Path, name: str, *arguments: str) -> str:
    """What an example prints that ends well."""
    done = run(folder, name, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_overview(tmp_path: Path) -> None:
    report = json.loads(ran(tmp_path, "overview"))
    assert report["parameters"] == {"batch_size": 256}
    assert report["metrics"] == {"epoch_loss": {"1": 1}, "accuracy": [0.98]}
    with TrackClient(f"file:{tmp_path / 'client_test.json'}") as client:
        (project,) = client.protocol.fetch_projects({})
        assert (project.name, len(project.trials)) == ("test_client", 1)


def test_a_trial_and_its_report(tmp_path: Path) -> None:
    report = json.loads(ran(tmp_path, "trial"))
    # Exactly what the documents show, in their order.
    shown = "revision name description version tags parameters metadata metrics chronos errors status"
    assert list(report) == shown.split()
    assert (report["revision"], report["name"]) == (0, "final_trial_2")
    assert report["description"] == "almost graduating"
    assert isinstance(report["version"], str)
    assert report["tags"] == {}
    assert report["parameters"] == {"batch_size": 256, "lr": 0.01, "momentum": 0.99}
    assert report["metadata"] == {"gpu": "V100"}
    assert report["metrics"] == {"epoch_loss": {"0": 8.75, "1": 8.75}, "accuracy": [0.98]}
    timed = report["chronos"]["batch_time"]
    assert (set(timed), timed["count"], timed["unit"]) == (
        {"avg", "min", "max", "sd", "count", "unit"},
        60,
        "s",
    )
    assert 0 <= timed["min"] <= timed["avg"] <= timed["max"] <= report["chronos"]["runtime"]
    assert report["errors"] == []
    assert report["status"] == {"value": 302, "name": "Completed"}
    # The same program once more is the next revision, as in the documents' report.
    assert json.loads(ran(tmp_path, "trial"))["revision"] == 1
    with TrackClient(f"file:{tmp_path / 'client_test.json'}") as client:
        (group,) = client.protocol.fetch_groups({"name": "idea_4573"})
        assert len(group.trials) == 2


def test_a_trial_logs_values_and_metrics(tmp_path: Path) -> None:
    report = json.loads(ran(tmp_path, "logging_calls"))
    assert report["metrics"] == {
        "epoch_loss": {"0": 1.0, "1": 1 / 2, "2": 1 / 3},
        "metric2": {"0": 0, "1": 1, "2": 2},
        "cost": [12.5],
    }
    assert report["chronos"]["long_compute"]["count"] == 1
    assert report["chronos"]["long_compute"]["avg"] >= 0.05
    assert report["metadata"] == {"had_short_hair_when_running_this_trial": False}


def test_local_backend(tmp_path: Path) -> None:
    ran(tmp_path, "local_backend")
    (trial,) = json.loads((tmp_path / "report.json").read_text())["trials"]
    assert trial["name"] == "local"
    assert trial["metrics"]["loss"]["values"] == [0.5]


def test_cockroachdb_backend_names_the_missing_program(tmp_path: Path) -> None:
    done = run(tmp_path, "cockroach_backend")
    assert done.returncode == 1
    reason = done.stderr.splitlines()[-1]
    assert "MissingExtra: cockroach://127.0.0.1:8123" in reason
    assert "pip install 'trackwire[postgres]'" in reason


@contextmanager
def documented_server(folder: Path) -> Iterator[int]:
    """The documents' server program; its port."""
    log = folder / "server.log"
    with log.open("wb") as file:
        server = subprocess.Popen(
            [sys.executable, str(EXAMPLES / "socket_server.py"), "0"],
            cwd=folder,
            env=environment(TRACK_HOME=str(folder / "home")),
            stdout=file,
            stderr=file,
        )
    try:
        wait_until(lambda: "network" in log.read_text() or server.poll() is not None, "the server's start")
        assert server.poll() is None, log.read_text()
        yield int(log.read_text().splitlines()[0].split(":")[1].split(",")[0])
        server.send_signal(signal.SIGTERM)
        assert server.wait(SECONDS) == 0
    finally:
        server.kill()
        server.wait()


def test_socket_backend(tmp_path: Path) -> None:
    with documented_server(tmp_path) as port:
        added = subprocess.run(
            [sys.executable, "-m", "track.cli", "user", "add", "alice", "--role", "writer"],
            env=environment(TRACK_HOME=str(tmp_path / "home")),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=True,
        )
        login = Uri.parse(added.stdout.strip())
        assert login.username is not None
        assert login.password is not None
        report = json.loads(ran(tmp_path, "socket_client", str(port), login.username, login.password))
        assert report["metrics"] == {"loss": {"0": 1.0, "1": 1 / 2, "2": 1 / 3}}
        assert report["status"]["name"] == "Completed"
        refused = run(tmp_path, "socket_client", str(port), login.username, "wrong")
        assert refused.returncode == 1
        assert "by socket" not in refused.stdout
    (trial,) = json.loads((tmp_path / "server_test.json").read_text())["trials"]
    assert trial["name"] == "by socket"


def test_own_backend(tmp_path: Path) -> None:
    assert ran(tmp_path, "own_backend").splitlines() == [
        "made for byob://somewhere/else",
        "a trial of orphan",
        "started own",
        "timing runtime",
        "step 1 {'loss': 0.5}",
        "timed runtime",
        "finished own",
    ]


def test_mnist_example(tmp_path: Path) -> None:
    ran(tmp_path, "mnist", "--epochs", "4", "--lr", "0.02")
    (stored,) = json.loads((tmp_path / "mnist_example.json").read_text())["trials"]
    assert stored["parameters"] == {"batch_size": 64, "epochs": 4, "lr": 0.02, "no_cuda": False, "seed": 1}
    with TrackClient(f"file:{tmp_path / 'mnist_example.json'}") as client:
        (trial,) = client.protocol.fetch_trials({})
        assert trial.status is Status.Completed
        rates = client.protocol.fetch_metrics(trial, "error_rate").values
        assert len(rates) == 4
        assert max(rates) < 0.3, "it has learned"


def test_estimated_time(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "doctest", str(EXAMPLES / "eta.py")], cwd=tmp_path, timeout=SECONDS, check=True
    )


def test_tracker(tmp_path: Path) -> None:
    ran(tmp_path, "tracker_runs")
    tracker = Tracker(str(tmp_path / "experiments"))
    tracker.set_experiment("mnist_run")
    (run,) = tracker.get_all_runs()
    assert (run.name, run.status) == ("baseline", "completed")
    assert run.config == {"lr": 0.01, "batch_size": 32}
    assert [record.step for record in tracker.get_records(run.run_id, "train_loss")] == list(range(10))


def test_tracker_run_context(tmp_path: Path) -> None:
    printed = ran(tmp_path, "tracker_context")
    assert printed.splitlines()[-1] == "the loss is infinite"
    tracker = Tracker(str(tmp_path / "experiments"))
    tracker.set_experiment("mnist")
    assert {run.name: run.status for run in tracker.get_all_runs()} == {
        "lr=0.01": "completed",
        "diverges": "failed",
    }
