"""The spool of another user: read once into a copy, and never changed.

Its owner may exchange any of its files at any time, for a link to a file of ours too.  So each file is opened
relative to a descriptor of its folder, follows no link, and counts only if it belongs to that owner: then
nothing is read that the owner could not read.  The copy is private to us and is sent like a spool of our own.
The original stays; its owner's next ``track sync`` finds that the server has all of it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from track.process.private import make_folder, open_private
from track.spool.folder import spool_error
from track_protocol.errors import SpoolInUse

__all__ = ["copied_spool", "foreign_spools"]

_METADATA: Final = "spool.json"
_COPIED: Final = (_METADATA, "state.json", ".segment")
_FOLDER_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def foreign_spools(root: Path) -> list[Path]:
    """The spools in a folder, or the folder itself if it is one, of any user.

    Raises:
        SpoolError: the folder cannot be read.
    """
    try:
        found = sorted(path for path in root.iterdir() if (path / _METADATA).is_file())
        return [root.resolve()] if (root / _METADATA).is_file() else found
    except OSError as error:
        raise spool_error(root, "read", error) from error


@contextlib.contextmanager
def copied_spool(path: Path) -> Iterator[Path]:
    """A private copy of a spool, which is removed afterwards; its owner sends nothing of it meanwhile.

    Args:
        path: of the spool's folder.

    Raises:
        SpoolInUse: a process of the owner writes or sends it.
        SpoolError: it cannot be read.
    """
    try:
        folder = os.open(path, _FOLDER_FLAGS)
    except OSError as error:
        raise spool_error(path, "read", error) from error
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, folder)
        temporary = Path(tempfile.mkdtemp(prefix="track-sync-"))
        stack.callback(shutil.rmtree, temporary, ignore_errors=True)
        try:
            _hold(folder, path, stack)
            copy = temporary / path.name
            make_folder(copy)
            for name in os.listdir(folder):
                if name.endswith(_COPIED):
                    _copy(folder, name, copy / name)
        except OSError as error:
            raise spool_error(path, "copied", error) from error
        yield copy


def _hold(folder: int, path: Path, stack: contextlib.ExitStack) -> None:
    """Hold the owner's lock, if there is one."""
    try:
        lock = _opened(folder, "lock")
    except FileNotFoundError:
        return
    stack.callback(os.close, lock)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SpoolInUse(f"{path} is in use by a process of its owner, which sends it") from None


def _copy(folder: int, name: str, target: Path) -> None:
    made = open_private(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    with io.FileIO(made, "wb") as copy, io.FileIO(_opened(folder, name)) as source:
        shutil.copyfileobj(source, copy)


def _opened(folder: int, name: str) -> int:
    """A descriptor of a file of the folder's owner.

    Raises:
        OSError: it is a link, no file, or another user's.
    """
    try:
        descriptor = os.open(name, _FILE_FLAGS, dir_fd=folder)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise PermissionError(errno.EACCES, f"{name} is a symbolic link") from None
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.fstat(folder).st_uid:
        os.close(descriptor)
        raise PermissionError(errno.EACCES, f"{name} is not a file of the folder's owner")
    return descriptor
