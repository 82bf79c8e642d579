"""The sender: one thread that carries everything to the store, through whatever the connection does.

Its state is its own.  Other threads reach it through the deque of rows only, which holds what they
log and, as tickets, what they ask; `wake` tells it to look.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final

from track.outbox.backlog import Backlog, Entry, NumberedCall
from track.outbox.connecting import Attempt, Backoff, OpenLink, close_quietly
from track.outbox.limits import Gate, Limits
from track.outbox.losses import Losses
from track.outbox.numbering import Numbering
from track.outbox.records import BATCH_ROWS, Row, points_in, take
from track.outbox.tickets import Call, FlushTicket, KeepTicket, Ticket
from track_protocol.batch import Batch, PointsOp
from track_protocol.errors import (
    BadArguments,
    BadValue,
    ItemNotFound,
    LocalProtocolError,
    PermissionDenied,
    ProtocolError,
    SequenceGap,
    ServerUnreachable,
    SessionFenced,
    SpoolError,
    StoreError,
    StoreFailed,
    TooBusy,
    TrackError,
)
from track_protocol.link import Acked, Failed, Link, LinkEvent, Opened, Refused, Replied
from track_protocol.model import new_id
from track_protocol.roles import Role

if TYPE_CHECKING:
    # A process that never spools does not load what it takes.
    from track.outbox.diskcopy import DiskCopy

__all__ = ["Sender"]

_log: Final = logging.getLogger("track")

_LINGER: Final = 0.05
"""The tick in seconds while there is traffic."""

_STAYS_AWAKE: Final = 1.0
"""So many seconds after the last traffic the sender stops ticking, and the next log call wakes it."""

_LINGER_AWAY: Final = 1.0
"""The same while the store is away and there is a disk to write it to."""

_HOLDS: Final = 30.0
"""Seconds between attempts while something is wrong that a person has to put right."""

_REPORTS: Final = 1.0
"""Seconds between two reports of losses to the trials that had them."""

_PROVES_ITSELF: Final = 5.0
"""A link that lived for so many seconds counts as good, and the next attempt comes at once."""

_ENDS: Final = 1.0
"""Seconds that an attempt to connect has to end when nobody wants it any more."""

_PASSES: Final = (ServerUnreachable, TooBusy, StoreFailed, SessionFenced)
"""These pass by themselves, always; the next ones do where the store was reached before."""

_PASSES_LATER: Final = (ProtocolError, StoreError)

_CONSUMED: Final = (BadArguments, ItemNotFound)
"""After these failures of a numbered call the store has used up its number; after others perhaps not."""


class Sender:
    """Takes rows, packs and numbers them, sends them, and sends them again when a link breaks.

    Args:
        rows: what other threads have logged; only the sender takes from the left.
        gate: told from how many rows on the sender wants to be woken.
        open_link: makes a link.
        name: of the store, for messages.
        connect_timeout: seconds that one attempt to connect may take.
        limits: how much may wait.
        losses: where losses are counted.
        on_room: called after rows were taken, with the bytes of those that were weighed one by one.
        session: its id; by default a new one.
        backlog: what is numbered already.
        disk: the copy of the backlog on disk; by default there is none.

    Attributes:
        session: this session's id.
        generation: of the store's history; None before it was reached.
        reached: whether a link was ever open.
        final: the error that a person has to put right before anything can be sent.  Without a copy on
            disk everything is given up; with one, calls fail, and what is logged is kept.
        denied: why this user may not write.
        problem: what stood in the way last; None while all is well.
        progress: grows with everything the store has answered.
        packing: whether rows were taken that are not numbered yet.
        asked: how many tickets others have put among the rows.
        stopping: set to end the thread.
        retiring: set to end the thread once there is nothing left to do.
        patience: seconds that an attempt to connect has to end when the thread does.
        link: the open link, None while there is none.
        disk: the copy of the backlog on disk, None if there is none.
    """

    def __init__(
        self,
        rows: deque[Row],
        gate: Gate,
        open_link: OpenLink,
        name: str,
        connect_timeout: float,
        limits: Limits,
        losses: Losses,
        on_room: Callable[[int], None],
        *,
        session: bytes | None = None,
        backlog: Backlog | None = None,
        disk: DiskCopy | None = None,
    ) -> None:
        self._rows = rows
        self._gate = gate
        self._open_link = open_link
        self._name = name
        self._connect_timeout = connect_timeout
        self._limits = limits
        self._losses = losses
        self._on_room = on_room
        self.session = new_id() if session is None else session
        self.generation: str | None = None
        self.reached = False
        self.final: TrackError | None = None
        self.denied: PermissionDenied | None = None
        self.problem: TrackError | None = None
        self.progress = 0
        self.packing = False
        self.asked = 0
        self.stopping = False
        self.retiring = False
        self.patience = _ENDS
        self.link: Link | None = None
        self.disk = disk
        self._backlog = Backlog() if backlog is None else backlog
        self._attempt: Attempt | None = None
        self._backoff = Backoff()
        self._reads: dict[int, tuple[Call, int]] = {}
        self._reads_sent: set[int] = set()
        self._writing: tuple[int, NumberedCall] | None = None
        self._flushes: list[tuple[FlushTicket, int]] = []
        self._keeps: list[tuple[KeepTicket, int]] = []
        self._last_call = 0
        self._accepted = 0
        # These can be used from a signal handler or a destructor in the middle of their own use.
        self._wakes: SimpleQueue[None] = SimpleQueue()
        self._link_lock = threading.RLock()
        self._numbering = Numbering(self._backlog, losses)
        self._role: str = Role.WRITER
        self._told_lost = False
        self._told_help: str | None = None
        self._opened_at = self._active_at = self._next_small = self._report_at = 0.0

    # -- for other threads -----------------------------------------------------------------------

    def wake(self) -> None:
        """Make the sender look at the rows now."""
        if self._wakes.empty():
            self._wakes.put(None)
        # A link must not be closed while it is woken: its descriptors may belong to somebody else then.
        with self._link_lock:
            if self.link is not None:
                self.link.wake()

    @property
    def opening(self) -> Link | None:
        """The link that is being opened, None while none is."""
        attempt = self._attempt
        return None if attempt is None else attempt.link

    @property
    def is_away(self) -> bool:
        """Whether the store is away and the last attempt to reach it failed."""
        return self.link is None and self.problem is not None

    @property
    def urgent(self) -> bool:
        """Whether somebody waits behind the rows."""
        return self.asked != self._accepted

    @property
    def unacknowledged(self) -> int:
        """How many numbered records are not known to be durable, but for calls that nobody waits for."""
        return self._backlog.next_seq - 1 - self._backlog.acked - self._backlog.abandoned

    @property
    def unsent_points(self) -> int:
        """How many points are numbered and not known to be durable."""
        return self._backlog.points

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
            if self.retiring and self._is_idle:
                self.stopping = True
        # Whoever logs from now on has to see to it that this goes on.
        self._gate.mark = 0
        self._drop_link()
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.give_up(self.patience)
        if self.disk is not None:
            self._put_away()
            self.disk.finish(self.generation, None if self.problem is None else str(self.problem))

    @property
    def _is_idle(self) -> bool:
        """Whether nobody waits for anything any more."""
        busy = self._rows or self.urgent or self._reads or self._flushes or self._keeps
        return not busy and self._backlog.settled == self._backlog.next_seq - 1

    def _turn(self) -> None:
        if self.link is None:
            self._stay_away()
        else:
            self._fill()
            self._write_down()
            self._send(self.link)
            if self.link is not None:
                self._receive(self.link)

    def _put_away(self) -> None:
        """Everything that was logged goes to disk; what the disk does not take stays in memory."""
        while self._rows and not self._full:
            self._fill()
            self._write_down()
        self._write_down()

    def _sleep(self, seconds: float | None) -> None:
        if not self._full:
            # With a disk, even one log call has to be there in time; first the mark, then the look.
            self._gate.mark = BATCH_ROWS if self.disk is None or self._rows else 0
            if self._gate.mark == 0 and self._rows:
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
        attempt = self._attempt
        if attempt is not None and attempt.done:
            self._attempt = None
            self._tried(attempt)
            return
        if self.final is not None and self.disk is None:
            self._give_up(self.final)
            self._sleep(None)
            return
        if attempt is None and self._backoff.remaining() <= 0:
            self._attempt = Attempt(
                self._open_link(), self.session, self._connect_timeout, lambda: self._wakes.put(None)
            )
        self._fill()
        self._write_down()
        self._sleep(self._pause_away())

    def _pause_away(self) -> float | None:
        """How long there is nothing to do but to wait for what others do."""
        now = time.monotonic()
        due = [] if self._attempt is not None else [now + self._backoff.remaining()]
        if self.disk is not None:
            due += [self._next_small] if self._rows and not self._full else []
            due += [at for at in (self.disk.due,) if at is not None]
        return max(0.0, min(due) - now) if due else None

    def _tried(self, attempt: Attempt) -> None:
        error = attempt.error
        if error is None:
            assert attempt.opened is not None, "an attempt ends with one of the two"
            self._attach(attempt.link, attempt.opened)
        elif not isinstance(error, TrackError):
            raise ServerUnreachable(f"connecting to {self._name} failed: {error!r}") from error
        elif isinstance(error, _PASSES) or (self.reached and isinstance(error, _PASSES_LATER)):
            raise error
        else:
            self._needs_help(error)

    def _needs_help(self, error: TrackError) -> None:
        """Something is wrong that does not pass by itself."""
        if self._told_help != str(error):
            self._told_help = str(error)
            kept = (
                "" if self.disk is None else "; what is logged is kept here, and 'track doctor' explains more"
            )
            _log.warning("nothing can be sent to %s: %s%s", self._name, error, kept)
        self.final = self.problem = error
        self._backoff.failed(_HOLDS)
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
        if opened.last_seq < before:
            self._tell_of_older_state(opened.last_seq, before, gone)
        self._attached(link)

    def _attached(self, link: Link) -> None:
        self._opened_at = self._active_at = time.monotonic()
        self.reached, self.problem, self.final, self.link = True, None, None, link
        if self._role != Role.READER:
            self.denied = None
        if not len(self._backlog):
            self._works_again()
        self._settle_flushes()

    def _works_again(self) -> None:
        """The store takes what it is sent; one that lets in and then refuses is the same trouble still."""
        if self._told_lost or self._told_help is not None:
            _log.info("connected to %s again", self._name)
        self._told_lost, self._told_help = False, None

    def _begin_again(self) -> None:
        """Give what is not confirmed to a new session."""
        self._backlog.unfold_all(self._loaded)
        for entry in self._backlog:
            if entry.item is None:
                (loaded,) = self._loaded(entry)
                entry.item, entry.points = loaded.item, loaded.points
        self.session = new_id()
        self._backlog.renumber()
        if self.disk is not None:
            self.disk.start_over()
        self._flushes = [(ticket, self._backlog.next_seq - 1) for ticket, _ in self._flushes]
        self._keeps = [(ticket, self._backlog.next_seq - 1) for ticket, _ in self._keeps]
        self._reads = {id: (call, self._backlog.next_seq - 1) for id, (call, _) in self._reads.items()}

    @property
    def _on_disk(self) -> DiskCopy:
        assert self.disk is not None, "what is not in memory is on disk"
        return self.disk

    def _loaded(self, entry: Entry) -> list[Entry]:
        """What an item stands for, in memory; batches of nothing if it cannot be read any more."""
        try:
            if entry.records > 1:
                return self._on_disk.parts_of(entry)
            return [replace(entry, item=self._on_disk.load(entry))]
        except SpoolError as error:
            self._drop_points(entry, error)
            nothing = Batch(entry.first, entry.last - entry.first + 1, [])
            return [replace(entry, item=nothing, points=0, records=1)]

    def _tell_of_older_state(self, last_seq: int, before: int, gone: int) -> None:
        again = before - last_seq - gone
        for trial in self._numbering.trials if gone else ():
            self._losses.lose(gone, f"{self._name} was set back to an older state", trial)
        lost = f"{gone:,} of them are gone for good" if gone else "none is lost"
        self._losses.warn(
            f"{self._name} was set back to an older state: of the {before - last_seq:,} log calls of this "
            f"process that it had and has no more, {again:,} are sent again, and {lost}"
        )

    def _lose(self, error: TrackError) -> None:
        """The link, or an attempt to open one, has failed: try again later."""
        if self.link is not None and time.monotonic() - self._opened_at > _PROVES_ITSELF:
            self._backoff.worked()
        self.problem = error
        if self.reached and not self._told_lost:
            self._told_lost = True
            refuses = isinstance(error, StoreError | TooBusy)
            what = f"{self._name} takes nothing" if refuses else f"the connection to {self._name} was lost"
            _log.warning("%s; what is logged waits here: %s", what, error)
        self._drop_link()
        self._backoff.failed()

    def _drop_link(self) -> None:
        with self._link_lock:
            link, self.link = self.link, None
        self._backlog.detach()
        self._reads_sent.clear()
        self._writing = None
        if link is not None:
            close_quietly(link)

    # -- from rows to the backlog ----------------------------------------------------------------

    def _fill(self) -> None:
        self._report_losses(at_once=self.stopping)
        while self._rows and not self._full and self._ripe():
            self.packing = True
            taken = take(self._rows)
            self._on_room(taken.heavy)
            if taken.rows:
                self._numbering.number(taken.rows, taken.nbytes, self.denied)
            self.packing = False
            if taken.ticket is not None:
                # Whoever waits for what was logged waits for what is told of its losses, too.
                self._report_losses(at_once=True)
                self._accept(taken.ticket)
            linger = max(_LINGER_AWAY, self._limits.linger) if self.link is None else self._limits.linger
            self._next_small = time.monotonic() + linger
            self._gate.hurry = False

    def _ripe(self) -> bool:
        """Whether a batch should be made now, though it may not be full."""
        if len(self._rows) >= BATCH_ROWS or self.urgent or self.stopping or self._gate.hurry:
            return True
        return (self.link is not None or self.disk is not None) and time.monotonic() >= self._next_small

    def _write_down(self) -> None:
        disk = self.disk
        if disk is None:
            return
        disk.write(self.session)
        waiting, self._keeps = self._keeps, []
        for ticket, after in waiting:
            if disk.problem is not None:
                ticket.fail(disk.problem)
            elif after <= max(disk.synced, self._backlog.acked):
                ticket.resolve()
            else:
                self._keeps.append((ticket, after))

    def _report_losses(self, *, at_once: bool = False) -> None:
        """Tell trials what they lost, in order with what they keep."""
        now = time.monotonic()
        if self._losses.is_reported or self._full or (now < self._report_at and not at_once):
            return
        self._report_at = now + _REPORTS
        self._numbering.report_losses(self.denied)

    def _accept(self, ticket: Ticket) -> None:
        self._accepted += 1
        error = self._hindrance(ticket)
        if error is not None:
            ticket.fail(error)
        elif isinstance(ticket, KeepTicket):
            self._keeps.append((ticket, self._backlog.next_seq - 1))
        elif isinstance(ticket, FlushTicket):
            self._flushes.append((ticket, self._backlog.next_seq - 1))
            self._settle_flushes()
        elif isinstance(ticket, Call) and not ticket.abandoned:
            if ticket.writes:
                self._backlog.add(NumberedCall(self._backlog.next_seq, ticket), 1024)
            else:
                self._last_call += 1
                self._reads[self._last_call] = (ticket, self._backlog.next_seq - 1)

    def _hindrance(self, ticket: Ticket) -> TrackError | None:
        """What stands in the way of a ticket for longer than anybody would wait."""
        if isinstance(ticket, KeepTicket):
            return self.denied
        if self.final is not None:
            return self.final
        return None if isinstance(ticket, Call) and not ticket.writes else self.denied

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
            if entry.call is not None and entry.call.abandoned:
                # Its caller was told that it failed, perhaps long ago: it must not be done now.
                backlog.skip_unsent()
            try:
                if entry.records > 1:
                    backlog.unfold(self._on_disk.parts_of(entry))
                else:
                    self._send_entry(link, entry)
            except (BadValue, LocalProtocolError, SpoolError) as error:
                self._skip(entry, error)
        for call_id, (call, after) in list(self._reads.items()):
            if call_id not in self._reads_sent and after <= backlog.horizon:
                self._send_read(link, call_id, call)

    def _send_entry(self, link: Link, entry: Entry) -> None:
        item = entry.item
        if isinstance(item, NumberedCall):
            self._last_call += 1
            link.send_call(self._last_call, item.first, item.call.method, item.call.arguments)
            self._writing = (self._last_call, item)
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
            self._drop_points(entry, error)
        self._backlog.skip_unsent()

    def _drop_points(self, entry: Entry, error: TrackError) -> None:
        """Count what a batch has as lost, for each trial in it that is known."""
        if not isinstance(entry.item, Batch):
            self._losses.drop(entry.points, str(error))
            return
        for op in entry.item.ops:
            trial = op.trial if isinstance(op, PointsOp) else op.arguments.get("trial")
            self._losses.drop(op.points, str(error), trial)

    def _send_read(self, link: Link, call_id: int, call: Call) -> None:
        if call.abandoned:
            del self._reads[call_id]
            return
        try:
            link.send_call(call_id, None, call.method, call.arguments)
            self._reads_sent.add(call_id)
        except (BadValue, LocalProtocolError) as error:
            del self._reads[call_id]
            call.fail(error)

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
            self._gate.mark = BATCH_ROWS
        if self._rows:
            self._active_at = now
            return _LINGER if self._full else max(0.0, self._next_small - now)
        if now - self._active_at < _STAYS_AWAKE or (self.disk is not None and self.disk.due is not None):
            return _LINGER
        # First the mark, then the look: a log call appends first and then compares.
        self._gate.mark = 0
        return 0.0 if self._rows or self.urgent or self.stopping else None

    def _handle(self, event: LinkEvent) -> None:
        if isinstance(event, Acked):
            self._backoff.worked()
            self._works_again()
            for rejection in event.rejected:
                self._losses.reject(1, rejection.message)
            self._backlog.ack(event.last_seq)
            if self.disk is not None:
                self.disk.acknowledge(self.generation)
            self._settle_flushes()
        elif isinstance(event, Refused):
            self._refused(event.error)
        else:
            self._backoff.worked()
            self._answered(event)

    def _refused(self, error: TrackError) -> None:
        if isinstance(error, PermissionDenied) and self.disk is not None and self._backlog.acked:
            # It was allowed once: the rights may come back, and what was logged must not be lost for that.
            self._drop_link()
            self._needs_help(error)
        elif isinstance(error, PermissionDenied):
            self._deny(error)
        elif isinstance(error, SequenceGap):
            # The store's end is learnt by attaching again, at once.
            self._drop_link()
        else:
            raise error

    def _answered(self, event: Replied | Failed) -> None:
        if self._writing is not None and self._writing[0] == event.call_id:
            self._write_answered(self._writing[1], event)
        elif event.call_id in self._reads:
            call, _ = self._reads.pop(event.call_id)
            self._reads_sent.discard(event.call_id)
            _settle(call, event)

    def _write_answered(self, item: NumberedCall, event: Replied | Failed) -> None:
        if isinstance(event, Replied) or isinstance(event.error, _CONSUMED):
            self._writing = None
            self._backlog.answered(item)
            self._settle_flushes()
            _settle(item.call, event)
        elif isinstance(event.error, (TooBusy, StoreFailed)):
            raise event.error
        else:
            # Whether the store used up the number is learnt by attaching again, with nothing in its place.
            item.call.abandoned = True
            item.call.fail(event.error)
            self._drop_link()

    def _settle_flushes(self) -> None:
        waiting, settled = self._flushes, self._backlog.settled
        if waiting and waiting[0][1] <= settled:
            self._flushes = [(ticket, after) for ticket, after in waiting if after > settled]
            for ticket, after in waiting:
                if after <= settled:
                    ticket.resolve()

    # -- giving up -------------------------------------------------------------------------------

    def _deny(self, error: PermissionDenied) -> None:
        self.denied = error
        self._fail_waiting(error, reads=False)
        self._drop_numbered(error)
        # What they were to see first is gone.
        self._reads = {id: (call, 0) for id, (call, _) in self._reads.items()}

    def _give_up(self, error: TrackError) -> None:
        self._fail_waiting(error)
        self._drop_numbered(error)
        while self._rows:
            taken = take(self._rows)
            self._on_room(taken.heavy)
            if taken.rows:
                self._losses.drop(sum(map(points_in, taken.rows)), str(error))
            if taken.ticket is not None:
                self._accepted += 1
                taken.ticket.fail(error)

    def _fail_waiting(self, error: TrackError, *, reads: bool = True) -> None:
        """Nobody is going to have an answer."""
        self._writing = None
        for entry in self._backlog:
            if entry.call is not None:
                entry.call.abandoned = True
                entry.call.fail(error)
        for ticket, _ in self._flushes:
            ticket.fail(error)
        self._flushes.clear()
        if reads:
            for call, _ in self._reads.values():
                call.fail(error)
            self._reads.clear()

    def _drop_numbered(self, error: TrackError) -> None:
        for entry in self._backlog.clear():
            if entry.points:
                self._losses.drop(entry.points, str(error))
        if self.disk is not None:
            self.session = new_id()
            self._backlog.renumber()
            self.disk.start_over()


def _settle(call: Call, event: Replied | Failed) -> None:
    if isinstance(event, Failed):
        call.fail(event.error)
    else:
        call.resolve(event.value)
