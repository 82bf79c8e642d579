"""Stores by URI: the scheme chooses the backend."""

from __future__ import annotations

from track.persistence.protocol import Protocol
from track.persistence.registry import get_protocol, register
from track_protocol.errors import MissingExtra
from track_protocol.uri import MULTIPLEXER, redact

__all__ = [
    "get_protocol",
    "make_cockroach_protocol",
    "make_comet_ml",
    "make_ephemeral_protocol",
    "make_local",
    "make_mongodb_protocol",
    "make_multiplexer",
    "make_null_protocol",
    "make_pickled_protocol",
    "make_socket_protocol",
    "make_sqlite_protocol",
    "register",
]


def make_local(uri: str, strict: bool = True, eager: bool = True) -> Protocol:
    """A store in one readable JSON file.

    Args:
        uri: ``file:NAME.json``; its options ``strict`` and ``eager`` mean the same as the arguments.
        strict: see `track.persistence.local.FileProtocol`.
        eager: see there.
    """
    from track.persistence.local import FileProtocol

    return FileProtocol(uri, strict, eager)


def make_pickled_protocol(uri: str) -> Protocol:
    """The same as ``file:``, for scripts that say ``pickled:NAME``; on the disk is JSON, and no pickle."""
    from track.persistence.local import FileProtocol

    return FileProtocol(uri)


def make_sqlite_protocol(uri: str) -> Protocol:
    """A store in an SQLite database: ``sqlite:NAME.db``."""
    return _embedded(uri)


def make_ephemeral_protocol(uri: str) -> Protocol:
    """A store in memory that ends with this process: ``ephemeral:``."""
    return _embedded(uri)


def make_socket_protocol(uri: str) -> Protocol:
    """A store behind a server: ``socket://NAME:TOKEN@HOST:PORT?pin=...``."""
    # Deferred: what is stored here needs no sockets.
    from track.persistence.socketed import SocketClient

    return SocketClient(uri)


def make_null_protocol(uri: str) -> Protocol:
    """No store: ``none:``."""
    from track.persistence.null import NullProtocol

    return NullProtocol(uri)


def make_multiplexer(uri: str) -> Protocol:
    """Several stores at once: ``multiplexer:file:a.json;socket://HOST:PORT``.

    A ``;`` within one of the URIs is written ``%3B``.
    """
    from track.persistence.multiplexer import ProtocolMultiplexer

    return ProtocolMultiplexer.from_uri(uri)


def make_comet_ml(uri: str) -> Protocol:
    """Experiments of Comet: ``cometml:WORKSPACE/PROJECT``.

    Raises:
        MissingExtra: comet_ml is not installed.
    """
    from track.persistence.cometml import CometMLProtocol

    return CometMLProtocol(uri)


def make_cockroach_protocol(uri: str) -> Protocol:
    """A store in CockroachDB, ``cockroach://HOST:PORT``: not in this version.

    Raises:
        MissingExtra: always.
    """
    raise _not_yet(uri, "postgres")


def make_mongodb_protocol(uri: str) -> Protocol:
    """A store in MongoDB, ``mongodb://HOST:PORT``: not in this version.

    Raises:
        MissingExtra: always.
    """
    raise _not_yet(uri, "mongo")


def _not_yet(uri: str, extra: str) -> MissingExtra:
    return MissingExtra(
        f"{redact(uri)}: this version has no backend for it; a later one will install it with "
        f"pip install 'trackwire[{extra}]'. Use sqlite:NAME.db or a server, socket://HOST:PORT"
    )


def _embedded(uri: str) -> Protocol:
    from track.persistence.embedded import EmbeddedProtocol

    return EmbeddedProtocol(uri)


for _scheme, _make in {
    "cockroach": make_cockroach_protocol,
    "cometml": make_comet_ml,
    "ephemeral": make_ephemeral_protocol,
    "file": make_local,
    "mongodb": make_mongodb_protocol,
    MULTIPLEXER: make_multiplexer,
    "none": make_null_protocol,
    "pickle": make_pickled_protocol,
    "pickled": make_pickled_protocol,
    "socket": make_socket_protocol,
    "sqlite": make_sqlite_protocol,
}.items():
    register(_scheme, _make)
