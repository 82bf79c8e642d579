"""Drop accounting: each reason is reported once, every drop is counted, and the trial records it."""

from __future__ import annotations

import logging
import threading
from typing import Final, NamedTuple

from track_protocol.wire.counts import Counts

__all__ = ["DropAccount", "Dropped"]

_log: Final = logging.getLogger("track")
_MAX_REASONS: Final = 1_000
_MAX_REASON_LENGTH: Final = 1_000


class Dropped(NamedTuple):
    """What a trial lost for one reason."""

    trial: bytes | str
    points: int
    reason: str


class DropAccount:
    """Counts of points and calls that will never be stored.

    Attributes:
        dropped: never left this process: not storable, no room, or refused entirely.
        rejected: refused one by one by the store.
        trials: those that may have lost records whose trial is unknown.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self.rejected = 0
        self.trials: set[bytes] = set()
        self._reported: set[str] = set()
        self._unreported: dict[tuple[bytes | str, str], int] = {}
        # Reentrant, because a signal handler or a destructor may log in the middle of this.
        self._lock = threading.RLock()

    def drop(self, count: int, reason: str, trial: bytes | str | None = None) -> None:
        """Count something that does not leave this process.

        Args:
            count: points, or other log calls.
            reason: why.
            trial: whose it is, by id or uid, where that is known.
        """
        with self._lock:
            self.dropped += count
            if trial is not None:
                self._note(trial, count, reason)
        self.warn(f"not logged: {reason}")

    def drop_all(self, counts: Counts, reason: str, trial: bytes | str | None = None) -> None:
        """The same for points and other log calls together; zero counts are not reported.

        Args:
            counts: how much.
            reason: why.
            trial: whose it is, by id or uid, where that is known.
        """
        if counts:
            self.drop(counts.total, reason, trial)

    def drop_unread(self, counts: Counts, reason: str) -> None:
        """Count unreadable records of unknown trials: each trial gets a report.

        Args:
            counts: how much.
            reason: why.
        """
        if counts:
            with self._lock:
                for trial in self.trials:
                    self._note(trial, counts.total, reason)
        self.drop_all(counts, reason)

    def lose(self, count: int, reason: str, trial: bytes | str) -> None:
        """Count a dropped record of a trial."""
        with self._lock:
            self._note(trial, count, reason)

    def _note(self, trial: bytes | str, count: int, reason: str) -> None:
        key = (trial, reason[:_MAX_REASON_LENGTH])
        if key not in self._unreported and len(self._unreported) >= _MAX_REASONS:
            key = (trial, "further reasons")
        self._unreported[key] = self._unreported.get(key, 0) + count

    @property
    def is_reported(self) -> bool:
        """Whether there is nothing to report to a trial."""
        return not self._unreported

    def report(self) -> list[Dropped]:
        """What to report to the trials, each time only what came since."""
        with self._lock:
            noted, self._unreported = self._unreported, {}
        return [Dropped(trial, count, reason) for (trial, reason), count in noted.items()]

    def reject(self, count: int, reason: str) -> None:
        """Count something that the store does not take."""
        with self._lock:
            self.rejected += count
        self.warn(f"not stored: {reason}")

    def warn(self, message: str, *, again: bool = False) -> None:
        """Log a warning, once for each message.

        Args:
            message: the warning.
            again: report it though it was reported before, since the condition had ended meanwhile.
        """
        with self._lock:
            if not again and (message in self._reported or len(self._reported) >= _MAX_REASONS):
                return
            self._reported.add(message)
        _log.warning("%s", message)
