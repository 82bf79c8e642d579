from __future__ import annotations

import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from track.demo.folder import isolated, new_folder
from track_protocol.errors import StoreReadOnly, UsageError
from track_protocol.locations import client_state_folder, default_home, runtime_folder

NOW = datetime(2024, 5, 1, 12, 30, 15, tzinfo=UTC)


def test_without_a_name_the_folder_is_named_after_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert new_folder(None, NOW).root == tmp_path / "track-demo-20240501-123015"


def test_only_its_owner_may_look_into_the_folder(tmp_path: Path) -> None:
    folder = new_folder(tmp_path / "demo", NOW)
    assert stat.S_IMODE(folder.root.stat().st_mode) == 0o700


def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UsageError, match="--dir"):
        new_folder(tmp_path, NOW)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_folder_that_cannot_be_made_is_named_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreReadOnly, match=r"file/demo cannot be created .*--dir"):
        new_folder(tmp_path / "file" / "demo", NOW)


def test_every_path_of_the_environment_is_in_the_folder(tmp_path: Path) -> None:
    folder = new_folder(tmp_path / "demo", NOW)
    environment = folder.environment({"HOME": "/home/alice", "XDG_STATE_HOME": "/home/alice/state"})
    assert default_home(environment) == folder.home
    assert client_state_folder(environment).is_relative_to(folder.root)
    uid = os.getuid()
    found = runtime_folder(environment, uid, lambda path: path.stat().st_uid if path.exists() else None)
    assert found.is_relative_to(folder.root)


def test_the_users_own_configuration_is_left_out(tmp_path: Path) -> None:
    folder = new_folder(tmp_path / "demo", NOW)
    environment = folder.environment({"TRACK_TOKEN": "trk_mine", "TRACK_URI": "socket://prod", "LANG": "C"})
    assert "TRACK_TOKEN" not in environment
    assert "TRACK_URI" not in environment
    assert environment["LANG"] == "C"


def test_each_process_uses_one_core(tmp_path: Path) -> None:
    environment = new_folder(tmp_path / "demo", NOW).environment({"OMP_NUM_THREADS": "64"})
    assert environment["OMP_NUM_THREADS"] == environment["OPENBLAS_NUM_THREADS"] == "1"


def test_the_own_environment_is_as_before_after_a_failure_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACK_TOKEN", "trk_mine")
    before = dict(os.environ)
    with pytest.raises(KeyError, match="TRACK_TOKEN"), isolated({"PATH": "/bin"}):
        os.environ["TRACK_TOKEN"]
    assert dict(os.environ) == before
