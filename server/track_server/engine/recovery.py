"""What becomes of writing when the disk under a store fails, or is found to have changed what was written.

======= =============================== ==================== ===========================================
state   begins with                     writes and sessions  ends
======= =============================== ==================== ===========================================
intact                                  continue
failed  `StoreFailed` of a write or     `StoreFailed`        when the store could be opened again from
        a flush, such as                                     what is on the disk, or in the database; tried
        `StoreUnavailable`                                   with backoff
damaged `StoreCorrupt`, also of a read  `StoreCorrupt`,      with the process: the operator has to restore
                                        sessions continue    a backup
======= =============================== ==================== ===========================================

Reads continue in all of them, as far as the disk can be read.  A full disk is no state, since each write
is simply tried; but the log says it once, and again when there is room.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

from track_protocol.errors import (
    StoreCorrupt,
    StoreError,
    StoreFailed,
    StoreFull,
    StoreUnavailable,
    TrackError,
)

__all__ = ["Recovery", "Reopened"]

_log = logging.getLogger(__name__)

_BACKOFF_S: Final = (0.1, 30.0)
_PROVEN_AFTER_S: Final = 30.0
"""Seconds after which a store that was opened again counts as good, and is so at once the next time."""

_DISK_FAILED: Final = "accepts no writes since its disk failed"
_DATABASE_GONE: Final = "accepts no writes since its database is gone"

_ROOM_AFTER_S: Final = 10.0
"""Seconds without a full disk after which there is room; while it fills up, small things still find some."""

_LOG_AGAIN_S: Final = 600.0
"""Seconds after which a full disk is another one."""


class Reopened(Protocol):
    """What this needs from a store."""

    @property
    def uri(self) -> str:
        """The URI it was opened with."""

    def reopen(self) -> None:
        """Open everything again from what is on the disk; raises `StoreError` when that failed."""


class Recovery:
    """Knows whether a store may be written, and opens it again after its disk has failed.

    Args:
        store: the open store.
        clock: seconds, from any moment on.
    """

    def __init__(self, store: Reopened, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._reopening = threading.Lock()
        self._refusal: StoreError | None = None
        self._unsure = False
        self._failures = 0
        self._logged_full: str | None = None
        self._was_gone = False
        self._attempts = 0
        self._retry_at = self._reopened_at = self._full_at = 0.0

    @property
    def blocked(self) -> bool:
        """Whether nothing may be written now."""
        return self._refusal is not None

    @property
    def fault(self) -> str | None:
        """Why nothing that clients send is stored at the moment, in a sentence; None while it is."""
        refusal = self._refusal
        return self._logged_full if refusal is None else str(refusal)

    def record_failure(self, error: Exception, *, reading: bool = False) -> bool:
        """Take note of what went wrong with the store; any thread.

        Args:
            error: what was raised.
            reading: by a read, which cannot leave anything half written.

        Returns:
            whether it is of the kind that is handled, and logged, here.
        """
        with self._lock:
            if isinstance(error, StoreCorrupt):
                self._damaged(error)
                return True
            if isinstance(error, StoreFailed) and not reading:
                self._failed(error)
                return True
            if isinstance(error, StoreFull) and not reading:
                self._full(error)
                return True
        return False

    def record_success(self) -> None:
        """Take notice that something a client had sent was stored; a writer thread."""
        if self._was_gone:  # a database that commits is there, as a disk that took a write need not be good
            self._was_gone, self._attempts = False, 0
        if self._logged_full is not None and self._clock() - self._full_at >= _ROOM_AFTER_S:
            self._logged_full = None
            _log.warning("%s has room again and accepts writes", self._store.uri)

    def check_writable(self) -> None:
        """Check that the store may be written, perhaps after opening it again; a writer thread.

        Raises:
            StoreFailed: the disk has failed, and the store could not be opened again yet.
            StoreCorrupt: damage was found.
        """
        with self._reopening:  # one writer thread opens it, and the others wait
            if isinstance(self._refusal, StoreFailed) and self._clock() >= self._retry_at:
                self._reopen()
        refusal = self._refusal
        if refusal is not None:
            raise type(refusal)(str(refusal))

    def check_durable(self) -> int:
        """Check that everything that can be read is durable; any thread.

        Returns:
            a number; if it is the same behind a read as before it, the read has seen only such things.

        Raises:
            StoreFailed: the result is unknown.
        """
        with self._lock:
            if self._unsure:
                raise StoreFailed(str(self._refusal))
            return self._failures

    def _failed(self, error: StoreFailed) -> None:
        if self._refusal is not None:
            return
        now = self._clock()
        if now - self._reopened_at > _PROVEN_AFTER_S:
            self._attempts = 0
        self._failures += 1
        self._unsure = True
        self._postpone(now)
        self._was_gone = gone = isinstance(error, StoreUnavailable)
        since = _DATABASE_GONE if gone else _DISK_FAILED
        self._refusal = (StoreUnavailable if gone else StoreFailed)(
            f"{self._store.uri} {since} ({error}): check the {'database' if gone else 'disk'}; the server "
            "opens the store again by itself, and refused records can then be sent again"
        )
        _log.error("%s", self._refusal)

    def _damaged(self, error: StoreCorrupt) -> None:
        if isinstance(self._refusal, StoreCorrupt):
            return
        self._refusal = StoreCorrupt(
            f"{self._store.uri} is read-only since damage was found in it ({error}): stop its server, see "
            "'track check', restore a backup with 'track restore', and start the server again"
        )
        _log.error("%s", self._refusal)

    def _full(self, error: StoreFull) -> None:
        now = self._clock()
        if self._logged_full is None or now - self._full_at >= _LOG_AGAIN_S:
            self._logged_full = f"{error}; until then writes are refused, and clients queue them"
            _log.error("%s", self._logged_full)
        self._full_at = now

    def _postpone(self, now: float) -> None:
        least, most = _BACKOFF_S
        self._retry_at = now + min(most, least * 2 ** (self._attempts - 1)) if self._attempts else now
        self._attempts = min(self._attempts + 1, 16)

    def _reopen(self) -> None:
        try:
            self._store.reopen()
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing may be written before it works
            with self._lock:
                if isinstance(error, StoreCorrupt):
                    self._damaged(error)
                self._postpone(self._clock())
            _log.warning(
                "%s could not be opened again yet: %s", self._store.uri, error, exc_info=_unforeseen(error)
            )
            return
        with self._lock:
            if isinstance(self._refusal, StoreFailed):
                self._refusal = None
            self._unsure = False
            self._reopened_at = self._clock()
        _log.warning("%s was opened again and accepts writes", self._store.uri)


def _unforeseen(error: Exception) -> Exception | None:
    """The error if its message alone would not say enough."""
    return None if isinstance(error, TrackError) else error
