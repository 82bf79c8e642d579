"""Which sessions are there, and since when the others are not: what decides that a trial is lost.

A session is present while it is connected, and for the time of a lease after it has disconnected.  The
connection of a replay, which sends what an ended process has left, is no sign of life: it tells when the
process was last alive, and trials that still run when the replay disconnects are lost at once, as of that
time.  But a spool may have been copied from a process that lives: a session that is connected itself when a
replay begins has the time of a lease to come back, and a session that comes back revives its trials.

What happens to trials is `track_server.methods.leases`; this looks after the time.  Durations are measured on
a monotonic clock, from the first check on if it is unknown since when a session is disconnected: so
after a server's start, and after a time in which the store failed, everybody has the full time to come
back, except processes of which a replay has told that they have ended: that is stored with the session.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Protocol

from track_protocol.errors import StoreCorrupt, StoreFailed, StoreFull, TrackError
from track_server.methods import leases
from track_server.methods.embedded_presence import ended_sessions
from track_server.storage.contract import LocalSessions
from track_server.storage.unit_of_work import UnitOfWork

__all__ = ["Changes", "Presence"]

_log = logging.getLogger(__name__)

_LOOKS: Final = 4
_LONGEST_PAUSE: Final = 5.0
"""Checks of the leases within the time of a lease, and the longest time between two checks in seconds."""


class Changes(Protocol):
    """What makes changes to the store: the engine."""

    def submit_change(self, change: Callable[[UnitOfWork], Any], done: Callable[[Any], None]) -> None:
        """Make a change in a transaction; `done` gets its outcome, on any thread."""


@dataclass(frozen=True, slots=True)
class _Absence:
    """Of a session that is disconnected.

    Attributes:
        since: on the monotonic clock; None for the next check.
        seen: when it was last there, in seconds since the epoch; None if that is only known from `since`.
    """

    since: float | None
    seen: float | None


@dataclass(frozen=True, slots=True)
class _Replay:
    """Of a process that ended at `ended`; `displaced`: the process itself was connected when it began."""

    ended: float
    displaced: bool


class Presence:
    """Tracks which sessions are connected; trials of sessions that disappear become lost, and later revive.

    Args:
        seconds: how long a session may be disconnected; 0 for ever.
        changes: makes the changes.
        clock: seconds that only grow.
        wall: seconds since the epoch.
        local: the sessions of processes that had the store open themselves before; None if there are none.
    """

    def __init__(
        self,
        seconds: float,
        changes: Changes,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        local: LocalSessions | None = None,
    ) -> None:
        self._seconds = seconds
        self._changes = changes
        self._clock = clock
        self._wall = wall
        self._local = local
        self._lock = threading.Lock()
        self._there: set[bytes] = set()
        self._absent: dict[bytes, _Absence] = {}
        self._replays: dict[bytes, _Replay] = {}
        self._unheard: set[bytes] = set()

    def connected(self, sid: bytes, ended: float | None = None) -> None:
        """A session is connected; its lost trials run again, before anything that it sends from now on.

        Args:
            sid: the session's id.
            ended: when its process was last alive, in seconds since the epoch, if this is its replay, which
                has no trial run again.
        """
        with self._lock:
            earlier = self._replays.pop(sid, None)
            if ended is not None:
                displaced = earlier.displaced if earlier is not None else sid in self._there
                absence = self._absent.get(sid)
                seen = 0.0 if absence is None else absence.seen or 0.0
                self._replays[sid] = _Replay(min(max(ended, seen), self._wall()), displaced)
            self._there.add(sid)
        if ended is None:
            self._revive(sid)

    def disconnected(self, sid: bytes) -> None:
        """A session has disconnected."""
        with self._lock:
            self._there.discard(sid)
            replay = self._replays.pop(sid, None)
            if not self._seconds:
                return
            if replay is None:
                self._absent[sid] = _Absence(self._clock(), self._wall())
                return
            waited = 0.0 if replay.displaced else self._seconds
            self._absent[sid] = _Absence(self._clock() - waited, replay.ended)
        if not replay.displaced:
            self._changes.submit_change(self.look, self._report)

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
        holders = leases.holders(tx)
        running = {sid for sids in holders.values() for sid in sids}
        ended = {} if self._local is None else ended_sessions(tx, holders, self._local)
        gone = self._known_ended(tx, running) | self._overdue(running) | ended
        return leases.lose_left(tx, holders, gone)

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
        self._report(outcome)
        return not isinstance(outcome, TrackError) and len(outcome) == leases.MAX_AT_ONCE

    def _report(self, outcome: Any) -> None:
        if isinstance(outcome, TrackError):
            _log.log(_level(outcome), "lost trials could not be determined: %s", outcome)
            with self._lock:
                # No session can attach to a store that fails, so no absence counts meanwhile.
                self._absent = {sid: replace(each, since=None) for sid, each in self._absent.items()}
            return
        for trial in outcome:
            _log.warning("trial %s is lost", trial.hex())

    def _revive(self, sid: bytes) -> None:
        def done(outcome: Any) -> None:
            if not isinstance(outcome, TrackError):
                for trial in outcome:
                    _log.warning("trial %s runs again", trial.hex())
                if len(outcome) == leases.MAX_AT_ONCE:
                    self._revive(sid)
                return
            _log.log(_level(outcome), "trials of a returned session could not be revived yet: %s", outcome)
            with self._lock:
                self._unheard.add(sid)

        self._changes.submit_change(partial(leases.revive, sid=sid, limit=leases.MAX_AT_ONCE), done)

    def _known_ended(self, tx: UnitOfWork, running: set[bytes]) -> dict[bytes, float]:
        """Sessions that were not here yet, but whose end was reported before the server was restarted."""
        with self._lock:
            unheard = running - self._there - self._absent.keys()
        states = [tx.session(sid) for sid in unheard]
        now = self._wall()
        return {each.sid: min(each.ended, now) for each in states if each and each.ended is not None}

    def _overdue(self, holders: set[bytes]) -> dict[bytes, float]:
        """Sessions of running trials that are disconnected for too long, with when they were last there.

        Forgets others.
        """
        with self._lock:
            now, wall = self._clock(), self._wall()
            known = {sid: self._absent.get(sid, _Absence(None, None)) for sid in holders - self._there}
            self._absent = {
                sid: each if each.since is not None else replace(each, since=now)
                for sid, each in known.items()
            }
            absent = {sid: now - (each.since or 0.0) for sid, each in self._absent.items()}
            return {
                sid: wall - seconds if (seen := self._absent[sid].seen) is None else seen
                for sid, seconds in absent.items()
                if seconds >= self._seconds
            }


def _level(error: TrackError) -> int:
    """The level of the log line: what is wrong with the store itself is logged where it is found."""
    return logging.DEBUG if isinstance(error, StoreFull | StoreFailed | StoreCorrupt) else logging.WARNING
