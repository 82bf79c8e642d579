"""Scripts that Oríon starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest

from track import TrackClient
from track.recording.resume import ORION_TAG, Orion, joined_or_created, orion_in
from track_protocol.errors import ServerUnreachable
from track_protocol.model.entities import Status, Trial

ORIONS_ID = "0123456789abcdef0123456789abcdef"

SCRIPT = """
import sys
from track import TrackClient

client = TrackClient(sys.argv[1])
trial = client.new_trial()
trial.add_tags(owner="me")
client.log_arguments(lr=float(sys.argv[2]))
with trial:
    trial.log_metrics(loss=0.5)
client.report(short=False)
"""


def run(folder: Path, lr: float, **variables: str) -> dict[str, Any]:
    """What the script reports."""
    (folder / "train.py").write_text(SCRIPT)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ORION")}
    command = [sys.executable, "train.py", "file:runs.json", str(lr)]
    done = subprocess.run(
        command, cwd=folder, env={**environment, **variables}, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def trials_in(folder: Path) -> list[Trial]:
    with TrackClient(f"file:{folder / 'runs.json'}") as client:
        return client.protocol.fetch_trials({})


def test_project_group_and_trial_are_those_of_orion(tmp_path: Path) -> None:
    variables = {"ORION_PROJECT": "vision", "ORION_EXPERIMENT": "tpe", "ORION_TRIAL_ID": ORIONS_ID}
    report = run(tmp_path, 0.1, **variables)
    assert report["tags"] == {"owner": "me", ORION_TAG: ORIONS_ID}
    with TrackClient(f"file:{tmp_path / 'runs.json'}") as client:
        project = client.set_project(name="vision", get_only=True)
        group = client.set_group(name="tpe", get_only=True)
        (trial,) = client.protocol.fetch_trials({})
    assert (trial.project_id, trial.group_id) == (project.uid, group.uid)
    assert report["project_id"] == project.uid


def test_a_trial_that_orion_starts_again_is_resumed(tmp_path: Path) -> None:
    first = run(tmp_path, 0.1, ORION_TRIAL_ID=ORIONS_ID)
    again = run(tmp_path, 0.1, ORION_TRIAL_ID=ORIONS_ID)
    other = run(tmp_path, 0.1, ORION_TRIAL_ID="f" * 32)
    assert again["uid"] == first["uid"] != other["uid"]
    assert again["metrics"] == {"loss": [0.5, 0.5]}
    assert len(trials_in(tmp_path)) == 2


def test_an_id_of_a_stored_trial_means_that_one(tmp_path: Path) -> None:
    first = run(tmp_path, 0.1)
    (stored,) = trials_in(tmp_path)
    assert stored.id is not None
    for name in (first["uid"], stored.id.hex()):
        again = run(tmp_path, 0.2, ORION_TRIAL_ID=name)
        assert (again["uid"], again["parameters"]) == (first["uid"], {"lr": 0.2})
        assert ORION_TAG not in again["tags"]
    assert len(trials_in(tmp_path)) == 1


def test_the_arguments_of_the_script_take_precedence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORION_PROJECT", "theirs")
    monkeypatch.setenv("ORION_EXPERIMENT", "theirs")
    with TrackClient("ephemeral:") as client:
        project, group = client.set_project(name="mine"), client.set_group(name="mine too")
        trial = client.new_trial().ensure()
        assert (trial.project_id, trial.group_id) == (project.uid, group.uid)
    with TrackClient("ephemeral:") as client:
        assert client.set_project().name == "theirs"


def test_only_the_first_trial_of_a_client_is_orions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORION_TRIAL_ID", ORIONS_ID)
    with TrackClient("ephemeral:") as client:
        first = client.new_trial().ensure()
        second = client.new_trial(force=True).ensure()
        assert (first.tags, second.tags) == ({ORION_TAG: ORIONS_ID}, {})


def test_track_trial_overrides_orion(monkeypatch: pytest.MonkeyPatch) -> None:
    with TrackClient("ephemeral:") as client:
        stored = client.new_trial().ensure()
        monkeypatch.setenv("TRACK_TRIAL", stored.uid)
        monkeypatch.setenv("ORION_TRIAL_ID", ORIONS_ID)
        other = TrackClient(client.protocol)
        assert other.new_trial().trial.uid == stored.uid


def test_resuming_applies_to_new_trials_of_orion(monkeypatch: pytest.MonkeyPatch) -> None:
    with TrackClient("ephemeral:") as client:
        stopped = client.new_trial(arguments={"lr": 0.1})
        stopped.set_status(Status.Interrupted)
        monkeypatch.setenv("ORION_TRIAL_ID", ORIONS_ID)
        resumed = TrackClient(client.protocol).new_trial(arguments={"lr": 0.1}, resume=True)
        assert resumed.trial.uid == stopped.trial.uid
        assert (client.protocol.get_trial(stopped.trial) or [])[0].tags == {ORION_TAG: ORIONS_ID}


def test_while_the_store_is_unreachable_a_new_trial_is_made(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with TrackClient("ephemeral:") as client:

        def unreachable(query: object) -> NoReturn:
            raise ServerUnreachable("no server answers")

        monkeypatch.setattr(client.protocol, "fetch_trials", unreachable)
        found = joined_or_created(client.protocol, "7", client._in_project, client._create, Trial(name="t"))
        assert (found.name, found.tags) == ("t", {ORION_TAG: "7"})
    assert "the store cannot say whether Oríon's trial 7 ran before" in caplog.text


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, Orion(None, None, None)),
        ({"ORION_PROJECT": "", "ORION_EXPERIMENT": "", "ORION_TRIAL_ID": ""}, Orion(None, None, None)),
        ({"ORION_EXPERIMENT_NAME": "b"}, Orion(None, "b", None)),
        (
            {
                "ORION_PROJECT": "p",
                "ORION_EXPERIMENT": "a",
                "ORION_EXPERIMENT_NAME": "b",
                "ORION_TRIAL_ID": "i",
            },
            Orion("p", "a", "i"),
        ),
    ],
)
def test_the_environment_is_read_in_both_spellings(environment: dict[str, str], found: Orion) -> None:
    assert orion_in(environment) == found


def test_the_trial_that_oríon_means_is_there_from_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"file:{tmp_path}/x.json"
    with TrackClient(uri) as client:
        stored = client.new_trial(parameters={"lr": 0.1}).trial
    monkeypatch.setenv("ORION_TRIAL_ID", stored.uid)
    with TrackClient(uri) as client:
        assert client.trial is not None
        assert (client.trial.uid, client.trial.parameters) == (stored.uid, {"lr": 0.1})
