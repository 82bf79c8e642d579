"""The connections that read: a few, each used by one thread at a time, none for too long."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import apsw

from track_protocol.errors import StoreError
from track_server.storage.sqlite.schema import open_reader, translated

__all__ = ["READ_SECONDS", "Readers"]

READ_SECONDS: Final = 30.0
"""How long the statements of one snapshot may run."""

_STEPS_BETWEEN_LOOKS: Final = 20_000
_IDLE: Final = 4
_GRACE: Final = 5.0
"""Seconds that a snapshot may last beyond its statements."""


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
        self._condition = threading.Condition()
        self._lent = 0
        self._paused = False
        self._closed = False

    @contextmanager
    def snapshot(self, seconds: float | None = None) -> Iterator[apsw.Connection]:
        """A connection inside a read transaction.

        Args:
            seconds: how long its statements may run, instead of what all may.
        """
        reader = self._taken()
        try:
            with translated(self._path):
                reader.begin(self._seconds if seconds is None else seconds)
            yield reader.db
            reader.end()
        except BaseException:
            # It may be anywhere in a statement: the next one shall not inherit that.
            reader.db.close(force=True)
            self._returned()
            raise
        self._give_back(reader)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """No connection is open meanwhile; new snapshots wait.

        Raises:
            StoreError: one is in use for longer than its statements may run.
        """
        with self._condition:
            self._paused = True
        try:
            with self._condition:
                if not self._condition.wait_for(lambda: self._lent == 0, self._seconds + _GRACE):
                    raise StoreError(
                        f"a read of {self._path} does not end; the checkpoint is tried again later"
                    )
            self._close_idle()
            yield
        finally:
            with self._condition:
                self._paused = False
                self._condition.notify_all()

    def close(self) -> None:
        """Close those that are idle, and the others when they come back."""
        with self._condition:
            self._closed = True
        self._close_idle()

    def _close_idle(self) -> None:
        with self._condition:
            idle, self._idle = self._idle, []
        for reader in idle:
            reader.db.close()

    def _taken(self) -> _Reader:
        with self._condition:
            self._condition.wait_for(lambda: not self._paused)
            if self._closed:
                raise StoreError(f"{self._path} is closed: open it again")
            self._lent += 1
            if self._idle:
                return self._idle.pop()
        try:
            return _Reader(self._path)
        except BaseException:
            self._returned()
            raise

    def _give_back(self, reader: _Reader) -> None:
        with self._condition:
            kept = not (self._closed or self._paused) and len(self._idle) < _IDLE
            if kept:
                self._idle.append(reader)
        if not kept:
            reader.db.close()
        self._returned()

    def _returned(self) -> None:
        with self._condition:
            self._lent -= 1
            self._condition.notify_all()


class _Reader:
    """A connection that stops its statements when their time is up."""

    def __init__(self, path: str) -> None:
        self.db = open_reader(path)
        self._deadline = 0.0
        self.db.set_progress_handler(self._is_late, _STEPS_BETWEEN_LOOKS)

    def begin(self, seconds: float) -> None:
        """Fix what is seen from now on, and start the clock."""
        self._deadline = time.monotonic() + seconds
        self.db.execute("BEGIN")
        # A transaction sees what is committed when it first reads.
        self.db.execute("SELECT 1 FROM meta").fetchall()

    def end(self) -> None:
        """End the snapshot."""
        self.db.execute("COMMIT")

    def _is_late(self) -> bool:
        return time.monotonic() > self._deadline
