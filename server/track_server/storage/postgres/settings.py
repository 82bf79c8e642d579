"""What the URI of a PostgreSQL store says: where the database is, and in which of its schemas the store."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from psycopg.pq import Conninfo

from track_protocol.errors import UriError
from track_protocol.uri import Uri, check_options, redact

__all__ = ["PostgresSettings"]

_SCHEMA: Final = "track"
_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")

_DEFAULTS: Final = {
    "application_name": "track",
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "tcp_user_timeout": "30000",
}
"""So that a server that is gone without a word is noticed."""

_OURS: Final = {"client_encoding": "UTF8"}


@dataclass(frozen=True, slots=True)
class PostgresSettings:
    """The parts of a URI.

    Attributes:
        name: the URI without secrets, for messages.
        parameters: what libpq needs to connect; never shown, since the password is among them.
        schema: where the store's tables are.
    """

    name: str
    parameters: dict[str, str] = field(repr=False)
    schema: str = _SCHEMA

    @staticmethod
    def parse(text: str) -> PostgresSettings:
        """The settings that a URI holds; its options are libpq's, and ``schema``.

        Raises:
            UriError: it is malformed, or has an unknown option.
        """
        uri = Uri.parse(text)
        known = {each.keyword.decode(): str for each in Conninfo.get_defaults()}
        options = check_options(uri, {**known, "schema": _schema_name})
        schema = options.pop("schema", _SCHEMA)
        given = {
            "host": uri.hostname,
            "port": None if uri.port is None else str(uri.port),
            "user": uri.username,
            "password": uri.password,
            "dbname": uri.path.removeprefix("/"),
        }
        if uri.hostname is None and uri.path:
            raise UriError(f"{redact(text)}: write postgresql://USER@HOST/DATABASE, with two slashes")
        parameters = {name: value for name, value in given.items() if value}
        return PostgresSettings(redact(text), _DEFAULTS | parameters | options | _OURS, schema)


def _schema_name(text: str) -> str:
    if not _NAME.fullmatch(text) or text.startswith("pg_"):
        raise ValueError("give a name of small letters, digits and _, which does not begin with pg_")
    return text
