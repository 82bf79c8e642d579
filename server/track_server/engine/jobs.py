"""What is done in a transaction: a batch, a call, a takeover of a session, a change of the server's own.

`DESIGN.md` of this package tells how sessions, their numbers and their holders work.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from track_protocol.errors import (
    InternalError,
    PermissionDenied,
    RPCCallFailure,
    SequenceGap,
    SessionFenced,
    StoreError,
    error_from_wire,
)
from track_protocol.wire.batch import Batch, Op, PointsOp
from track_protocol.wire.codec import decode, encode
from track_protocol.wire.link import Acked, Rejection
from track_protocol.wire.methods import METHODS, Access, method_named
from track_server.engine.slices import MAX_CALLS, MAX_SERIES, Slice, slices
from track_server.methods.dispatch import WRITES, apply_op
from track_server.methods.points import check_points
from track_server.methods.rejected import known_rejections, quarantine, rejected, rejections_of
from track_server.storage.contract import SessionState, View, Wanted
from track_server.storage.unit_of_work import UnitOfWork

__all__ = [
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
    "has_room",
    "session_of",
    "waits",
]

_log = logging.getLogger(__name__)

Outcome = Any
"""What a job ends with: `Acked` for a batch, encoded bytes for a call, `Attached`, or a `TrackError`."""

_SLICE_S: Final = 0.01
"""Seconds of one batch behind which the rest of it is left to the next transaction."""

_MAX_LOADED_OPS: Final = 256
"""Operations of a batch whose trials and series are loaded ahead; those of the others when they are run."""

_MAX_PENDING_SERIES: Final = 4 * MAX_SERIES
"""Series with new points behind which the rest is left to the next transaction: they cost time at its end."""

UNFINISHED: Final = object()
"""The outcome of a job that continues in the next transaction."""


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
    """Something to do in a transaction, and whom to tell after the commit.

    Attributes:
        careful: each of its records is handed to the backend by itself, so that one which the backend
            refuses is found; set when a transaction of this job alone has failed.
    """

    careful: bool

    @property
    def writer(self) -> Writer | None:
        """The session it is of, whose jobs are done in their order."""

    @property
    def done(self) -> Callable[[Outcome], None]:
        """Whom to tell."""

    @property
    def saves(self) -> bool:
        """Whether the store's main file has to be brought up to date before the answer."""

    @property
    def wanted(self) -> Wanted:
        """What has to be loaded for it; what is missing here is loaded when it is used."""

    def run(self, tx: UnitOfWork) -> Outcome:
        """Do it; a `TrackError` may be the outcome, an exception undoes the transaction.

        After the outcome `UNFINISHED` it is run again, in the next transaction.
        """


def session_of(view: View | UnitOfWork, writer: Writer) -> SessionState:
    """What is known of a writer's session.

    Raises:
        PermissionDenied: it belongs to another user.
    """
    state = view.session(writer.sid) or SessionState(writer.sid, writer.user)
    if state.user != writer.user:
        raise PermissionDenied("this session belongs to another user: start a new one")
    return state


def _held(tx: UnitOfWork, writer: Writer) -> SessionState:
    state = session_of(tx, writer)
    if writer.epoch < state.epoch:
        raise SessionFenced(
            "another process has taken this session over: attach it again to take it back, "
            "or start a new one beside it"
        )
    return state


def _gap(state: SessionState, seq: int) -> SequenceGap:
    return SequenceGap(
        f"record {seq} came where {state.last_seq + 1} was expected: "
        "send again from there, or start a new session if those records are lost"
    )


@dataclass(slots=True)
class AttachJob:
    """A session gets a new holder: its process, or one that sends what the process has left."""

    writer: Writer
    done: Callable[[Outcome], None]
    ended: float | None = None
    saves: bool = False
    careful: bool = False

    @property
    def wanted(self) -> Wanted:
        """The session."""
        return Wanted(sessions={self.writer.sid})

    def run(self, tx: UnitOfWork) -> Outcome:
        """See `Job.run`."""
        state = session_of(tx, self.writer)
        state = replace(state, epoch=state.epoch + 1, ended=self.ended)
        tx.put_session(state)
        return Attached(replace(self.writer, epoch=state.epoch), state.last_seq)


