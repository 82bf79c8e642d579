"""Small pieces of memory that processes share, with a lock that a killed process gives back.

The memory is that of a file without a name, of which each piece is a part; the lock of a piece is the
kernel's record lock on that part, which ends with the process that holds it.
"""

from __future__ import annotations

import fcntl
import logging
import mmap
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from weakref import WeakValueDictionary

__all__ = ["PIECE_BYTES", "Piece", "new_piece"]

_log: Final = logging.getLogger("track")

PIECE_BYTES: Final = 64
_PIECES: Final = mmap.PAGESIZE // PIECE_BYTES
_PATIENCE: Final = 1.0
_LOOK_EVERY: Final = 0.0005


class _File:
    """One page of shared memory."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.memory = mmap.mmap(descriptor, mmap.PAGESIZE)
        self.made_by = os.getpid()
        self.used = 0

    def __del__(self) -> None:
        os.close(self.descriptor)


class _State:
    """The page of which the next piece is taken, and the lock between threads."""

    page: _File | None = None
    threads = threading.RLock()


def _after_fork() -> None:
    # Another thread may have held it, and no other thread lives here.
    _State.threads = threading.RLock()


os.register_at_fork(after_in_child=_after_fork)

# A process that closes one of several descriptors of a file loses its locks on it: there is one for each.
_opened: Final[WeakValueDictionary[tuple[int, int], _File]] = WeakValueDictionary()


class Piece:
    """`PIECE_BYTES` of shared memory, at first zero.

    Given to another process as an argument of `multiprocessing.Process`, or by a fork, it is the same there.
    """

    def __init__(self, page: _File, offset: int) -> None:
        self._page = page
        self._offset = offset
        self._warned = False

    @property
    def memory(self) -> memoryview:
        """The bytes, which can be written."""
        return memoryview(self._page.memory)[self._offset : self._offset + PIECE_BYTES]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the piece alone, among all threads and processes.

        A process that is stopped while it holds the piece delays the others by a second, and they continue.
        """
        with _State.threads:
            held = self._acquire()
            try:
                yield
            finally:
                if held:
                    self._lock(fcntl.LOCK_UN)

    def _acquire(self) -> bool:
        deadline = time.monotonic() + (0.0 if self._warned else _PATIENCE)
        while True:
            try:
                self._lock(fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):  # POSIX allows either
                if time.monotonic() > deadline:
                    break
                time.sleep(_LOOK_EVERY)
            else:
                self._warned = False
                return True
        if not self._warned:
            self._warned = True
            _log.warning("a stopped process holds shared statistics: this process continues without waiting")
        return False

    def _lock(self, command: int) -> None:
        fcntl.lockf(self._page.descriptor, command, PIECE_BYTES, self._offset)

    def __reduce__(self) -> tuple[Any, ...]:
        from multiprocessing.reduction import DupFd

        return _opened_again, (DupFd(self._page.descriptor), self._offset)


def new_piece() -> Piece:
    """A piece of its own.

    Raises:
        OSError: there is no memory, or no descriptor is left.
    """
    with _State.threads:
        page = _State.page
        # A child of a fork would give out the same pieces as its parent.
        if page is None or page.used == _PIECES or page.made_by != os.getpid():
            page = _State.page = _File(_nameless())
        offset = page.used * PIECE_BYTES
        page.used += 1
    return Piece(page, offset)


def _nameless() -> int:
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("track-shared", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, mmap.PAGESIZE)
    return descriptor


def _opened_again(passed: Any, offset: int) -> Piece:
    descriptor = passed.detach()
    found = os.fstat(descriptor)
    key = (found.st_dev, found.st_ino)
    page = _opened.get(key)
    if page is None:
        page = _opened[key] = _File(descriptor)
        # Nothing is given out of it here.
        page.used = _PIECES
    else:
        os.close(descriptor)
    return Piece(page, offset)
