"""What a run records about itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from running_server import environment
from track import TrackClient
from track.recording.provenance import Provenance, captures_in
from track_protocol.errors import UsageError

SCRIPT = """
import sys
from track import TrackClient

client = TrackClient("sqlite:runs.db")
client.set_project(name="p")
with client.new_trial(name="a", arguments={"lr": 0.1}) as trial:
    trial.log_metrics(loss=1.0)
"""

FORKS = """
import json, os
from track.recording.provenance import provenance

first = provenance().known["pid"]
if os.fork() == 0:
    print(json.dumps([first, provenance().known["pid"], os.getpid()]), flush=True)
    os._exit(0)
os.wait()
"""


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def run_of(folder: Path, source: str = SCRIPT, *arguments: str, **changes: str) -> dict[str, Any]:
    """Run a script as a process of its own, and read what its only trial says of its run."""
    (folder / "train.py").write_text(source)
    changes = {"TRACK_CAPTURE": "", "LOGNAME": "bob", **changes}
    command = [sys.executable, "train.py", *arguments]
    subprocess.run(command, cwd=folder, env=environment(**changes), check=True, timeout=60)
    with TrackClient(f"sqlite:{folder / 'runs.db'}") as client:
        (trial,) = client.protocol.fetch_trials({})
        found = trial.metadata.get("run", {})
        assert isinstance(found, dict)
        return found


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q", "-b", "main")
    (tmp_path / "train.py").write_text(SCRIPT)
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


def test_a_trial_knows_who_ran_what_where(tmp_path: Path) -> None:
    run = run_of(tmp_path, SCRIPT, "--lr", "0.1", "--token", "abc")
    assert (run["user"], run["host"], run["directory"]) == ("bob", os.uname().nodename, str(tmp_path))
    assert run["command"].endswith("train.py --lr 0.1 --token '***'")
    assert run["python"] == "{}.{}.{}".format(*sys.version_info)
    assert isinstance(run["pid"], int)
    assert "msgpack" in run["packages"]


def test_a_trial_can_be_found_by_it(tmp_path: Path) -> None:
    run_of(tmp_path)
    with TrackClient(f"sqlite:{tmp_path / 'runs.db'}") as client:
        assert len(client.protocol.fetch_trials({"metadata.run.user": "bob"})) == 1
        assert client.protocol.fetch_trials({"metadata.run.user": "alice"}) == []


def test_a_trial_knows_its_commit_and_that_nothing_was_changed(repository: Path) -> None:
    assert run_of(repository)["git"] == {"commit": git(repository, "rev-parse", "HEAD"), "dirty": False}


def test_a_trial_knows_what_was_changed_since_its_commit(repository: Path) -> None:
    found = run_of(repository, SCRIPT + "# changed\n")["git"]
    assert found["dirty"] is True
    assert len(found["diff"]) == 64


def test_a_trial_that_never_runs_has_it_too(repository: Path) -> None:
    source = SCRIPT[: SCRIPT.index("with ")] + "client.new_trial(name='a', arguments={'lr': 0.1})\n"
    assert run_of(repository, source)["git"]["dirty"] is True


def test_the_end_of_the_program_prints_nothing(repository: Path) -> None:
    source = "from track import TrackClient\nTrackClient('ephemeral:').new_trial(arguments={'lr': 0.1})\n"
    done = subprocess.run(
        [sys.executable, "-c", source],
        cwd=repository,
        env=environment(TRACK_CAPTURE="1", TRACK_QUIET="1"),
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("", "")


def test_nothing_is_written_once_the_program_has_ended(repository: Path) -> None:
    written: list[object] = []
    known = Provenance({}, repository)
    known.before_exit()
    known.complete("a", {}, written.append)
    assert "track-git" not in {thread.name for thread in threading.enumerate()}
    assert written == []


def test_an_interpreter_that_starts_no_threads_any_more_is_no_error(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    known = Provenance({}, repository)
    known.complete("a", {}, lambda _: None)
    known.await_git("a")


def test_a_later_trial_of_the_process_has_it_at_once(repository: Path) -> None:
    second = SCRIPT + "stored = client.new_trial(force=True, name='b').ensure()\n"
    (repository / "runs.db").unlink(missing_ok=True)
    source = second + "print(stored.metadata['run']['git']['dirty'])\n"
    (repository / "train.py").write_text(source)
    done = subprocess.run(
        [sys.executable, "train.py"],
        cwd=repository,
        env=environment(TRACK_CAPTURE="1"),
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "True\n"


def test_a_resumed_trial_knows_the_run_that_resumed_it(tmp_path: Path) -> None:
    source = SCRIPT + "trial.set_status('Suspended')\n"
    first = run_of(tmp_path, source)
    second = run_of(tmp_path, source, TRACK_RESUME="1")
    assert first["pid"] != second["pid"]


def test_torchrun_and_slurm_say_the_rank_and_the_job(tmp_path: Path) -> None:
    run = run_of(
        tmp_path,
        RANK="0",
        WORLD_SIZE="8",
        TORCHELASTIC_RUN_ID="abc",
        LOCAL_RANK="0",
        SLURM_JOB_ID="4711",
        SLURM_JOB_NAME="resnet",
    )
    assert (run["rank"], run["world_size"]) == (0, 8)
    assert run["slurm"] == {"job": 4711, "name": "resnet"}
    assert run["torchrun"] == {"job": "abc", "local_rank": 0}


def test_it_is_no_part_of_the_identity(tmp_path: Path) -> None:
    hashes = []
    for capture in "01":
        folder = tmp_path / capture
        folder.mkdir()
        run_of(folder, TRACK_CAPTURE=capture)
        with TrackClient(f"sqlite:{folder / 'runs.db'}") as client:
            hashes.append(client.protocol.fetch_trials({})[0].hash)
    assert hashes[0] == hashes[1]


def test_what_a_script_gives_under_the_name_stays(tmp_path: Path) -> None:
    source = SCRIPT.replace('name="a"', 'name="a", metadata={"run": {"mine": 1}}')
    assert run_of(tmp_path, source) == {"mine": 1}


def test_it_can_be_turned_off(tmp_path: Path) -> None:
    assert run_of(tmp_path, TRACK_CAPTURE="0") == {}


def test_a_forked_child_is_another_run(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FORKS]
    done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True, timeout=60)
    first, child, pid = json.loads(done.stdout)
    assert first != child == pid


@pytest.mark.parametrize("said", ["", "1"])
def test_a_run_is_captured_unless_it_is_turned_off(said: str) -> None:
    assert captures_in({"TRACK_CAPTURE": said})


def test_another_value_is_refused() -> None:
    with pytest.raises(UsageError, match="TRACK_CAPTURE is 'no': set it to 1 or to 0"):
        captures_in({"TRACK_CAPTURE": "no"})