@dataclass(slots=True)
class BatchJob:
    """Records without an answer of their own, applied as far as they are new and there is time."""

    writer: Writer
    batch: Batch
    done: Callable[[Outcome], None]
    saves: bool = False
    careful: bool = False
    _slices: Iterator[Slice] = field(init=False, default_factory=lambda: iter(()))
    _position: tuple[int, int] | None = field(init=False, default=None)
    """The session's `last_seq` and `partial` as this job has left them; None while it applies a slice."""
    _rejected: list[Rejection] = field(init=False, default_factory=list)
    _spoilt: int = field(init=False, default=0)
    """Number of a record of very many series whose first part was rejected, and with it all of it."""

    @property
    def wanted(self) -> Wanted:
        """The session, trials and series."""
        wanted = Wanted(sessions={self.writer.sid})
        if self._position is None:
            for op in self.batch.ops[:_MAX_LOADED_OPS]:
                if isinstance(op, PointsOp) or len(wanted.fields) < MAX_CALLS:
                    _add_wanted(wanted, op)
        return wanted

    def run(self, tx: UnitOfWork) -> Outcome:
        """See `Job.run`."""
        state, batch = _held(tx, self.writer), self.batch
        if (state.last_seq, state.partial) != self._position:
            self._rejected = []
            if batch.first <= state.last_seq:
                self._rejected = known_rejections(tx, state.sid, batch.first, batch.last)
            if batch.last <= state.last_seq:
                return Acked(batch.last, self._rejected)
            if batch.first > state.last_seq + 1:
                return _gap(state, batch.first)
            self._slices = slices(batch, state.last_seq, state.partial)
        # A slice that ends in an error was taken, but not applied: then it is begun from what is stored.
        self._position = None
        until = time.monotonic() + _SLICE_S
        last, partial = state.last_seq, state.partial
        for each in self._slices:
            last, partial = self._apply_slice(tx, state, each)
            if time.monotonic() > until or not has_room(tx):
                break
        self._position = last, partial
        # The answer of an earlier call has arrived, since the client has continued: it is not carried along.
        tx.put_session(replace(state, last_seq=last, partial=partial, last_reply=None))
        return Acked(last, self._rejected) if (last, partial) == (batch.last, 0) else UNFINISHED

    def _apply_slice(self, tx: UnitOfWork, state: SessionState, each: Slice) -> tuple[int, int]:
        """Apply a slice; where the session is behind it."""
        record = each.last_seq + 1 if each.partial else each.last_seq
        if each.whole is not None and (refused := self._tried(tx, state, each.whole, check_points)):
            self._spoilt = record
            self._rejected += refused
        if self._spoilt == record:
            return record, 0  # also its other parts
        for op in each.ops:
            self._rejected += self._tried(tx, state, op, lambda tx, op: apply_op(tx, state.sid, op))
        return each.last_seq, each.partial

    def _tried(
        self, tx: UnitOfWork, state: SessionState, op: Any, apply: Callable[[UnitOfWork, Any], object]
    ) -> list[Rejection]:
        """Apply an operation atomically; returns what is rejected of it."""
        _, error = _as_record(tx, lambda: apply(tx, op), careful=self.careful)
        if error is None:
            return []
        failure = _as_failure(error, "record")
        record = rejected(tx, state.sid, state.user, self.batch.first, op, failure)
        _, error = _as_record(tx, lambda: quarantine(tx, record), careful=self.careful)
        if error is not None:
            _log.error("a rejected record of session %s cannot be stored", state.sid.hex(), exc_info=error)
        return rejections_of([record], record.first, record.last)


@dataclass(slots=True)
class CallJob:
    """A write with an answer, which is stored for a repeated call."""

    writer: Writer
    seq: int
    method: str
    arguments: dict[str, Any]
    done: Callable[[Outcome], None]
    saves: bool = False
    careful: bool = False

    @property
    def wanted(self) -> Wanted:
        """The session, and what the arguments name."""
        wanted = Wanted(sessions={self.writer.sid})
        _add_named(wanted, self.method, self.arguments)
        return wanted

    def run(self, tx: UnitOfWork) -> Outcome:
        """See `Job.run`."""
        state = _held(tx, self.writer)
        if state.last_reply is not None and state.last_reply[0] == self.seq:
            return _outcome(state.last_reply[1])
        if self.seq != state.last_seq + 1:
            return _gap(state, self.seq)
        reply = self._reply(tx)
        tx.put_session(replace(state, last_seq=self.seq, last_reply=(self.seq, reply)))
        return _outcome(reply)

    def _reply(self, tx: UnitOfWork) -> bytes:
        reply, error = _as_record(tx, lambda: self._answer(tx), careful=self.careful)
        if error is None:
            return b"+" + bytes(reply)
        failure = _as_failure(error, "call")
        return b"-" + encode([failure.code, str(failure), failure.trace])

    def _answer(self, tx: UnitOfWork) -> bytes:
        method = method_named(self.method, within=(Access.WRITE,))
        checked = method.check(self.arguments)
        return encode(WRITES[self.method](tx, self.writer.sid, **checked))


