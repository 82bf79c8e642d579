"""Which processes that open a store themselves are alive, and what becomes of the trials of the others.

Each of their sessions has a lock that ends with its process (`track_server.storage.session_locks`).  So a
trial whose process was killed is lost without a server, too: to whoever opens the store next, and within
seconds to those who have it open.  There is no lease to wait for, because a free lock is certain.

Whether a process that logs to a server is alive is unknown here: its trials are left to the server.
"""

from __future__ import annotations

import logging
import queue
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Any, Final, Protocol

from track_protocol.errors import StoreError, TrackError
from track_server.methods import leases
from track_server.methods.trial_metadata import HEARTBEAT, as_read
from track_server.storage.contract import EMBEDDED_USER, LocalSessions, Store, View
from track_server.storage.unit_of_work import UnitOfWork

__all__ = ["EmbeddedPresence", "Engine", "ended_sessions"]

_log = logging.getLogger(__name__)

_LOOK_INTERVAL_S: Final = 5.0
"""Seconds between two checks whether other processes have ended."""


class Engine(Protocol):
    """What reads and changes the store."""

    @property
    def store(self) -> Store:
        """The open store."""

    def submit_change(self, change: Callable[[UnitOfWork], Any], done: Callable[[Any], None]) -> None:
        """Make a change in a transaction; `done` gets its outcome, on any thread."""


class EmbeddedPresence:
    """Shows that this process has a session, and has the trials of ended processes be lost.

    Args:
        sid: the session's id.
        engine: of the store.
        local: the sessions of the store's processes.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        sid: bytes,
        engine: Engine,
        local: LocalSessions,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sid = sid
        self._engine = engine
        self._local = local
        self._clock = clock
        self._look_at = 0.0
        self._running: dict[bytes, set[bytes]] = {}

    def enter(self) -> None:
        """Hold the session from now on, and wait until the trials of ended processes are lost."""
        try:
            self._local.hold(self._sid)
        except StoreError as error:
            _log.warning("others may take this process for one that has ended: %s", error)
        self._wait_for(self._revive)
        more = True
        while more:
            outcome = self._wait_for(self._lose)
            more = bool(outcome) and not isinstance(outcome, TrackError)
        self._tidy()
        self._look_at = self._clock() + _LOOK_INTERVAL_S

    def look(self) -> None:
        """Show a sign of life, and look after the others now and then; to be called every second or so."""
        try:
            if self._local.hold(self._sid):
                self._engine.submit_change(self._revive, _report)
            if self._clock() >= self._look_at:
                self._look_at = self._clock() + _LOOK_INTERVAL_S
                self._look()
        except StoreError as error:  # a full disk, for instance: it is tried again
            _log.debug("who is alive cannot be seen: %s", error)

    def runs_trials(self) -> bool:
        """Whether the session has running trials, or that is unknown."""
        outcome = self._wait_for(lambda tx: leases.held(tx, self._sid))
        return isinstance(outcome, TrackError) or bool(outcome)

    def leave(self) -> None:
        """Release the session; to be called when the engine is closed."""
        self._local.release(self._sid)

    def _look(self) -> None:
        with self._engine.store.snapshot() as view:
            self._running = leases.holders(view)
            ended = self._ended(view)
        if leases.left(self._running, ended):
            self._engine.submit_change(self._lose, _report)
        self._tidy()

    def _wait_for(self, change: Callable[[UnitOfWork], list[bytes]]) -> list[bytes] | TrackError:
        outcomes: queue.SimpleQueue[list[bytes] | TrackError] = queue.SimpleQueue()
        self._engine.submit_change(change, outcomes.put)
        outcome = outcomes.get()
        _report(outcome)
        return outcome

    def _lose(self, tx: UnitOfWork) -> list[bytes]:
        self._running = leases.holders(tx)
        return leases.lose_left(tx, self._running, self._ended(tx))

    def _ended(self, view: View | UnitOfWork) -> dict[bytes, float]:
        return ended_sessions(view, self._running, self._local)

    def _tidy(self) -> None:
        """Remove what ended processes have left, except those whose trials are not lost yet."""
        with suppress(StoreError):  # it is only tidier
            self._local.tidy({sid for sids in self._running.values() for sid in sids})

    def _revive(self, tx: UnitOfWork) -> list[bytes]:
        return leases.revive(tx, self._sid, leases.MAX_AT_ONCE)


def ended_sessions(
    view: View | UnitOfWork,
    holders: Mapping[bytes, Collection[bytes]],
    local: LocalSessions,
) -> dict[bytes, float]:
    """Sessions of embedded processes that have ended.

    Args:
        view: of the store.
        holders: the sessions of each running trial.
        local: the sessions of the store's processes.

    Returns:
        when each was last alive, in seconds since the epoch; nothing if that cannot be seen.
    """
    trials = defaultdict(list)
    for trial, sids in holders.items():
        for sid in sids:
            trials[sid].append(trial)
    embedded = [sid for sid in trials if _is_embedded(view, sid)]
    try:
        ended = local.ended(embedded)
    except StoreError as error:
        _log.debug("who is alive cannot be seen: %s", error)
        return {}
    now = time.time()
    return {
        sid: min(now, max(seen, *(_last_sign(view, trial) for trial in trials[sid])))
        for sid, seen in ended.items()
    }


def _is_embedded(view: View | UnitOfWork, sid: bytes) -> bool:
    state = view.session(sid)
    return state is not None and state.user == EMBEDDED_USER


def _last_sign(view: View | UnitOfWork, trial: bytes) -> float:
    """When something that a trial's processes did was last stored."""
    document = view.trial(trial)
    heartbeat = None if document is None else as_read(document)["metadata"].get(HEARTBEAT)
    return heartbeat if isinstance(heartbeat, float) else 0.0


def _report(outcome: Any) -> None:
    if isinstance(outcome, TrackError):
        _log.debug("what became of ended processes could not be stored: %s", outcome)
