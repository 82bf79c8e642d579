"""The sender: the thread around delivery, which sleeps, moves bytes and touches the disk.

`Delivery` decides what to do, and when.  Other threads reach the sender only through the deque of records,
which holds what they log and the futures that wait; `wake` makes it look there.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final

from track.outbox.backlog import Backlog
from track.outbox.connector import Connector, OpenLink, close_quietly
from track.outbox.delivery import Delivery
from track.outbox.drops import DropAccount
from track.outbox.queue import Gate, Limits
from track.outbox.records import BATCH_RECORDS, FUTURE, Drained, Record, drain, values_in
from track.outbox.transitions import (
    Acknowledge,
    Action,
    Attached,
    Awaited,
    BatchSent,
    Blocked,
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
from track_protocol.errors import (
    BadValue,
    InternalError,
    LocalProtocolError,
    PermissionDenied,
    SpoolError,
    TrackError,
)
from track_protocol.model.entities import new_id
from track_protocol.wire.counts import Counts
from track_protocol.wire.link import Acked, Failed, Link, LinkEvent, Opened, Refused

if TYPE_CHECKING:
    # A process without a spool does not import what one needs.
    from track.outbox.disk import DiskQueue

__all__ = ["Sender"]

_log: Final = logging.getLogger("track")

TICK_S: Final = 0.05
"""Between two looks at the records while there is traffic."""

AWAKE_S: Final = 1.0
"""After the last traffic, until the sender sleeps and the next log call wakes it."""

LINGER_UNREACHABLE_S: Final = 1.0
"""Between two batches that are not full, while the store is unreachable and they only go to disk."""

FAULT_PAUSE_S: Final = 0.1
"""After an error of this software, which may come again at once."""

CLOSE_TIMEOUT_S: Final = 1.0
"""The timeout for ending a connect attempt that is no longer needed."""


_QUEUED_HINT: Final = "; log calls are queued on this machine, and 'track doctor' explains more"


class Sender:
    """Takes records, and performs the actions of delivery on the link and the disk.

    Args:
        records: what other threads have logged; only the sender takes from the left.
        gate: receives the record count from which the sender is woken.
        open_link: makes a link.
        name: of the store, for messages.
        connect_timeout: seconds that one attempt to connect may take.
        limits: how much may wait.
        drops: where drops are counted.
        on_room: called after records were taken, with the bytes of those whose size was estimated.
        session: its id; by default a new one.
        backlog: what is numbered already.
        disk: the queue on disk; by default there is none.

    Attributes:
        delivery: decides what to do.
        connector: to the store.
        progress: grows with everything the store has answered.
        packing: whether records were taken that are not numbered yet.
        asked: how many futures others have put among the records.
        stopping: set to end the thread.
        closing_when_drained: set to end the thread once there is nothing left to do.
        close_timeout: seconds that an attempt to connect has to end when the thread does.
        disk: the queue on disk, None if there is none.
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
        self._drops = drops
        self._on_room = on_room
        self._backlog = Backlog() if backlog is None else backlog
        self.disk = disk
        self.delivery = Delivery(
            self._backlog, drops, limits, name, session or new_id(), has_disk=disk is not None
        )
        self.connector = Connector(open_link, name, connect_timeout, lambda: self._wakes.put(None))
        self.progress = 0
        self.packing = False
        self.asked = 0
        self.stopping = False
        self.closing_when_drained = False
        self.close_timeout = CLOSE_TIMEOUT_S
        self._accepted = 0
        self._drained: Drained | None = None
        # It can be used from a signal handler or a destructor in the middle of its own use.
        self._wakes: SimpleQueue[None] = SimpleQueue()
        self._active_at = self._next_small = 0.0

    # -- for other threads -----------------------------------------------------------------------

    def wake(self) -> None:
        """Make the sender look at the records now."""
        if self._wakes.empty():
            self._wakes.put(None)
        self.connector.wake()

    @property
    def session(self) -> bytes:
        """This session's id."""
        return self.delivery.session

    @property
    def denied(self) -> PermissionDenied | None:
        """Why this user may not write."""
        return self.delivery.denied

    @property
    def urgent(self) -> bool:
        """Whether a caller waits for the records."""
        return self.asked != self._accepted

    @property
    def unacknowledged(self) -> int:
        """How many numbered records are not known to be durable, except cancelled calls."""
        return self._backlog.next_seq - 1 - self._backlog.acked - self._backlog.cancelled

    @property
    def unsent(self) -> Counts:
        """How much is numbered and not known to be durable."""
        return self._backlog.counts

    # -- the thread ------------------------------------------------------------------------------

    def run(self) -> None:
        """Work until `stopping` is set."""
        self._do(Started())
        while not self.stopping:
            try:
                self._work()
            except Exception as error:  # noqa: BLE001  # a fault must not end the thread that all wait for
                self._faulted(error)
            if self.closing_when_drained and self._is_idle:
                self.stopping = True
        # A thread that logs from now on has to start the sender again.
        self._gate.watermark = 0
        self._do(Closed())
        self.connector.close(self.close_timeout)
        if self.disk is not None:
            self._clean_up()
            problem = self.connector.problem
            self.disk.finish(self.delivery.generation, None if problem is None else str(problem))

    @property
    def _is_idle(self) -> bool:
        """Whether no caller waits for anything."""
        return not (self._records or self.urgent) and self.delivery.is_idle

    def _work(self) -> None:
        link = self.connector.link
        if link is None:
            self._connect()
        self._fill()
        self._write()
        link = self.connector.link
        if link is None:
            self._sleep(self._pause())
        else:
            self._receive(link)

    def _clean_up(self) -> None:
        """Everything that was logged goes to disk; what the disk does not take stays in memory."""
        while self._records and not self._full:
            self._fill()
            self._write()
        self._write()

    def _sleep(self, seconds: float | None) -> None:
        if not self._full:
            # With a disk, even one log call has to be written in time; first the watermark, then the check.
            self._gate.watermark = BATCH_RECORDS if self.disk is None or self._records else 0
            if self._gate.watermark == 0 and self._records:
                return
        with contextlib.suppress(Empty):
            self._wakes.get(timeout=seconds)
        self._clear_wakes()

    def _clear_wakes(self) -> None:
        while not self._wakes.empty():
            self._wakes.get()

    @property
    def _full(self) -> bool:
        return self.delivery.is_full

    # -- faults of this software -----------------------------------------------------------------

    def _faulted(self, error: Exception) -> None:
        """An unexpected error: count the dropped records, fail the waiters, and open a new link."""
        _log.exception("sending to %s failed due to a bug in Track; trying again", self._name)
        failure = InternalError(f"sending to {self._name} failed due to a bug in Track: {error!r}")
        drained, self._drained, self.packing = self._drained, None, False
        if drained is not None:
            self._drops.drop(sum(map(values_in, drained.records)), f"it cannot be packed: {error!r}")
            if drained.future is not None:
                self._accepted += 1
                drained.future.fail(failure)
        for record in list(self._records):
            if record[0] is FUTURE:
                record[1].fail(failure)
        self._do(Faulted(failure))
        self._do(Lost())
        with contextlib.suppress(Empty):
            self._wakes.get(timeout=FAULT_PAUSE_S)

    # -- the actions of delivery ----------------------------------------------------------------------

    def _do(self, event: Event) -> None:
        """Pass an event to delivery, and perform its actions."""
        actions = deque(self.delivery.handle(event, time.monotonic()))
        while actions:
            action = actions.popleft()
            following = self._PERFORM[type(action)](self, action)
            if following is not None:
                actions += self.delivery.handle(following, time.monotonic())

    def _send_batch(self, action: SendBatch) -> Event:
        try:
            nbytes = self._link.send_batch(action.batch)
        except (BadValue, LocalProtocolError) as error:
            return Unsendable(error)
        _log.debug("%s: sent %d to %d, %d bytes", self._name, action.batch.first, action.batch.last, nbytes)
        return BatchSent()

    def _send_call(self, action: SendCall) -> Event:
        call = action.item.call
        try:
            self._link.send_call(action.call_id, action.item.first, call.method, call.arguments)
        except (BadValue, LocalProtocolError) as error:
            return Unsendable(error)
        return CallSent()

    def _send_read(self, action: SendRead) -> Event | None:
        try:
            self._link.send_call(action.call_id, None, action.call.method, action.call.arguments)
        except (BadValue, LocalProtocolError) as error:
            return Failed(action.call_id, error)
        return None

    @property
    def _link(self) -> Link:
        link = self.connector.link
        assert link is not None, "delivery sends only while a link is open"
        return link

    def _load(self, action: Load) -> Event:
        try:
            return Loaded(action.extent, self._disk.read(action.extent))
        except SpoolError as error:
            return Unsendable(error)

    @property
    def _disk(self) -> DiskQueue:
        assert self.disk is not None, "what is not in memory is on disk"
        return self.disk

    def _perform_write(self, action: Write) -> None:
        self._write()

    def _write(self) -> None:
        if self.disk is not None:
            self.disk.write(self.session)
            self._do(Written(self.disk.written, self.disk.synced, self.disk.problem))

    def _acknowledge(self, action: Acknowledge) -> None:
        if self.disk is not None:
            self.disk.acknowledge(self.delivery.generation)

    def _renumber(self, action: Renumber) -> Event:
        session = new_id()
        try:
            if self.disk is None:
                self._backlog.renumber()
            else:
                self.disk.renumber(session)
        except SpoolError as error:
            return Lost(error)
        return Renumbered(session)

    def _discard_session(self, action: ForgetSession) -> None:
        self._disk.start_over()

    def _fail(self, action: Fail) -> None:
        action.future.fail(action.error)

    def _resolve(self, action: Resolve) -> None:
        self.delivery.waiters.resolve_flushes()

    def _disconnect(self, action: Disconnect) -> None:
        if action.lasting and action.error is not None:
            hint = "" if self.disk is None else _QUEUED_HINT
            self.connector.drop()
            self.connector.need_help(action.error, hint)
            return
        if action.error is not None:
            self.connector.fail(action.error)
        self.connector.drop()

    _PERFORM: Final[dict[type[Action], Callable[[Any, Any], Event | None]]] = {
        SendBatch: _send_batch,
        SendCall: _send_call,
        SendRead: _send_read,
        Load: _load,
        Write: _perform_write,
        Acknowledge: _acknowledge,
        Renumber: _renumber,
        ForgetSession: _discard_session,
        Fail: _fail,
        Resolve: _resolve,
        Disconnect: _disconnect,
    }

    # -- connecting ------------------------------------------------------------------------------

    def _connect(self) -> None:
        """Take the result of a connect attempt, or start one when it is due."""
        connector = self.connector
        try:
            if connector.has_outcome:
                self._attach(*connector.outcome())
            elif self.delivery.state is not State.BLOCKED or self.disk is not None:
                connector.try_again(self.session)
        except TrackError as error:
            if isinstance(error, InternalError):
                self._do(Faulted(error))
            self._do(Lost(error) if connector.is_transient(error) else Blocked(error))

    def _attach(self, link: Link, opened: Opened) -> None:
        backlog = self._backlog
        was_set_back = opened.last_seq < backlog.acked
        stored = self.disk.stored_after(opened.last_seq) if self.disk and was_set_back else []
        if opened.last_seq >= backlog.next_seq:
            close_quietly(link)
        else:
            self._active_at = time.monotonic()
            self.connector.use(link)
            if not len(backlog):
                self.connector.works_again()
        self._do(Attached(opened, stored))

    def _pause(self) -> float | None:
        """How long there is nothing to do but to wait for what others do."""
        now = time.monotonic()
        if self.connector.has_outcome or self.connector.link is not None:
            return 0.0
        tries = self.connector.next_attempt
        if self.delivery.state is State.BLOCKED and self.disk is None:
            tries = None
        due = [] if tries is None else [now + tries]
        if self.disk is not None:
            due += [self._next_small] if self._records and not self._full else []
            due += [at for at in (self.disk.due,) if at is not None]
        return max(0.0, min(due) - now) if due else None

    # -- from records to the backlog -------------------------------------------------------------

    def _fill(self) -> None:
        self._do(Ticked(at_once=self.stopping))
        while self._records and not self._full and self._ripe():
            self.packing = True
            self._drained = drained = drain(self._records)
            self._on_room(drained.sized_bytes)
            if drained.records:
                self._do(Logged(drained.records, drained.nbytes))
                self._drained = drained._replace(records=[])
            self.packing = False
            if drained.future is not None:
                self._do(Awaited(drained.future))
                self._accepted += 1
            self._drained = None
            linger = self.delivery.limits.linger
            self._next_small = time.monotonic() + (
                max(LINGER_UNREACHABLE_S, linger) if self.connector.link is None else linger
            )
            self._gate.hurry = False

    def _ripe(self) -> bool:
        """Whether a batch should be made now, though it may not be full."""
        if len(self._records) >= BATCH_RECORDS or self.urgent or self.stopping or self._gate.hurry:
            return True
        if self.connector.link is None and self.disk is None:
            return self.delivery.state is State.BLOCKED
        return time.monotonic() >= self._next_small

    # -- what comes back -------------------------------------------------------------------------

    def _receive(self, link: Link) -> None:
        self._clear_wakes()
        try:
            events = link.poll(self._poll_timeout())
        except TrackError as error:
            self._do(Lost(error))
            return
        for event in events:
            self._active_at = time.monotonic()
            self.progress += 1
            self._take(event)

    def _take(self, event: LinkEvent) -> None:
        if self.delivery.state not in (State.ONLINE, State.CALLING):
            return  # events of a link before delivery closed it
        if not isinstance(event, Refused):
            self.connector.answered()
        if isinstance(event, Acked):
            self.connector.works_again()
        self._do(event)

    def _poll_timeout(self) -> float | None:
        """How long to wait for the link before there is something else to do."""
        now = time.monotonic()
        if self.stopping or (self.urgent and not self._full):
            return 0.0
        if not self._full:
            self._gate.watermark = BATCH_RECORDS
        if self._records:
            self._active_at = now
            return TICK_S if self._full else max(0.0, self._next_small - now)
        if now - self._active_at < AWAKE_S or (self.disk is not None and self.disk.due is not None):
            return TICK_S
        # First the watermark, then the look: a log call appends first and then compares.
        self._gate.watermark = 0
        return 0.0 if self._records or self.urgent or self.stopping else None
