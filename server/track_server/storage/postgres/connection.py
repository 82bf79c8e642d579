"""A connection to PostgreSQL, on which each call costs one round trip; and those that wait for the next
use."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import RawCursor, sql
from psycopg.conninfo import make_conninfo

from track_protocol.errors import StoreError
from track_server.storage.postgres.failures import connect_error, translated
from track_server.storage.postgres.settings import PostgresSettings
from track_server.storage.postgres.types import adapt

__all__ = ["Connections", "PostgresConnection", "Result", "Statement"]

Statement = tuple[str, Sequence[Any]]
"""SQL, with ``?`` or ``?1`` for its parameters, and these."""

_OLDEST: Final = 140_000
_PLACE: Final = re.compile(r"\?(\d*)")
_IDLE: Final = 8
_ROWS: Final = 256
"""Rows that are taken at once from a long answer."""

_SETTINGS: Final = (
    # A commit is acknowledged once it is durable, whatever the role's own default says.
    "SELECT set_config('synchronous_commit', 'on', false) "
    "WHERE current_setting('synchronous_commit') = 'off'",
    # What waits or rests for so long, holding rows that others need, is given up.
    "SELECT set_config('lock_timeout', '10s', false)",
    "SELECT set_config('idle_in_transaction_session_timeout', '60s', false)",
)


class Result(NamedTuple):
    """What a statement gave.

    Attributes:
        rows: that it returned.
        changed: how many rows it returned or changed.
    """

    rows: list[tuple[Any, ...]]
    changed: int


@lru_cache(maxsize=1_024)
def _numbered(text: str) -> bytes:
    """A statement with the places that PostgreSQL knows, ``$1`` and so on."""
    number = 0

    def place(found: re.Match[str]) -> str:
        nonlocal number
        number += 1
        return f"${found[1] or number}"

    return _PLACE.sub(place, text).encode()


class PostgresConnection:
    """One connection, for one thread at a time.

    Args:
        settings: where the database is.

    Attributes:
        trips: how many round trips were made.
    """

    def __init__(self, settings: PostgresSettings) -> None:
        self.name = settings.name
        self.trips = 0
        try:
            self._db = psycopg.connect(
                make_conninfo(**settings.parameters), autocommit=True, cursor_factory=RawCursor
            )
        except psycopg.Error as error:
            raise connect_error(self.name, error) from None  # libpq's own message may hold parameters
        try:
            self._check()
            adapt(self._db)
            path = sql.SQL("SET search_path TO {}").format(sql.Identifier(settings.schema))
            self.run(*[(text, ()) for text in (*_SETTINGS, path.as_string())])
        except BaseException:
            self.close()
            raise

    def _check(self) -> None:
        """Refuse a database in which a store would not be what it is elsewhere."""
        info = self._db.info
        if info.server_version < _OLDEST:
            raise StoreError(
                f"{self.name} is PostgreSQL {info.server_version // 10_000}: "
                f"install {_OLDEST // 10_000} or newer"
            )
        encoding = info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raise StoreError(
                f"{self.name} is a database in {encoding}: create one with ENCODING 'UTF8' TEMPLATE template0"
            )

    @property
    def usable(self) -> bool:
        """Whether it is open and outside of any transaction."""
        return not self._db.closed and self._db.info.transaction_status == psycopg.pq.TransactionStatus.IDLE

    def run(self, *statements: Statement) -> list[Result]:
        """Run statements in one round trip; the first that fails ends it, and what it raises is raised."""
        self.trips += 1
        with translated(self.name):
            if len(statements) == 1:
                return [_result(self._execute(*statements[0]))]
            with self._db.pipeline():
                cursors = [self._execute(*statement) for statement in statements]
            return [_result(cursor) for cursor in cursors]

    def iterate(self, text: str, params: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
        """The rows of a statement, a few at a time; nothing else is run meanwhile."""
        self.trips += 1
        with translated(self.name), self._db.cursor(binary=True) as cursor:
            yield from cursor.stream(_numbered(text), list(params), binary=True, size=_ROWS)

    def roll_back(self) -> None:
        """End the transaction that is open, if the connection still is."""
        if self._db.closed:
            return
        self.run(("ROLLBACK", ()))

    def _execute(self, text: str, params: Sequence[Any]) -> psycopg.Cursor[Any]:
        return self._db.execute(_numbered(text), list(params) or None, binary=True)

    def close(self) -> None:
        """Close it; harmless when repeated."""
        self._db.close()


def _result(cursor: psycopg.Cursor[Any]) -> Result:
    return Result(cursor.fetchall() if cursor.description is not None else [], cursor.rowcount)


class Connections:
    """Opens connections, and keeps some between uses.

    Args:
        open_one: makes one.
        name: of the store, for messages.
    """

    def __init__(self, open_one: Callable[[], PostgresConnection], name: str) -> None:
        self._open_one = open_one
        self._name = name
        self._idle: list[PostgresConnection] = []
        self._lock = threading.Lock()
        self._closed = False

    def take(self) -> PostgresConnection:
        """A connection that nobody else uses.

        Raises:
            StoreError: the database cannot be reached.
        """
        while True:
            with self._lock:
                if self._closed:
                    raise StoreError(f"{self._name} is closed: open it again")
                kept = self._idle.pop() if self._idle else None
            if kept is None:
                return self._open_one()
            if kept.usable:
                return kept
            kept.close()

    def give_back(self, connection: PostgresConnection) -> None:
        """Keep a connection for its next use, if it is of any."""
        with self._lock:
            keep = connection.usable and not self._closed and len(self._idle) < _IDLE
            if keep:
                self._idle.append(connection)
        if not keep:
            connection.close()

    def drop_idle(self) -> None:
        """Close those that nobody uses."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def close(self) -> None:
        """Close those that nobody uses now, and the others when they come back."""
        with self._lock:
            self._closed = True
        self.drop_idle()
