"""Ends the wait of a thread in `poll`."""

from __future__ import annotations

import contextlib
import os
import threading

from track.process.files import OwnedDescriptor

__all__ = ["WakePipe"]


class WakePipe:
    """A pipe by which other threads end a `poll`."""

    def __init__(self) -> None:
        # Held while the pipe is written to or closed: a closed descriptor may already be another file.
        # Reentrant, because a signal handler may log, and so wake, in the middle of a wake-up.
        self._lock = threading.RLock()
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        self._reader, self._writer = OwnedDescriptor(reader), OwnedDescriptor(writer)

    @property
    def is_ours(self) -> bool:
        """Whether neither end was closed from outside."""
        return self._reader.is_ours and self._writer.is_ours

    def fileno(self) -> int:
        """The end to poll."""
        return self._reader.fileno()

    def wake(self) -> None:
        """End the `poll` that is under way, or the next one; from any thread, and harmless after the end."""
        with self._lock, contextlib.suppress(BlockingIOError):  # the pipe is full of wake-ups already
            if self._writer.is_ours:
                os.write(self._writer.fileno(), b"!")

    def drain(self) -> None:
        """Take the wake-ups out of it."""
        with contextlib.suppress(BlockingIOError):
            while self._reader.is_ours and len(os.read(self._reader.fileno(), 4096)) == 4096:
                pass

    def close(self) -> None:
        """Release both ends; harmless when repeated."""
        with self._lock:
            self._reader.close()
            self._writer.close()

    def close_in_child(self) -> None:
        """Release this process's copies after a fork, in which another thread may have held the lock."""
        self._lock = threading.RLock()
        self.close()
