"""What scripts rely on beyond documented names and signatures, over each kind of store."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import track
from running_server import serving
from track import Project, TrackClient, Trial, TrialGroup
from track.serialization import SerializerTrial
from track.structure import Status, get_current_project, get_current_trial
from track.versioning import get_file_version, get_git_version
from track_protocol.errors import ItemNotFound, UsageError
from track_protocol.security.tokens import redact_tokens
from track_server.app import Settings

BOOKKEPT = {"_last_change", "_update_count", "heartbeat"}

LATE = """
import argparse, sys
from track import TrackClient

parser = argparse.ArgumentParser()
parser.add_argument("--backend")
parser.add_argument("--lr", type=float, default=0.1)

client = TrackClient(sys.argv[2])
trial = client.new_trial(name="late")
trial.add_tags(owner="me")
trial.log_metadata(gpu="V100")
args = client.get_arguments(parser, show=True, seed=3)
assert (args.lr, args.seed) == (0.1, 3)
with trial:
    trial.log_metrics(step=0, loss=2.0)
client.save()
"""


@pytest.fixture(params=["file", "sqlite", "socket"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param != "socket":
        yield f"{request.param}:{tmp_path / 'runs'}"
        return
    with serving(Settings(backend=f"sqlite:{tmp_path / 'runs.db'}", home=tmp_path / "home")) as server:
        yield server.join("ann")


@pytest.fixture
def client(uri: str) -> Iterator[TrackClient]:
    with TrackClient(uri) as made:
        yield made


def stored(client: TrackClient) -> Trial:
    """The client's trial as it is in the store."""
    assert client.trial is not None
    return (client.protocol.get_trial(client.trial) or [])[0]


def test_a_trial_is_created_when_its_arguments_are_known(
    client: TrackClient,
) -> None:
    trial = client.new_trial(name="late")
    trial.add_tags(owner="me")
    trial.log_metadata(gpu="V100")
    assert client.protocol.fetch_trials({}) == []
    client.log_arguments({"lr": 0.1})
    (found,) = client.protocol.fetch_trials({})
    assert (found.parameters, found.tags, found.metadata["gpu"]) == ({"lr": 0.1}, {"owner": "me"}, "V100")
    assert found.hash == Trial(name="late", version=found.version, parameters={"lr": 0.1}).hash


