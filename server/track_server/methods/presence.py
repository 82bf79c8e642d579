"""Which sessions are there, and since when the others are not: what decides that a trial is lost.

A session is present while it is connected, and for the time of a lease after it has disconnected.
What happens to trials is `track_server.methods.leases`; this looks after the time.  Durations are measured on
a monotonic clock, from the first check on if it is unknown since when a session is disconnected: so
after a server's start, and after a time in which the store failed, everybody has the full time to come
back.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol

from track_protocol.errors import StoreCorrupt, StoreFailed, StoreFull, TrackError
from track_server.methods import leases
from track_server.storage.unit_of_work import UnitOfWork

__all__ = ["Changes", "Presence"]

_log = logging.getLogger(__name__)

_LOOKS: Final = 4
_LONGEST_PAUSE: Final = 5.0
"""Checks of the leases within the time of a lease, and the longest time between two checks in seconds."""

_MOST: Final = 256
"""Trials that are lost, or run again, in one transaction, which others have to wait for."""


class Changes(Protocol):
    """What makes changes to the store: the engine."""

    def submit_change(self, change: Callable[[UnitOfWork], Any], done: Callable[[Any], None]) -> None:
        """Make a change in a transaction; `done` gets its outcome, on any thread."""


class Presence:
    """Tracks which sessions are connected; trials of sessions that disappear become lost, and later revive.

    Args:
        seconds: how long a session may be disconnected; 0 for ever.
        changes: makes the changes.
        clock: seconds that only grow.
        wall: seconds since the epoch.
    """

    def __init__(
        self,
        seconds: float,
        changes: Changes,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._seconds = seconds
        self._changes = changes
        self._clock = clock
        self._wall = wall
        self._lock = threading.Lock()
        self._there: set[bytes] = set()
        self._disconnected_at: dict[bytes, float] = {}
        self._unheard: set[bytes] = set()

    def connected(self, sid: bytes) -> None:
        """A session is connected; its lost trials run again, before anything that it sends from now on."""
        with self._lock:
            self._there.add(sid)
        self._revive(sid)

    def disconnected(self, sid: bytes) -> None:
        """A session has disconnected."""
        with self._lock:
            self._there.discard(sid)
            if self._seconds:
                self._disconnected_at[sid] = self._clock()

    async def watch(self) -> None:
        """Look through the leases now and then, for ever."""
        pause = min(_LONGEST_PAUSE, self._seconds / _LOOKS) or _LONGEST_PAUSE
        while True:
            with self._lock:
                again, self._unheard = self._unheard, set()
            for sid in again:
                self._revive(sid)
            more = await self._looked() if self._seconds else False
            await asyncio.sleep(0 if more else pause)

    def look(self, tx: UnitOfWork) -> list[bytes]:
        """Find running trials whose holders are all disconnected for too long, and lose them.

        Returns:
            the ids of these trials; of very many, some.
        """
        holders = defaultdict(list)
        for lease in tx.leases_by_status(*leases.RUNNING):
            holders[lease.trial].append(lease.sid)
        overdue = self._overdue({sid for sids in holders.values() for sid in sids})
        lost = [trial for trial, sids in holders.items() if overdue.keys() >= set(sids)][:_MOST]
        for trial in lost:
            absent = min(overdue[sid] for sid in holders[trial])
            leases.lose(tx, trial, self._wall() - absent)
        return lost

    async def _looked(self) -> bool:
        """Look in a transaction; returns whether there may be more to find."""
        loop = asyncio.get_running_loop()
        looked: asyncio.Future[Any] = loop.create_future()

        def resolve(outcome: Any) -> None:
            if not looked.done():  # the watch may have ended meanwhile
                looked.set_result(outcome)

        def done(outcome: Any) -> None:
            loop.call_soon_threadsafe(partial(resolve, outcome))

        self._changes.submit_change(self.look, done)
        outcome = await looked
        if isinstance(outcome, TrackError):
            _log.log(_level(outcome), "lost trials could not be determined: %s", outcome)
            with self._lock:
                # No session can attach to a store that fails, so no absence counts meanwhile.
                self._disconnected_at.clear()
            return False
        for trial in outcome:
            _log.warning("trial %s is lost", trial.hex())
        return len(outcome) == _MOST

    def _revive(self, sid: bytes) -> None:
        def done(outcome: Any) -> None:
            if not isinstance(outcome, TrackError):
                for trial in outcome:
                    _log.warning("trial %s runs again", trial.hex())
                if len(outcome) == _MOST:
                    self._revive(sid)
                return
            _log.log(_level(outcome), "trials of a returned session could not be revived yet: %s", outcome)
            with self._lock:
                self._unheard.add(sid)

        self._changes.submit_change(partial(leases.revive, sid=sid, limit=_MOST), done)

    def _overdue(self, holders: set[bytes]) -> dict[bytes, float]:
        """Sessions of running trials that are disconnected for too long, with the seconds; removes others."""
        with self._lock:
            now = self._clock()
            known = self._disconnected_at
            self._disconnected_at = {sid: known.get(sid, now) for sid in holders - self._there}
            return {
                sid: now - since
                for sid, since in self._disconnected_at.items()
                if now - since >= self._seconds
            }


def _level(error: TrackError) -> int:
    """The level of the log line: what is wrong with the store itself is logged where it is found."""
    return logging.DEBUG if isinstance(error, StoreFull | StoreFailed | StoreCorrupt) else logging.WARNING
