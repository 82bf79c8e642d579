"""Stores that are gone with their test, and faults put into their transactions."""

from __future__ import annotations

import tempfile
from pathlib import Path

from track_server.storage.contract import Changes
from track_server.storage.sqlite.store import SqliteStore
from track_server.storage.sqlite.write import SqliteTransaction

__all__ = ["EphemeralStore"]


class EphemeralStore(SqliteStore):
    """A store in a folder of its own; tests put faults in by overriding what it calls before it writes."""

    def __init__(self, uri: str = "ephemeral:") -> None:
        self._folder = tempfile.TemporaryDirectory()
        super().__init__(Path(self._folder.name) / "runs.db", uri, exclusive=True)

    def begin(self) -> SqliteTransaction:
        """A transaction that calls `before_flush` and `before_commit`."""
        tx = super().begin()
        flush = tx.flush

        def flush_unless_it_fails(changes: Changes, *, commit: bool = False) -> None:
            self.before_flush(changes)
            if commit:
                self.before_commit()
            flush(changes, commit=commit)

        tx.flush = flush_unless_it_fails  # type: ignore[method-assign] # faults are put in here
        return tx

    def before_flush(self, changes: Changes) -> None:
        """Called with what is going to be written."""

    def before_commit(self) -> None:
        """Called before a transaction becomes durable."""

    def close(self) -> None:
        """Release everything, and remove the folder."""
        super().close()
        self._folder.cleanup()
