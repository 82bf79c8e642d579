"""Which sessions are there, and since when the others are not: what decides that a trial is lost.

A session is there while it is connected, and for the time of a lease after its connection went away.
What happens to trials is `track_server.methods.leases`; this looks after the time.  Durations are measured on
a clock that nobody sets, from the first look on when it is not known since when a session is away: so
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
"""So often within the time of a lease, or every so many seconds, the leases are looked through."""

_MOST: Final = 256
"""Trials that are lost in one transaction, which others have to wait for."""


class Changes(Protocol):
    """What makes changes to the store: the engine."""

    def submit_change(self, change: Callable[[UnitOfWork], Any], done: Callable[[Any], None]) -> None:
        """Make a change in a transaction; `done` is told its outcome, on any thread."""


class Presence:
    """Knows who is there; told by the server, it has trials of those who are not lost and revived.

    Args:
        seconds: how long a session may be away; 0 for ever.
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
        self._turn = threading.Lock()
        self._there: set[bytes] = set()
        self._away_since: dict[bytes, float] = {}
        self._unheard: set[bytes] = set()

    def arrived(self, sid: bytes) -> None:
        """A session is connected; its lost trials run again, before anything that it says from now on."""
        with self._turn:
            self._there.add(sid)
        self._revive(sid)

    def left(self, sid: bytes) -> None:
        """A session's connection went away."""
        with self._turn:
            self._there.discard(sid)
            if self._seconds:
                self._away_since[sid] = self._clock()

    async def watch(self) -> None:
        """Look through the leases now and then, for ever."""
        pause = min(_LONGEST_PAUSE, self._seconds / _LOOKS) or _LONGEST_PAUSE
        while True:
            with self._turn:
                again, self._unheard = self._unheard, set()
            for sid in again:
                self._revive(sid)
            more = await self._looked() if self._seconds else False
            await asyncio.sleep(0 if more else pause)

    def look(self, tx: UnitOfWork) -> list[bytes]:
        """Find running trials whose holders are all away for too long, and lose them.

        Returns:
            the ids of these trials; of very many, some.
        """
        holders = defaultdict(list)
        for lease in tx.leases_by_status(*leases.RUNNING):
            holders[lease.trial].append(lease.sid)
        overdue = self._overdue({sid for sids in holders.values() for sid in sids})
        lost = [trial for trial, sids in holders.items() if overdue.keys() >= set(sids)][:_MOST]
        for trial in lost:
            away = min(overdue[sid] for sid in holders[trial])
            leases.lose(tx, trial, self._wall() - away)
        return lost

    async def _looked(self) -> bool:
        """Look in a transaction; returns whether there may be more to find."""
        loop = asyncio.get_running_loop()
        looked: asyncio.Future[Any] = loop.create_future()

        def tell(outcome: Any) -> None:
            if not looked.done():  # nobody waits any more once the watch has ended
                looked.set_result(outcome)

        def done(outcome: Any) -> None:
            loop.call_soon_threadsafe(partial(tell, outcome))

        self._changes.submit_change(self.look, done)
        outcome = await looked
        if isinstance(outcome, TrackError):
            _log.log(_level(outcome), "whose trials are lost cannot be found out: %s", outcome)
            with self._turn:
                # Nobody can attach to a store that fails, so nobody's absence counts meanwhile.
                self._away_since.clear()
            return False
        for trial in outcome:
            _log.warning("trial %s is lost", trial.hex())
        return len(outcome) == _MOST

    def _revive(self, sid: bytes) -> None:
        def done(outcome: Any) -> None:
            if not isinstance(outcome, TrackError):
                for trial in outcome:
                    _log.warning("trial %s runs again", trial.hex())
                return
            _log.log(_level(outcome), "the lost trials of a session that is back have to wait: %s", outcome)
            with self._turn:
                self._unheard.add(sid)

        self._changes.submit_change(partial(leases.revive, sid=sid), done)

    def _overdue(self, holders: set[bytes]) -> dict[bytes, float]:
        """Of sessions that hold running trials, those away for too long, with the seconds; forgets others."""
        with self._turn:
            now = self._clock()
            known = self._away_since
            self._away_since = {sid: known.get(sid, now) for sid in holders - self._there}
            return {
                sid: now - since for sid, since in self._away_since.items() if now - since >= self._seconds
            }


def _level(error: TrackError) -> int:
    """How loud to tell of it: what is wrong with the store itself is told by whoever found it."""
    return logging.DEBUG if isinstance(error, StoreFull | StoreFailed | StoreCorrupt) else logging.WARNING
