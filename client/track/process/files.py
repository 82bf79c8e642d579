"""Files and descriptors of this process: used while they are its own, replaced whole, locked, and flushed.

A program may close descriptors that it did not open, as daemons do with `os.closerange`, and the number then
belongs to whatever is opened next: bytes for the server would end in the user's file.  So each use compares
the device and inode behind the number with those of the beginning (one `fstat`, below a microsecond); sockets
and pipes have an inode of their own in the kernel's file systems for them.

A `flock` belongs to the open file, which a fork shares with the child: a copy there would keep the lock when
the parent has ended, and no process could send the spool.  So a fork waits while a file is opened and
registered, and the child closes the registered ones.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from track.process.lifecycle import LifecycleHook, register
from track.process.private import open_private, opened_folder

__all__ = ["OwnedDescriptor", "OwnedFile", "locked", "replace_file", "sync", "sync_folder"]

_FILE_MODE: Final = 0o600
_FULL_SYNC: Final[int | None] = getattr(fcntl, "F_FULLFSYNC", None)


class OwnedDescriptor:
    """An open descriptor of ours.

    Args:
        number: of the descriptor.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._identity = _identity(number)

    @property
    def is_ours(self) -> bool:
        """Whether it is open and still refers to the same file."""
        try:
            return self._number >= 0 and _identity(self._number) == self._identity
        except OSError:
            return False

    def fileno(self) -> int:
        """The number; of use only while `is_ours`."""
        return self._number

    def close(self) -> None:
        """Close it if it is ours; harmless when repeated."""
        if self.is_ours:
            os.close(self._number)
        self._number = -1


class OwnedFile(OwnedDescriptor):
    """An open file of this process and this user, which no forked child keeps.

    Args:
        path: of the file.
        flags: see `open_private`; a program that is executed never gets it.

    Raises:
        OSError: it cannot be opened, or it or its folder is not this user's alone.
    """

    def __init__(self, path: Path, flags: int) -> None:
        self._path = path
        with _owned.lock:
            super().__init__(open_private(path, flags))
            _owned.files.add(self)

    def fileno(self) -> int:
        """The descriptor.

        Raises:
            OSError: the program has closed it; the number may be another file's now.
        """
        if not self.is_ours:
            raise OSError(errno.EBADF, "the program has closed its descriptor", str(self._path))
        return self._number

    def close(self) -> None:
        """Close it, if it is still ours; harmless when repeated."""
        super().close()
        with _owned.lock:
            _owned.files.discard(self)


class _OwnedFiles(LifecycleHook):
    """All open files of this process, as a lifecycle hook."""

    def __init__(self) -> None:
        self._begin()
        register(self)

    def _begin(self) -> None:
        # Reentrant: a signal handler or a destructor may open or close one in the middle of another.
        self.lock = threading.RLock()
        self.files: set[OwnedFile] = set()

    def before_fork(self) -> None:
        """No file is half opened while the process forks."""
        self.lock.acquire()

    def after_fork_in_parent(self) -> None:
        """Files may be opened again."""
        self.lock.release()

    def after_fork_in_child(self) -> None:
        """The files are the parent's: close the copies."""
        files = self.files
        self._begin()
        for file in files:
            file.close()


def replace_file(
    path: Path, data: bytes, *, beside: Path | None = None, durably: bool = True, is_private: bool = False
) -> None:
    """Replace a file atomically: a reader finds the old one or the new one, which only its user may read.

    Args:
        path: the file.
        data: its new content.
        beside: what to write first, in the same folder; by default it has a name of its own.
        durably: whether the new one outlasts a power cut from now on.
        is_private: whether its folder must be this user's alone, see `opened_folder`.

    Raises:
        OSError: it cannot be written; the old one is as it was.
    """
    if is_private:
        with opened_folder(path.parent) as folder:
            _replace(path, data, beside, durably, folder)
    else:
        _replace(path, data, beside, durably, None)


def _replace(path: Path, data: bytes, beside: Path | None, durably: bool, folder: int | None) -> None:
    """Replace a file.

    Args:
        path, data, beside, durably: see `replace_file`.
        folder: a descriptor of its folder, which is used instead of the folder's path.
    """
    named = beside or path.with_name(f".{path.name}.{os.urandom(8).hex()}.tmp")
    new, old = (named, path) if folder is None else (Path(named.name), Path(path.name))
    if beside is not None:
        with contextlib.suppress(FileNotFoundError):  # of a process that was killed
            os.unlink(new, dir_fd=folder)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        # Not by `open`, which does not exist any more when destructors run at the very end; nor can
        # `os.fdopen` import what it needs then.
        descriptor = os.open(new, flags, _FILE_MODE, dir_fd=folder)
        with io.BufferedWriter(io.FileIO(descriptor, "wb")) as file:
            os.fchmod(descriptor, _FILE_MODE)
            file.write(data)
            if durably:
                file.flush()
                sync(file.fileno())
        os.replace(new, old, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(new, dir_fd=folder)
        raise
    if not durably:
        return
    if folder is None:
        sync_folder(path.parent)
    else:
        sync(folder)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a lock file, waiting for its holder; the file itself stays for ever.

    Raises:
        OSError: the lock file cannot be made, or is a link.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def sync(descriptor: int) -> None:
    """Flush a file or a folder to the disk, and not only to the disk's own memory.

    On macOS `os.fsync` ends at that memory; ``F_FULLFSYNC`` flushes it too, but not all file systems know it.
    """
    if _FULL_SYNC is not None:
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, _FULL_SYNC)
            return
    os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """Flush a folder's list of names to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def _identity(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


_owned: Final = _OwnedFiles()
