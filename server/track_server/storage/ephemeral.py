"""The store that lasts as long as its process: SQLite in a private folder, without waiting for the disk."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path

from track_protocol.errors import StoreReadOnly
from track_server.storage.sqlite.store import SqliteStore

__all__ = ["EphemeralFolder", "EphemeralStore"]


class EphemeralFolder:
    """A folder (0700) that is removed when this object is gone, by the process that has made it.

    Attributes:
        path: of the folder.
        remove: removes it before that.

    Raises:
        StoreReadOnly: there is no place for temporary files.
    """

    def __init__(self) -> None:
        try:
            self.path = tempfile.mkdtemp(prefix="track-")
        except OSError as error:
            raise StoreReadOnly(
                f"an ephemeral store needs a folder for temporary files ({error.strerror}): set TMPDIR to one"
            ) from error
        self.remove = weakref.finalize(self, _remove, self.path, os.getpid())


class EphemeralStore(SqliteStore):
    """A store that is gone once nobody has its folder any more.

    Args:
        uri: the URI it was opened with.
        folder: where it is, when several share it; otherwise it has a folder of its own.
    """

    def __init__(self, uri: str = "ephemeral:", folder: EphemeralFolder | None = None) -> None:
        self._folder = folder or EphemeralFolder()
        path = Path(self._folder.path) / "store.db"
        self._shared = folder is not None
        super().__init__(path, uri, exclusive=not self._shared, durable=False)

    def _close(self, finish: Callable[[], None]) -> None:
        super()._close(finish)
        if not self._shared:
            self._folder.remove()


def _remove(folder: str, owner: int) -> None:
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)
