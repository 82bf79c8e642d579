"""Shows whether a process that has a store open itself is alive: by a lock for each of its sessions.

The lock is `flock` on ``<store>.sessions/<session>``.  The kernel releases it when its process ends, however
it ends, and not while the process is only stopped.  So no process ids are compared: others get them later,
and in another container they mean nothing.  The time of the file's last change is the last sign of life.

A file gets its name when it is locked already, so whoever finds it unlocked knows that its process has ended.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from track_protocol.errors import StoreError
from track_server.storage.durable_files import give_to_owner, store_error

__all__ = ["SessionLocks"]

_UNFINISHED: Final = ".new"
_NEW_S: Final = 60.0
"""Seconds for which an unfinished file may not be locked yet by the process that makes it."""

_ATTEMPTS: Final = 8
"""Attempts to make a file in a folder that others remove when it is empty."""


@dataclass(frozen=True, slots=True)
class _Lock:
    """A lock of this process.

    Attributes:
        descriptor: which the program may close, to open another file under the same number.
        device, inode: of the file that it was opened for.
    """

    descriptor: int
    device: int
    inode: int

    def is_of(self, found: os.stat_result) -> bool:
        """Whether a file is the locked one."""
        return (found.st_dev, found.st_ino) == (self.device, self.inode)

    @property
    def is_open(self) -> bool:
        """Whether the descriptor is still that of the lock."""
        try:
            return self.is_of(os.fstat(self.descriptor))
        except OSError:
            return False

    def close(self) -> None:
        """Close the descriptor, and with it release the lock, unless another process has a copy of it."""
        if self.is_open:
            os.close(self.descriptor)


class SessionLocks:
    """The locks of the sessions of one store.

    Args:
        store: the store's main file.
    """

    def __init__(self, store: str | os.PathLike[str]) -> None:
        self._store = Path(store)
        self._folder = Path(f"{os.fspath(store)}.sessions")

    def hold(self, sid: bytes) -> bool:
        """Hold a session's lock until `release` or the end of this process; again, to show a sign of life.

        Returns:
            whether it was not held.  If it should have been, the program has closed a descriptor that is not
            its own, or the file was removed, and others may have taken this process for dead.

        Raises:
            StoreError: it cannot be held.
        """
        path = self._folder / sid.hex()
        lock = _held.get(path)
        try:
            if lock is not None and lock.is_open and lock.is_of(path.lstat()):
                os.utime(lock.descriptor)
                return False
        except FileNotFoundError:
            pass
        except OSError as error:
            raise store_error(path, "looked at", error) from error
        if lock is not None:
            lock.close()
        _held[path] = self._locked(sid.hex())
        return True

    def release(self, sid: bytes) -> None:
        """Release the lock of a session that runs no trial; harmless when repeated."""
        path = self._folder / sid.hex()
        lock = _held.pop(path, None)
        if lock is not None:
            with suppress(OSError):
                if lock.is_of(path.lstat()):
                    path.unlink()
            lock.close()
            with suppress(OSError):  # others are in it
                self._folder.rmdir()

    def ended(self, sids: Collection[bytes]) -> dict[bytes, float]:
        """Those of some sessions whose processes have ended.

        Returns:
            when each was last alive, in seconds since the epoch; 0 if that is unknown.

        Raises:
            StoreError: the locks cannot be looked at.
        """
        with self._opened() as folder:
            if folder is None:
                return dict.fromkeys(sids, 0.0)
            seen = {sid: _last_sign(folder, sid.hex()) for sid in sids}
        return {sid: at for sid, at in seen.items() if at is not None}

    def tidy(self, needed: Collection[bytes]) -> None:
        """Remove what processes that have ended have left, except of `needed` sessions.

        Raises:
            StoreError: the locks cannot be looked at.
        """
        kept = {sid.hex() for sid in needed}
        with self._opened() as folder:
            for name in () if folder is None else os.listdir(folder):
                if folder is not None and name not in kept:
                    _remove_unlocked(folder, name)

    def _locked(self, name: str) -> _Lock:
        """A new file by that name, locked before it is there."""
        for _ in range(_ATTEMPTS):
            try:
                self._folder.mkdir(mode=0o700)
            except FileExistsError:
                pass
            except OSError as error:
                raise store_error(self._folder, "created", error) from error
            with self._opened() as folder:
                if folder is None:
                    continue  # removed meanwhile
                give_to_owner(folder, self._store)
                try:
                    return _new_lock(folder, name, self._store)
                except FileNotFoundError:
                    continue
        raise StoreError(f"{self._folder} is removed again and again: let it be while the store is open")

    @contextmanager
    def _opened(self) -> Iterator[int | None]:
        """The folder, which must be this user's own and no link; None if there is none."""
        try:
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            yield None
            return
        except OSError as error:
            raise store_error(self._folder, "opened", error) from error
        try:
            _check_private(self._folder, os.fstat(folder))
            yield folder
        except OSError as error:
            raise store_error(self._folder, "used", error) from error
        finally:
            os.close(folder)


_held: Final[dict[Path, _Lock]] = {}
"""The locks of this process, which outlive the connections to their stores."""


def _forget() -> None:
    """In a forked child: close its copies, which would hold the locks beyond the parent's death."""
    for lock in _held.values():
        lock.close()
    _held.clear()


os.register_at_fork(after_in_child=_forget)


def _check_private(folder: Path, found: os.stat_result) -> None:
    """Refuse a folder in which others could decide which runs are alive; root may use any."""
    if os.geteuid() not in (0, found.st_uid) or found.st_mode & 0o022:
        raise StoreError(
            f"{folder} belongs to user {found.st_uid}, with mode {stat.S_IMODE(found.st_mode):04o}: others "
            "could decide there which runs are alive: remove it"
        )


def _new_lock(folder: int, name: str, store: Path) -> _Lock:
    unfinished = f"{secrets.token_hex(8)}{_UNFINISHED}"
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(unfinished, flags, 0o600, dir_fd=folder)
    try:
        give_to_owner(descriptor, store)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.rename(unfinished, name, src_dir_fd=folder, dst_dir_fd=folder)
        found = os.fstat(descriptor)
        return _Lock(descriptor, found.st_dev, found.st_ino)
    except BaseException:
        os.close(descriptor)
        with suppress(OSError):
            os.unlink(unfinished, dir_fd=folder)
        raise


def _last_sign(folder: int, name: str) -> float | None:
    """When the process of a session was last alive; None while it may live, 0 if there is no file."""
    try:
        with _unlocked(folder, name) as descriptor:
            return None if descriptor is None else os.fstat(descriptor).st_mtime
    except FileNotFoundError:
        return 0.0
    except OSError:  # no file of ours
        return None


def _remove_unlocked(folder: int, name: str) -> None:
    with suppress(OSError), _unlocked(folder, name) as descriptor:
        if descriptor is None:
            return
        age = time.time() - os.fstat(descriptor).st_mtime
        if not name.endswith(_UNFINISHED) or age > _NEW_S:
            os.unlink(name, dir_fd=folder)


@contextmanager
def _unlocked(folder: int, name: str) -> Iterator[int | None]:
    """The open file of a process that has ended; None while it lives.

    Several may look at once, and none of them keeps the process from having it.
    """
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        yield None
    else:
        yield descriptor
    finally:
        os.close(descriptor)
