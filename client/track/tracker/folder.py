"""The experiments in a folder as a board shows them: each file is opened when it is first looked at.

A database of an older system is never written to.  A board reads tables and columns that it does not have,
so the one that is looked at is copied into memory, when that happens, and shown while the copy grows.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from track.persistence.board import OpenStore, opened_for_board
from track.tracker.experiment_db import store_at
from track.tracker.importing import import_database
from track.tracker.legacy import LegacyDatabase
from track_protocol.errors import ItemNotFound, TrackError
from track_protocol.wire.roles import Role

__all__ = ["FolderStores", "state_of"]

_log = logging.getLogger(__name__)

_MOST_OPEN: Final = 8
"""Files that are open at once; each has threads and connections, or a copy in memory."""
_FIRST_S: Final = 1.0
"""Seconds that a call waits for a copy that was never complete: a small one is shown whole at once."""


def state_of(path: Path, *, is_older: bool) -> object:
    """What has to be the same for an open file to be read on.

    A store reads what others write to it.  Of an older system's database there may be a copy, which shows
    what it was when it was read: then the times and sizes of the file and of its log count, too.

    Args:
        path: of the file.
        is_older: whether an older system wrote it.
    """
    stats = []
    for suffix in ("", "-wal", "-journal") if is_older else ("",):
        with suppress(OSError):
            found = path.with_name(path.name + suffix).stat()
            written = (found.st_mtime_ns, found.st_size) if is_older else ()
            stats.append((suffix, found.st_dev, found.st_ino, *written))
    return stats


class FolderStores:
    """The stores of a folder: see `track_protocol.board.BoardStores`.

    Args:
        files: finds them.
    """

    def __init__(self, files: Callable[[], list[Path]]) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._stores: dict[Path, _FileStore] = {}

    def names(self) -> list[str]:
        """See `BoardStores.names`."""
        return [path.name for path in sorted(self._files(), key=_written, reverse=True)]

    def store(self, name: str) -> _FileStore:
        """See `BoardStores.store`."""
        path = next((each for each in self._files() if each.name == name), None)
        if path is None:
            raise ItemNotFound(f"there is no database {name[:80]!r}: choose another one")
        with self._lock:
            return self._stores.setdefault(path, _FileStore(path, self._make_room))

    def close(self) -> None:
        """Close what is open."""
        for store in self._stores.values():
            store.close()

    def _make_room(self, wanted: _FileStore) -> None:
        """Close those that were not used for the longest time; they are opened again when they are."""
        others = [store for store in self._stores.values() if store.is_open and store is not wanted]
        for store in sorted(others, key=lambda store: store.used)[: len(others) + 1 - _MOST_OPEN]:
            store.close()


def _written(path: Path) -> float:
    """When a file, or the log beside it, was last written."""
    times = [0.0]
    for suffix in ("", "-wal"):
        with suppress(OSError):
            times.append(path.with_name(path.name + suffix).stat().st_mtime)
    return max(times)


class _FileStore:
    """One file; a `BoardStore` that opens it, and opens it again when another file has its name.

    Args:
        path: of the file.
        make_room: closes others.
    """

    _clock = 0

    def __init__(self, path: Path, make_room: Callable[[_FileStore], None]) -> None:
        self._path = path
        self._make_room = make_room
        self._lock = threading.Lock()
        self._open: _Handle | None = None
        self.used = 0

    @property
    def shown(self) -> str:
        """See `BoardStore.shown`."""
        return str(self._path)

    @property
    def uri(self) -> str:
        """See `BoardStore.uri`."""
        return store_at(self._path)

    @property
    def role(self) -> Role:
        """See `BoardStore.role`."""
        with self._handle() as handle:
            return handle.role

    @property
    def is_open(self) -> bool:
        return self._open is not None

    def call(self, method: str, arguments: dict[str, Any]) -> Any:
        """See `BoardStore.call`."""
        with self._handle() as handle:
            return handle.store.call(method, arguments)

    def log(self, method: str, arguments: dict[str, Any]) -> None:
        """See `BoardStore.log`."""
        with self._handle() as handle:
            handle.store.log(method, arguments)

    def close(self) -> None:
        """Close the file once no call uses it."""
        with self._lock:
            handle, self._open = self._open, None
        if handle is not None:
            handle.retire()

    @contextmanager
    def _handle(self) -> Iterator[_Handle]:
        with self._lock:
            _FileStore._clock += 1
            self.used = _FileStore._clock
            if self._open is not None and self._open.is_stale():
                self._open.retire()
                self._open = None
            if self._open is None:
                self._make_room(self)
                self._open = _Handle(self._path)
            handle = self._open
            handle.enter()
        try:
            handle.follow()
            yield handle
        finally:
            handle.leave()


class _Handle:
    """An open file, which is closed when it is retired and no call uses it any more.

    Raises:
        TrackError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_older = LegacyDatabase.is_at(path)
        self.role = Role.READER if self._is_older else Role.ADMIN
        self._identity = state_of(path, is_older=False)
        self._stack = ExitStack()
        self.store: OpenStore = self._stack.enter_context(
            opened_for_board("ephemeral:" if self._is_older else store_at(path))
        )
        self._lock = threading.Lock()
        self._users = 0
        self._is_retired = False
        self._copied: object = None
        self._copying: threading.Thread | None = None
        self._fault: TrackError | None = None

    def is_stale(self) -> bool:
        """Whether another file has the name now."""
        return state_of(self._path, is_older=False) != self._identity

    def enter(self) -> None:
        """Keep it open for a call."""
        with self._lock:
            self._users += 1

    def leave(self) -> None:
        """End a call."""
        with self._lock:
            self._users -= 1
        self._close_unused()

    def retire(self) -> None:
        """Close it after the last call."""
        with self._lock:
            self._is_retired = True
        self._close_unused()

    def follow(self) -> None:
        """Copy what an older system has written since the last time, beside the calls.

        Raises:
            TrackError: it cannot be copied.
        """
        if not self._is_older:
            return
        with self._lock:
            if self._copying is None and state_of(self._path, is_older=True) != self._copied:
                self._fault = None
                self._users += 1  # or the copy would be closed beneath it
                self._copying = threading.Thread(target=self._copy, name="track-older-database", daemon=True)
                self._copying.start()
            copying = self._copying
        if copying is not None and self._copied is None:
            copying.join(_FIRST_S)
        if self._fault is not None:
            raise self._fault

    def _copy(self) -> None:
        state = state_of(self._path, is_older=True)
        try:
            import_database(LegacyDatabase(self._path), self.store.protocol, self._path.stem, self._go_on)
        except _Retired:
            _log.debug("%s is not copied any further", self._path)
        except TrackError as error:
            self._fault = error
        finally:
            with self._lock:
                self._copied, self._copying = state, None
            self.leave()

    def _go_on(self, *_progress: object) -> None:
        if self._is_retired:
            raise _Retired

    def _close_unused(self) -> None:
        with self._lock:
            is_unused = self._is_retired and self._users == 0
        if is_unused:
            self._stack.close()


class _Retired(Exception):
    """Nobody looks at the copy any more."""
