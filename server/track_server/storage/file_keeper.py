"""Looking after the files of file stores: what changes them as a whole."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from track_protocol.errors import StoreCorrupt, StoreTooNew
from track_server.storage.file import FileStore
from track_server.storage.file_copy import FileCopier, read_whole, write_copy
from track_server.storage.locks import StoreLock

__all__ = ["FileKeeper"]


class FileKeeper(FileCopier):
    """Looks after file stores; see `track_server.storage.admin.Keeper`."""

    companion = ".journal"

    def renew(self, path: Path) -> str:
        """Give a store that nobody has open a new generation, durably; returns it."""
        memory, header = read_whole(path)
        generation = secrets.token_hex(16)
        write_copy(memory, replace(header, generation=generation), path)
        return generation

    def settle(self, path: Path) -> None:
        """Bring the document up to date and empty the journal, as far as the store can still be opened."""
        with suppress(StoreCorrupt, StoreTooNew):  # then it is put aside as it is
            FileStore(path, f"file:{path}", exclusive=True).close()

    @contextmanager
    def held(self, path: Path) -> Iterator[None]:
        """Keep everybody else out of the store."""
        lock = StoreLock(path, exclusive=True)
        try:
            yield
        finally:
            lock.release()
