"""The store that lasts as long as its process: SQLite in a private folder, without waiting for the disk."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from track_protocol.errors import StoreReadOnly
from track_server.storage.sqlite.store import SqliteStore

__all__ = ["EphemeralFolder", "EphemeralStore"]

_PREFIX: Final = "track-ephemeral-"
_NEW_S: Final = 60.0
"""Seconds for which a folder may not be locked yet by the process that makes it."""


class EphemeralFolder:
    """A folder (0700) that is removed with this object, by the process that created it.

    What processes that were killed have left is removed first: their folders are not locked any more.

    Attributes:
        path: of the folder.
        remove: removes it before that.

    Raises:
        StoreReadOnly: there is no place for temporary files.
    """

    def __init__(self) -> None:
        try:
            _remove_leftovers(Path(tempfile.gettempdir()))
            self.path = tempfile.mkdtemp(prefix=_PREFIX)
            lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            raise StoreReadOnly(
                f"an ephemeral store needs a folder for temporary files ({error.strerror}): set TMPDIR to one"
            ) from error
        self.remove = weakref.finalize(self, _remove, self.path, lock, os.getpid())


class EphemeralStore(SqliteStore):
    """A store that is deleted when its folder is no longer used.

    Args:
        uri: the URI it was opened with.
        folder: where it is, when several share it; otherwise it has a folder of its own.
    """

    def __init__(self, uri: str = "ephemeral:", folder: EphemeralFolder | None = None) -> None:
        self._folder = folder or EphemeralFolder()
        self._shared = folder is not None
        path = Path(self._folder.path) / "store.db"
        super().__init__(path, uri, exclusive=not self._shared, durable=False)

    def _close(self, finish: Callable[[], None]) -> None:
        super()._close(finish)
        if not self._shared:
            self._folder.remove()


def _remove(folder: str, lock: int, owner: int) -> None:
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):
        os.close(lock)


def _remove_leftovers(place: Path) -> None:
    for folder in place.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            found = folder.lstat()
            if found.st_uid != os.geteuid() or time.time() - found.st_mtime < _NEW_S:
                continue
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
            finally:
                os.close(lock)
