"""Bringing a file store of an older version up to date: a copy first, then it is written anew."""

from __future__ import annotations

from pathlib import Path

from track_server.storage.file_copy import FileCopier
from track_server.storage.file_state import FileState
from track_server.storage.memory_document import VERSION
from track_server.storage.upgrading import copied_before_migration

__all__ = ["upgrade"]


def upgrade(state: FileState, path: Path) -> None:
    """Write the document and the journal in the present version, unless they are in it.

    The document is replaced as a whole, and what is in a journal of the older version is in it then:
    whatever happens in between, a store is there.

    Args:
        state: what was read; nobody else may change the store meanwhile.
        path: of the document.

    Raises:
        StoreError: it could not be copied or written; it is as it was.
    """
    if not state.outdated:
        return
    if state.version < VERSION:
        copied_before_migration(FileCopier(), path, state.version, VERSION)
    state.save()
