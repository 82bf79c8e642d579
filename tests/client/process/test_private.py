"""Only this user's folders are used, no link in them is followed, and modes do not depend on the umask."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from other_user import OTHER_USER, needs_two_users
from track.process.files import replace_file
from track.process.private import entries, make_folder, open_private, read_private

READ = os.O_RDONLY
WRITE_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "folder"
    make_folder(made)
    (made / "file").write_text("mine")
    return made


@contextmanager
def umask(value: int) -> Iterator[None]:
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize("mask", [0o000, 0o002, 0o022, 0o277])
def test_modes_do_not_depend_on_the_umask(tmp_path: Path, mask: int) -> None:
    path = tmp_path / "one" / "two"
    with umask(mask):
        make_folder(path)
        os.close(open_private(path / "file", WRITE_NEW))
        replace_file(path / "replaced", b"", is_private=True)
    made = (path.parent, path, path / "file", path / "replaced")
    assert [each.stat().st_mode & 0o777 for each in made] == [0o700, 0o700, 0o600, 0o600]


def test_a_folder_that_others_may_write_to_is_refused(folder: Path) -> None:
    folder.chmod(0o777)
    for use in (entries, make_folder):
        with pytest.raises(PermissionError, match=r"others may write to it \(mode 0777\): chmod go-w"):
            use(folder)
    with pytest.raises(PermissionError, match="others may write to it"):
        read_private(folder / "file")
    with pytest.raises(PermissionError, match="others may write to it"):
        replace_file(folder / "file", b"", is_private=True)


@needs_two_users
def test_a_folder_of_another_user_is_refused(folder: Path) -> None:
    os.chown(folder, OTHER_USER, OTHER_USER)
    for use in (entries, make_folder):
        with pytest.raises(PermissionError, match=f"it belongs to user {OTHER_USER}"):
            use(folder)
    with pytest.raises(PermissionError, match=f"it belongs to user {OTHER_USER}"):
        open_private(folder / "new", WRITE_NEW)
    assert not (folder / "new").exists()


@needs_two_users
def test_a_file_of_another_user_is_refused(folder: Path) -> None:
    os.chown(folder / "file", OTHER_USER, OTHER_USER)
    with pytest.raises(PermissionError, match=f"it belongs to user {OTHER_USER}"):
        read_private(folder / "file")


def test_a_link_to_a_folder_is_followed_only_where_the_user_has_named_it(folder: Path) -> None:
    link = folder.with_name("link")
    link.symlink_to(folder)
    assert [path.name for path in entries(link, is_root=True)] == ["file"]
    with pytest.raises(PermissionError, match="it is a symbolic link"):
        entries(link)
    with pytest.raises(PermissionError, match="it is a symbolic link"):
        read_private(link / "file")


def test_a_link_in_the_place_of_a_file_is_neither_read_nor_written(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret")
    (folder / "there").symlink_to(tmp_path / "key")
    (folder / "dangling").symlink_to(tmp_path / "made")
    for flags in (READ, os.O_WRONLY | os.O_TRUNC):
        with pytest.raises(PermissionError, match="it is a symbolic link"):
            open_private(folder / "there", flags)
    with pytest.raises(PermissionError, match="it is a symbolic link"):
        open_private(folder / "dangling", os.O_WRONLY | os.O_CREAT)
    with pytest.raises(FileExistsError):
        open_private(folder / "dangling", WRITE_NEW)
    assert (tmp_path / "key").read_text() == "secret"
    assert not (tmp_path / "made").exists()


def test_a_link_in_the_place_of_the_new_file_of_a_replacement_is_not_written(
    folder: Path, tmp_path: Path
) -> None:
    (folder / "file.part").symlink_to(tmp_path / "made")
    replace_file(folder / "file", b"new", beside=folder / "file.part", is_private=True)
    assert (folder / "file").read_bytes() == b"new"
    assert not (tmp_path / "made").exists()


def test_a_named_pipe_in_the_place_of_a_file_is_refused_at_once(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(PermissionError, match="it is not a regular file"):
        read_private(folder / "pipe")


def test_a_folder_that_is_exchanged_after_its_check_is_not_used(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_open = os.open

    def open_and_exchange(
        path: str | Path, flags: int, mode: int = 0o777, *, dir_fd: int | None = None
    ) -> int:
        descriptor = really_open(path, flags, mode, dir_fd=dir_fd)
        if path == folder:
            folder.rename(tmp_path / "moved")
            folder.mkdir()
            (folder / "file").write_text("theirs")
        return descriptor

    monkeypatch.setattr(os, "open", open_and_exchange)
    assert read_private(folder / "file") == b"mine"