def test_a_script_may_log_its_arguments_late(uri: str, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(LATE)
    command = [sys.executable, "train.py", "--backend", uri]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    shown = json.loads(done.stdout)
    with TrackClient(uri) as client:
        (found,) = client.protocol.fetch_trials({})
    assert shown == found.parameters == {"backend": redact_tokens(uri), "lr": 0.1, "seed": 3}
    assert (found.tags, found.metadata["gpu"]) == ({"owner": "me"}, "V100")
    assert (found.version, found.status) == (get_file_version(str(tmp_path / "train.py")), Status.Completed)
    assert found.metrics == {"loss": {0: 2.0}}


def test_a_trial_outside_any_project_goes_to_orphan(client: TrackClient) -> None:
    trial = client.new_trial(arguments={"lr": 0.1}).trial
    (project,) = client.protocol.fetch_projects({"name": "orphan"})
    assert (trial.project_id, trial.group_id) == (project.uid, None)
    assert trial.uid in project.trials


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser()
    made.add_argument("--lr", type=float, default=0.1)
    return made


@pytest.mark.parametrize(
    "arguments",
    [parser, lambda: argparse.Namespace(lr=0.1), lambda: {"lr": 0.1}, lambda: None],
    ids=["parser", "namespace", "dict", "keywords"],
)
def test_arguments_in_four_forms_become_a_namespace(
    client: TrackClient,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: Callable[[], argparse.ArgumentParser | argparse.Namespace | dict[str, float] | None],
) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py"])
    given = arguments()
    more: dict[str, Any] = {"lr": 0.1} if given is None else {}
    got = client.get_arguments(given, **more)
    assert (got, capsys.readouterr().out) == (argparse.Namespace(lr=0.1), "")
    assert client.log_arguments(given, show=True, **more) == got
    assert json.loads(capsys.readouterr().out) == stored(client).parameters == {"lr": 0.1}


def test_project_group_and_trial_change_only_with_force(client: TrackClient) -> None:
    first = client.set_project(name="first")
    assert client.set_project(Project(name="first")) is first
    with pytest.raises(UsageError, match="set_project"):
        client.set_project(name="second")
    group = client.set_group(name="idea")
    with pytest.raises(UsageError, match="set_group"):
        client.set_group(TrialGroup(name="other", project_id=first.uid))
    trial = client.new_trial(arguments={"lr": 0.1})
    with pytest.raises(UsageError, match="force"):
        client.new_trial()
    with pytest.raises(UsageError, match="force"):
        client.set_trial(uid=trial.trial.uid)
    assert (trial.trial.project_id, trial.trial.group_id) == (first.uid, group.uid)
    second = client.set_project(name="second", force=True)
    other = client.set_group(name="other", force=True)
    forced = client.new_trial(force=True, arguments={"lr": 0.1}).trial
    assert (forced.project_id, forced.group_id) == (second.uid, other.uid)
    assert (get_current_project(), get_current_trial()) == (second, forced)
    assert client.set_trial(uid=trial.trial.uid, force=True).trial.project_id == first.uid


def test_get_only_finds_and_creates_nothing(client: TrackClient) -> None:
    with pytest.raises(ItemNotFound, match="no project is called 'paper'"):
        client.set_project(name="paper", get_only=True)
    assert client.protocol.fetch_projects({}) == []
    made = client.protocol.new_project(Project(name="paper"))
    assert client.set_project(name="paper", get_only=True).uid == made.uid
    with pytest.raises(ItemNotFound, match="no group is called 'idea'"):
        client.set_group(name="idea", get_only=True)
    assert client.protocol.fetch_groups({}) == []


def test_the_version_is_given_or_computed_or_that_of_the_executed_file(client: TrackClient) -> None:
    versions = []
    choices: list[dict[str, Any]] = [{"version": "1.2"}, {"version_fun": lambda: "of a function"}, {}]
    for choice in choices:
        client.set_version(**choice)
        client.new_trial(force=True, arguments={"lr": 0.1})
        versions.append(stored(client).version)
    executed = getattr(sys.modules["__main__"], "__file__", None)
    assert versions == ["1.2", "of a function", executed and get_file_version(executed)]


def test_the_commit_of_a_module_is_that_of_its_repository(client: TrackClient) -> None:
    folder = Path(track.__file__).parent
    log = ["git", "-C", str(folder), "log", "-1", "--format=%H %cI"]
    try:
        commit, date = subprocess.check_output(log, text=True).split()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("the sources are in no git repository here")
    client.set_version(get_git_version(track)[0])
    client.new_trial(arguments={"lr": 0.1})
    assert (stored(client).version, get_git_version(track)) == (commit, (commit, date))


def test_the_store_records_the_times_of_changes_and_heartbeats(
    client: TrackClient, capsys: pytest.CaptureFixture[str]
) -> None:
    began = time.time()
    with client.new_trial(arguments={"lr": 0.1}) as trial:
        trial.add_tags(owner="me")
        counted = stored(client).metadata["_update_count"]
        for number in range(5):
            trial.log_metadata(number=number)
        found = stored(client).metadata
    assert (found["number"], found["_update_count"]) == (4, counted + 5)
    assert began <= found["_last_change"] <= time.time()
    assert began <= found["heartbeat"] <= time.time()
    assert SerializerTrial.ignore_meta == BOOKKEPT
    client.report()
    assert not json.loads(capsys.readouterr().out)["metadata"].keys() & BOOKKEPT
    client.report(short=False)
    assert json.loads(capsys.readouterr().out)["metadata"].keys() >= BOOKKEPT


def test_metrics_with_steps_are_mappings_and_without_are_lists(client: TrackClient) -> None:
    with client.new_trial(arguments={"lr": 0.1}) as trial:
        trial.log_metrics(step=0, loss=2.0)
        trial.log_metrics(step=1, loss=1.0)
        trial.log_metrics(accuracy=0.9)
        trial.log_metrics(accuracy=0.98)
        trial.log_metrics(step=0, first=1)
    found = stored(client).metrics
    assert found == {"loss": {0: 2.0, 1: 1.0}, "accuracy": [0.9, 0.98], "first": {0: 1}}


def test_a_timer_and_the_runtime_read_back_as_documented(client: TrackClient) -> None:
    with client.new_trial(arguments={"lr": 0.1}) as trial:
        for _ in range(3):
            with trial.chrono("batch_time"):
                pass
    chronos = stored(client).chronos
    assert chronos["batch_time"].keys() >= {"avg", "min", "max", "sd", "count", "unit"}
    assert (chronos["batch_time"]["count"], chronos["batch_time"]["unit"]) == (3, "s")
    assert chronos["runtime"] > 0


def test_output_and_files_are_stored_with_the_trial(
    client: TrackClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").write_text("warm-up helps")
    with client.new_trial(arguments={"lr": 0.1}) as trial:
        trial.capture_output(output_size=2)
        trial.set_eta_total(4)
        for step in range(4):
            with trial.chrono("epoch") as timer:
                pass
            trial.show_eta(step, timer, msg="train")
        trial.log_file(tmp_path / "notes.txt")
    lines = stored(client).metadata["out"]
    assert [line.split(" | ")[0] for line in lines] == ["train [3/4]", "train [4/4]"]
    assert capsys.readouterr().out.splitlines()[-2:] == lines
    found = client.protocol.fetch_media(trial.trial, "file", "notes.txt")
    assert found.content(0) == b"warm-up helps"
