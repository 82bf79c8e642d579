"""A lane: the thread that makes the changes of some sessions, many of them in one transaction.

Whatever was handed in while the last commit ran becomes the next transaction (natural group commit:
no timer, no artificial delay).  A change is answered only after the commit that holds it.
`DESIGN.md` beside this room gives the reasoning.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Final

from track_protocol.errors import (
    InternalError,
    PermissionDenied,
    SessionFenced,
    StoreConflict,
    StoreError,
    StoreFailed,
    TooBusy,
    TrackError,
)
from track_server.engine.fairqueue import FairQueue
from track_server.engine.jobs import UNFINISHED, BatchJob, CallJob, Job, Outcome, has_room, waits
from track_server.engine.recovery import Recovery
from track_server.engine.slices import MAX_CALLS
from track_server.storage.contract import Store, Wanted
from track_server.storage.transaction_state import Memory
from track_server.storage.unit_of_work import begin
from track_server.storage.write_limits import WriteLimits

__all__ = ["Lane"]

_log = logging.getLogger(__name__)

_MAX_JOBS: Final = 256
"""Jobs in one transaction."""

_TRANSACTION_S: Final = 0.1
"""Seconds of a transaction behind which what is left is left to the next one, and others have their turn."""

_MAX_LOADED_FIELDS: Final = MAX_CALLS
"""Trials whose fields, which may be long, are loaded ahead; those of others when they are asked for."""

_CONFLICTS: Final = 5
_CONFLICT_S: Final = 0.005
"""How often a transaction is tried again that met another, and the longest first pause in seconds."""

_IDLE_SLICE_S: Final = 0.02
_BUSY_SLICE_S: Final = 0.01
_BUSY_INTERVAL_S: Final = 0.25
"""Background work: slices of this many seconds when idle, and when somebody writes or reads one so often."""

_IDLE_INTERVAL_S: Final = 1.0
"""Seconds of rest after which an idle lane looks whether there is background work again."""


class Lane:
    """One writer thread with the queue of its jobs.

    Args:
        name: of the thread.
        store: the open store.
        recovery: knows whether the store may be written.
        maintain: does background work for about this many seconds; returns whether more is left.
        is_reading: whether somebody reads the store, which background work must not hold up.
        died: called with the error if the thread dies: nothing is stored from then on.
        committed: called after each commit.
        limits: of what is written.
    """

    def __init__(
        self,
        name: str,
        store: Store,
        recovery: Recovery,
        maintain: Callable[[float], bool],
        is_reading: Callable[[], bool],
        died: Callable[[StoreFailed], None],
        committed: Callable[[], None],
        limits: WriteLimits,
    ) -> None:
        self._store = store
        self._recovery = recovery
        self._maintain = maintain
        self._is_reading = is_reading
        self._died = died
        self._committed = committed
        self._limits = limits
        self._memory = Memory()
        self._queue = FairQueue()
        self._condition = threading.Condition()
        self._closing = False
        self._failure: StoreFailed | None = None
        self._running: list[Job] = []
        self._thread = threading.Thread(target=self._write, name=name, daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Hand a job in; any thread."""
        with self._condition:
            if not (self._closing or self._failure):
                self._queue.put(job)
                self._condition.notify()
                return
        job.done(self._failure or TooBusy("the store is closing: try again after its restart"))

    def close(self) -> None:
        """Finish what was handed in, and end the thread; harmless when repeated."""
        with self._condition:
            self._closing = True
            self._condition.notify()
        self._thread.join()

    # -- the thread ----------------------------------------------------------------------------------

    def _write(self) -> None:
        try:
            self._write_until_closed()
        except BaseException as error:  # noqa: BLE001 - without this thread all is accepted and nothing stored
            self._fail(error)

    def _write_until_closed(self) -> None:
        maintained = time.monotonic()
        while jobs := self._next_jobs():
            self._running = jobs
            unfinished = self._transact(jobs)
            self._running = []
            with self._condition:
                self._queue.put_back(unfinished)
            if time.monotonic() - maintained > _BUSY_INTERVAL_S:
                self._run_maintenance(_BUSY_SLICE_S)
                maintained = time.monotonic()

    def _fail(self, error: BaseException) -> None:
        """Fail every job that waits or comes later."""
        failure = StoreFailed(
            f"the writer thread of {self._store.uri} died ({error!r}): nothing can be stored: "
            "restart the server"
        )
        _log.critical("%s", failure, exc_info=error)
        with self._condition:
            self._failure = failure
            jobs = [*self._running, *self._queue.take(len(self._queue))]
        for job in jobs:
            _answer(job, failure)
        self._died(failure)

    def _next_jobs(self) -> list[Job]:
        """The jobs of the next transaction; none when the lane closes.  Maintains the store meanwhile."""
        more = True
        while True:
            is_reading = more and self._is_reading()
            rest = _BUSY_INTERVAL_S if is_reading else 0.0 if more else _IDLE_INTERVAL_S
            with self._condition:
                if not self._queue and rest:
                    self._condition.wait_for(lambda: self._queue or self._closing, rest)
                if self._queue:
                    return self._queue.take(_MAX_JOBS)
                if self._closing:
                    return []
            more = self._run_maintenance(_BUSY_SLICE_S if is_reading else _IDLE_SLICE_S)

    def _run_maintenance(self, seconds: float) -> bool:
        try:
            self._recovery.check_writable()
            return self._maintain(seconds)
        except Exception as error:  # noqa: BLE001 - it must not end the one thread that writes
            if not self._recovery.record_failure(error):
                _log.exception("background work on %s failed; it will be tried again", self._store.uri)
            return False

    def _transact(self, jobs: list[Job]) -> list[Job]:
        """Run jobs in one transaction; if that fails, each in one of its own, or half of them.

        Returns:
            those that have to continue in the next transaction, and what has to stay behind them.
        """
        try:
            outcomes = self._commit_again(jobs)
        except StoreConflict as error:
            if len(jobs) > 1:
                return self._transact_halves(jobs)
            outcomes = [TooBusy(f"{self._store.uri} is busy with the same things ({error}): try again")]
        except Exception as error:  # noqa: BLE001 - it must not end the one thread that writes
            self._recovery.record_failure(error)
            if len(jobs) > 1:
                return self._transact_each(jobs)
            if not (isinstance(error, StoreError) or jobs[0].careful):
                _log.warning("a transaction failed; its records are stored one by one", exc_info=error)
                jobs[0].careful = True
                return self._transact(jobs)
            outcomes = [_as_track_error(error)]
        else:
            if any(isinstance(job, BatchJob | CallJob) for job in jobs):
                self._recovery.record_success()
            self._committed()
        return self._answer_all(jobs, outcomes)

    def _commit_again(self, jobs: list[Job]) -> list[Outcome]:
        """Run jobs in one transaction; once more, and again, if another writer was in its way."""
        for attempt in range(_CONFLICTS):
            try:
                return self._commit(jobs)
            except StoreConflict:
                # Two that meet each other again and again do so at different times.
                time.sleep(random.uniform(0, _CONFLICT_S * 2**attempt))  # noqa: S311 - no secret
        return self._commit(jobs)

    def _answer_all(self, jobs: list[Job], outcomes: list[Outcome]) -> list[Job]:
        """Answer jobs; returns those that are not finished."""
        unfinished = []
        for job, outcome in zip(jobs, outcomes, strict=True):
            if outcome is UNFINISHED:
                unfinished.append(job)
            elif job.saves and not isinstance(outcome, TrackError):
                self._save(job, outcome)
            else:
                _answer(job, outcome)
        return unfinished

    def _transact_halves(self, jobs: list[Job]) -> list[Job]:
        half = len(jobs) // 2
        unfinished = self._transact(jobs[:half])
        behind = [job for job in jobs[half:] if waits(job, unfinished)]
        ready = [job for job in jobs[half:] if not waits(job, unfinished)]
        return [*unfinished, *behind, *(self._transact(ready) if ready else [])]

    def _transact_each(self, jobs: list[Job]) -> list[Job]:
        unfinished: list[Job] = []
        for job in jobs:
            unfinished += [job] if waits(job, unfinished) else self._transact([job])
        return unfinished

    def _commit(self, jobs: list[Job]) -> list[Outcome]:
        self._recovery.check_writable()
        tx = begin(self._store, self._memory, self._limits)
        try:
            wanted = Wanted()
            for job in jobs:
                # What cannot even be loaded is found as part of its record, and so is what takes very long.
                if not job.careful and len(wanted.fields) < _MAX_LOADED_FIELDS:
                    wanted.add(job.wanted)
            tx.load(wanted)
            outcomes: list[Outcome] = []
            unfinished: list[Job] = []
            until = time.monotonic() + _TRANSACTION_S
            for job in jobs:
                late = bool(outcomes) and job.writer is not None
                late = late and (time.monotonic() > until or not has_room(tx))
                try:
                    outcomes.append(UNFINISHED if late or waits(job, unfinished) else job.run(tx))
                except (PermissionDenied, SessionFenced) as error:
                    outcomes.append(error)
                if outcomes[-1] is UNFINISHED:
                    unfinished.append(job)
            tx.commit()
        except BaseException:
            tx.rollback()
            raise
        return outcomes

    def _save(self, job: Job, outcome: Outcome) -> None:
        """Save the store, and answer then; if it fails, only this job gets the error.

        The transaction is durable by now: running it again would find everything there already, and
        discard what was rejected.
        """

        def saved(error: Exception | None) -> None:
            if error is None:
                _answer(job, outcome)
                return
            if not self._recovery.record_failure(error) and not isinstance(error, StoreError):
                _log.error("%s could not be saved", self._store.uri, exc_info=error)
            _answer(job, _as_track_error(error))

        try:
            self._store.save(saved)
        except Exception as error:  # noqa: BLE001 - it must not end the one thread that writes
            saved(error)


def _answer(job: Job, outcome: Outcome) -> None:
    try:
        job.done(outcome)
    except Exception:  # noqa: BLE001 - a callback must not end the writer thread
        _log.exception("an answer could not be delivered")


def _as_track_error(error: Exception) -> TrackError:
    return error if isinstance(error, TrackError) else InternalError(f"the server failed: {error!r}")
