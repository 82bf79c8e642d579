"""The PostgreSQL backend: a store in a schema of a database, that any number of processes have open."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from track_protocol.errors import StoreError, StoreUnavailable
from track_server.storage.postgres.claim import Claim
from track_server.storage.postgres.compact import Housekeeping
from track_server.storage.postgres.connection import Connections, PostgresConnection, Statement
from track_server.storage.postgres.failures import LATE
from track_server.storage.postgres.read import PostgresSnapshot, PostgresSource
from track_server.storage.postgres.schema import generation_of, prepare
from track_server.storage.postgres.settings import PostgresSettings
from track_server.storage.postgres.write import PostgresTransaction
from track_server.storage.sql.known_charts import KnownCharts
from track_server.storage.sql.tables import KnownSummaries

__all__ = ["PostgresStore"]

_log = logging.getLogger(__name__)

_LANES: Final = 4
_READ_SECONDS: Final = 30.0
"""How long the statements of one snapshot may run."""

_THOROUGH_SECONDS: Final = 1.0
_CLOSING_SECONDS: Final = 0.5

_BEGIN_READING: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_TIMEOUT: Final = "SELECT set_config('statement_timeout', ?, true)"
_FIX: Final = "SELECT 1 FROM meta LIMIT 1"
"""A transaction sees what is committed when it first reads."""


class PostgresStore:
    """An open store; its tables are made if need be.

    Args:
        uri: see `PostgresSettings`.
        exclusive: for a server, beside which no other process opens the store.
        served_as: where others can reach this server, for the message that they get.

    Raises:
        UriError: the URI is malformed.
        StoreInUse: a server has it open, or (for a server) any other process has.
        StoreUnavailable: the database cannot be reached.
        StoreReadOnly: this role may not write.
        StoreTooNew: a newer version of this software made the tables.
        StoreError: it refuses the user, has no such database, or is unfit.
    """

    def __init__(self, uri: str, *, exclusive: bool = False, served_as: str | None = None) -> None:
        self._settings = PostgresSettings.parse(uri)
        self._pid = os.getpid()
        self._closed = False
        self._known, self._charts = KnownSummaries(), KnownCharts()
        self._work = Housekeeping()
        self._connections = Connections(self._connect, self._settings.name)
        try:
            with self._borrowed() as db:
                prepare(db, self._settings.schema)
                self._generation = generation_of(db)
            self._claim = Claim(self._connect, exclusive, served_as)
        except BaseException:
            self._connections.close()
            raise

    def _connect(self) -> PostgresConnection:
        return PostgresConnection(self._settings)

    @property
    def uri(self) -> str:
        """The URI it was opened with, without its password."""
        return self._settings.name

    @property
    def generation(self) -> str:
        """Identifies the store's history: random at creation, never changed."""
        return self._generation

    @property
    def lanes(self) -> int:
        """How many transactions may be open at once."""
        return _LANES

    @property
    def local_sessions(self) -> None:
        """Programs of many machines may have the store open."""
        return None

    def begin(self) -> PostgresTransaction:
        """Start a write transaction.

        Raises:
            StoreError: the database cannot be reached.
        """
        return PostgresTransaction(self._connections.take(), self._ended)

    def _ended(self, db: PostgresConnection, written: Mapping[int, tuple[int, int]]) -> None:
        self._connections.give_back(db)
        if written:
            self._work.grew(written)

    @contextmanager
    def snapshot(self, seconds: float | None = None) -> Iterator[PostgresSnapshot]:
        """A consistent view of what is committed; any thread."""
        limit = _READ_SECONDS if seconds is None else seconds
        deadline = time.monotonic() + limit

        def check() -> None:
            if time.monotonic() > deadline:
                raise StoreError(LATE.format(name=self.uri))

        db = self._fixed((_BEGIN_READING, ()), (_TIMEOUT, [str(max(1, int(1e3 * limit)))]), (_FIX, ()))
        try:
            yield PostgresSnapshot(PostgresSource(db, check=check), self._known, self._charts)
            db.run(("COMMIT", ()))
        except BaseException:
            # It may be anywhere in a statement: the next one shall not inherit that.
            db.close()
            raise
        finally:
            self._connections.give_back(db)

    def _fixed(self, *statements: Statement) -> PostgresConnection:
        """A connection on which statements were run; a new one if that which waited for its use is dead."""
        db = self._connections.take()
        try:
            db.run(*statements)
        except StoreUnavailable:
            db.close()
            self._connections.drop_idle()
            db = self._connections.take()
            db.run(*statements)
        return db

    @contextmanager
    def _borrowed(self) -> Iterator[PostgresConnection]:
        """A connection outside of any transaction."""
        db = self._connections.take()
        try:
            yield db
        finally:
            self._connections.give_back(db)

    def maintain(self, seconds: float) -> bool:
        """Merge chunks and remove what was deleted; True if more is left.

        Args:
            seconds: about how long; with a second or more, series that are not idle are merged too.
        """
        if self._closed:
            return False
        self._claim.check()
        with self._borrowed() as db:
            return self._work.work(db, seconds, seconds >= _THOROUGH_SECONDS)

    def save(self, done: Callable[[Exception | None], None]) -> None:
        """What is committed is all that there is."""
        done(None)

    def reopen(self) -> None:
        """Connect again.

        Raises:
            StoreError: not yet; it may be tried again.
        """
        if self._closed:
            raise StoreError(f"{self.uri} is closed: open it again")
        self._connections.drop_idle()
        with self._borrowed() as db:
            prepare(db, self._settings.schema)
            if generation_of(db) != self._generation:
                raise StoreError(
                    f"{self.uri} was replaced by another store: restart the processes that use it"
                )
        self._claim.renew()

    def abandon(self) -> None:
        """Release everything and write nothing more; harmless when repeated."""
        self.close(tidy=False)

    def close(self, *, tidy: bool = True) -> None:
        """Release everything; harmless when repeated.

        Args:
            tidy: do some background work first.
        """
        if self._closed:
            return
        self._closed = True
        if os.getpid() != self._pid:
            return  # a forked child has only copies, and its parent still works with the originals
        try:
            if tidy:
                with self._borrowed() as db:
                    self._work.work(db, _CLOSING_SECONDS, thorough=True)
        except StoreError as error:
            _log.warning("%s was closed without background work: %s", self.uri, error)
        finally:
            self._connections.close()
            self._claim.release()
