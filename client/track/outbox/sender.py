"""The sender: one thread that carries everything to the store, through whatever the connection does.

Its state is its own.  Other threads reach it through the deque of rows only, which holds what they
log and, as tickets, what they ask; `wake` tells it to look.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final

from track.outbox.backlog import Backlog, Entry, NumberedCall
from track.outbox.connector import Connector, OpenLink, close_quietly
from track.outbox.drops import DropAccount
from track.outbox.futures import Call, FlushFuture, SyncFuture
from track.outbox.queue import Gate, Limits
from track.outbox.records import (
    BATCH_RECORDS,
    CALL,
    Record,
    batch_of,
    drain,
    drop_invalid,
    trial_of,
    values_in,
)
from track.outbox.waiters import Waiters, resolve
from track_protocol.errors import (
    BadArguments,
    BadValue,
    ItemNotFound,
    LocalProtocolError,
    PermissionDenied,
    SequenceGap,
    ServerUnreachable,
    SpoolError,
    StoreFailed,
    TooBusy,
    TrackError,
)
from track_protocol.model.entities import new_id
from track_protocol.wire.batch import Batch, PointsOp
from track_protocol.wire.counts import Counts
from track_protocol.wire.link import Acked, Failed, Link, LinkEvent, Opened, Refused, Replied
from track_protocol.wire.roles import Role

if TYPE_CHECKING:
    # A process that never spools does not load what it takes.
    from track.outbox.disk import DiskQueue

__all__ = ["Numbering", "Sender"]

_log: Final = logging.getLogger("track")

_LINGER: Final = 0.05
"""The tick in seconds while there is traffic."""

_STAYS_AWAKE: Final = 1.0
"""So many seconds after the last traffic the sender stops ticking, and the next log call wakes it."""

_LINGER_AWAY: Final = 1.0
"""The same while the store is away and there is a disk to write it to."""

_REPORTS: Final = 1.0
"""Seconds between two reports of losses to the trials that had them."""

_ENDS: Final = 1.0
"""Seconds that an attempt to connect has to end when nobody wants it any more."""

_CONSUMED: Final = (BadArguments, ItemNotFound)
"""After these failures of a numbered call the store has used up its number; after others perhaps not."""


class Sender:
    """Takes rows, packs and numbers them, sends them, and sends them again when a link breaks.

    Args:
        records: what other threads have logged; only the sender takes from the left.
        gate: told from how many rows on the sender wants to be woken.
        open_link: makes a link.
        name: of the store, for messages.
        connect_timeout: seconds that one attempt to connect may take.
        limits: how much may wait.
        drops: where losses are counted.
        on_room: called after rows were taken, with the bytes of those that were weighed one by one.
        session: its id; by default a new one.
        backlog: what is numbered already.
        disk: the copy of the backlog on disk; by default there is none.

    Attributes:
        session: this session's id.
        generation: of the store's history; None before it was reached.
        connector: to the store.  While its `final` error stands, without a disk everything is given up;
            with one, calls fail, and what is logged is kept.
        denied: why this user may not write.
        progress: grows with everything the store has answered.
        packing: whether rows were taken that are not numbered yet.
        asked: how many tickets others have put among the rows.
        stopping: set to end the thread.
        closing_when_drained: set to end the thread once there is nothing left to do.
        patience: seconds that an attempt to connect has to end when the thread does.
        disk: the copy of the backlog on disk, None if there is none.
    """

    def __init__(
        self,
        records: deque[Record],
        gate: Gate,
        open_link: OpenLink,
        name: str,
        connect_timeout: float,
        limits: Limits,
        drops: DropAccount,
        on_room: Callable[[int], None],
        *,
        session: bytes | None = None,
        backlog: Backlog | None = None,
        disk: DiskQueue | None = None,
    ) -> None:
        self._records = records
        self._gate = gate
        self._name = name
        self._limits = limits
        self._drops = drops
        self._on_room = on_room
        self.session = new_id() if session is None else session
        self.generation: str | None = None
        self.connector = Connector(open_link, name, connect_timeout, lambda: self._wakes.put(None))
        self.denied: PermissionDenied | None = None
        self.progress = 0
        self.packing = False
        self.asked = 0
        self.stopping = False
        self.closing_when_drained = False
        self.patience = _ENDS
        self.disk = disk
        self._backlog = Backlog() if backlog is None else backlog
        self._waiting = Waiters(self._backlog)
        self._writing: tuple[int, NumberedCall] | None = None
        self._accepted = 0
        # It can be used from a signal handler or a destructor in the middle of its own use.
        self._wakes: SimpleQueue[None] = SimpleQueue()
        self._numbering = Numbering(self._backlog, drops)
        self._role: str = Role.WRITER
        self._outlasted = False
        self._active_at = self._next_small = self._report_at = 0.0

    # -- for other threads -----------------------------------------------------------------------

    def wake(self) -> None:
        """Make the sender look at the rows now."""
        if self._wakes.empty():
            self._wakes.put(None)
        self.connector.wake()

    @property
    def urgent(self) -> bool:
        """Whether somebody waits behind the rows."""
        return self.asked != self._accepted

    @property
    def unacknowledged(self) -> int:
        """How many numbered records are not known to be durable, but for calls that nobody waits for."""
        return self._backlog.next_seq - 1 - self._backlog.acked - self._backlog.cancelled

    @property
    def unsent(self) -> Counts:
        """How much is numbered and not known to be durable."""
        return self._backlog.counts

    # -- the thread ------------------------------------------------------------------------------

    def run(self) -> None:
        """Work until `stopping` is set."""
        while not self.stopping:
            try:
                self._turn()
            except TrackError as error:
                self._lose(error)
            except Exception as error:  # noqa: BLE001  # a fault must not end the thread that all wait for
                _log.exception("sending to %s failed; trying again", self._name)
                self._lose(ServerUnreachable(f"sending to {self._name} failed: {error!r}"))
            if self.closing_when_drained and self._is_idle:
                self.stopping = True
        # Whoever logs from now on has to see to it that this goes on.
        self._gate.watermark = 0
        self._unsend()
        self.connector.close(self.patience)
        if self.disk is not None:
            self._put_away()
            self.disk.finish(
                self.generation, None if self.connector.problem is None else str(self.connector.problem)
            )

    @property
    def _is_idle(self) -> bool:
        """Whether nobody waits for anything any more."""
        busy = self._records or self.urgent or self._waiting
        return not busy and self._backlog.resolved_through == self._backlog.next_seq - 1

    def _turn(self) -> None:
        link = self.connector.link
        if link is None:
            self._stay_away()
            return
        self._fill()
        self._write_down()
        self._send(link)
        if self.connector.link is link:
            self._receive(link)

    def _put_away(self) -> None:
        """Everything that was logged goes to disk; what the disk does not take stays in memory."""
        while self._records and not self._full:
            self._fill()
            self._write_down()
        self._write_down()

    def _sleep(self, seconds: float | None) -> None:
        if not self._full:
            # With a disk, even one log call has to be there in time; first the mark, then the look.
            self._gate.watermark = BATCH_RECORDS if self.disk is None or self._records else 0
            if self._gate.watermark == 0 and self._records:
                return
        with contextlib.suppress(Empty):
            self._wakes.get(timeout=seconds)
        self._forget_wakes()

    def _forget_wakes(self) -> None:
        while not self._wakes.empty():
            self._wakes.get()

    @property
    def _full(self) -> bool:
        return self._backlog.nbytes >= self._limits.backlog_bytes

    # -- connecting ------------------------------------------------------------------------------

    def _stay_away(self) -> None:
        """Keep what there is, and try to connect when it is time to."""
        connector = self.connector
        if connector.has_outcome:
            self._tried()
            return
        if connector.final is not None and self.disk is None:
            self._give_up(connector.final)
            self._sleep(None)
            return
        connector.try_again(self.session)
        self._fill()
        self._write_down()
        self._sleep(self._pause_away())

    def _pause_away(self) -> float | None:
        """How long there is nothing to do but to wait for what others do."""
        now = time.monotonic()
        tries = self.connector.next_attempt
        due = [] if tries is None else [now + tries]
        if self.disk is not None:
            due += [self._next_small] if self._records and not self._full else []
            due += [at for at in (self.disk.due,) if at is not None]
        return max(0.0, min(due) - now) if due else None

    def _tried(self) -> None:
        try:
            link, opened = self.connector.outcome()
        except TrackError as error:
            if self.connector.passes(error):
                raise
            self._need_help(error)
        else:
            self._attach(link, opened)

    def _need_help(self, error: TrackError) -> None:
        """Something is wrong that does not pass by itself."""
        kept = "" if self.disk is None else "; what is logged is kept here, and 'track doctor' explains more"
        self.connector.need_help(error, kept)
        self._fail_waiting(error)

    def _attach(self, link: Link, opened: Opened) -> None:
        self._role, self.generation = opened.role, opened.generation
        backlog = self._backlog
        if opened.last_seq >= backlog.next_seq:
            # Somebody else has written in this session, so it cannot be gone on with.
            close_quietly(link)
            self._begin_again()
            return
        before = backlog.acked
        kept = self.disk.kept_after(opened.last_seq) if self.disk and opened.last_seq < before else []
        gone = backlog.attach(opened.last_seq, kept)
        self._open_half_stored()
        if opened.last_seq < before:
            self._tell_of_older_state(opened.last_seq, before, gone)
        self._active_at = time.monotonic()
        self._outlasted = self._outlasted or (self.connector.is_unreachable and len(backlog) > 0)
        self.connector.use(link)
        if self._role != Role.READER:
            self.denied = None
        if not len(backlog):
            self.connector.works_again()
        self._waiting.resolve_flushes()

    def _open_half_stored(self) -> None:
        """What is left of an item that the store has a part of can be told only if it is in memory."""
        oldest = self._backlog.unsent
        if oldest is not None and oldest.item is None and oldest.first <= self._backlog.acked:
            self._backlog.expand(self._loaded(oldest))

    def _begin_again(self) -> None:
        """Give what is not confirmed to a new session."""
        self._backlog.expand_all(self._loaded)
        for entry in self._backlog:
            if entry.item is None:
                (loaded,) = self._loaded(entry)
                entry.item, entry.counts = loaded.item, loaded.counts
        self.session = new_id()
        self._backlog.renumber()
        if self.disk is not None:
            self.disk.start_over()
        self._waiting.renumbered()

    @property
    def _on_disk(self) -> DiskQueue:
        assert self.disk is not None, "what is not in memory is on disk"
        return self.disk

    def _loaded(self, entry: Entry) -> list[Entry]:
        """What an item stands for, in memory; batches of nothing if it cannot be read any more."""
        try:
            if entry.records > 1:
                return self._on_disk.parts_of(entry)
            return [replace(entry, item=self._on_disk.load(entry))]
        except SpoolError as error:
            self._drop_all(entry, error)
            nothing = Batch(entry.first, entry.last - entry.first + 1, [])
            return [replace(entry, item=nothing, counts=Counts(), records=1)]

    def _tell_of_older_state(self, last_seq: int, before: int, gone: int) -> None:
        again = before - last_seq - gone
        for trial in self._numbering.trials if gone else ():
            self._drops.lose(gone, f"{self._name} was set back to an older state", trial)
        lost = f"{gone:,} of them are gone for good" if gone else "none is lost"
        self._drops.warn(
            f"{self._name} was set back to an older state: of the {before - last_seq:,} log calls of this "
            f"process that it had and has no more, {again:,} are sent again, and {lost}"
        )

    def _lose(self, error: TrackError) -> None:
        """The link, or an attempt to open one, has failed."""
        self.connector.fail(error)
        self._drop_link()

    def _drop_link(self) -> None:
        self._unsend()
        self.connector.drop()

    def _unsend(self) -> None:
        """With its link goes what was sent on it."""
        self._backlog.detach()
        self._waiting.detach()
        self._writing = None

    # -- from rows to the backlog ----------------------------------------------------------------

    def _fill(self) -> None:
        self._report_losses(at_once=self.stopping)
        while self._records and not self._full and self._ripe():
            self.packing = True
            drained = drain(self._records)
            self._on_room(drained.sized_bytes)
            if drained.records:
                self._numbering.number(drained.records, drained.nbytes, self.denied)
            self.packing = False
            if drained.future is not None:
                # Whoever waits for what was logged waits for what is told of its losses, too.
                self._report_losses(at_once=True)
                self._accept(drained.future)
            linger = (
                max(_LINGER_AWAY, self._limits.linger) if self.connector.link is None else self._limits.linger
            )
            self._next_small = time.monotonic() + linger
            self._gate.hurry = False

    def _ripe(self) -> bool:
        """Whether a batch should be made now, though it may not be full."""
        if len(self._records) >= BATCH_RECORDS or self.urgent or self.stopping or self._gate.hurry:
            return True
        return (
            self.connector.link is not None or self.disk is not None
        ) and time.monotonic() >= self._next_small

    def _write_down(self) -> None:
        disk = self.disk
        if disk is None:
            return
        disk.write(self.session)
        self._waiting.resolve_syncs(disk.synced, disk.problem)

    def _report_losses(self, *, at_once: bool = False) -> None:
        """Tell trials what they lost, in order with what they keep."""
        now = time.monotonic()
        if self._drops.is_reported or self._full or (now < self._report_at and not at_once):
            return
        self._report_at = now + _REPORTS
        self._numbering.report_losses(self.denied)

    def _accept(self, future: Call | FlushFuture | SyncFuture) -> None:
        self._accepted += 1
        error = self._hindrance(future)
        if error is not None:
            # Whoever is told goes on if all is on disk, and looks at once.
            self._write_down()
            future.fail(error)
        elif not isinstance(future, Call):
            self._waiting.add(future)
        elif not future.cancelled:
            if future.writes:
                self._backlog.add(NumberedCall(self._backlog.next_seq, future), 1024)
            else:
                self._waiting.add(future)

    def _hindrance(self, future: Call | FlushFuture | SyncFuture) -> TrackError | None:
        """What stands in the way of a ticket for longer than anybody would wait."""
        if isinstance(future, SyncFuture):
            return self.denied
        if self.connector.final is not None:
            return self.connector.final
        return None if isinstance(future, Call) and not future.writes else self.denied

    # -- from the backlog to the link ------------------------------------------------------------

    def _send(self, link: Link) -> None:
        backlog, limits = self._backlog, self._limits
        while (
            self._writing is None
            and (entry := backlog.unsent) is not None
            and backlog.sent < limits.batches_in_flight
            and backlog.sent_nbytes < limits.bytes_in_flight
        ):
            if self._role == Role.READER:
                self._refused(
                    PermissionDenied(
                        f"this user of {self._name} is a reader and may not log or change anything: "
                        "join with a writer's URI"
                    )
                )
                break
            if entry.call is not None and entry.call.cancelled:
                # Its caller was told that it failed, perhaps long ago: it must not be done now.
                backlog.skip_unsent()
            try:
                if entry.is_extent:
                    backlog.expand(self._on_disk.parts_of(entry))
                else:
                    self._send_entry(link, entry)
            except (BadValue, LocalProtocolError, SpoolError) as error:
                self._skip(entry, error)
        self._waiting.send_reads(link)

    def _send_entry(self, link: Link, entry: Entry) -> None:
        item = entry.item
        if isinstance(item, NumberedCall):
            call_id = self._waiting.new_call_id()
            link.send_call(call_id, item.first, item.call.method, item.call.arguments)
            self._writing = (call_id, item)
        elif item is not None:
            link.send_batch(item)
        else:
            link.send_batch(self._on_disk.load(entry))
        self._backlog.mark_sent()

    def _skip(self, entry: Entry, error: TrackError) -> None:
        """What can never be sent must not block what is behind it."""
        if entry.call is not None:
            entry.call.fail(error)
        else:
            self._drop_all(entry, error)
        self._backlog.skip_unsent()

    def _drop_all(self, entry: Entry, error: TrackError) -> None:
        """Count what a batch has as lost, for each trial in it that is known."""
        if not isinstance(entry.item, Batch):
            self._drops.drop_unread(entry.counts, str(error))
            return
        for op in entry.item.ops:
            trial = op.trial if isinstance(op, PointsOp) else op.arguments.get("trial")
            self._drops.drop_all(op.counts, str(error), trial)

    # -- what comes back -------------------------------------------------------------------------

    def _receive(self, link: Link) -> None:
        self._forget_wakes()
        events = link.poll(self._patience())
        for event in events:
            self._active_at = time.monotonic()
            self.progress += 1
            self._handle(event)

    def _patience(self) -> float | None:
        """How long to wait for the link before there is something else to do."""
        now = time.monotonic()
        if self.stopping or (self.urgent and not self._full):
            return 0.0
        if not self._full:
            self._gate.watermark = BATCH_RECORDS
        if self._records:
            self._active_at = now
            return _LINGER if self._full else max(0.0, self._next_small - now)
        if now - self._active_at < _STAYS_AWAKE or (self.disk is not None and self.disk.due is not None):
            return _LINGER
        # First the mark, then the look: a log call appends first and then compares.
        self._gate.watermark = 0
        return 0.0 if self._records or self.urgent or self.stopping else None

    def _handle(self, event: LinkEvent) -> None:
        if isinstance(event, Acked):
            self.connector.answered()
            self.connector.works_again()
            for rejection in event.rejected:
                self._drops.reject(1, rejection.message)
            self._backlog.ack(event.last_seq)
            if self.disk is not None:
                self.disk.acknowledge(self.generation)
            self._waiting.resolve_flushes()
        elif isinstance(event, Refused):
            self._refused(event.error)
        else:
            self.connector.answered()
            self._answered(event)

    def _refused(self, error: TrackError) -> None:
        if isinstance(error, PermissionDenied) and self._hopes_for_rights:
            self._drop_link()
            self._need_help(error)
        elif isinstance(error, PermissionDenied):
            self._deny(error)
        elif isinstance(error, SequenceGap):
            # The store's end is learnt by attaching again, at once.
            self._drop_link()
        else:
            raise error

    @property
    def _hopes_for_rights(self) -> bool:
        """Whether what may not be written is kept: it was allowed once, or logged when nobody could say."""
        return self.disk is not None and (self._backlog.acked > 0 or self._outlasted)

    def _answered(self, event: Replied | Failed) -> None:
        if self._writing is not None and self._writing[0] == event.call_id:
            self._write_answered(self._writing[1], event)
        else:
            self._waiting.answered(event)

    def _write_answered(self, item: NumberedCall, event: Replied | Failed) -> None:
        if isinstance(event, Replied) or isinstance(event.error, _CONSUMED):
            self._writing = None
            self._backlog.answered(item)
            self._waiting.resolve_flushes()
            resolve(item.call, event)
        elif isinstance(event.error, (TooBusy, StoreFailed)):
            raise event.error
        else:
            # Whether the store used up the number is learnt by attaching again, with nothing in its place.
            item.call.cancelled = True
            item.call.fail(event.error)
            self._drop_link()

    # -- giving up -------------------------------------------------------------------------------

    def _deny(self, error: PermissionDenied) -> None:
        self.denied = error
        self._fail_waiting(error, reads=False)
        self._drop_numbered(error)
        self._waiting.free_reads()

    def _give_up(self, error: TrackError) -> None:
        self._fail_waiting(error)
        self._drop_numbered(error)
        while self._records:
            drained = drain(self._records)
            self._on_room(drained.sized_bytes)
            if drained.records:
                self._drops.drop(sum(map(values_in, drained.records)), str(error))
            if drained.future is not None:
                self._accepted += 1
                drained.future.fail(error)

    def _fail_waiting(self, error: TrackError, *, reads: bool = True) -> None:
        """Nobody is going to have an answer."""
        self._writing = None
        for entry in self._backlog:
            if entry.call is not None:
                entry.call.cancelled = True
                entry.call.fail(error)
        self._waiting.fail_flushes(error)
        if reads:
            self._waiting.fail_reads(error)

    def _drop_numbered(self, error: TrackError) -> None:
        for entry in self._backlog.clear():
            self._drops.drop_all(entry.counts, str(error))
        if self.disk is not None:
            self.session = new_id()
            self._backlog.renumber()
            self.disk.start_over()


_OVERHEAD: Final = 1_024
"""Bytes of memory that an operation takes beside its columns, about."""

_MOST_TRIALS: Final = 1_000
"""How many trials of one process are told when a store that was set back has lost something of it."""


class Numbering:
    """Puts what was logged into the backlog, but for what cannot be stored.

    Args:
        backlog: takes the batches.
        drops: where what is left out is counted, and what trials have to be told of that.

    Attributes:
        trials: those that have points among what was numbered, up to a bound.
    """

    def __init__(self, backlog: Backlog, drops: DropAccount) -> None:
        self._backlog = backlog
        self._drops = drops
        self.trials = drops.trials

    def number(self, records: Sequence[Record], nbytes: int, denied: PermissionDenied | None) -> None:
        """Make a batch of some rows.

        Args:
            records: of one batch.
            nbytes: about how large it becomes.
            denied: why none of it may be written; it counts as lost then.
        """
        if denied is not None:
            self._drops.drop(sum(map(values_in, records)), str(denied))
            return
        try:
            batch = batch_of(self._backlog.next_seq, records)
        except BadValue:
            kept = [drop_invalid(record, partial(self._unstorable, record)) for record in records]
            records = [record for record in kept if record is not None]
            if not records:
                return
            batch = batch_of(self._backlog.next_seq, records)
        self._backlog.add(batch, nbytes + _OVERHEAD * len(batch.ops), batch.counts)
        if len(self.trials) < _MOST_TRIALS:
            self.trials.update(op.trial for op in batch.ops if isinstance(op, PointsOp))

    def _unstorable(self, record: Record, error: BadValue) -> None:
        self._drops.drop(1, str(error), trial_of(record))

    def report_losses(self, denied: PermissionDenied | None) -> None:
        """Make a batch of what trials have to be told of their losses.

        Args:
            denied: see `number`.
        """
        drops = self._drops.report()
        self.number([(CALL, "log_trial_losses", time.time(), loss._asdict(), 0) for loss in drops], 0, denied)
