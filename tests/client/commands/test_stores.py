"""How trials are named on the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from command_runner import fill
from track import Project, TrackClient
from track.commands.stores import find_trial, opened
from track.configuration import reset_configuration
from track.persistence.protocol import Protocol
from track_protocol.errors import ItemNotFound, UsageError


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"sqlite:{tmp_path}/runs.db"


@pytest.fixture
def uids(uri: str) -> list[str]:
    return fill(uri)


@pytest.fixture
def protocol(uri: str, uids: list[str]) -> Iterator[Protocol]:
    with opened(uri) as protocol:
        yield protocol


def test_a_trial_is_named_by_uid_prefix_id_or_name(protocol: Protocol, uids: list[str]) -> None:
    first = find_trial(protocol, uids[1])
    assert first.id is not None
    for name in (uids[1][:12], f"{uids[1][:12]}_0", uids[1][:64], first.id.hex(), "résumé 猫"):
        assert find_trial(protocol, name).uid == uids[1]


@pytest.mark.parametrize("name", ["nobody", "", "0123", "zz_0", "0" * 32])
def test_a_missing_trial_is_an_error(protocol: Protocol, name: str) -> None:
    with pytest.raises(ItemNotFound, match="no trial is called"):
        find_trial(protocol, name)


def test_a_name_of_several_trials_is_not_enough(protocol: Protocol, uids: list[str]) -> None:
    with pytest.raises(UsageError, match="'first' matches 2 trials") as caught:
        find_trial(protocol, "first")
    assert uids[0][:12] in str(caught.value)


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
            assert find_trial(protocol, uids[0]).uid == uids[0]
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
