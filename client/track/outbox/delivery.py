"""Delivery, without any I/O: what is sent when, and what becomes of it.

`Delivery.handle` takes an event, which says what happened, and returns actions, which say what to do.  Both,
and the table of states, are in `transitions.py`.  The sender around it (`sender.py`) sleeps, moves bytes and
touches the disk.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from track.outbox.backlog import Backlog, Entry, NumberedCall
from track.outbox.drops import DropAccount
from track.outbox.futures import Call, Future, SyncFuture
from track.outbox.queue import Limits
from track.outbox.records import CALL, Record, batch_of, drop_invalid, trial_of, values_in
from track.outbox.transitions import (
    TRANSITIONS,
    Acknowledge,
    Action,
    Attached,
    Awaited,
    BatchSent,
    Blocked,
    CallFinished,
    CallSent,
    Closed,
    Disconnect,
    Event,
    Fail,
    Faulted,
    ForgetSession,
    Load,
    Loaded,
    Logged,
    Lost,
    Renumber,
    Renumbered,
    Resolve,
    SendBatch,
    SendCall,
    SendRead,
    Started,
    State,
    Ticked,
    Unsendable,
    Write,
    Written,
)
from track.outbox.waiters import Waiters, resolve
from track_protocol.errors import (
    BadArguments,
    BadValue,
    ItemNotFound,
    LocalProtocolError,
    PermissionDenied,
    RemoteProtocolError,
    SequenceGap,
    StoreFailed,
    TooBusy,
    TrackError,
)
from track_protocol.model.entities import new_id
from track_protocol.wire.batch import Batch, PointsOp
from track_protocol.wire.link import Acked, Failed, Refused, Replied
from track_protocol.wire.roles import Role

if TYPE_CHECKING:
    # A process that never spools does not load what it takes.
    from track.spool.reader import Extent

__all__ = ["Delivery"]

_log: Final = logging.getLogger("track")

REPORT_INTERVAL_S: Final = 1.0
"""Between two reports of drops to the trials that had them."""

OPERATION_BYTES: Final = 1_024
"""Memory that an operation of a batch takes beside its columns, about."""

CALL_BYTES: Final = 1_024
"""Memory that a call takes, about."""

MAX_TRIALS: Final = 1_000
"""Maximum trials of one process that record the loss when a store was set back."""

_CONSUMED: Final = (BadArguments, ItemNotFound)
"""After these failures of a numbered call the store has used up its number; after others perhaps not."""


class Delivery:
    """Numbers what is logged, and has it sent, and sent again, until the store has it.

    Args:
        backlog: what is numbered already.
        drops: where drops are counted.
        limits: how much may be under way.
        name: of the store, for messages.
        session: its id.
        has_disk: whether unconfirmed records are queued on disk, so that they need not be dropped.

    Attributes:
        state: one of the states of `TRANSITIONS`.
        session: this session's id.
        generation: of the store's history; None before it was reached.
        denied: why this user may not write.
        final: why nothing can be sent until a person does something.
        waiters: the futures that wait.
        limits: as given.
        outlasted: whether something was logged while the store was unreachable, so that it is not known
            whether this user may write it.
    """

    def __init__(
        self,
        backlog: Backlog,
        drops: DropAccount,
        limits: Limits,
        name: str,
        session: bytes,
        *,
        has_disk: bool,
    ) -> None:
        self.state = State.CLOSED
        self.session = session
        self.generation: str | None = None
        self.denied: PermissionDenied | None = None
        self.final: TrackError | None = None
        self.waiters = Waiters(backlog)
        self.outlasted = False
        self._backlog = backlog
        self._drops = drops
        self.limits = limits
        self._name = name
        self._has_disk = has_disk
        self._role: str = Role.WRITER
        self._calling: tuple[int, NumberedCall] | None = None
        self._offered: Entry | Extent | None = None
        self._problem_since_attached = False
        self._has_faulted = False
        self._written = backlog.next_seq - 1
        self._now = 0.0
        self._report_at = 0.0
        self._trials = drops.trials
        self._actions: list[Action] = []

    @property
    def role(self) -> str:
        """What the store lets this user do, as it said when it was last reached."""
        return self._role

    def handle(self, event: Event, now: float) -> list[Action]:
        """What to do, in this order, now that something has happened.

        Args:
            event: what.
            now: seconds on a clock that never goes back.

        Raises:
            LocalProtocolError: that cannot happen in this state.
        """
        self._now = now
        self._dispatch(event)
        if self.state in (State.ONLINE, State.CALLING):
            self._offer()
        actions, self._actions = self._actions, []
        return actions

    def _dispatch(self, event: Event) -> None:
        following = TRANSITIONS[self.state].get(type(event))
        if following is None:
            raise LocalProtocolError(
                f"{type(event).__name__} cannot happen while delivery is {self.state.value}"
            )
        if following is not self.state:
            _log.debug("%s: %s after %s", self._name, following.value, type(event).__name__)
        self.state = following
        try:
            self._HANDLERS[type(event)](self, event)
        except RemoteProtocolError as error:
            self._dispatch(Lost(error))

    @property
    def is_full(self) -> bool:
        """Whether nothing more is to be numbered, since there is no memory for it."""
        return self._backlog.nbytes >= self.limits.backlog_bytes

    @property
    def is_idle(self) -> bool:
        """Whether no future waits, and every record is durable or dropped."""
        return not self.waiters and self._backlog.resolved_through == self._backlog.next_seq - 1

    # -- the sender's own life -------------------------------------------------------------------

    def _started(self, event: Started) -> None:
        self.final = None

    def _closed(self, event: Closed) -> None:
        self._unsend()

    def _unsend(self) -> None:
        """The link is closed: what was sent on it counts as unsent."""
        self._backlog.detach()
        self.waiters.detach()
        self._calling = self._offered = None

    # -- from records to the backlog -------------------------------------------------------------

    def _logged(self, event: Logged) -> None:
        self._number(event.records, event.nbytes)

    def _number(self, records: Sequence[Record], nbytes: int) -> None:
        """Make a batch of records; drop those that cannot be stored, or that this user may not write."""
        refusal = self.denied or (None if self._has_disk else self.final)
        if refusal is not None:
            self._drops.drop(sum(map(values_in, records)), str(refusal))
            return
        try:
            self._add(records, nbytes)
        except BadValue:
            valid = [drop_invalid(record, partial(self._unstorable, record)) for record in records]
            records = [record for record in valid if record is not None]
            if records:
                self._add(records, nbytes)
        except Exception as error:  # noqa: BLE001  # whatever it is, the other records are good
            self._number_parts(records, nbytes, error)

    def _number_parts(self, records: Sequence[Record], nbytes: int, error: Exception) -> None:
        """An unexpected error must drop only the records that cause it, and count them."""
        if len(records) > 1:
            half = len(records) // 2
            self._number(records[:half], nbytes // 2)
            self._number(records[half:], nbytes // 2)
            return
        (record,) = records
        if not self._has_faulted:
            self._has_faulted = True
            _log.error("a record cannot be packed, by an error of this software", exc_info=error)
        self._drops.drop(values_in(record), f"it cannot be packed: {error!r}", trial_of(record))

    def _add(self, records: Sequence[Record], nbytes: int) -> None:
        batch = batch_of(self._backlog.next_seq, records)
        if len(self._trials) < MAX_TRIALS:
            self._trials.update(op.trial for op in batch.ops if isinstance(op, PointsOp))
        # Last: what fails before it may be numbered once more.
        self._backlog.add(batch, nbytes + OPERATION_BYTES * len(batch.ops), batch.counts)

    def _unstorable(self, record: Record, error: BadValue) -> None:
        self._drops.drop(1, str(error), trial_of(record))

    def _ticked(self, event: Ticked) -> None:
        """Report drops to their trials, in the order of the records."""
        if self._drops.is_reported or self.is_full or (self._now < self._report_at and not event.at_once):
            return
        self._report_at = self._now + REPORT_INTERVAL_S
        reports = [each._asdict() for each in self._drops.report()]
        self._number([(CALL, "log_trial_dropped_points", time.time(), each, 0) for each in reports], 0)

    def _awaited(self, event: Awaited) -> None:
        # A flush of what was logged includes the report of its drops.
        self._ticked(Ticked(at_once=True))
        future = event.future
        error = self._refusal_of(future)
        if future.is_done:
            return
        if error is not None:
            # The waiter continues if all is on disk, and checks at once.
            self._actions += [Write(), Fail(future, error)]
        elif isinstance(future, Call) and future.writes:
            if not future.cancelled:
                self._backlog.add(NumberedCall(self._backlog.next_seq, future), CALL_BYTES)
        elif not (isinstance(future, Call) and future.cancelled):
            self.waiters.add(future)

    def _refusal_of(self, future: Future) -> TrackError | None:
        """The error of a future that would wait until a person acts."""
        if isinstance(future, SyncFuture):
            return self.denied
        if self.final is not None:
            return self.final
        return None if isinstance(future, Call) and not future.writes else self.denied

    def _was_written(self, event: Written) -> None:
        self._written = self._backlog.next_seq - 1 if event.problem is not None else event.written
        self.waiters.resolve_syncs(event.synced, event.problem)

    # -- links -----------------------------------------------------------------------------------

    def _attached(self, event: Attached) -> None:
        opened, backlog = event.opened, self._backlog
        self._role, self.generation, self.final = opened.role, opened.generation, None
        if opened.last_seq >= backlog.next_seq:
            # Another process has written in this session, so it cannot be continued.
            self._dispatch(Lost())
            self._actions.append(Renumber())
            return
        before = backlog.acked
        lost = backlog.attach(opened.last_seq, event.stored)
        if opened.last_seq < before:
            self._report_older_state(opened.last_seq, before, lost)
        self.outlasted = self.outlasted or (self._problem_since_attached and len(backlog) > 0)
        self._problem_since_attached = False
        if self._role != Role.READER:
            self.denied = None
        _log.debug(
            "attached to %s: session %s, %d of %d stored",
            self._name,
            self.session.hex(),
            opened.last_seq,
            backlog.next_seq - 1,
        )
        self.waiters.resolve_flushes()

    def _report_older_state(self, last_seq: int, before: int, lost: int) -> None:
        again = before - last_seq - lost
        for trial in self._trials if lost else ():
            self._drops.lose(lost, f"{self._name} was set back to an older state", trial)
        rest = f"{lost:,} are lost permanently" if lost else "none is lost"
        self._drops.warn(
            f"{self._name} was set back to an older state: of the {before - last_seq:,} log calls of this "
            f"process that it no longer has, {again:,} are sent again, and {rest}"
        )

    def _renumbered(self, event: Renumbered) -> None:
        _log.debug("%s: what is not stored continues in session %s", self._name, event.session.hex())
        self.session = event.session
        self._written = 0
        self.waiters.renumbered()

    def _lost(self, event: Lost) -> None:
        self._unsend()
        self._problem_since_attached = self._problem_since_attached or event.error is not None
        self._actions.append(Disconnect(event.error))

    def _blocked(self, event: Blocked) -> None:
        self._unsend()
        self.final = event.error
        self._problem_since_attached = True
        self._actions.append(Disconnect(event.error, lasting=True))
        self._fail_waiting(event.error)
        if not self._has_disk:
            self._drop_numbered(event.error)

    def _faulted(self, event: Faulted) -> None:
        self._fail_waiting(event.error)

    # -- from the backlog to the link ------------------------------------------------------------

    def _offer(self) -> None:
        """Choose what to send next: one batch or numbered call at a time, since their order matters."""
        backlog, limits = self._backlog, self.limits
        if (
            self.state is State.ONLINE
            and self._offered is None
            and backlog.sent < limits.batches_in_flight
            and backlog.sent_nbytes < limits.bytes_in_flight
            and (entry := backlog.next()) is not None
            and (entry.last <= self._written or not self._has_disk)
        ):
            if self._role == Role.READER:
                self._refuse_reader()
            else:
                self._offer_entry(entry)
        if self.state in (State.ONLINE, State.CALLING):
            self._actions += [SendRead(call_id, call) for call_id, call in self.waiters.sendable_reads()]

    def _offer_entry(self, entry: Entry | Extent) -> None:
        self._offered = entry
        if not isinstance(entry, Entry):
            self._actions.append(Load(entry))
            return
        if entry.call is not None and entry.call.cancelled:
            # Its caller has its error, perhaps since long ago: it must not be executed now.
            self._backlog.skip()
        item = entry.item
        if isinstance(item, NumberedCall):
            self._calling = (self.waiters.new_call_id(), item)
            self._actions.append(SendCall(*self._calling))
        else:
            self._actions.append(SendBatch(item))

    def _refuse_reader(self) -> None:
        self._refuse(
            PermissionDenied(
                f"this user of {self._name} is a reader and may not log or change anything: "
                "join with a writer's URI"
            )
        )

    def _sent(self, event: BatchSent | CallSent) -> None:
        self._taken_offer()
        self._backlog.mark_sent()

    def _taken_offer(self) -> Entry | Extent:
        entry, self._offered = self._offered, None
        if entry is None:
            raise LocalProtocolError("nothing was to be sent or loaded")
        return entry

    def _loaded(self, event: Loaded) -> None:
        self._taken_offer()
        self._backlog.load(event.extent, event.entries)

    def _unsendable(self, event: Unsendable) -> None:
        """What can never be sent must not block what is behind it."""
        entry, self._calling = self._taken_offer(), None
        if not isinstance(entry, Entry):
            self._drops.drop_unread(entry.counts, str(event.error))
        elif isinstance(entry.item, NumberedCall):
            entry.item.call.fail(event.error)
        else:
            self._drop_batch(entry.item, event.error)
        self._backlog.skip()

    def _drop_batch(self, batch: Batch, error: TrackError) -> None:
        """Count what a batch has as dropped, for each trial in it that is known."""
        for op in batch.ops:
            trial = op.trial if isinstance(op, PointsOp) else op.arguments.get("trial")
            self._drops.drop_all(op.counts, str(error), trial)

    # -- what comes back -------------------------------------------------------------------------

    def _acked(self, event: Acked) -> None:
        _log.debug("%s has stored %d, %d rejected", self._name, event.last_seq, len(event.rejected))
        for rejection in event.rejected:
            self._drops.reject(1, rejection.message)
        self._backlog.ack(event.last_seq)
        self._actions += [Acknowledge(), Resolve()]

    def _refused(self, event: Refused) -> None:
        self._refuse(event.error)

    def _refuse(self, error: TrackError) -> None:
        if isinstance(error, PermissionDenied) and self._hopes_for_rights:
            self._dispatch(Blocked(error))
        elif isinstance(error, PermissionDenied):
            self._deny(error)
        elif isinstance(error, SequenceGap):
            # Attaching again, at once, returns the store's last number.
            self._dispatch(Lost())
        else:
            self._dispatch(Lost(error))

    @property
    def _hopes_for_rights(self) -> bool:
        """Whether refused records stay queued: this user was allowed to write once, or that was not known."""
        return self._has_disk and (self._backlog.acked > 0 or self.outlasted)

    def _answered(self, event: Replied | Failed) -> None:
        if self._calling is None or self._calling[0] != event.call_id:
            self.waiters.answered(event)
            return
        item = self._calling[1]
        if isinstance(event, Replied) or isinstance(event.error, _CONSUMED):
            self._calling = None
            self._backlog.answered(item)
            self.waiters.resolve_flushes()
            resolve(item.call, event)
            self._dispatch(CallFinished())
        elif isinstance(event.error, (TooBusy, StoreFailed)):
            self._dispatch(Lost(event.error))
        else:
            # Attaching again returns whether the store has used up the number; nothing takes its place.
            item.call.cancelled = True
            item.call.fail(event.error)
            self._dispatch(Lost())

    def _call_finished(self, event: CallFinished) -> None:
        """More can be sent."""

    # -- failing -------------------------------------------------------------------------------

    def _deny(self, error: PermissionDenied) -> None:
        self.denied = error
        self._fail_waiting(error, reads=False)
        self._drop_numbered(error)
        self.waiters.free_reads()
        if self.state is State.CALLING:
            self._dispatch(CallFinished())

    def _fail_waiting(self, error: TrackError, *, reads: bool = True) -> None:
        """Fail every future that waits."""
        calls = list(self._backlog.calls.values())
        for call in calls:
            call.cancelled = True
        failed = [*calls, *self.waiters.drop_flushes(), *(self.waiters.drop_reads() if reads else ())]
        self._actions += [Fail(future, error) for future in failed]

    def _drop_numbered(self, error: TrackError) -> None:
        self._calling = self._offered = None
        self._drops.drop_all(self._backlog.clear(), str(error))
        if self._has_disk:
            self.session, self._written = new_id(), 0
            self._backlog.renumber()
            self._actions.append(ForgetSession())

    _HANDLERS: Final[Mapping[type[Event], Callable[[Any, Any], None]]] = {
        Started: _started,
        Closed: _closed,
        Logged: _logged,
        Awaited: _awaited,
        Ticked: _ticked,
        Attached: _attached,
        Lost: _lost,
        Blocked: _blocked,
        Faulted: _faulted,
        BatchSent: _sent,
        CallSent: _sent,
        CallFinished: _call_finished,
        Unsendable: _unsendable,
        Loaded: _loaded,
        Written: _was_written,
        Renumbered: _renumbered,
        Acked: _acked,
        Refused: _refused,
        Replied: _answered,
        Failed: _answered,
    }
