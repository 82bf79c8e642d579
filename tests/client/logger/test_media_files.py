"""Files of a trial: one, those of a folder, and the code that runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from track import TrackClient
from track.logger import TrialLogger
from track.persistence.protocol import Protocol
from track.recording.sources import _loaded
from track_protocol.model.entities import Trial

SCRIPT = """
import sys
import model
from track import TrackClient

with TrackClient(sys.argv[1]) as client, client.new_trial() as trial:
    trial.log_code()
"""


@pytest.fixture
def trial() -> Iterator[TrialLogger]:
    with TrackClient("ephemeral:") as client:
        yield client.new_trial()


def files_of(protocol: Protocol, trial: Trial) -> dict[str, bytes]:
    return {name: series.content(0) for name, series in protocol.fetch_media(trial, "file").items()}


def logged(trial: TrialLogger) -> dict[str, bytes]:
    trial.ensure()
    return files_of(trial.protocol, trial.trial)


def test_a_file_reads_back_by_its_name_alone(trial: TrialLogger, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    content = os.urandom(200_000)
    (tmp_path / "sub" / "model.bin").write_bytes(content)
    (tmp_path / "link.bin").symlink_to(tmp_path / "sub" / "model.bin")
    trial.log_file(str(tmp_path / "sub" / "model.bin"))
    trial.log_file(tmp_path / "link.bin")
    assert logged(trial) == {"model.bin": content, "link.bin": content}


def test_a_file_that_is_missing_warns_once_and_ends_no_training(
    trial: TrialLogger, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trial.log_file(tmp_path / "none.txt")
    trial.log_metrics(loss=1)
    (record,) = caplog.records
    assert f"{tmp_path}/none.txt cannot be read (No such file or directory)" in record.getMessage()
    assert logged(trial) == {}
    assert (trial.protocol.get_trial(trial.trial) or [])[0].metrics == {"loss": [1]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "data"
    (made / "sub").mkdir(parents=True)
    (made / "a.txt").write_text("a")
    (made / "sub" / "b.txt").write_text("b")
    (made / "linked").symlink_to(made / "a.txt")
    (made / "up").symlink_to(tmp_path)
    (made / "broken").symlink_to(made / "none")
    os.mkfifo(made / "pipe")
    return made


def test_of_a_folder_its_own_files_are_logged(
    trial: TrialLogger, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trial.log_directory(str(folder))
    assert logged(trial) == {"a.txt": b"a", "linked": b"a"}
    assert caplog.records == []


def test_with_those_inside_each_has_its_path_as_its_name(
    trial: TrialLogger, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    trial.log_directory("data", recursive=True)
    assert logged(trial) == {"a.txt": b"a", "linked": b"a", "sub/b.txt": b"b"}


def test_a_long_path_is_shortened_at_its_start(trial: TrialLogger, tmp_path: Path) -> None:
    deep = tmp_path / "data" / ("x" * 200) / ("ü" * 100)
    deep.mkdir(parents=True)
    (deep / "end.txt").write_text("deep")
    trial.log_directory(tmp_path / "data", recursive=True)
    ((name, content),) = logged(trial).items()
    assert (name[0], name[-8:], content) == ("…", "/end.txt", b"deep")


def test_no_folder_and_too_many_files_warn(
    trial: TrialLogger, folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("track.logger.media._MAX_FILES", 1)
    trial.log_directory(folder / "none")
    trial.log_directory(None)  # type: ignore[arg-type]  # as a caller without types may
    trial.log_directory(folder)
    assert [record.getMessage() for record in caplog.records] == [
        f"log_directory: {folder}/none is not a folder: check the path, or use log_file",
        "log_directory: expected str, bytes or os.PathLike object, not NoneType",
        f"log_directory: {folder} has 2 files, of which 1 are logged: pack it into an archive first",
    ]
    assert logged(trial) == {"a.txt": b"a"}


def git(folder: Path, *arguments: str) -> None:
    named = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.org"]
    subprocess.run(["git", "-C", folder, *named, *arguments], check=True, capture_output=True)


def code_of(folder: Path, *command: str) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The files that a script logged, and what its metadata say of its code."""
    store = f"file:{folder.parent / 'runs.json'}"
    arguments = [sys.executable, *command, store]
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    with TrackClient(store) as client:
        trial = client.protocol.fetch_trials({})[-1]
        return files_of(client.protocol, trial), trial.metadata["code"]


def test_the_code_is_the_script_and_the_modules_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "train.py").write_text(SCRIPT)
    (folder / "model.py").write_text("width = 3\n")
    (folder / "other.py").write_text("not loaded\n")
    files, description = code_of(folder, "train.py")
    assert files == {"code/train.py": SCRIPT.encode(), "code/model.py": b"width = 3\n"}
    assert description == {"script": "train.py"}


def test_of_a_module_the_code_is_its_package(tmp_path: Path) -> None:
    package = tmp_path / "work" / "vision"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "model.py").write_text("width = 4\n")
    (package / "train.py").write_text(SCRIPT.replace("import model", "from vision import model"))
    files, description = code_of(tmp_path / "work", "-m", "vision.train")
    assert sorted(files) == ["code/vision/__init__.py", "code/vision/model.py", "code/vision/train.py"]
    assert description == {"script": "vision/train.py"}


def test_in_a_repository_it_has_the_commit_and_the_changes(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    (folder / "scripts").mkdir(parents=True)
    (folder / "scripts" / "train.py").write_text("import sys; sys.path.insert(0, '.')\n" + SCRIPT)
    (folder / "model.py").write_text("width = 3\n")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    files, clean = code_of(folder, "scripts/train.py")
    assert sorted(files) == ["code/model.py", "code/scripts/train.py"]
    commit = subprocess.check_output(["git", "-C", folder, "rev-parse", "HEAD"], text=True).strip()
    assert (clean["commit"], clean["script"], clean["dirty"]) == (commit, "scripts/train.py", False)
    (folder / "model.py").write_text("width = 5\n")
    files, dirty = code_of(folder, "scripts/train.py")
    assert files["code/model.py"] == b"width = 5\n"
    assert (dirty["commit"], dirty["dirty"], len(dirty["diff"])) == (commit, True, 64)


def test_installed_packages_are_not_code_of_the_program() -> None:
    loaded = set(_loaded(Path("/")))
    assert Path(__file__).resolve() in loaded
    assert not loaded & {Path(str(module.__file__)).resolve() for module in (os, pytest)}


def test_a_file_that_is_too_large_is_left_out_with_a_warning(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "train.py").write_text(SCRIPT)
    (folder / "model.py").write_text("#" * 1024 * 1025)
    command = [sys.executable, "train.py", f"file:{tmp_path / 'runs.json'}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "model.py was skipped: it has 1,049,600 bytes, and the maximum is 1,048,576" in done.stderr
    document = json.loads((tmp_path / "runs.json").read_text())
    assert "code/model.py" not in json.dumps(document)


def test_where_no_file_is_executed_it_warns(tmp_path: Path) -> None:
    program = "from track import TrackClient; TrackClient('ephemeral:').new_trial().log_code(); print('on')"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stdout == "on\n"
    assert "no file is executed here, so there is no code to log" in done.stderr
