"""The engine: every change goes through one thread, many changes to a commit.

Whatever was handed in while the last commit ran becomes the next transaction (natural group commit:
no timer, no artificial delay).  A change is answered only after the commit that holds it.
`DESIGN.md` beside this file gives the reasoning.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from track_protocol.batch import Batch, Op
from track_protocol.codec import decode, encode
from track_protocol.errors import (
    BadArguments,
    InternalError,
    ItemNotFound,
    PermissionDenied,
    RPCCallFailure,
    SequenceGap,
    SeriesDamaged,
    SessionFenced,
    StoreCorrupt,
    StoreError,
    StoreFull,
    TooBusy,
    TrackError,
    UnknownMethod,
    error_from_wire,
)
from track_protocol.link import Acked, Rejection
from track_protocol.methods import Access, method_named
from track_server.calls import READS, WRITES, apply_op
from track_server.portions import portions
from track_server.recovery import Recovery
from track_server.rejecting import rejections_of, set_aside
from track_server.store import SessionState, Store, Transaction, View

__all__ = ["Attached", "Engine", "Outcome", "Writer"]

_log = logging.getLogger(__name__)

Outcome = Any
"""What a job ends with: `Acked` for a batch, encoded bytes for a call, `Attached`, or a `TrackError`."""

_GROUP: Final = 256
"""Most jobs in one transaction."""

_TURN: Final = 0.1
"""Seconds of a transaction behind which a batch leaves what is left of it to the next one."""

_UNFINISHED: Final = object()
"""The outcome of a job that goes on in the next transaction."""

_IDLE_SLICE: Final = 0.02
_BUSY_SLICE: Final = 0.01
_BUSY_EVERY: Final = 0.25
"""Background work: slices of this many seconds when idle, and when busy one so often."""

_LOOK_AFTER: Final = 1.0
"""Seconds of rest after which an idle engine looks whether there is background work again."""

_FOR_GOOD: Final = (BadArguments, ItemNotFound, UnknownMethod, PermissionDenied, SeriesDamaged)
"""Faults of the record itself: trying again cannot help, so it must not block what is behind it."""


@dataclass(frozen=True, slots=True)
class Writer:
    """Who writes: one holder of a session.

    Attributes:
        sid: the session's id.
        user: who it belongs to.
        epoch: which of its holders; an older one is refused once a newer one has attached it.
    """

    sid: bytes
    user: str
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class Attached:
    """A session has a new holder.

    Attributes:
        writer: the holder.
        last_seq: the session's last durable record; 0 if it never wrote.
    """

    writer: Writer
    last_seq: int


class _Job(Protocol):
    """Something to do in a transaction, and whom to tell after the commit."""

    @property
    def writer(self) -> Writer | None:
        """The session it is of, whose jobs are done in their order."""

    @property
    def done(self) -> Callable[[Outcome], None]:
        """Whom to tell."""

    @property
    def saves(self) -> bool:
        """Whether the store's main file has to be brought up to date before anybody is told."""

    def run(self, tx: Transaction) -> Outcome:
        """Do it; a `TrackError` may be the outcome, an exception undoes the transaction.

        After the outcome `_UNFINISHED` it is run again, in the next transaction.
        """

    def survive(self, error: Exception) -> bool:
        """After an exception that only this job can have caused: True to run it again, changed."""


def _session(view: View, writer: Writer) -> SessionState:
    state = view.session(writer.sid) or SessionState(writer.sid, writer.user)
    if state.user != writer.user:
        raise PermissionDenied("this session belongs to another user: start a new one")
    return state


def _held(tx: Transaction, writer: Writer) -> SessionState:
    state = _session(tx, writer)
    if writer.epoch < state.epoch:
        raise SessionFenced(
            "another holder has taken this session over: attach it again to take it back, "
            "or start a new one beside it"
        )
    return state


def _gap(state: SessionState, seq: int) -> SequenceGap:
    return SequenceGap(
        f"record {seq} came where {state.last_seq + 1} was expected: "
        "send again from there, or start a new session if those records are gone"
    )


@dataclass(slots=True)
class _AttachJob:
    writer: Writer
    done: Callable[[Outcome], None]
    saves: bool = False

    def run(self, tx: Transaction) -> Outcome:
        state = _session(tx, self.writer)
        state = replace(state, epoch=state.epoch + 1)
        tx.put_session(state)
        return Attached(replace(self.writer, epoch=state.epoch), state.last_seq)

    def survive(self, error: Exception) -> bool:
        """There is nothing to leave out."""
        return False


