"""The descriptors of spools: never written when they are not ours any more, and never kept by a forked child.

A program may close descriptors that it did not open, as daemons do with `os.closerange`, and the number then
belongs to whatever is opened next.  So each use compares the file behind it with the one that was opened.

A `flock` belongs to the open file, which a fork shares with the child: a copy there would keep the lock when
the parent has ended, and nobody could send the spool.  So a fork waits while a file is opened and noted, and
the child closes those that were noted.
"""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Final

from track.process.lifecycle import register

__all__ = ["OwnedFile"]


class OwnedFile:
    """An open file of this process.

    Args:
        path: of the file.
        flags: see `os.open`; a program that is executed never gets it.
        mode: of a file that is created.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path, flags: int, mode: int = 0o600) -> None:
        self._path = path
        with _owned.lock:
            self._descriptor = os.open(path, flags | os.O_CLOEXEC, mode)
            self._identity = _identity(self._descriptor)
            _owned.files.add(self)

    @property
    def is_open(self) -> bool:
        """Whether it is open, and still the file that was opened."""
        try:
            return self._descriptor >= 0 and _identity(self._descriptor) == self._identity
        except OSError:
            return False

    def fileno(self) -> int:
        """The descriptor.

        Raises:
            OSError: somebody has closed it; the number may be another file's now.
        """
        if not self.is_open:
            raise OSError(errno.EBADF, "the program has closed its descriptor", str(self._path))
        return self._descriptor

    def close(self) -> None:
        """Close it, if it is still ours; harmless when repeated."""
        if self.is_open:
            os.close(self._descriptor)
        self._descriptor = -1
        with _owned.lock:
            _owned.files.discard(self)


class _OwnedFiles:
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

    def on_exit(self, timeout: float) -> None:
        """The system closes them."""


def _identity(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


_owned: Final = _OwnedFiles()
