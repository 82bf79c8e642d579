"""The SQLite backend: one file, one connection that writes, others that read committed states."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final

import apsw

from track_protocol.errors import StoreCorrupt, StoreError
from track_server.storage.locks import StoreLock, check_local
from track_server.storage.session_locks import SessionLocks
from track_server.storage.sql.known_charts import KnownCharts
from track_server.storage.sql.tables import KnownSummaries
from track_server.storage.sqlite.admin import upgrade
from track_server.storage.sqlite.compact import Compactor, GarbageCollector
from track_server.storage.sqlite.read import SqliteSnapshot, SqliteSource
from track_server.storage.sqlite.readers import Readers
from track_server.storage.sqlite.schema import (
    BUSY_MS,
    check_engine,
    close_untouched,
    generation_of,
    inspect,
    open_writer,
    translated,
)
from track_server.storage.sqlite.write import SqliteTransaction

__all__ = ["SqliteStore", "open_store"]

_log = logging.getLogger(__name__)

_THOROUGH_SECONDS: Final = 1.0
_CLOSING_SECONDS: Final = 0.5

_CHECKPOINT_PAGES: Final = 2_000
"""Pages in the log from which on they are checkpointed while writing continues."""

_WAL_BYTES: Final = 64 * 2**20
_WAL_LOOK_EVERY: Final = 2.0
_WAL_PATIENCE_MS: Final = 1_000
"""Bytes from which the log is truncated, and seconds between attempts, even if writers have to wait."""


def open_store(
    path: str | os.PathLike[str],
    uri: str | None = None,
    *,
    exclusive: bool = False,
    served_as: str | None = None,
) -> SqliteStore:
    """Open the store in a file; see `SqliteStore`. The URI is ``sqlite:PATH`` by default."""
    return SqliteStore(path, uri or f"sqlite:{os.fspath(path)}", exclusive=exclusive, served_as=served_as)


class SqliteStore:
    """An open store in a file, which is created if need be.

    Args:
        path: of the file; its folder must exist, on a local disk.
        uri: what the user named it by.
        exclusive: for a server, beside which no other process opens the store.
        served_as: where others can reach this server, for the message that they get.
        durable: whether a commit is flushed to the disk before it returns.
        lock: of the store, if the caller holds it already; it is released with the store.

    Raises:
        StoreInUse: a server has it open, or (for a server) any other process has.
        StoreReadOnly: the file or its folder cannot be written.
        StoreTooNew: a newer version of this software wrote it.
        StoreCorrupt: it is no database, or a damaged one.
        StoreFull: it is of an older version, and there is no room to copy it before it is migrated.
        StoreError: it is another program's, or its folder is missing or on a network.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        uri: str,
        *,
        exclusive: bool,
        served_as: str | None = None,
        durable: bool = True,
        lock: StoreLock | None = None,
    ) -> None:
        check_engine()
        check_local(path)
        # One store has one name here, whatever links lead to it.
        self._path = os.path.realpath(path)
        inspect(self._path)
        self._uri = uri
        self._exclusive = exclusive
        self._durable = durable
        self._pid = os.getpid()
        self._wal_looked = 0.0
        self._opened = 0
        self._known, self._charts = KnownSummaries(), KnownCharts()
        self._closed = False
        self._lock = lock or StoreLock(self._path, exclusive, served_as)
        try:
            self._work_with(open_writer(self._path, durable=durable))
        except BaseException:
            self._lock.release()
            raise
        try:
            upgrade(self._db, self._path)
        except BaseException:
            self._db.close()
            self._lock.release()
            raise
        self._generation = generation_of(self._db, self._path)
        self._readers = Readers(self._path)

    def _work_with(self, db: apsw.Connection) -> None:
        self._db = db
        self._compactor = Compactor(db, self._path)
        self._collector = GarbageCollector(db)
        self._log_pages = 0
        self._writing = self._settled = False
        self._opened += 1
        db.set_wal_hook(self._logged)

    @property
    def uri(self) -> str:
        """The URI it was opened with."""
        return self._uri

    @property
    def generation(self) -> str:
        """Identifies the store's history: random at creation, never changed."""
        return self._generation

    @property
    def path(self) -> str:
        """Of its main file."""
        return self._path

    @property
    def lanes(self) -> int:
        """How many transactions may be open at once: a database file has one writer."""
        return 1

    @property
    def local_sessions(self) -> SessionLocks:
        """See `Store.local_sessions`."""
        return SessionLocks(self._path)

    def begin(self) -> SqliteTransaction:
        """Start the write transaction.

        Raises:
            StoreError: one is open, or another process keeps the store locked.
        """
        return self._begin(SqliteTransaction)

    def _begin(self, kind: type[SqliteTransaction]) -> SqliteTransaction:
        if self._writing:
            raise StoreError("a transaction is open: commit it or roll it back before the next one begins")
        if self._closed:
            raise StoreError(f"{self._uri} is closed: open it again")
        with translated(self._path):
            self._checkpoint()
            self._db.execute("BEGIN IMMEDIATE")
            self._writing = True
            version = self._version()
        return kind(self._db, self._path, version, self._ended)

    @contextmanager
    def snapshot(self, seconds: float | None = None) -> Iterator[SqliteSnapshot]:
        """A consistent view of what is committed; any thread."""
        with self._readers.snapshot(seconds) as db:
            yield SqliteSnapshot(SqliteSource(db, self._path), self._known, self._charts)

    def maintain(self, seconds: float) -> bool:
        """Collect garbage, compact chunks and give free space back; True if more is left.

        Args:
            seconds: about how long; with a second or more, series that are not idle are compacted too.
        """
        if self._writing or self._closed:
            return False
        with translated(self._path):
            if self._collector.work(seconds):
                self._settled = False
                self._checkpoint()
                return True
            more = self._compactor.work(seconds, seconds >= _THOROUGH_SECONDS)
            if not (more or self._settled or self._compactor.candidates.expects_more):
                self._settled = self._empty_wal(wait_ms=0)
            elif self._wal_is_long():
                self._empty_wal(wait_ms=_WAL_PATIENCE_MS)
            return more

    def save(self, done: Callable[[Exception | None], None]) -> None:
        """Bring the store's main file up to date, as far as readers allow."""
        with translated(self._path), suppress(apsw.BusyError):  # another process is about it
            self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        done(None)

    def reopen(self) -> None:
        """Close every connection, and open the store again from what is on the disk.

        Raises:
            StoreError: not yet; it may be tried again.
        """
        if self._closed:
            raise StoreError(f"{self._uri} is closed: open it again")
        with self._readers.paused():
            close_untouched(self._db)
            if not os.path.exists(self._path):
                raise StoreError(f"{self._path} was deleted while it was open: restore it")
            db = open_writer(self._path, durable=self._durable)
            try:
                with translated(self._path):
                    if generation_of(db, self._path) != self._generation:
                        raise StoreError(
                            f"{self._path} was replaced by another store: restart the processes that use it"
                        )
            except BaseException:
                close_untouched(db)
                raise
            self._work_with(db)

    def abandon(self) -> None:
        """Release everything and write nothing more; harmless when repeated."""
        self._close(lambda: close_untouched(self._db))

    def close(self, *, tidy: bool = True) -> None:
        """Release everything; harmless when repeated.

        Args:
            tidy: bring the main file up to date and do some background work first.
        """
        self._close(self._finish if tidy else lambda: close_untouched(self._db))

    def _close(self, finish: Callable[[], None]) -> None:
        if self._closed:
            return
        self._closed = True
        if os.getpid() != self._pid:
            return  # a forked child has only copies, and its parent still works with the originals
        try:
            self._readers.close()
            finish()
        finally:
            self._db.close()
            self._lock.release()

    def _logged(self, _db: apsw.Connection, _name: str, pages: int) -> int:
        self._log_pages = pages
        return apsw.SQLITE_OK

    def _checkpoint(self) -> None:
        """Bring a long log into the main file, as far as readers and the room on the disk allow."""
        if self._log_pages >= _CHECKPOINT_PAGES:
            with suppress(apsw.BusyError, apsw.FullError):
                self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)

    def _wal_is_long(self) -> bool:
        """Whether readers that overlap have kept the log growing; looks only every now and then."""
        now = time.monotonic()
        if now < self._wal_looked + _WAL_LOOK_EVERY:
            return False
        self._wal_looked = now
        try:
            return os.path.getsize(f"{self._path}-wal") > _WAL_BYTES
        except FileNotFoundError:  # the folder of an ephemeral store, removed at the end of its process
            return False

    def _empty_wal(self, wait_ms: int) -> bool:
        """Bring the main file up to date and the log to nothing; False while a reader needs the log.

        Readers that begin while this waits need it no more, so it waits for those at work at most.
        """
        self._db.set_busy_timeout(wait_ms)
        try:
            self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except apsw.BusyError:
            return False
        finally:
            self._db.set_busy_timeout(BUSY_MS)
        return True

    def _version(self) -> Hashable:
        """Another one when another connection has committed, or this one was opened again."""
        # The pragma, unlike apsw's `data_version`, leaves this connection's own commits out.
        return self._opened, 0 if self._exclusive else int(self._db.execute("PRAGMA data_version").get)

    def _finish(self) -> None:
        if self._writing:
            self._db.execute("ROLLBACK")
        try:
            self._collector.work(_CLOSING_SECONDS)
            self._compactor.work(_CLOSING_SECONDS, thorough=True)
            self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except apsw.BusyError:
            pass  # another process is at work on the store, and leaves it tidy in its turn
        except (apsw.Error, StoreCorrupt) as error:
            # Everything that was committed is durable without it.
            _log.warning("%s was closed without a final checkpoint: %s", self._path, error)
            close_untouched(self._db)

    def _ended(self, written: Mapping[int, tuple[int, int]]) -> None:
        self._writing = self._settled = False
        self._compactor.candidates.grew(written)
