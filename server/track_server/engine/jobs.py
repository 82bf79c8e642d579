"""What is done in a transaction: a batch, a call, a takeover of a session, a change of the server's own.

`DESIGN.md` beside this file tells how sessions, their numbers and their holders work.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from track_protocol.errors import (
    BadArguments,
    InternalError,
    ItemNotFound,
    PermissionDenied,
    RPCCallFailure,
    SequenceGap,
    SeriesDamaged,
    SessionFenced,
    StoreError,
    UnknownMethod,
    error_from_wire,
)
from track_protocol.wire.batch import Batch, Op
from track_protocol.wire.codec import decode, encode
from track_protocol.wire.link import Acked, Rejection
from track_protocol.wire.methods import Access, method_named
from track_server.engine.slices import portions
from track_server.methods.dispatch import WRITES, apply_op
from track_server.methods.rejected import rejections_of, set_aside
from track_server.storage.contract import SessionState, Transaction, View

__all__ = [
    "TURN",
    "UNFINISHED",
    "AttachJob",
    "Attached",
    "BatchJob",
    "CallJob",
    "ChangeJob",
    "Job",
    "LeaveJob",
    "Outcome",
    "Writer",
    "bound",
    "session_of",
    "waits",
]

Outcome = Any
"""What a job ends with: `Acked` for a batch, encoded bytes for a call, `Attached`, or a `TrackError`."""

TURN: Final = 0.1
"""Seconds of a transaction behind which what is left is left to the next one, and others have their turn."""

UNFINISHED: Final = object()
"""The outcome of a job that goes on in the next transaction."""

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


class Job(Protocol):
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

        After the outcome `UNFINISHED` it is run again, in the next transaction.
        """

    def survive(self, error: Exception) -> bool:
        """After an exception that only this job can have caused: True to run it again, changed."""


def session_of(view: View, writer: Writer) -> SessionState:
    """What is known of a writer's session.

    Raises:
        PermissionDenied: it belongs to another user.
    """
    state = view.session(writer.sid) or SessionState(writer.sid, writer.user)
    if state.user != writer.user:
        raise PermissionDenied("this session belongs to another user: start a new one")
    return state


def _held(tx: Transaction, writer: Writer) -> SessionState:
    state = session_of(tx, writer)
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
class AttachJob:
    """A session gets a new holder."""

    writer: Writer
    done: Callable[[Outcome], None]
    saves: bool = False

    def run(self, tx: Transaction) -> Outcome:
        state = session_of(tx, self.writer)
        state = replace(state, epoch=state.epoch + 1)
        tx.put_session(state)
        return Attached(replace(self.writer, epoch=state.epoch), state.last_seq)

    def survive(self, error: Exception) -> bool:
        """There is nothing to leave out."""
        return False


@dataclass(slots=True)
class BatchJob:
    """Records without an answer of their own, applied as far as they are new and there is time."""

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
        until = time.monotonic() + TURN
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
        return Acked(last, rejected) if last == batch.last else UNFINISHED

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
class CallJob:
    """A write with an answer, which is kept for when the call comes again."""

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
class LeaveJob:
    """A session whose client said goodbye keeps its owner, epoch and last number, and nothing else.

    It stays for good: a copied spool may send its records again after months.
    """

    writer: Writer
    done: Callable[[Outcome], None]
    saves: bool = False

    def run(self, tx: Transaction) -> Outcome:
        state = tx.session(self.writer.sid)
        if state is not None and state.epoch == self.writer.epoch and state.last_reply is not None:
            tx.put_session(replace(state, last_reply=None))
        return None

    def survive(self, error: Exception) -> bool:
        """There is nothing to leave out."""
        return False


@dataclass(slots=True)
class ChangeJob:
    """A change of the server's own."""

    change: Callable[[Transaction], Any]
    done: Callable[[Outcome], None]
    saves: bool = False
    writer: None = None

    def run(self, tx: Transaction) -> Outcome:
        return self.change(tx)

    def survive(self, error: Exception) -> bool:
        return False


def waits(job: Job, unfinished: list[Job]) -> bool:
    """Whether a job has to wait for one of its session that is not finished."""
    writer = job.writer
    return writer is not None and any(
        other.writer is not None and other.writer.sid == writer.sid for other in unfinished
    )


def _outcome(reply: bytes) -> Outcome:
    """A remembered reply as an outcome: encoded bytes of the value, or the error."""
    return reply[1:] if reply[:1] == b"+" else error_from_wire(*decode(reply[1:]))


def bound(name: str, arguments: dict[str, Any]) -> Callable[[Transaction, bytes], Any]:
    """The call's handler with its checked arguments; an error of the caller's is raised when it runs."""

    def run(tx: Transaction, by: bytes) -> Any:
        checked = method_named(name, within=(Access.WRITE,)).check(arguments)
        return WRITES[name](tx, by, **checked)

    return run
