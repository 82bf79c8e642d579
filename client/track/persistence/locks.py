"""Locks for scripts that guard files of their own: between threads and between processes.

Stores need none of them, since each of their calls is atomic.  The lock is `flock` on a permanent file: the
system releases it when its holder exits, so no lock is ever stale, and no process deletes that of another.
"""

from __future__ import annotations

import fcntl
import functools
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import Any, Final, TypeVar, cast

from track.persistence.protocol import Protocol
from track.process.lifecycle import LifecycleHook, register
from track.process.signals import SignalHandler
from track_protocol.errors import TrackError, UsageError
from track_protocol.uri import FILE_SCHEMES, Uri, redact

__all__ = [
    "ConcurrentWrite",
    "LockFileRemover",
    "MultiLock",
    "lock_atomic_write",
    "lock_guard",
    "lock_read",
    "lock_write",
    "make_lock",
]

_SUFFIX: Final = ".guard"
_F = TypeVar("_F", bound=Callable[..., Any])


class ConcurrentWrite(TrackError):
    """Another program changed a file between reading and writing it.

    Args:
        msg: which, and what to do.
    """

    code = "concurrent-write"

    def __init__(self, msg: str) -> None:
        super().__init__(msg)


class LockFileRemover(SignalHandler):
    """Removes a file that this process has made when it ends; a file that another process put there stays.

    Call `install` to have it called at the end.

    Args:
        filename: the file.
    """

    def __init__(self, filename: str | os.PathLike[str]) -> None:
        self.filename = Path(filename)
        self._pid = os.getpid()
        self._file = _identity(self.filename)

    def remove(self) -> None:
        """Remove the file, if it is the one that was there; never in a forked child."""
        if self._file is None:
            self._file = _identity(self.filename) if os.getpid() == self._pid else None
        if os.getpid() == self._pid and self._file is not None and _identity(self.filename) == self._file:
            self.filename.unlink(missing_ok=True)

    def sigint(self, signum: int, frame: FrameType | None) -> None:
        """Remove it after SIGINT."""
        self.remove()

    def sigterm(self, signum: int, frame: FrameType | None) -> None:
        """Remove it after SIGTERM."""
        self.remove()

    def atexit(self) -> None:
        """Remove it: the process ends."""
        self.remove()


class MultiLock:
    """Excludes other threads and other processes; may be taken again by the thread that holds it.

    A forked child holds nothing: what its parent holds stays the parent's.

    Args:
        obj: what it is for: the path of a file, a store in a file, or several of these, which are then
            always taken in the same order.

    Raises:
        UsageError: it is for something that is in no file.
    """

    def __init__(self, obj: Any) -> None:
        several = isinstance(obj, Iterable) and not isinstance(obj, (str, bytes, os.PathLike))
        paths = {_guarded(each) for each in (obj if several else [obj])}
        self._locks = [_path_locks.of(path) for path in sorted(paths)]

    def acquire(self) -> bool:
        """Wait for it, and take it; True."""
        taken: list[_PathLock] = []
        try:
            for lock in self._locks:
                lock.acquire()
                taken.append(lock)
        except BaseException:
            for lock in reversed(taken):
                lock.release()
            raise
        return True

    def release(self) -> None:
        """Give it up."""
        for lock in reversed(self._locks):
            lock.release()

    def __enter__(self) -> MultiLock:
        self.acquire()
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()


class _NoLock(MultiLock):
    """For a file that only this thread uses."""

    def __init__(self) -> None:
        self._locks = []


def make_lock(name: str | os.PathLike[str], eager: bool) -> MultiLock:
    """The lock of a file.

    Args:
        name: the file; ``NAME.guard`` beside it holds the lock.
        eager: whether other processes write to it; otherwise the lock excludes no process.
    """
    return MultiLock(name) if eager else _NoLock()


