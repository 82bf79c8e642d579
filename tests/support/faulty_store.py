"""A store into whose transactions tests inject faults."""

from __future__ import annotations

from track_server.storage.contract import Changes
from track_server.storage.ephemeral import EphemeralStore
from track_server.storage.sqlite.write import SqliteTransaction

__all__ = ["FaultyStore"]


class FaultyStore(EphemeralStore):
    """A store that calls hooks before it writes; tests override the hooks and raise there."""

    def begin(self) -> SqliteTransaction:
        """A transaction that calls `before_flush` and `before_commit`."""
        tx = super().begin()
        flush = tx.flush

        def flush_unless_it_fails(changes: Changes, *, commit: bool = False) -> None:
            self.before_flush(changes)
            if commit:
                self.before_commit()
            flush(changes, commit=commit)

        tx.flush = flush_unless_it_fails  # type: ignore[method-assign] # injects faults
        return tx

    def before_flush(self, changes: Changes) -> None:
        """Called with the pending writes."""

    def before_commit(self) -> None:
        """Called before a transaction becomes durable."""