@dataclass(slots=True)
class _BatchJob:
    writer: Writer
    batch: Batch
    done: Callable[[Outcome], None]
    saves: bool = False
    poison: dict[int, InternalError] = field(default_factory=dict)
    at: int = 0

    def run(self, tx: Transaction) -> Outcome:
        state, batch = _held(tx, self.writer), self.batch
        rejected: list[Rejection] = []
        if batch.first <= state.last_seq:
            known = tx.rejected_of(state.sid, batch.first, batch.last)
            rejected = rejections_of(known, batch.first, batch.last)
        if batch.last <= state.last_seq:
            return Acked(batch.last, rejected)
        if batch.first > state.last_seq + 1:
            return _gap(state, batch.first)
        until = time.monotonic() + _TURN
        last = batch.last
        for end, ops in portions(batch, state.last_seq):
            last = end
            for seq, op in ops:
                self.at = seq
                rejected += self._applied(tx, state, seq, op)
            if time.monotonic() > until:
                break
        # The answer of an earlier call has arrived, since the client went on; it is not carried along.
        tx.put_session(replace(state, last_seq=last, last_reply=None))
        return Acked(last, rejected) if last == batch.last else _UNFINISHED

    def _applied(self, tx: Transaction, state: SessionState, seq: int, op: Op) -> list[Rejection]:
        """Apply an operation; what is rejected of it."""
        try:
            if seq in self.poison:
                raise self.poison[seq]
            apply_op(tx, state.sid, op)
        except (*_FOR_GOOD, InternalError) as error:
            return set_aside(tx, state.sid, state.user, self.batch.first, op, error)
        return []

    def survive(self, error: Exception) -> bool:
        """Set the operation that failed aside, so that it does not block what is behind it."""
        again = self.at not in self.poison
        self.poison[self.at] = InternalError(f"the server failed on this record: {error!r}")
        return again


@dataclass(slots=True)
class _CallJob:
    writer: Writer
    seq: int
    handler: Callable[[Transaction, bytes], Any]
    done: Callable[[Outcome], None]
    saves: bool = False
    failure: InternalError | None = None

    def run(self, tx: Transaction) -> Outcome:
        state = _held(tx, self.writer)
        if state.last_reply is not None and state.last_reply[0] == self.seq:
            return _outcome(state.last_reply[1])
        if self.seq != state.last_seq + 1:
            return _gap(state, self.seq)
        reply = self._reply(tx)
        tx.put_session(replace(state, last_seq=self.seq, last_reply=(self.seq, reply)))
        return _outcome(reply)

    def _reply(self, tx: Transaction) -> bytes:
        try:
            if self.failure is not None:
                raise self.failure
            return b"+" + encode(self.handler(tx, self.writer.sid))
        except StoreError:
            raise
        except RPCCallFailure as error:
            return b"-" + encode([error.code, str(error), error.trace])

    def survive(self, error: Exception) -> bool:
        """Answer with an error of the server's; the call changed nothing."""
        again = self.failure is None
        self.failure = InternalError(f"the server failed on this call: {error!r}", traceback.format_exc())
        return again


@dataclass(slots=True)
class _ChangeJob:
    change: Callable[[Transaction], Any]
    done: Callable[[Outcome], None]
    saves: bool = False
    writer: None = None

    def run(self, tx: Transaction) -> Outcome:
        return self.change(tx)

    def survive(self, error: Exception) -> bool:
        return False


def _waits(job: _Job, unfinished: list[_Job]) -> bool:
    """Whether a job has to wait for one of its session that is not finished."""
    writer = job.writer
    return writer is not None and any(
        other.writer is not None and other.writer.sid == writer.sid for other in unfinished
    )


def _outcome(reply: bytes) -> Outcome:
    """A remembered reply as an outcome: encoded bytes of the value, or the error."""
    return reply[1:] if reply[:1] == b"+" else error_from_wire(*decode(reply[1:]))


