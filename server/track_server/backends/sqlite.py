"""The SQLite backend: one file, one connection that writes, others that read committed states."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import apsw
from track_protocol.errors import StoreError, StoreReadOnly

from track_server.backends.sqlite_append import Appender
from track_server.backends.sqlite_errors import translated
from track_server.backends.sqlite_merge import Merger
from track_server.backends.sqlite_read import SqliteView
from track_server.backends.sqlite_schema import check_engine, inspect, open_reader, open_writer
from track_server.backends.sqlite_write import SqliteTransaction
from track_server.backends.storelock import StoreLock, check_local

__all__ = ["SqliteStore", "open_store"]

READ_SECONDS: Final = 30.0
"""How long the statements of one snapshot may run."""

_STEPS_BETWEEN_LOOKS: Final = 20_000
_IDLE_READERS: Final = 4
_THOROUGH_SECONDS: Final = 1.0
_CLOSING_SECONDS: Final = 0.5


def open_store(
    path: str | os.PathLike[str], uri: str | None = None, *, exclusive: bool = False, served_as: str | None = None
) -> SqliteStore:
    """Open the store in a file, which is created if need be.

    Args:
        path: of the file; its folder must exist, on a local disk.
        uri: what the user named it by; ``sqlite:PATH`` by default.
        exclusive: for a server, beside which nobody else opens the store.
        served_as: where others can reach this server, for the message that they get.

    Raises:
        StoreInUse: a server has it open, or (for a server) anybody else has.
        StoreReadOnly: the file or its folder cannot be written.
        StoreTooNew: a newer version of this software wrote it.
        StoreCorrupt: it is no database, or a damaged one.
        StoreError: it is another program's, or its folder is missing or on a network.
    """
    check_engine()
    name = os.fspath(path)
    check_local(name)
    inspect(name)
    lock = StoreLock(name, exclusive, served_as)
    try:
        return SqliteStore(os.path.realpath(name), uri or f"sqlite:{name}", lock, exclusive)
    except BaseException:
        lock.release()
        raise


class SqliteStore:
    """An open store; made by `open_store`.

    Args:
        path: of its main file, without symbolic links.
        uri: the URI it was opened with.
        lock: held; released when the store closes.
        exclusive: whether no other process writes.
    """

    def __init__(self, path: str, uri: str, lock: StoreLock, exclusive: bool) -> None:
        self._path = path
        self._uri = uri
        self._lock = lock
        self._exclusive = exclusive
        self._pid = os.getpid()
        self._db = open_writer(path)
        self._appender = Appender(self._db)
        self._merger = Merger(self._db, path)
        self._readers = _Readers(path)
        with translated(path):
            self._generation = str(self._db.execute("SELECT value FROM meta WHERE key = 'generation'").get)
        self._data_version = 0
        self._writing = False
        self._closed = False

    @property
    def uri(self) -> str:
        """The URI it was opened with."""
        return self._uri

    @property
    def generation(self) -> str:
        """Identifies the store's history: random at creation, kept for life."""
        return self._generation

    @property
    def path(self) -> str:
        """Of its main file."""
        return self._path

    def announce(self, served_as: str) -> None:
        """Tell others who try to open the store where it is served."""
        self._lock.announce(served_as)

    def begin(self) -> SqliteTransaction:
        """Start the write transaction.

        Raises:
            StoreError: one is open, or another process keeps the store locked.
        """
        if self._writing:
            raise StoreError("a transaction is open: commit it or roll it back before the next one begins")
        if self._closed:
            raise StoreError(f"{self._uri} is closed: open it again")
        with translated(self._path):
            self._db.execute("BEGIN IMMEDIATE")
            self._writing = True
            if not self._exclusive and (version := self._db.data_version()) != self._data_version:
                self._data_version = version
                self._appender.forget()
        return SqliteTransaction(self._db, self._path, self._appender, self._ended)

    @contextmanager
    def snapshot(self) -> Iterator[SqliteView]:
        """A consistent view of what is committed; any thread."""
        with self._readers.snapshot() as db:
            yield SqliteView(db, self._path)

    def maintain(self, seconds: float) -> bool:
        """Merge chunks and give free space back for about that long; True if more is left.

        With a second or more, series that may still grow are merged too.
        """
        if self._writing or self._closed:
            return False
        with translated(self._path):
            return self._merger.work(seconds, seconds >= _THOROUGH_SECONDS)

    def save(self, path: str | None = None) -> None:
        """Bring the store's main file up to date, or write a copy of the store to `path`.

        Raises:
            StoreError: the copy would replace this store, or one that is open or was not closed.
        """
        with translated(self._path):
            if path is None:
                self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            else:
                self._copy(Path(path))

    def close(self) -> None:
        """Save and release everything; harmless when repeated."""
        if self._closed:
            return
        self._closed = True
        if os.getpid() != self._pid:
            return  # a forked child has only copies, and its parent still works with the originals
        try:
            self._readers.close()
            with translated(self._path):
                self._finish()
        finally:
            self._db.close()
            self._lock.release()

    def _finish(self) -> None:
        if self._writing:
            self._db.execute("ROLLBACK")
        else:
            self._merger.work(_CLOSING_SECONDS, thorough=True)
        self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)

    def _ended(self, written: Mapping[int, tuple[int, int]]) -> None:
        self._writing = False
        self._merger.grew(written)

    def _copy(self, target: Path) -> None:
        check_local(target)
        if os.path.realpath(target) == self._path:
            raise StoreError(f"{target} is this store itself: give another path for the copy")
        if target.with_name(f"{target.name}-wal").exists():
            raise StoreError(f"{target} is a store that is open or was not closed: give another path for the copy")
        part = target.with_name(f".{target.name}.{os.getpid()}.part")
        part.unlink(missing_ok=True)
        try:
            self._db.execute("VACUUM INTO ?", (str(part),))
            _make_durable(part)
            part.replace(target)
            _make_durable(target.parent)
        except PermissionError as error:
            raise StoreReadOnly(f"{target} cannot be written ({error.strerror}): choose another path") from None
        finally:
            part.unlink(missing_ok=True)


