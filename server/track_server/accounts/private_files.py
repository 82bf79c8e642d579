"""Files and folders that only the server's own user may read."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from track_protocol.errors import StoreError, StoreReadOnly, UsageError

__all__ = ["home_folder", "new_private_file", "owned_folder", "read_private", "refuse_readable"]


def home_folder(path: Path) -> Path:
    """Make the server's home (0700) if it is not there; root may use the home of another user.

    Raises:
        UsageError: others may write to it, or it is another user's.
        StoreReadOnly: it cannot be made.
    """
    with _explained(path):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.stat()
    if os.geteuid() not in (0, found.st_uid):
        raise UsageError(f"{path} belongs to user {found.st_uid}: run as that user, or choose another home")
    if found.st_mode & 0o022:
        raise UsageError(
            f"{path} may be written to by others, who could replace the server's key: chmod 700 {path}"
        )
    return path


def owned_folder(path: Path) -> Path:
    """Make a folder (0700) in a place where others may have been first, and require that it is ours.

    Raises:
        UsageError: it is another user's, or not a folder.
        StoreReadOnly: it cannot be made.
    """
    with _explained(path):
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise UsageError(
            f"{path} is not a folder of this user, so credentials cannot be left in it: remove it, or "
            "set XDG_RUNTIME_DIR to a folder of your own"
        )
    if found.st_mode & 0o022:
        path.chmod(0o700)
    return path


@contextmanager
def new_private_file(path: Path) -> Iterator[TextIO]:
    """A new file that only this user may read, whatever the umask; it is removed if the block raises.

    Raises:
        UsageError: there is something at its path already.
        StoreReadOnly: it cannot be made.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with _explained(path):
            descriptor = os.open(path, flags, 0o600)
    except StoreReadOnly as error:
        if not isinstance(error.__cause__, FileExistsError):
            raise
        raise UsageError(f"{path} exists already: name a new file, or remove it") from None
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, 0o600)
            yield file
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def read_private(path: Path) -> bytes | None:
    """The content of a file, None if there is none.

    Raises:
        UsageError: others may read it, or it is another user's.
        StoreError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            refuse_readable(path, os.fstat(file.fileno()))
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from error


def refuse_readable(path: Path, found: os.stat_result, *, group_of_root: bool = False) -> None:
    """Require that a secret file is ours (or its folder's owner's) and that no other user may read it.

    Args:
        path: the file, for the message.
        found: what `os.fstat` says of the open file.
        group_of_root: accept a file of root's that its group may read, as keys in /etc/ssl/private are.

    Raises:
        UsageError: it is not so.
    """
    if group_of_root and found.st_uid == 0 and not found.st_mode & 0o037:
        return
    if found.st_uid not in (os.geteuid(), path.parent.stat().st_uid):
        raise UsageError(
            f"{path} belongs to user {found.st_uid}, who could read or change it: chown it to yourself"
        )
    if found.st_mode & 0o077:
        raise UsageError(
            f"{path} may be read by others (mode {stat.S_IMODE(found.st_mode):04o}): they may know "
            f"what it contains; replace it, or, if nobody has read it, chmod 600 {path}"
        )


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreReadOnly(
            f"{path} cannot be written: {error.strerror}; check its folder's owner, mode and free space"
        ) from error
