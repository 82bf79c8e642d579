"""Stores to read: the one that is meant, which is not made if it is not there."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from track.configuration import DEFAULT_STORE, options
from track.persistence.protocol import Protocol
from track.persistence.registry import get_protocol
from track_protocol.errors import ItemNotFound, UsageError
from track_protocol.locations import sidecar_of
from track_protocol.uri import Uri

__all__ = ["check_exists", "existing_uri", "open_existing"]

_ON_DISK: Final = frozenset({"sqlite", "file"})


def existing_uri(uri: str | None) -> str:
    """The URI of a store that is there.

    Args:
        uri: what was given; by default what is configured, else `DEFAULT_STORE`.

    Raises:
        UsageError: no store is named or configured, and the default is not there.
        ItemNotFound: there is no such file.
    """
    named = uri or options("uri", None)
    if isinstance(named, str) and named:
        check_exists(named)
        return named
    if not _exists(Uri.parse(DEFAULT_STORE)):
        raise UsageError(
            f"no store is given, and {Path(Uri.parse(DEFAULT_STORE).path).absolute()} is not there: "
            "give a URI (--uri), or set TRACK_URI or 'uri' in a track.config"
        )
    return DEFAULT_STORE


def check_exists(uri: str) -> None:
    """Check that a store on this machine's disk is there.

    Raises:
        ItemNotFound: it is not.
    """
    store = Uri.parse(uri)
    if store.scheme in _ON_DISK and not _exists(store):
        raise ItemNotFound(
            f"there is no store at {store.path}: check the URI, which TRACK_URI also may have given"
        )


def open_existing(uri: str | None) -> Protocol:
    """The store of `existing_uri`."""
    return get_protocol(existing_uri(uri))


def _exists(store: Uri) -> bool:
    """Whether a store is on the disk: of a ``file:`` store perhaps only its sidecar, until it is saved."""
    path = Path(store.path)
    return path.exists() or (store.scheme == "file" and sidecar_of(path).exists())
