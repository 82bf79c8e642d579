"""The connections that read: a few, each used by one thread at a time, none for too long."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import apsw

from track_protocol.errors import StoreError
from track_server.backends.sqlite_errors import translated
from track_server.backends.sqlite_schema import open_reader

__all__ = ["READ_SECONDS", "Readers"]

READ_SECONDS: Final = 30.0
"""How long the statements of one snapshot may run."""

_STEPS_BETWEEN_LOOKS: Final = 20_000
_IDLE: Final = 4


class Readers:
    """Makes snapshots, and keeps a few connections between them.

    Args:
        path: of the store.
        seconds: how long the statements of one snapshot may run.
    """

    def __init__(self, path: str, seconds: float = READ_SECONDS) -> None:
        self._path = path
        self._seconds = seconds
        self._idle: list[_Reader] = []
        self._guard = threading.Lock()
        self._closed = False

    @contextmanager
    def snapshot(self) -> Iterator[apsw.Connection]:
        """A connection inside a read transaction."""
        reader = self._taken()
        try:
            with translated(self._path):
                reader.begin()
            yield reader.db
            reader.end()
        except BaseException:
            # It may be anywhere in a statement: the next one shall not inherit that.
            reader.db.close(force=True)
            raise
        self._give_back(reader)

    def close(self) -> None:
        """Close those that are idle, and the others when they come back."""
        with self._guard:
            self._closed = True
            idle, self._idle = self._idle, []
        for reader in idle:
            reader.db.close()

    def _taken(self) -> _Reader:
        with self._guard:
            if self._closed:
                raise StoreError(f"{self._path} is closed: open it again")
            if self._idle:
                return self._idle.pop()
        return _Reader(self._path, self._seconds)

    def _give_back(self, reader: _Reader) -> None:
        with self._guard:
            if not self._closed and len(self._idle) < _IDLE:
                self._idle.append(reader)
                return
        reader.db.close()


class _Reader:
    """A connection that stops its statements when their time is up."""

    def __init__(self, path: str, seconds: float) -> None:
        self.db = open_reader(path)
        self._seconds = seconds
        self._deadline = 0.0
        self.db.set_progress_handler(self._is_late, _STEPS_BETWEEN_LOOKS)

    def begin(self) -> None:
        """Fix what is seen from now on, and start the clock."""
        self._deadline = time.monotonic() + self._seconds
        self.db.execute("BEGIN")
        # A transaction sees what is committed when it first reads.
        self.db.execute("SELECT 1 FROM meta").fetchall()

    def end(self) -> None:
        """Let go of what was seen."""
        self.db.execute("COMMIT")

    def _is_late(self) -> bool:
        return time.monotonic() > self._deadline