@dataclass(slots=True)
class LeaveJob:
    """A session whose client said goodbye keeps its owner, epoch and last number, and nothing else.

    It stays permanently: a copied spool may send its records again after months.
    """

    writer: Writer
    done: Callable[[Outcome], None]
    saves: bool = False
    careful: bool = False

    @property
    def wanted(self) -> Wanted:
        """The session."""
        return Wanted(sessions={self.writer.sid})

    def run(self, tx: UnitOfWork) -> Outcome:
        """See `Job.run`."""
        state = tx.session(self.writer.sid)
        if state is not None and state.epoch == self.writer.epoch and state.last_reply is not None:
            tx.put_session(replace(state, last_reply=None))
        return None


@dataclass(slots=True)
class ChangeJob:
    """A change of the server's own."""

    change: Callable[[UnitOfWork], Any]
    done: Callable[[Outcome], None]
    saves: bool = False
    careful: bool = False
    writer: None = None

    @property
    def wanted(self) -> Wanted:
        """The result is unknown."""
        return Wanted()

    def run(self, tx: UnitOfWork) -> Outcome:
        """See `Job.run`."""
        outcome, error = _as_record(tx, lambda: self.change(tx), careful=self.careful)
        return outcome if error is None else _as_failure(error, "change of its own")


def _as_record(tx: UnitOfWork, apply: Callable[[], Any], *, careful: bool) -> tuple[Any, Exception | None]:
    """Do something as a record: all of it or, if it raises, nothing.

    Args:
        tx: the open transaction.
        apply: does it.
        careful: see `Job.careful`.

    Returns:
        what `apply` returned, or why nothing was done; that must not block what is behind it.

    Raises:
        StoreError: the transaction cannot go on.
    """
    tx.start_record()
    try:
        result = apply()
        if careful:
            tx.flush()
    except StoreError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is
        tx.undo_record()
        return None, error
    tx.keep_record()
    return result, None


def has_room(tx: UnitOfWork) -> bool:
    """Whether a transaction can take more without taking too long at its end."""
    return tx.pending_series < _MAX_PENDING_SERIES


def waits(job: Job, unfinished: list[Job]) -> bool:
    """Whether a job has to wait for one of its session that is not finished."""
    writer = job.writer
    return writer is not None and any(
        other.writer is not None and other.writer.sid == writer.sid for other in unfinished
    )


def _add_wanted(wanted: Wanted, op: Op) -> None:
    if not isinstance(op, PointsOp):
        _add_named(wanted, op.method, op.arguments)
        return
    wanted.trials.add(op.trial)
    if len(op.names) <= MAX_SERIES:
        wanted.series.update([(op.trial, op.kind, name) for name in op.names])


def _add_named(wanted: Wanted, method: str, arguments: dict[str, Any]) -> None:
    """What the typed parameters of a call name; nothing of it is checked yet."""
    known = METHODS.get(method)
    for parameter in known.parameters if known is not None else ():
        value = arguments.get(parameter.name)
        if parameter.type == "trial" and type(value) is bytes:
            wanted.fields.add(value)
        elif parameter.type == "digest" and type(value) is str:
            wanted.blobs.add(value)


def _as_failure(error: Exception, what: str) -> RPCCallFailure:
    """The error itself if it is about the record, else that the server failed on it."""
    if isinstance(error, RPCCallFailure):
        return error
    _log.error("the server failed on a %s, which changes nothing", what, exc_info=error)
    trace = "".join(traceback.format_exception(error))
    return InternalError(f"the server failed on this {what}: {error!r}", trace)


def _outcome(reply: bytes) -> Outcome:
    """A stored reply as an outcome: encoded bytes of the value, or the error."""
    return reply[1:] if reply[:1] == b"+" else error_from_wire(*decode(reply[1:]))
