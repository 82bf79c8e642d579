"""What a ``track.config`` may choose before the user has trusted it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from track.cli import main
from track.configuration import current_configuration, reset_configuration
from track.connection.trusted_files import TrustedFiles, spool_environment


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder: somebody else's repository, with a spool of theirs in it."""
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "track.config").write_text(json.dumps({"spool": "theirs", "spool.limit": "64M"}))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("TRACK_SPOOL", raising=False)
    monkeypatch.chdir(folder)
    reset_configuration()
    yield folder
    reset_configuration()


# Fails when `spool_environment` gives everything that the file says: the records would be sent as the user's.
def test_a_file_that_is_not_trusted_does_not_choose_the_folder_of_spools(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert "TRACK_SPOOL" not in spool_environment()
    assert "track trust" in caplog.text


# Fails when `contains` does not look at the configuration's fault.
def test_nor_does_a_named_file_that_others_can_change(
    repository: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TRACK_CONFIG", str(repository / "track.config"))
    reset_configuration()
    assert spool_environment()["TRACK_SPOOL"] == "theirs"
    (repository / "track.config").chmod(0o660)
    reset_configuration()
    assert "TRACK_SPOOL" not in spool_environment()
    assert "chmod go-w" in caplog.text


def test_a_file_that_is_not_trusted_still_limits_the_spool() -> None:
    assert spool_environment()["TRACK_SPOOL_LIMIT"] == "64M"


def test_a_trusted_file_chooses_the_folder_of_spools() -> None:
    TrustedFiles().add(current_configuration())
    assert spool_environment()["TRACK_SPOOL"] == "theirs"


def test_the_users_own_variable_comes_before_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACK_SPOOL", "mine")
    assert spool_environment()["TRACK_SPOOL"] == "mine"


def test_track_sync_sends_nothing_of_a_file_that_is_not_trusted(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (repository / "theirs").mkdir()
    assert main(["sync"]) == 0
    assert "theirs" not in capsys.readouterr().out
