from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from track_protocol.errors import StoreReadOnly, UsageError
from track_server.accounts.private_files import home_folder, owned_folder, read_private
from track_server.storage.durable_files import replace_file

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
SOMEBODY = 12345


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_home_is_open_to_its_owner_only(tmp_path: Path) -> None:
    assert mode_of(home_folder(tmp_path / "a" / "home")) == 0o700


@pytest.mark.parametrize("mode", [0o770, 0o702])
def test_a_home_that_others_may_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    with pytest.raises(UsageError, match="chmod 700"):
        home_folder(tmp_path)


def test_a_home_that_is_a_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "home").touch()
    with pytest.raises(StoreReadOnly, match="home"):
        home_folder(tmp_path / "home")


def test_an_owned_folder_that_others_may_write_to_is_closed(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run").chmod(0o777)
    assert mode_of(owned_folder(tmp_path / "run")) == 0o700


def test_a_link_is_no_owned_folder(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(UsageError, match="link"):
        owned_folder(tmp_path / "link")


@needs_root
def test_somebody_elses_folder_is_no_owned_folder(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    os.chown(tmp_path / "run", SOMEBODY, SOMEBODY)
    with pytest.raises(UsageError, match="XDG_RUNTIME_DIR"):
        owned_folder(tmp_path / "run")


def test_a_missing_file_is_none(tmp_path: Path) -> None:
    assert read_private(tmp_path / "none") is None


def test_what_was_written_is_read(tmp_path: Path) -> None:
    replace_file(tmp_path / "file", [b"one"])
    assert read_private(tmp_path / "file") == b"one"


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    replace_file(tmp_path / "file", [])
    (tmp_path / "file").chmod(mode)
    with pytest.raises(UsageError, match="may be read by others"):
        read_private(tmp_path / "file")


@needs_root
def test_somebody_elses_file_is_refused(tmp_path: Path) -> None:
    replace_file(tmp_path / "file", [])
    os.chown(tmp_path / "file", SOMEBODY, SOMEBODY)
    with pytest.raises(UsageError, match=str(SOMEBODY)):
        read_private(tmp_path / "file")
