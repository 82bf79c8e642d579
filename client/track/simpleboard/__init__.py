"""SimpleBoard's HTTP API: the runs of experiments, as its clients ask for them.

`of_store` and `of_link` make it for a store that a board shows; the server's package finds the second one
by its entry point.
"""

from __future__ import annotations

from pathlib import Path

from track.outbox import Outbox
from track.outbox.connector import OpenLink
from track.persistence.protocol import Protocol
from track.persistence.remote import OutboxProtocol
from track.simpleboard.api import SimpleBoard
from track.simpleboard.databases import Databases, FolderDatabases, StoreDatabases

__all__ = [
    "Databases",
    "FolderDatabases",
    "SimpleBoard",
    "StoreDatabases",
    "of_folder",
    "of_link",
    "of_store",
]


def of_store(protocol: Protocol) -> SimpleBoard:
    """The API of a store, each of whose projects is a database; the store stays open."""
    return SimpleBoard(StoreDatabases(lambda: protocol))


def of_link(open_link: OpenLink, uri: str) -> SimpleBoard:
    """The API of the store at the end of a link, which is opened with the first request.

    Args:
        open_link: makes a link to the store.
        uri: of the store, without secrets.
    """
    return SimpleBoard(StoreDatabases(lambda: OutboxProtocol(uri, Outbox(open_link, uri)), is_owner=True))


def of_folder(folder: Path) -> SimpleBoard:
    """The API of the experiments in a folder, those of the older system included."""
    return SimpleBoard(FolderDatabases(folder))
