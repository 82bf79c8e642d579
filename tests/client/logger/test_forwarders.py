"""What a client passes on to the logger of its trial."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from track import Status, TrackClient, TrialLogger
from track.logger.forwarders import LoggerForwarders
from track_protocol.model.stat import StatStream

FORWARDED = sorted(name for name in vars(LoggerForwarders) if not name.startswith("_"))


@pytest.fixture
def client() -> Iterator[TrackClient]:
    with TrackClient("ephemeral:") as client:
        yield client


@pytest.mark.parametrize("name", FORWARDED)
def test_the_client_takes_what_the_logger_takes(name: str) -> None:
    ours, theirs = (inspect.signature(getattr(each, name)) for each in (TrackClient, TrialLogger))
    assert [*ours.parameters] == [*theirs.parameters]
    assert [each.default for each in ours.parameters.values()] == [
        each.default for each in theirs.parameters.values()
    ]


def test_media_and_files_reach_the_trial(client: TrackClient, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    client.log_histogram("weights", [1.0, 2.0], 1)
    client.log_image("digits", np.zeros((2, 2)), 1)
    client.log_text("note", "hello", 1)
    client.log_file(tmp_path / "notes.txt")
    client.log_artifact(tmp_path / "notes.txt", "copy")
    client.log_directory(tmp_path)
    client.save()
    assert client.trial is not None
    stored = client.protocol.current_trial(client.trial)
    assert stored is not None
    assert {kind: sorted(series) for kind, series in stored.media.items()} == {
        "histogram": ["weights"],
        "image": ["digits"],
        "text": ["note"],
        "file": ["copy", "notes.txt"],
    }


def test_the_status_reaches_the_trial(client: TrackClient) -> None:
    client.set_status(Status.Suspended)
    client.save()
    assert [trial.status for trial in client.protocol.fetch_trials()] == [Status.Suspended]


def test_what_sets_something_up_returns_the_client(
    client: TrackClient, capsys: pytest.CaptureFixture[str]
) -> None:
    timer = StatStream(0)
    timer.update(1)
    assert client.set_version("1") is client
    assert client.version == "1"
    assert client.set_eta_total(10).show_eta(0, timer) is client
    assert client.capture_output().log_code().report() is client
    assert "[ 1/10]" in capsys.readouterr().out


def test_what_sets_something_up_returns_the_logger(client: TrackClient) -> None:
    trial = client.new_trial()
    assert (trial.stdout, trial.stderr, trial.eta, trial.code, trial.has_started) == (*[None] * 4, False)
    timer = StatStream(0)
    assert trial.set_eta_total(10).show_eta(0, timer, no_print=True) is trial
    assert trial.capture_output().log_code().report() is trial
    assert trial.stdout is not None
    assert "ephemeral" not in trial.stdout.output()
    assert trial.eta is not None
    assert trial.eta.total == 10
    trial.finish()
    assert (trial.has_started, trial.has_finished) == (True, True)
