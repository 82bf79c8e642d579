"""SQLite's failures as the errors of the one tree.

Only what the surroundings do to a store is translated: a full disk, a lost file, flipped bits.
What a statement of ours does wrong stays what it is, a fault of the program.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import apsw

from track_protocol.errors import StoreCorrupt, StoreError, StoreFailed, StoreFull, StoreReadOnly

__all__ = ["store_error", "translated"]

_KNOWN: Final[tuple[tuple[type[apsw.Error], type[StoreError], str], ...]] = (
    (
        apsw.FullError,
        StoreFull,
        "no space is left for {path}: free some on its disk, and writing goes on by itself",
    ),
    (
        apsw.ReadOnlyError,
        StoreReadOnly,
        "{path} cannot be written: give this user access to it and its folder",
    ),
    (apsw.PermissionsError, StoreReadOnly, "{path} cannot be written: give this user access to it"),
    (apsw.NotADBError, StoreCorrupt, "{path} is not a SQLite database: check the path, or restore a backup"),
    (apsw.CorruptError, StoreCorrupt, "{path} is damaged ({error}): restore a backup"),
    (apsw.BusyError, StoreError, "another process keeps {path} locked: let it finish, then try again"),
    (apsw.CantOpenError, StoreError, "{path} cannot be opened ({error}): check the path and its permissions"),
    (apsw.IOError, StoreFailed, "the disk failed at {path} ({error}): check the disk and the system's log"),
    (apsw.ProtocolError, StoreError, "{path} cannot be locked ({error}): try again"),
    (apsw.NoMemError, StoreError, "no memory is left to work on {path}: give this process more"),
    (
        apsw.InterruptError,
        StoreError,
        "a read of {path} took too long: ask for less, with limit, fields or a narrower filter",
    ),
)


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Raise SQLite's failures at the store `path` as `StoreError` or one of its kinds."""
    try:
        yield
    except apsw.Error as error:
        raise store_error(path, error) from error


def store_error(path: str, error: apsw.Error) -> Exception:
    """What to raise for a failure of SQLite's at the store `path`: a `StoreError`, or the failure itself."""
    if getattr(error, "extendedresult", None) == apsw.SQLITE_IOERR_SHMSIZE:
        return StoreFull(f"no space is left for {path}-shm: free some on its disk, then open the store again")
    for kind, raised, text in _KNOWN:
        if isinstance(error, kind):
            return raised(text.format(path=path, error=error))
    return error