class Engine:
    """Serialises every change onto one store.

    Args:
        store: an open store; the engine owns it from now on and closes it.
        readers: threads that answer reads, each on a snapshot of its own.
    """

    def __init__(self, store: Store, readers: int = 2) -> None:
        self.store = store
        self._recovery = Recovery(store)
        self._jobs: deque[_Job] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix="track-reader")
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

        self._submit(_AttachJob(writer, answer))

    def submit_batch(self, writer: Writer, batch: Batch, done: Callable[[Outcome], None]) -> None:
        """Store a batch.

        Args:
            writer: the session it belongs to.
            batch: its records.
            done: called on the engine's thread, once the batch is durable, with an `Acked`, or with
                the `TrackError` that stands in the way.
        """
        self._submit(_BatchJob(writer, batch, done))

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
        self._submit(_CallJob(writer, seq, _bound(method, arguments), done, saves=method == "commit"))

    def submit_change(self, change: Callable[[Transaction], Any], done: Callable[[Outcome], None]) -> None:
        """Make a change of the server's own.

        Args:
            change: makes it, on the engine's thread; once more if others in its transaction fail.
            done: called once it is durable, with what `change` returned or the `TrackError` that stands
                in the way.
        """
        self._submit(_ChangeJob(change, done))

    def submit_read(self, method: str, arguments: dict[str, Any], done: Callable[[Outcome], None]) -> None:
        """Answer a read from a snapshot; `done` is called on a reader's thread, as for a call."""
        self._readers.submit(self._read, method, arguments, done)

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
                state = _session(view, writer)
        except StoreError as error:
            self._recovery.note(error, reading=True)
            raise
        return state if self._recovery.vouch() == vouched else self._vouched_session(writer)

    def close(self) -> None:
        """Finish what was submitted, then close the store; harmless when repeated.

        A store whose disk has failed, or that is damaged, is left as it is.
        """
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()
        self._readers.shutdown(wait=True)
        if self._recovery.hindered:
            self.store.abandon()
        else:
            self.store.close()

    def _attached_as_before(self, writer: Writer) -> Outcome:
        try:
            state = self._vouched_session(writer)
        except TrackError as error:
            return error
        return Attached(replace(writer, epoch=state.epoch), state.last_seq)

    def _submit(self, job: _Job) -> None:
        with self._wake:
            if not self._closing:
                self._jobs.append(job)
                self._wake.notify()
                return
        job.done(TooBusy("the store is closing: try again when it is back"))

    # -- the readers' threads --------------------------------------------------------------------

    def _read(self, name: str, arguments: dict[str, Any], done: Callable[[Outcome], None]) -> None:
        outcome: Outcome
        try:
            method = method_named(name, within=(Access.READ,))
            checked = method.check(arguments)
            with self.store.snapshot() as view:
                outcome = encode(READS[name](view, **checked))
        except TrackError as error:
            self._recovery.note(error, reading=True)
            outcome = error
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller waits for an answer
            _log.exception("the read %s failed", name)
            outcome = InternalError(f"the server failed on this call: {error!r}", traceback.format_exc())
        done(outcome)

    # -- the writer's thread ---------------------------------------------------------------------

    def _write(self) -> None:
        tended = time.monotonic()
        while jobs := self._next_group():
            unfinished = self._transact(jobs)
            with self._wake:
                self._jobs.extendleft(reversed(unfinished))
            if time.monotonic() - tended > _BUSY_EVERY:
                self._tend(_BUSY_SLICE)
                tended = time.monotonic()

    def _next_group(self) -> list[_Job]:
        """The jobs of the next transaction; none when the engine closes.  Tends the store meanwhile."""
        more = True
        while True:
            with self._wake:
                if not self._jobs and not more:
                    self._wake.wait_for(lambda: self._jobs or self._closing, _LOOK_AFTER)
                if self._jobs:
                    return [self._jobs.popleft() for _ in range(min(_GROUP, len(self._jobs)))]
                if self._closing:
                    return []
            more = self._tend(_IDLE_SLICE)

    def _tend(self, seconds: float) -> bool:
        try:
            self._recovery.admit()
            return self.store.maintain(seconds)
        except Exception as error:  # noqa: BLE001 - it must not end the one thread that writes
            if not self._recovery.note(error):
                _log.exception("background work on %s failed; it will be tried again", self.store.uri)
            return False

    def _transact(self, jobs: list[_Job]) -> list[_Job]:
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
            if any(isinstance(job, _BatchJob | _CallJob) for job in jobs):
                self._recovery.wrote()
            outcomes = self._saved(jobs, outcomes)
        unfinished = []
        for job, outcome in zip(jobs, outcomes, strict=True):
            if outcome is _UNFINISHED:
                unfinished.append(job)
                continue
            try:
                job.done(outcome)
            except Exception:  # noqa: BLE001 - nor must whoever is told
                _log.exception("an answer could not be handed over")
        return unfinished

    def _transact_each(self, jobs: list[_Job]) -> list[_Job]:
        unfinished: list[_Job] = []
        for job in jobs:
            unfinished += [job] if _waits(job, unfinished) else self._transact([job])
        return unfinished

    def _commit(self, jobs: list[_Job]) -> list[Outcome]:
        self._recovery.admit()
        tx = self.store.begin()
        try:
            outcomes: list[Outcome] = []
            unfinished: list[_Job] = []
            for job in jobs:
                try:
                    outcomes.append(_UNFINISHED if _waits(job, unfinished) else job.run(tx))
                except (PermissionDenied, SessionFenced) as error:
                    outcomes.append(error)
                if outcomes[-1] is _UNFINISHED:
                    unfinished.append(job)
            tx.commit()
        except BaseException:
            tx.rollback()
            raise
        return outcomes

    def _saved(self, jobs: list[_Job], outcomes: list[Outcome]) -> list[Outcome]:
        """The outcomes after the save that some jobs ask for; if it fails, only those are told.

        The transaction is durable by now: running it again would find everything there already, and
        forget what was rejected.
        """
        if not any(job.saves for job in jobs):
            return outcomes
        try:
            self.store.save()
        except Exception as error:  # noqa: BLE001 - it must not end the one thread that writes
            if not self._recovery.note(error) and not isinstance(error, StoreError):
                _log.exception("%s could not be saved", self.store.uri)
            failure = _as_track_error(error)
            return [failure if job.saves else outcome for job, outcome in zip(jobs, outcomes, strict=True)]
        return outcomes


def _bound(name: str, arguments: dict[str, Any]) -> Callable[[Transaction, bytes], Any]:
    """The call's handler with its checked arguments; an error of the caller's is raised when it runs."""

    def run(tx: Transaction, by: bytes) -> Any:
        checked = method_named(name, within=(Access.WRITE,)).check(arguments)
        return WRITES[name](tx, by, **checked)

    return run


def _as_track_error(error: Exception) -> TrackError:
    return error if isinstance(error, TrackError) else InternalError(f"the server failed: {error!r}")
