"""The store of a command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from command_runner import fill
from track import Project, TrackClient
from track.commands.stores import opened
from track.configuration import reset_configuration
from track_protocol.errors import ItemNotFound


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"sqlite:{tmp_path}/runs.db"


@pytest.fixture
def uids(uri: str) -> list[str]:
    return fill(uri)


def test_a_configuration_names_the_store(
    uri: str, uids: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "track.config"
    file.write_text(json.dumps({"uri": uri}))
    monkeypatch.delenv("TRACK_URI", raising=False)
    monkeypatch.setenv("TRACK_CONFIG", str(file))
    reset_configuration()
    try:
        with opened(None) as protocol:
            assert {trial.uid for trial in protocol.fetch_trials({})} == set(uids)
    finally:
        reset_configuration()


def test_a_failure_is_reported_once(tmp_path: Path) -> None:
    # Fails without the handler in `opened`: the outbox's warning precedes the error on stderr.
    command = [sys.executable, "-m", "track.cli", "ls", "--uri", "socket://alice:secret@nohost.invalid:1"]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"HOME": str(tmp_path)}, check=False
    )
    assert done.returncode == 4
    (line,) = done.stderr.splitlines()
    assert line.startswith("track: no pin is known")


def test_a_file_store_is_found_before_its_document_is_written(tmp_path: Path) -> None:
    uri = f"file:{tmp_path}/runs.json"
    with TrackClient(uri) as writing:
        writing.protocol.new_project(Project(name="digits"))
        assert not (tmp_path / "runs.json").exists()
        with opened(uri) as protocol:
            assert [each.name for each in protocol.fetch_projects({})] == ["digits"]
    with pytest.raises(ItemNotFound, match="no store"), opened(f"file:{tmp_path}/other.json"):
        pass
