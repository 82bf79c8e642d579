"""The stores by the scheme of their URI: how to open one, and who administers it from outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from track_protocol.errors import MissingExtra, UnknownScheme, UriError
from track_protocol.uri import Uri, check_options, redact
from track_server.storage.admin import StoreAdmin
from track_server.storage.contract import Store
from track_server.storage.ephemeral import EphemeralFolder, EphemeralStore
from track_server.storage.json_admin import FileAdmin
from track_server.storage.json_file import FileStore
from track_server.storage.sqlite.admin import SqliteAdmin
from track_server.storage.sqlite.store import SqliteStore

__all__ = ["ADMINS", "check_store_uri", "open_store", "shared_ephemeral"]

_Opener = Callable[[Uri, bool, str | None], Store]


def _open_sqlite(uri: Uri, exclusive: bool, served_as: str | None) -> Store:
    return SqliteStore(uri.path, uri.to_text(), exclusive=exclusive, served_as=served_as)


def _open_file(uri: Uri, exclusive: bool, served_as: str | None) -> Store:
    return FileStore(uri.path, uri.to_text(), exclusive=exclusive, served_as=served_as)


def _open_ephemeral(uri: Uri, exclusive: bool, served_as: str | None) -> Store:
    return EphemeralStore(uri.to_text())


def _open_postgres(uri: Uri, exclusive: bool, served_as: str | None) -> Store:
    # Deferred: of an extra that few install.
    try:
        from track_server.storage.postgres.store import PostgresStore
    except ImportError as error:
        raise _missing_postgres(error) from error
    return PostgresStore(uri.to_text(), exclusive=exclusive, served_as=served_as)


def _missing_postgres(error: ImportError) -> MissingExtra:
    return MissingExtra(
        f"stores in PostgreSQL need psycopg: pip install 'trackwire[server,postgres]' ({error})"
    )


def shared_ephemeral(text: str) -> Callable[[], Store]:
    """What opens one and the same ephemeral store again and again; it lasts as long as what this returns.

    Raises:
        UriError: the URI holds an option.
        StoreReadOnly: there is no place for temporary files.
    """
    uri, folder = check_store_uri(text), EphemeralFolder()
    return lambda: EphemeralStore(uri.to_text(), folder)


_OPENERS: Final[Mapping[str, _Opener]] = {
    "sqlite": _open_sqlite,
    "file": _open_file,
    "ephemeral": _open_ephemeral,
    "postgresql": _open_postgres,
    "postgres": _open_postgres,
}
_EXAMPLES: Final = {"sqlite": "sqlite:runs.db", "file": "file:runs.json"}
"""The schemes that need a path, and how a URI with one looks."""


def check_store_uri(text: str) -> Uri:
    """The parts of a store's URI; nothing is opened.

    Raises:
        UriError: it is malformed, lacks its path, or has an option that its scheme does not know.
        MissingExtra: its scheme needs packages that are not installed.
        UnknownScheme: no store has that scheme.
    """
    uri = Uri.parse(text)
    if uri.scheme not in _OPENERS:
        raise UnknownScheme(f"{redact(text)}: a store is one of {', '.join(_OPENERS)}, not {uri.scheme}")
    if uri.scheme in _EXAMPLES and not uri.path:
        raise UriError(f"{text}: it contains no file name; write for example {_EXAMPLES[uri.scheme]}")
    if _OPENERS[uri.scheme] is _open_postgres:
        _check_postgres_uri(text)
    else:
        check_options(uri, {})
    return uri


def _check_postgres_uri(text: str) -> None:
    """Check the URI of a PostgreSQL store; nothing is opened.

    Raises:
        MissingExtra: psycopg is not installed.
        UriError: it is malformed, or has an unknown option.
    """
    try:
        from track_server.storage.postgres.settings import PostgresSettings
    except ImportError as error:
        raise _missing_postgres(error) from error
    PostgresSettings.parse(text)


def open_store(text: str, *, exclusive: bool, served_as: str | None = None) -> Store:
    """Open the store that a URI names.

    Args:
        text: the URI.
        exclusive: lock out every other process, as a server does.
        served_as: the server's address, for the message that others get who open the store.

    Raises:
        UriError, MissingExtra: see `check_store_uri`.
        StoreError: the store cannot be opened.
    """
    uri = check_store_uri(text)
    return _OPENERS[uri.scheme](uri, exclusive, served_as)


ADMINS: Final[Mapping[str, StoreAdmin]] = {"sqlite": SqliteAdmin(), "file": FileAdmin()}
