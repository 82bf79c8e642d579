"""The engine: every change goes through one thread, many changes to a commit.

Whatever was handed in while the last commit ran becomes the next transaction (natural group commit:
no timer, no artificial delay).  A change is answered only after the commit that holds it.
`DESIGN.md` beside this file gives the reasoning.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from track_protocol.errors import (
    InternalError,
    PermissionDenied,
    SessionFenced,
    StoreCorrupt,
    StoreError,
    StoreFailed,
    StoreFull,
    TooBusy,
    TrackError,
)
from track_protocol.wire.batch import Batch
from track_server.engine.fairqueue import Turns
from track_server.engine.jobs import (
    TURN,
    UNFINISHED,
    Attached,
    AttachJob,
    BatchJob,
    CallJob,
    ChangeJob,
    Job,
    LeaveJob,
    Outcome,
    Writer,
    bound,
    session_of,
    waits,
)
from track_server.engine.readers import Peer, ReaderPool, Rest
from track_server.engine.recovery import Recovery
from track_server.methods.blobs import Sweeper
from track_server.storage.contract import SessionState, Store, Transaction

__all__ = ["Engine"]

_log = logging.getLogger(__name__)

_GROUP: Final = 256
"""Most jobs in one transaction."""

_IDLE_SLICE: Final = 0.02
_BUSY_SLICE: Final = 0.01
_BUSY_EVERY: Final = 0.25
"""Background work: slices of this many seconds when idle, and when busy one so often."""

_LOOK_AFTER: Final = 1.0
"""Seconds of rest after which an idle engine looks whether there is background work again."""


class Engine:
    """Serialises every change onto one store.

    Args:
        store: an open store; the engine owns it from now on and closes it.
        readers: threads that answer reads, each on a snapshot of its own.
    """

    def __init__(self, store: Store, readers: int = 3) -> None:
        self.store = store
        self._recovery = Recovery(store)
        self._sweeper = Sweeper(store)
        self._jobs = Turns()
        self._wake = threading.Condition()
        self._closing = False
        self._failed: StoreFailed | None = None
        self._on_failure: Callable[[TrackError], None] | None = None
        self._running: list[Job] = []
        self._readers = ReaderPool(store, self._recovery, readers)
        self._thread = threading.Thread(target=self._write, name="track-writer", daemon=True)
        self._thread.start()

    # -- what may be asked, from any thread ------------------------------------------------------

    def submit_attach(self, sid: bytes, user: str, done: Callable[[Outcome], None]) -> None:
        """Take a session over: what an older holder hands in from now on is refused.

        While the disk is full or the store damaged no holder can write, and the new one is let in as if it
        were the older one: it may read, and its records wait.

        Args:
            sid: the session's id.
            user: who it belongs to.
            done: called behind everything the older holder had handed in, once the takeover is durable,
                with an `Attached` or with the `TrackError` that stands in the way.
        """
        writer = Writer(sid, user)

        def answer(outcome: Outcome) -> None:
            readable = isinstance(outcome, StoreFull | StoreCorrupt)
            done(self._attached_as_before(writer) if readable else outcome)

        self._submit(AttachJob(writer, answer))

    def submit_batch(self, writer: Writer, batch: Batch, done: Callable[[Outcome], None]) -> None:
        """Store a batch.

        Args:
            writer: the session it belongs to.
            batch: its records.
            done: called on the engine's thread, once the batch is durable, with an `Acked`, or with
                the `TrackError` that stands in the way.
        """
        self._submit(BatchJob(writer, batch, done))

    def submit_call(
        self,
        writer: Writer,
        seq: int,
        method: str,
        arguments: dict[str, Any],
        done: Callable[[Outcome], None],
    ) -> None:
        """Execute a write with an answer; a repeated `seq` gets the answer it got before.

        Args:
            writer: the session that calls.
            seq: the call's record number in it.
            method: a name of the method table.
            arguments: what the peer sent; checked here.
            done: called once the change is durable, with the encoded value or a `TrackError`.
        """
        self._submit(CallJob(writer, seq, bound(method, arguments), done, saves=method == "commit"))

    def submit_leave(self, writer: Writer) -> None:
        """Shrink a session whose client said goodbye, behind everything that it handed in.

        It keeps its owner, its epoch and its last number for good; the answer to its last call is forgotten.

        Args:
            writer: the session's holder that said goodbye; an older one changes nothing.
        """
        self._submit(LeaveJob(writer, _log_failed_leave))

    def submit_change(self, change: Callable[[Transaction], Any], done: Callable[[Outcome], None]) -> None:
        """Make a change of the server's own.

        Args:
            change: makes it, on the engine's thread; once more if others in its transaction fail.
            done: called once it is durable, with what `change` returned or the `TrackError` that stands
                in the way.
        """
        self._submit(ChangeJob(change, done))

    def submit_read(
        self,
        method: str,
        arguments: dict[str, Any],
        done: Callable[[Outcome], None],
        peer: Peer = (None, None),
    ) -> None:
        """Answer a read from a snapshot; see `ReaderPool.submit`."""
        self._readers.submit(method, arguments, done, peer)

    def submit_rest(self, rest: Rest, done: Callable[[Outcome], None], peer: Peer = (None, None)) -> None:
        """Make the next page of a read's answer; see `ReaderPool.submit_rest`."""
        self._readers.submit_rest(rest, done, peer)

    def last_seq(self, writer: Writer) -> int:
        """The session's last durable record; 0 if it never wrote.

        Raises:
            PermissionDenied: it belongs to another user.
            StoreFailed: the disk has failed, so nobody knows.
        """
        return self._vouched_session(writer).last_seq

    def _vouched_session(self, writer: Writer) -> SessionState:
        """The session as it is stored, and not only as a disk that has failed pretends."""
        vouched = self._recovery.vouch()
        try:
            with self.store.snapshot() as view:
                state = session_of(view, writer)
        except StoreError as error:
            self._recovery.note(error, reading=True)
            raise
        return state if self._recovery.vouch() == vouched else self._vouched_session(writer)

    def on_failure(self, tell: Callable[[TrackError], None]) -> None:
        """Have somebody told, on any thread, that the writer thread died: nothing is stored from then on.

        Args:
            tell: called once, at once if the thread is dead already.
        """
        with self._wake:
            self._on_failure = tell
            failed = self._failed
        if failed is not None:
            tell(failed)

    def close(self, *, tidy: bool = True) -> None:
        """Finish what was submitted, then close the store; harmless when repeated.

        A store whose disk has failed, or that is damaged, is left as it is.

        Args:
            tidy: see `Store.close`.
        """
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()
        self._readers.close()
        if self._recovery.hindered or self._failed is not None:
            self.store.abandon()
        else:
            self.store.close(tidy=tidy)

    def _attached_as_before(self, writer: Writer) -> Outcome:
        try:
            state = self._vouched_session(writer)
        except TrackError as error:
            return error
        return Attached(replace(writer, epoch=state.epoch), state.last_seq)

    def _submit(self, job: Job) -> None:
        with self._wake:
            if not (self._closing or self._failed):
                self._jobs.put(job)
                self._wake.notify()
                return
        job.done(self._failed or TooBusy("the store is closing: try again when it is back"))

    # -- the writer's thread ---------------------------------------------------------------------

    def _write(self) -> None:
        try:
            self._write_until_closed()
        except BaseException as error:  # noqa: BLE001 - without this thread all is accepted and nothing stored
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """Fail every job that waits or comes later: the thread that runs them ends."""
        failed = StoreFailed(
            f"the writer thread of {self.store.uri} died ({error!r}): nothing is stored any more, "
            "restart the server"
        )
        _log.critical("%s", failed, exc_info=error)
        with self._wake:
            self._failed = failed
            jobs, tell = [*self._running, *self._jobs.take(len(self._jobs))], self._on_failure
        for job in jobs:
            self._answer(job, failed)
        if tell is not None:
            tell(failed)

    def _write_until_closed(self) -> None:
        tended = time.monotonic()
        while jobs := self._next_group():
            self._running = jobs
            unfinished = self._transact(jobs)
            self._running = []
            with self._wake:
                self._jobs.put_back(unfinished)
            if time.monotonic() - tended > _BUSY_EVERY:
                self._tend(_BUSY_SLICE)
                tended = time.monotonic()

    def _next_group(self) -> list[Job]:
        """The jobs of the next transaction; none when the engine closes.  Tends the store meanwhile."""
        more = True
        while True:
            with self._wake:
                if not self._jobs and not more:
                    self._wake.wait_for(lambda: self._jobs or self._closing, _LOOK_AFTER)
                if self._jobs:
                    return self._jobs.take(_GROUP)
                if self._closing:
                    return []
            more = self._tend(_IDLE_SLICE)

    def _tend(self, seconds: float) -> bool:
        try:
            self._recovery.admit()
            self._sweeper.sweep()
            return self.store.maintain(seconds)
        except Exception as error:  # noqa: BLE001 - it must not end the one thread that writes
            if not self._recovery.note(error):
                _log.exception("background work on %s failed; it will be tried again", self.store.uri)
            return False

    def _transact(self, jobs: list[Job]) -> list[Job]:
        """Run jobs in one transaction; if that fails, each in one of its own.

        Returns:
            those that have to go on in the next transaction, and what has to stay behind them.
        """
        try:
            outcomes = self._commit(jobs)
        except Exception as error:  # noqa: BLE001 - it must not end the one thread that writes
            self._recovery.note(error)
            if len(jobs) > 1:
                return self._transact_each(jobs)
            if not isinstance(error, StoreError) and jobs[0].survive(error):
                _log.exception("a record or call failed; it is set aside")
                return self._transact(jobs)
            outcomes = [_as_track_error(error)]
        else:
            if any(isinstance(job, BatchJob | CallJob) for job in jobs):
                self._recovery.wrote()
        unfinished = []
        for job, outcome in zip(jobs, outcomes, strict=True):
            if outcome is UNFINISHED:
                unfinished.append(job)
            elif job.saves and not isinstance(outcome, TrackError):
                self._save(job, outcome)
            else:
                self._answer(job, outcome)
        return unfinished

    def _answer(self, job: Job, outcome: Outcome) -> None:
        try:
            job.done(outcome)
        except Exception:  # noqa: BLE001 - it must not end the one thread that writes
            _log.exception("an answer could not be handed over")

    def _transact_each(self, jobs: list[Job]) -> list[Job]:
        unfinished: list[Job] = []
        for job in jobs:
            unfinished += [job] if waits(job, unfinished) else self._transact([job])
        return unfinished

    def _commit(self, jobs: list[Job]) -> list[Outcome]:
        self._recovery.admit()
        tx = self.store.begin()
        try:
            outcomes: list[Outcome] = []
            unfinished: list[Job] = []
            until = time.monotonic() + TURN
            for job in jobs:
                late = bool(outcomes) and job.writer is not None and time.monotonic() > until
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
        """Save the store, and answer then; if it fails, only this job is told.

        The transaction is durable by now: running it again would find everything there already, and
        forget what was rejected.
        """

        def saved(error: Exception | None) -> None:
            if error is None:
                self._answer(job, outcome)
                return
            if not self._recovery.note(error) and not isinstance(error, StoreError):
                _log.error("%s could not be saved", self.store.uri, exc_info=error)
            self._answer(job, _as_track_error(error))

        try:
            self.store.save(saved)
        except Exception as error:  # noqa: BLE001 - it must not end the one thread that writes
            saved(error)


def _log_failed_leave(outcome: Outcome) -> None:
    if isinstance(outcome, TrackError):
        _log.debug("a session that ended keeps its last answer: %s", outcome)


def _as_track_error(error: Exception) -> TrackError:
    return error if isinstance(error, TrackError) else InternalError(f"the server failed: {error!r}")
