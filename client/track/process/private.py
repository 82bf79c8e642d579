"""Folders and files of this user only: no other user's folder is used, and no link in it is followed.

Whoever may write to a folder can put a link in the place of a file.  A program that reads the file then
copies what its own user may read, such as a private key, and one that writes it changes a file elsewhere.  So
a folder is opened by descriptor, and used if it belongs to this user and no other may write to it; what is
in it is opened by `openat` relative to that descriptor.  The folder may then be renamed or replaced at any
time, and the descriptor still refers to the one that was checked.

A folder is opened with ``O_NOFOLLOW``, unless it is the root, which the user has named: that may be a link.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

__all__ = [
    "entries",
    "make_entry",
    "make_folder",
    "open_private",
    "opened_folder",
    "private_fault",
    "read_private",
]

_FOLDER_MODE: Final = 0o700
_FILE_MODE: Final = 0o600
_FOLDER_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# Without O_NONBLOCK a named pipe in the place of a file would block the program forever.
_FILE_FLAGS: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def make_folder(path: Path) -> None:
    """Make a folder, and those above it that are missing, for this user only, whatever the umask.

    Raises:
        OSError: it cannot be made, it is another user's, or others may write to it.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        make_entry(folder)
    with opened_folder(path, is_root=True):
        pass


def make_entry(path: Path, folder: int | None = None, *, may_exist: bool = True) -> None:
    """Make a folder in an existing one, for this user only, whatever the umask.

    Args:
        path: of the folder.
        folder: a descriptor of the one that it is in, which is used instead of that one's path.
        may_exist: whether another process may have made it.

    Raises:
        OSError: it cannot be made.
    """
    name = path if folder is None else Path(path.name)
    try:
        os.mkdir(name, _FOLDER_MODE, dir_fd=folder)
    except FileExistsError:
        if not may_exist:
            raise
    else:
        os.chmod(name, _FOLDER_MODE, dir_fd=folder)


@contextlib.contextmanager
def opened_folder(path: Path, *, is_root: bool = False) -> Iterator[int]:
    """A descriptor of a folder that belongs to this user, and to which no other may write.

    Args:
        path: of the folder.
        is_root: the user has named it, so it may be a link.

    Raises:
        OSError: it is not there, is a link, is another user's, or others may write to it.
    """
    try:
        descriptor = os.open(path, _FOLDER_FLAGS | (0 if is_root else os.O_NOFOLLOW))
    except NotADirectoryError:
        raise _private_error(
            path, "it is a symbolic link" if path.is_symlink() else "it is not a folder"
        ) from None
    try:
        if fault := private_fault(os.fstat(descriptor)):
            raise _private_error(path, fault)
        yield descriptor
    finally:
        os.close(descriptor)


def open_private(path: Path, flags: int, *, is_root: bool = False) -> int:
    """Open a regular file of this user in a folder of this user.

    Args:
        path: of the file.
        flags: see `os.open`; a file that is created is readable and writable by this user only, whatever the
            umask.
        is_root: whether the file's folder may be a link.

    Returns:
        Its descriptor.

    Raises:
        OSError: it cannot be opened, is a link or no file, or it or its folder is not this user's alone.
    """
    with opened_folder(path.parent, is_root=is_root) as folder:
        try:
            descriptor = os.open(path.name, flags | _FILE_FLAGS, _FILE_MODE, dir_fd=folder)
        except OSError as error:
            error.filename = str(path)
            if error.errno != errno.ELOOP:
                raise
            raise _private_error(path, "it is a symbolic link") from None
    try:
        found = os.fstat(descriptor)
        if fault := private_fault(found):
            raise _private_error(path, fault)
        if not stat.S_ISREG(found.st_mode):
            raise _private_error(path, "it is not a regular file")
        if flags & os.O_EXCL:
            os.fchmod(descriptor, _FILE_MODE)
        os.set_blocking(descriptor, True)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_private(path: Path, *, is_root: bool = False) -> bytes:
    """The content of a file, see `open_private`."""
    with io.FileIO(open_private(path, os.O_RDONLY, is_root=is_root)) as file:
        return file.readall()


def entries(path: Path, *, is_root: bool = False) -> list[Path]:
    """What is in a folder, in the order of names.

    Raises:
        OSError: see `opened_folder`.
    """
    with opened_folder(path, is_root=is_root) as descriptor:
        return [path / name for name in sorted(os.listdir(descriptor))]


def private_fault(found: os.stat_result) -> str | None:
    """Why a folder or file is not this user's alone; None if it is."""
    if found.st_uid != os.geteuid():
        return f"it belongs to user {found.st_uid}, who could change what is in it"
    if found.st_mode & 0o022 and not stat.S_ISLNK(found.st_mode):
        return f"others may write to it (mode {stat.S_IMODE(found.st_mode):04o}): chmod go-w"
    return None


def _private_error(path: Path, fault: str) -> PermissionError:
    return PermissionError(errno.EACCES, fault, str(path))
