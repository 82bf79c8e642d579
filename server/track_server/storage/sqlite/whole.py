"""Everything that a SQLite store holds, a little at a time: what its JSON document is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from track_protocol.model.rejected import Rejected
from track_protocol.wire.batch import SUPERSEDED
from track_server.storage.contract import Blob, Document, Lease, SessionState
from track_server.storage.sql.view import SqlView

__all__ = ["SqliteWholeView"]

_PAGE: Final = 64
"""Rows that are read by one statement; a trial's row may be large."""

_SUPERSEDED: Final = """
SELECT series.name, series.count FROM series JOIN trial ON trial.id = series.trial
WHERE trial.key = ? AND series.kind = ? ORDER BY series.id
"""


class SqliteWholeView(SqlView):
    """What a connection sees of an entire store within its transaction.

    See `track_server.storage.json_document.WholeView`.
    """

    def every_project(self) -> Iterator[Document]:
        """All projects."""
        return self._every("project", self._projects)

    def every_group(self) -> Iterator[Document]:
        """All groups."""
        return self._every("trial_group", self._groups)

    def every_trial(self) -> Iterator[Document]:
        """All trials, with their summaries of series."""
        return self._every("trial", self._trials)

    def superseded(self, trial: bytes) -> dict[str, Document]:
        """Summaries of a trial's superseded series, by name."""
        return {name: {"count": count} for name, count in self._rows(_SUPERSEDED, [trial, SUPERSEDED])}

    def every_session(self) -> Iterator[SessionState]:
        """All sessions."""
        for (sid,) in self._rows("SELECT sid FROM session ORDER BY sid", []):
            state = self.session(sid)
            assert state is not None
            yield state

    def every_rejected(self) -> Iterator[Rejected]:
        """All records that were rejected."""
        start = 0
        while page := self.rejected(None, start, _PAGE):
            yield from page
            start += len(page)

    def every_lease(self) -> Iterator[Lease]:
        """All leases."""
        yield from self._leases("lease JOIN trial ON trial.id = lease.trial ORDER BY trial.id", [])

    def every_blob(self) -> Iterator[Blob]:
        """All blobs."""
        for row in self._rows("SELECT digest, size, stored, time FROM blob ORDER BY id", []):
            yield Blob(*row)

    def _every(self, table: str, read: Callable[[str, list[Any]], list[Document]]) -> Iterator[Document]:
        last = 0
        while True:
            ids = self._rows(
                f"SELECT id FROM {table} WHERE id > ? ORDER BY id LIMIT ?",  # noqa: S608 # names of our own
                [last, _PAGE],
            )
            if not ids:
                return
            first, last = ids[0][0], ids[-1][0]
            yield from read("id BETWEEN ? AND ?", [first, last])
