"""``track tail``: the last points, and those of a run that continues."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from command_runner import fill, run
from running_server import Served, serving
from track import TrackClient
from track.commands.tail import COMMAND
from track_protocol.errors import ItemNotFound
from track_server.app import Settings
from waiting import wait_until


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"sqlite:{tmp_path}/runs.db"


def test_the_last_points_in_order_of_time(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    uids = fill(uri)
    assert run(COMMAND, uids[0], "--uri", uri, "-n", "2") == 0
    first, second, end = capsys.readouterr().out.splitlines()
    assert datetime.fromisoformat(first[:25]).tzinfo is not None
    assert first.endswith('step 2  loss=0.333333  note=x  loss{phase="val"}=4')
    assert second.endswith('step 3  loss=0.25  note=x  loss{phase="val"}=6')
    assert end == "the trial has ended: Completed"


def test_some_metrics_as_json(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    uids = fill(uri)
    assert run(COMMAND, uids[0], "note", "--uri", uri, "-n", "1", "--no-follow", "--json") == 0
    (line,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (line["step"], line["values"]) == (3, {"note": "x"})
    with pytest.raises(ItemNotFound, match="no metric called los: did you mean 'loss'"):
        run(COMMAND, uids[0], "los", "--uri", uri)


def test_a_metric_that_a_run_does_not_have_yet_is_waited_for_with_a_hint(
    uri: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with TrackClient(uri) as client:
        trial = client.new_trial(name="live")
        trial.log_metrics(step=0, loss=1.0)
        client.save()
        waited: list[float] = []

        def wait(seconds: float) -> None:
            waited.append(seconds)
            trial.log_metrics(step=1, accuracy=0.5)
            trial.finish()
            client.save()

        monkeypatch.setattr("track.commands.tail.time.sleep", wait)
        run(COMMAND, "live", "acuracy", "accuracy", "--uri", uri)
    printed = capsys.readouterr()
    assert "no metric called acuracy or accuracy" in printed.err
    assert "accuracy=0.5" in printed.out
    assert len(waited) == 1


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Served]:
    (tmp_path / "server").mkdir()
    with serving(Settings(backend=f"sqlite:{tmp_path}/server/runs.db", home=tmp_path / "home")) as served:
        yield served


def _started(uri: str, uid: str, out: Path) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "track.cli", "tail", uid, "--interval", "0.05"]
    environment = {**os.environ, "TRACK_URI": uri}
    with out.open("wb") as file:
        return subprocess.Popen(words, stdout=file, stderr=subprocess.STDOUT, env=environment)


def printed(out: Path, text: str) -> None:
    wait_until(lambda: text in out.read_text(), f"'track tail' shows {text}")


def test_it_follows_a_run_over_a_rewind_to_its_end(tmp_path: Path, live: Served) -> None:
    out = tmp_path / "out"
    with TrackClient(live.join("ann")) as client:
        trial = client.new_trial(name="live")
        trial.start()
        trial.log_metrics(step=0, loss=1.0)
        client.save()
        tail = _started(live.join("bob"), trial.trial.uid, out)
        printed(out, "step 0  loss=1")
        for step in (1, 2):
            trial.log_metrics(step=step, loss=0.5)
            client.save()
            printed(out, f"step {step}  loss=0.5")
        trial.rewind(0)
        client.save()
        trial.log_metrics(step=1, loss=0.25)
        client.save()
        printed(out, "step 1  loss=0.25")
        trial.finish()
    assert tail.wait(30) == 0
    assert out.read_text().endswith("the trial has ended: Completed\n")
    assert out.read_text().count("loss=") == 4


def test_ctrl_c_ends_it_silently(tmp_path: Path, live: Served) -> None:
    out = tmp_path / "out"
    with TrackClient(live.join("ann")) as client:
        trial = client.new_trial(name="live")
        trial.start()
        trial.log_metrics(step=0, loss=1.0)
        client.save()
        tail = _started(live.join("bob"), trial.trial.uid, out)
        printed(out, "step 0")
        tail.send_signal(signal.SIGINT)
        assert tail.wait(30) == 130
        trial.finish()
    assert "Traceback" not in out.read_text()
    assert out.read_text().count("\n") == 1
