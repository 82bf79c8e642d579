"""``track trust``: which configuration it trusts, and that it shows what that says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from command_runner import run
from track.commands.trust import COMMAND
from track.configuration import find_configuration, reset_configuration
from track.connection.trusted_files import TrustedFiles
from track_protocol.errors import ItemNotFound


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_folders: None) -> Iterator[Path]:
    folder = tmp_path / "repository"
    folder.mkdir()
    monkeypatch.chdir(folder)
    reset_configuration()
    yield folder
    reset_configuration()


def configure(folder: Path, **content: str) -> Path:
    path = folder / "track.config"
    path.write_text(json.dumps(content))
    return path


def is_trusted() -> bool:
    return TrustedFiles().contains(find_configuration())


def test_the_configuration_that_is_used_here_is_trusted(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = configure(project, uri="socket://ann:hush@node1", token="hush")
    assert not is_trusted()
    assert run(COMMAND) == 0
    out = capsys.readouterr().out
    assert "TRACK_URI=socket://ann:***@node1" in out
    assert f"{path} is trusted until it changes" in out
    assert "hush" not in out
    assert is_trusted()


def test_another_one_may_be_named(project: Path) -> None:
    (project / "other").mkdir()
    configure(project / "other", uri="socket://node1")
    run(COMMAND, "other/track.config")
    assert json.loads(TrustedFiles().path.read_text())["files"].keys() == {
        str(project / "other" / "track.config")
    }


def test_a_changed_or_moved_one_is_not_trusted(project: Path) -> None:
    path = configure(project, uri="socket://node1")
    run(COMMAND)
    configure(project, uri="socket://node2")
    assert not is_trusted()
    configure(project, uri="socket://node1")
    assert is_trusted()
    (project / "below").mkdir()
    path.rename(project / "below" / "track.config")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project / "below")
        assert not is_trusted()


def test_without_one_there_is_nothing_to_trust(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with pytest.raises(ItemNotFound, match="is used in this folder"):
        run(COMMAND)
