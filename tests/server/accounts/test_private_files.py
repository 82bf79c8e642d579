from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from track_protocol.errors import StoreReadOnly, UsageError
from track_server.accounts.private_files import home_folder, locked, owned_folder, read_private, write_atomic

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
SOMEBODY = 12345

COUNT = """
import sys
from pathlib import Path
from track_server.accounts.private_files import locked, read_private, write_atomic

folder = Path(sys.argv[1])
for _ in range(20):
    with locked(folder / "lock"):
        count = int(read_private(folder / "count") or b"0")
        write_atomic(folder / "count", str(count + 1).encode())
"""


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


def test_what_was_written_is_read_and_nobody_else_may(tmp_path: Path) -> None:
    write_atomic(tmp_path / "file", b"one")
    write_atomic(tmp_path / "file", b"two")
    assert read_private(tmp_path / "file") == b"two"
    assert mode_of(tmp_path / "file") == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    write_atomic(tmp_path / "file", b"")
    (tmp_path / "file").chmod(mode)
    with pytest.raises(UsageError, match="may be read by others"):
        read_private(tmp_path / "file")


@needs_root
def test_somebody_elses_file_is_refused(tmp_path: Path) -> None:
    write_atomic(tmp_path / "file", b"")
    os.chown(tmp_path / "file", SOMEBODY, SOMEBODY)
    with pytest.raises(UsageError, match=str(SOMEBODY)):
        read_private(tmp_path / "file")


@needs_root
def test_what_root_writes_belongs_to_the_homes_owner(tmp_path: Path) -> None:
    os.chown(tmp_path, SOMEBODY, SOMEBODY)
    write_atomic(tmp_path / "file", b"")
    assert (tmp_path / "file").stat().st_uid == SOMEBODY
    assert read_private(tmp_path / "file") == b""


@needs_root
def test_a_lock_that_root_makes_belongs_to_the_homes_owner(tmp_path: Path) -> None:
    os.chown(tmp_path, SOMEBODY, SOMEBODY)
    with locked(tmp_path / "lock"):
        assert (tmp_path / "lock").stat().st_uid == SOMEBODY


def test_a_link_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreReadOnly), locked(tmp_path / "lock"):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(StoreReadOnly, match="gone"):
        write_atomic(tmp_path / "gone" / "file", b"")


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    with pytest.raises(StoreReadOnly):
        write_atomic(tmp_path / "target", b"")
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_processes_that_hold_the_lock_do_not_overwrite_each_other(tmp_path: Path) -> None:
    started = [subprocess.Popen([sys.executable, "-c", COUNT, str(tmp_path)]) for _ in range(3)]
    assert [process.wait(60) for process in started] == [0, 0, 0]
    assert read_private(tmp_path / "count") == b"60"
