"""What was lost and why: each reason is told once, and everything is counted."""

from __future__ import annotations

import logging
import threading
from typing import Final

__all__ = ["Losses"]

_log: Final = logging.getLogger("track")
_MOST_REASONS: Final = 1_000


class Losses:
    """Counts of points and calls that will never be stored.

    Attributes:
        dropped: never left this process: not storable, no room, or refused as a whole.
        rejected: refused one by one by the store.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self.rejected = 0
        self._told: set[str] = set()
        # Reentrant, because a signal handler or a destructor may log in the middle of this.
        self._lock = threading.RLock()

    def drop(self, count: int, reason: str) -> None:
        """Count something that does not leave this process."""
        with self._lock:
            self.dropped += count
        self.warn(f"not logged: {reason}")

    def reject(self, count: int, reason: str) -> None:
        """Count something that the store does not take."""
        with self._lock:
            self.rejected += count
        self.warn(f"not stored: {reason}")

    def warn(self, message: str) -> None:
        """Log a warning, once for each message."""
        with self._lock:
            if message in self._told or len(self._told) >= _MOST_REASONS:
                return
            self._told.add(message)
        _log.warning("%s", message)