def lock_guard(readonly: bool, atomic: bool = False) -> Callable[[_F], _F]:
    """Protect a method by its object's ``lock``: read what is stored before it, save afterwards.

    The object has a ``lock``, as from `make_lock`, and may have a ``storage`` (`LocalStorage`), which is
    reloaded before the call and, unless it only reads, written after it.  Without one, its ``commit`` is
    called, if it has one.  A call that raises saves nothing.

    Args:
        readonly: the method changes nothing.
        atomic: fail if a program that does not take the lock wrote the storage's file during the call.

    Raises:
        ConcurrentWrite: one did; nothing was saved.
    """

    def decorate(fun: _F) -> _F:
        @functools.wraps(fun)
        def guarded(self: Any, *args: Any, **kwargs: Any) -> Any:
            with self.lock:
                storage = getattr(self, "storage", None)
                if storage is not None:
                    storage.smart_reload()
                before = _version(storage) if atomic else None
                result = fun(self, *args, **kwargs)
                if not readonly:
                    if atomic and _version(storage) != before:
                        raise ConcurrentWrite(
                            f"{_file_of(storage)} was changed by others during {fun.__name__}: try again"
                        )
                    commit = getattr(self if storage is None else storage, "commit", None)
                    if commit is not None:
                        commit()
                return result

        return cast(_F, guarded)

    return decorate


def lock_read(fun: _F) -> _F:
    """Protect a method that only reads; see `lock_guard`."""
    return lock_guard(readonly=True)(fun)


def lock_write(fun: _F) -> _F:
    """Protect a method that writes; see `lock_guard`."""
    return lock_guard(readonly=False)(fun)


def lock_atomic_write(fun: _F) -> _F:
    """Protect a method that writes, also from those who take no lock; see `lock_guard`."""
    return lock_guard(readonly=False, atomic=True)(fun)


class _PathLock:
    """The lock of one file, one for each in a process.

    Args:
        path: of the lock's own file.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._begin()

    def _begin(self) -> None:
        self._thread = threading.RLock()
        self._depth = self._inherited = 0
        self._fd = -1

    def acquire(self) -> None:
        self._thread.acquire()
        try:
            if self._depth == 0:
                with _path_locks.forks:
                    self._fd = os.open(
                        self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
                    )
                fcntl.flock(self._fd, fcntl.LOCK_EX)
            self._depth += 1
        except BaseException:
            self._let_go()
            self._thread.release()
            raise

    def release(self) -> None:
        if self._depth == 0 and self._inherited:
            self._inherited -= 1  # a forked child ends the block in which its parent holds the lock
            return
        self._depth -= 1
        self._let_go()
        self._thread.release()

    def forget(self) -> None:
        """A forked child closes the copy of the file, which would hold the lock as well."""
        fd, inherited = self._fd, self._depth
        self._begin()
        self._inherited = inherited
        if fd >= 0:
            os.close(fd)

    def _let_go(self) -> None:
        if self._depth == 0 and self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)


class _PathLocks(LifecycleHook):
    """All locks of this process, which its forked children find free.

    Attributes:
        forks: held while a lock's file is opened, and while the process forks.
    """

    def __init__(self) -> None:
        self._known: dict[str, _PathLock] = {}
        self.forks = threading.RLock()
        register(self)

    def of(self, path: str) -> _PathLock:
        """The lock of one file, the same one each time."""
        return self._known.setdefault(path, _PathLock(path))

    def before_fork(self) -> None:
        """No lock's file is half opened while the process forks."""
        self.forks.acquire()

    def after_fork_in_parent(self) -> None:
        """They may be opened again."""
        self.forks.release()

    def after_fork_in_child(self) -> None:
        """Release the locks of the parent's threads in a forked child."""
        self.forks = threading.RLock()
        for lock in list(self._known.values()):
            lock.forget()


_path_locks: Final = _PathLocks()


def _guarded(obj: Any) -> str:
    """The lock's own file, for what it protects."""
    if isinstance(obj, Protocol):
        uri = Uri.parse(obj.uri)
        if uri.scheme not in FILE_SCHEMES:
            raise UsageError(
                f"{redact(obj.uri)} is in no file, and needs no lock: each of its calls is atomic"
            )
        obj = uri.path
    path: str = os.path.realpath(os.fspath(obj))
    return path + _SUFFIX


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_dev, stat.st_ino


def _file_of(storage: Any) -> str | None:
    name: str | None = getattr(storage, "target_file", None)
    return name


def _version(storage: Any) -> tuple[int, int, int] | None:
    name = _file_of(storage)
    try:
        stat = os.stat(name) if name else None
    except FileNotFoundError:
        return None
    return None if stat is None else (stat.st_ino, stat.st_mtime_ns, stat.st_size)