def _make_durable(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class _Readers:
    """Connections that read, each used by one thread at a time."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._idle: list[_Reader] = []
        self._guard = threading.Lock()
        self._closed = False

    @contextmanager
    def snapshot(self) -> Iterator[apsw.Connection]:
        """A connection inside a read transaction."""
        reader = self._taken()
        try:
            with translated(self._path):
                reader.begin()
            yield reader.db
            reader.end()
        except BaseException:
            # It may be anywhere in a statement: the next one shall not inherit that.
            reader.db.close(force=True)
            raise
        self._give_back(reader)

    def close(self) -> None:
        """Close those that are idle, and the others when they come back."""
        with self._guard:
            self._closed = True
            idle, self._idle = self._idle, []
        for reader in idle:
            reader.db.close()

    def _taken(self) -> _Reader:
        with self._guard:
            if self._closed:
                raise StoreError(f"{self._path} is closed: open it again")
            if self._idle:
                return self._idle.pop()
        return _Reader(self._path)

    def _give_back(self, reader: _Reader) -> None:
        with self._guard:
            if not self._closed and len(self._idle) < _IDLE_READERS:
                self._idle.append(reader)
                return
        reader.db.close()


class _Reader:
    """A connection that stops its statements when their time is up."""

    def __init__(self, path: str) -> None:
        self.db = open_reader(path)
        self._deadline = 0.0
        self.db.set_progress_handler(self._is_late, _STEPS_BETWEEN_LOOKS)

    def begin(self) -> None:
        """Fix what is seen from now on, and start the clock."""
        self._deadline = time.monotonic() + READ_SECONDS
        self.db.execute("BEGIN")
        # A transaction sees what is committed when it first reads.
        self.db.execute("SELECT 1 FROM meta").fetchall()

    def end(self) -> None:
        """Let go of what was seen."""
        self.db.execute("COMMIT")

    def _is_late(self) -> bool:
        return time.monotonic() > self._deadline
