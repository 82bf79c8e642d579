"""Which errors the failures of a PostgreSQL server and of the way to it become.

An error in a statement of this software stays what it is, a bug.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg

from track_protocol.errors import (
    StoreConflict,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreReadOnly,
    StoreUnavailable,
)

__all__ = ["LATE", "QUERY_CANCELED", "connect_error", "store_error", "translated"]

QUERY_CANCELED: Final = "57014"

LATE: Final = "a read of {name} took too long: ask for less, with limit, fields or a narrower filter"

_CONFLICT: Final = "another writer was at the same rows of {name} ({error}): it is tried again"
_GONE: Final = (
    "{name} cannot be reached ({error}): check the database server and the network; "
    "it is tried again by itself"
)
_FULL: Final = (
    "no space is left for {name} ({error}): free some on the disk of the database, and writing resumes by "
    "itself"
)
_NO_RIGHT: Final = (
    "{name} cannot be used by this role ({error}): GRANT USAGE, CREATE on its schema and ALL on its tables "
    "to the role, or name another role in the URI"
)

_KNOWN: Final[dict[str, tuple[type[StoreError], str]]] = {
    "40001": (StoreConflict, _CONFLICT),
    "40P01": (StoreConflict, _CONFLICT),
    "23505": (StoreConflict, _CONFLICT),
    "55P03": (StoreConflict, _CONFLICT),
    "42P06": (StoreConflict, _CONFLICT),
    "42P07": (StoreConflict, _CONFLICT),
    "25006": (
        StoreUnavailable,
        "{name} is read-only ({error}): name the host of the primary in the URI, or write "
        "?target_session_attrs=read-write behind several hosts",
    ),
    "42501": (StoreReadOnly, _NO_RIGHT),
    "53100": (StoreFull, _FULL),
    "53200": (StoreUnavailable, _GONE),
    "53300": (
        StoreUnavailable,
        "{name} has no connection left ({error}): raise max_connections of the database, or close others",
    ),
    QUERY_CANCELED: (StoreError, LATE),
    "58030": (StoreUnavailable, _GONE),
    "XX001": (StoreCorrupt, "{name} is damaged ({error}): restore a backup of the database"),
    "XX002": (StoreCorrupt, "{name} is damaged ({error}): restore a backup of the database"),
}
"""By the code of the error, see PostgreSQL's appendix A; of classes 08 and 57P0 all mean that it is gone."""

_REFUSED: Final[tuple[tuple[str, type[StoreError], str], ...]] = (
    (
        "password authentication failed|no password supplied|authentication failed for user",
        StoreError,
        "{name} refuses the user or the password: check both, and PGPASSWORD or ~/.pgpass if one is used",
    ),
    (
        'role ".*" does not exist|role ".*" is not permitted to log in',
        StoreError,
        "{name} knows no such role ({error}): CREATE ROLE … LOGIN, or name another in the URI",
    ),
    (
        'database ".*" does not exist',
        StoreError,
        "{name}: there is no such database ({error}): create it with createdb, or name another in the URI",
    ),
    (
        'permission denied for database ".*"',
        StoreReadOnly,
        "{name} cannot be used by this role ({error}): GRANT CONNECT on the database to it, "
        "or name another role",
    ),
    (
        "pg_hba.conf",
        StoreError,
        "{name} lets nobody in from here in this way ({error}): see pg_hba.conf of the database, "
        "or set sslmode",
    ),
    (
        "server does not support SSL|certificate|SSL error",
        StoreError,
        "{name}: TLS failed ({error}): check sslmode and sslrootcert in the URI",
    ),
    (
        "session is read-only|server is in hot standby mode",
        StoreUnavailable,
        "{name} is read-only: name the host of the primary in the URI",
    ),
)
"""What the message of a connection that was refused holds, for libpq gives it no code."""


def store_error(name: str, error: psycopg.Error) -> Exception:
    """What to raise for a failure at the store `name`: a `StoreError`, or the failure itself."""
    code = error.sqlstate or ""
    kind, text = _KNOWN.get(code, (None, ""))
    if kind is None:
        gone = (code.startswith(("08", "57P")) and code != "08P01") or (
            not code and isinstance(error, psycopg.OperationalError)
        )
        if not gone:
            return error
        kind, text = StoreUnavailable, _GONE
    return kind(text.format(name=name, error=_said(error)))


def connect_error(name: str, error: psycopg.Error) -> Exception:
    """What to raise when no connection to the store `name` could be made."""
    said = str(error)
    for pattern, kind, text in _REFUSED:
        if re.search(pattern, said):
            return kind(text.format(name=name, error=_said(error)))
    return store_error(name, error)


def _said(error: psycopg.Error) -> str:
    """What the database said, in one line and without what it was said about."""
    said = error.diag.message_primary or str(error)
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Raise PostgreSQL's failures at the store `name` as `StoreError` or one of its kinds."""
    try:
        yield
    except psycopg.Error as error:
        raise store_error(name, error) from error
