"""Stores by URI: the scheme chooses the backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from track_protocol.errors import MissingExtra, UnknownScheme
from track_protocol.protocol import Protocol
from track_protocol.uri import Uri, redact

__all__ = [
    "get_protocol",
    "make_ephemeral_protocol",
    "make_local",
    "make_null_protocol",
    "make_socket_protocol",
    "make_sqlite_protocol",
    "register",
]

_GROUP: Final = "track.backends"


def make_local(uri: str, strict: bool = True, eager: bool = True) -> Protocol:
    """A store in one readable JSON file.

    Args:
        uri: ``file:NAME.json``.
        strict: kept for scripts that pass it; the store is always consistent.
        eager: kept for scripts that pass it; changes are always durable at once.
    """
    return _embedded(uri)


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


_MAKERS: Final[dict[str, Callable[[str], Protocol]]] = {
    "ephemeral": make_ephemeral_protocol,
    "file": make_local,
    "none": make_null_protocol,
    "socket": make_socket_protocol,
    "sqlite": make_sqlite_protocol,
}


def register(name: str, proto: Callable[[str], Any]) -> None:
    """Add a backend of your own, or put it in the place of another.

    Args:
        name: the scheme of its URIs.
        proto: given the URI, makes the `Protocol`; usually the class itself.
    """
    _MAKERS[name.lower()] = proto


def get_protocol(backend_name: str) -> Protocol:
    """The store that a URI names.

    Raises:
        UriError: the URI cannot be understood, or holds an option nobody knows.
        UnknownScheme: no backend has its scheme.
        MissingExtra: the backend's packages are not installed.
    """
    scheme = Uri.parse(backend_name).scheme
    maker = _MAKERS.get(scheme)
    if maker is not None:
        return maker(backend_name)
    if scheme in _installed():
        return _embedded(backend_name)
    known = ", ".join(sorted({*_MAKERS, *_installed()}))
    raise UnknownScheme(
        f"{redact(backend_name)}: no backend is called {scheme!r}; there are {known}, and "
        "track.persistence.register adds others"
    )


def _installed() -> dict[str, Any]:
    """The entry points of backends that run in this process."""
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=_GROUP)}


def _embedded(uri: str) -> Protocol:
    from track.outbox import Outbox
    from track.remote import OutboxProtocol

    scheme = Uri.parse(uri).scheme
    point = _installed().get(scheme)
    missing = f"{scheme}: stores need the server's packages: pip install 'trackwire[server]'"
    if point is None:
        raise MissingExtra(missing)
    try:
        open_store = point.load()
    except ImportError as error:
        raise MissingExtra(f"{missing} ({error})") from error
    return OutboxProtocol(uri, Outbox(open_store(uri), redact(uri)))
