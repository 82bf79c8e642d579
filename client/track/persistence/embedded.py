"""Stores in this process: what the entry points of installed backends give, behind an outbox."""

from __future__ import annotations

from typing import Any, Final

from track.outbox import Outbox
from track.outbox.queue import Limits
from track.persistence.remote import OutboxProtocol
from track_protocol.errors import MissingExtra
from track_protocol.uri import Uri, redact

__all__ = ["EmbeddedProtocol", "installed", "outbox_of"]

_GROUP: Final = "track.backends"

_OPEN_TIMEOUT_S: Final = 30.0
"""Seconds for a store to be open: a large file is read completely, and a busy disk is slow."""


def installed() -> dict[str, Any]:
    """The entry points of backends that run in this process, by scheme."""
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=_GROUP)}


def outbox_of(uri: str, limits: Limits | None = None) -> Outbox:
    """An outbox to the store in this process that a URI names.

    Args:
        uri: of the store.
        limits: see `Outbox`.

    Raises:
        MissingExtra: the backend's packages are not installed.
        UriError: the URI has an unknown option.
    """
    scheme = Uri.parse(uri).scheme
    point = installed().get(scheme)
    missing = f"{scheme}: stores need the server's packages: pip install 'trackwire[server]'"
    if point is None:
        raise MissingExtra(missing)
    try:
        open_store = point.load()
    except ImportError as error:
        raise MissingExtra(f"{missing} ({error})") from error
    return Outbox(open_store(uri), redact(uri), connect_timeout=_OPEN_TIMEOUT_S, limits=limits)


class EmbeddedProtocol(OutboxProtocol):
    """A store in this process, behind an outbox like one on a server.

    Args:
        uri: of the store; see `outbox_of`.
    """

    def __init__(self, uri: str) -> None:
        super().__init__(uri, outbox_of(uri))
