"""The sender: one thread that carries everything to the store, through whatever the connection does.

Its state is its own.  Other threads reach it through the deque of rows only, which holds what they
log and, as tickets, what they ask; `wake` tells it to look.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Final

from track.backlog import Backlog, NumberedCall
from track.losses import Losses
from track.records import BATCH_ROWS, Row, batch_of, points_in, salvaged, take
from track.tickets import Call, FlushTicket, Ticket
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
    StoreFull,
    TooBusy,
    TrackError,
)
from track_protocol.link import Acked, Failed, Link, LinkEvent, Refused, Replied
from track_protocol.model import new_id
from track_protocol.roles import Role

__all__ = ["Gate", "Limits", "OpenLink", "Sender"]

_log: Final = logging.getLogger("track")

OpenLink = Callable[[], Link]
"""Makes a link that is not open yet."""

_LINGER: Final = 0.05
"""A batch that is not full leaves at most so often, in seconds; also the tick while there is traffic."""

_STAYS_AWAKE: Final = 1.0
"""So many seconds after the last traffic the sender stops ticking, and the next log call wakes it."""

_BACKOFF: Final = (0.05, 5.0)
_PROVES_ITSELF: Final = 5.0
"""A link that lived for so many seconds counts as good, and the next attempt comes at once."""

_OVERHEAD: Final = 1_024
"""Bytes of memory that an operation takes beside its columns, about."""

_CONSUMED: Final = (BadArguments, ItemNotFound)
"""After these failures of a numbered call the store has used up its number; after others perhaps not."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may wait, and where.

    Attributes:
        rows: log calls that were not packed yet.
        row_bytes: their memory, about.
        backlog_bytes: packed and not yet stored.
        batches_in_flight: sent and not yet acknowledged.
        bytes_in_flight: the same in bytes.
    """

    rows: int = 1_000_000
    row_bytes: int = 128 * 1024 * 1024
    backlog_bytes: int = 128 * 1024 * 1024
    batches_in_flight: int = 64
    bytes_in_flight: int = 8 * 1024 * 1024


class Gate:
    """What a log call compares the number of waiting rows with.

    Attributes:
        mark: from so many rows on, the log call has something to do: wake the sender, or wait.
    """

    __slots__ = ("mark",)

    def __init__(self) -> None:
        self.mark = 0


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

    Attributes:
        session: this session's id.
        reached: whether a link was ever open.
        final: the error after which trying again is pointless.
        denied: why this user may not write.
        problem: what stood in the way last; None while all is well.
        progress: grows with everything the store has answered.
        asked: how many tickets others have put among the rows.
        stopping: set to end the thread.
        retiring: set to end the thread once there is nothing left to do.
        link: the open link, None while there is none.
        opening: the link that is being opened, None while none is.
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
    ) -> None:
        self._rows = rows
        self._gate = gate
        self._open_link = open_link
        self._name = name
        self._connect_timeout = connect_timeout
        self._limits = limits
        self._losses = losses
        self._on_room = on_room
        self.session = new_id()
        self.reached = False
        self.final: TrackError | None = None
        self.denied: PermissionDenied | None = None
        self.problem: TrackError | None = None
        self.progress = 0
        self.asked = 0
        self.stopping = False
        self.retiring = False
        self.link: Link | None = None
        self.opening: Link | None = None
        self._backlog = Backlog()
        self._reads: dict[int, tuple[Call, int]] = {}
        self._reads_sent: set[int] = set()
        self._writing: tuple[int, NumberedCall] | None = None
        self._flushes: list[tuple[FlushTicket, int]] = []
        self._last_call = 0
        self._accepted = 0
        # These can be used from a signal handler or a destructor in the middle of their own use.
        self._wakes: SimpleQueue[None] = SimpleQueue()
        self._link_lock = threading.RLock()
        self._role: str = Role.WRITER
        self._told_lost = False
        self._attempts = 0
        self._retry_at = self._opened_at = self._active_at = self._next_small = 0.0

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
    def urgent(self) -> bool:
        """Whether somebody waits behind the rows."""
        return self.asked != self._accepted

    @property
    def unacknowledged(self) -> int:
        """How many numbered records are not known to be durable, but for calls that nobody waits for."""
        return self._backlog.next_seq - 1 - self._backlog.acked - self._backlog.abandoned

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
        self._drop_link()
        self._gate.mark = 0

    @property
    def _is_idle(self) -> bool:
        """Whether nobody waits for anything any more."""
        busy = self._rows or self.urgent or self._reads or self._flushes
        return not busy and self._backlog.settled == self._backlog.next_seq - 1

    def _turn(self) -> None:
        if self.final is not None:
            self._give_up(self.final)
            self._sleep(None)
        elif self.link is None:
            self._stay_away()
        else:
            self._fill()
            self._send(self.link)
            self._receive(self.link)

    def _sleep(self, seconds: float | None) -> None:
        if not self._full:
            self._gate.mark = BATCH_ROWS
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
        """Pack what there is in full batches, until it is time to try to connect."""
        wait = self._retry_at - time.monotonic()
        if wait > 0:
            self._fill()
            self._sleep(wait)
            return
        link = self.opening = self._open_link()
        try:
            opened = link.open(self.session, self._connect_timeout)
        except (ServerUnreachable, TooBusy):
            _close(link)
            raise
        except TrackError as error:
            _close(link)
            if self.reached and isinstance(error, (ProtocolError, StoreFull)):
                raise
            self.final = error
            _log.warning("nothing can be sent to %s: %s", self._name, error)
            return
        except BaseException:
            _close(link)
            raise
        finally:
            self.opening = None
        self._tell_of_older_state(opened.last_seq)
        self._role = opened.role
        if not self._backlog.attach(opened.last_seq):
            # Nothing of the old session that is missing can still arrive, for the store refuses gaps.
            _close(link)
            self.session = new_id()
            self._backlog.renumber()
            self._flushes = [(ticket, self._backlog.next_seq - 1) for ticket, _ in self._flushes]
            self._reads = {id: (call, self._backlog.next_seq - 1) for id, (call, _) in self._reads.items()}
            return
        self._attached(link)

    def _attached(self, link: Link) -> None:
        if self._told_lost:
            _log.info("connected to %s again", self._name)
        self._told_lost = False
        self._opened_at = self._active_at = time.monotonic()
        self.reached, self.problem, self.link = True, None, link
        if self._role != Role.READER:
            self.denied = None
        self._settle_flushes()

    def _tell_of_older_state(self, last_seq: int) -> None:
        if last_seq < self._backlog.acked:
            self._losses.warn(
                f"{self._name} was set back to an older state: records {last_seq + 1} to "
                f"{self._backlog.acked} of this process, which were stored before, are gone from it"
            )

    def _lose(self, error: TrackError) -> None:
        """The link, or an attempt to open one, has failed: try again later."""
        now = time.monotonic()
        if self.link is not None and now - self._opened_at > _PROVES_ITSELF:
            self._attempts = 0
        self.problem = error
        if self.reached and not self._told_lost:
            self._told_lost = True
            _log.warning("the connection to %s was lost; what is logged waits here: %s", self._name, error)
        self._drop_link()
        least, most = _BACKOFF
        # Full jitter, from the system's randomness: forked processes share every other state.
        jitter = int.from_bytes(os.urandom(4), "big") / 2**32
        self._retry_at = now + jitter * min(most, least * 2**self._attempts)
        self._attempts = min(self._attempts + 1, 16)

    def _drop_link(self) -> None:
        with self._link_lock:
            link, self.link = self.link, None
        self._backlog.detach()
        self._reads_sent.clear()
        self._writing = None
        if link is not None:
            _close(link)

    # -- from rows to the backlog ----------------------------------------------------------------

    def _fill(self) -> None:
        while self._rows and not self._full and self._ripe():
            taken = take(self._rows)
            self._on_room(taken.heavy)
            if taken.rows:
                self._number(taken.rows, taken.nbytes)
            if taken.ticket is not None:
                self._accept(taken.ticket)
            self._next_small = time.monotonic() + _LINGER

    def _ripe(self) -> bool:
        """Whether a batch should leave now, though it may not be full."""
        if len(self._rows) >= BATCH_ROWS or self.urgent:
            return True
        return self.link is not None and time.monotonic() >= self._next_small

    def _number(self, rows: list[Row], nbytes: int) -> None:
        if self.denied is not None:
            self._losses.drop(sum(map(points_in, rows)), str(self.denied))
            return
        try:
            batch = batch_of(self._backlog.next_seq, rows)
        except BadValue:
            kept = [salvaged(row, self._unstorable) for row in rows]
            rows = [row for row in kept if row is not None]
            if not rows:
                return
            batch = batch_of(self._backlog.next_seq, rows)
        self._backlog.add(batch, nbytes + _OVERHEAD * len(batch.ops))

    def _unstorable(self, error: BadValue) -> None:
        self._losses.drop(1, str(error))

    def _accept(self, ticket: Ticket) -> None:
        self._accepted += 1
        if isinstance(ticket, FlushTicket) and self.denied is not None:
            ticket.fail(self.denied)
        elif isinstance(ticket, FlushTicket):
            self._flushes.append((ticket, self._backlog.next_seq - 1))
            self._settle_flushes()
        elif isinstance(ticket, Call) and not ticket.abandoned:
            if not ticket.writes:
                self._last_call += 1
                self._reads[self._last_call] = (ticket, self._backlog.next_seq - 1)
            elif self.denied is not None:
                ticket.fail(self.denied)
            else:
                self._backlog.add(NumberedCall(self._backlog.next_seq, ticket), 1024)

    # -- from the backlog to the link ------------------------------------------------------------

    def _send(self, link: Link) -> None:
        backlog, limits = self._backlog, self._limits
        while (
            self._writing is None
            and (item := backlog.unsent) is not None
            and backlog.sent < limits.batches_in_flight
            and backlog.sent_nbytes < limits.bytes_in_flight
        ):
            if self._role == Role.READER:
                self._deny(
                    PermissionDenied(
                        f"this user of {self._name} is a reader and may not log or change anything: "
                        "join with a writer's URI"
                    )
                )
                break
            if isinstance(item, NumberedCall) and item.call.abandoned:
                # Its caller was told that it failed, perhaps long ago: it must not be done now.
                backlog.skip_unsent()
            try:
                self._send_item(link, backlog.unsent or item)
            except (BadValue, LocalProtocolError) as error:
                self._skip(item, error)
        for call_id, (call, after) in list(self._reads.items()):
            if call_id not in self._reads_sent and after <= backlog.horizon:
                self._send_read(link, call_id, call)

    def _send_item(self, link: Link, item: Batch | NumberedCall) -> None:
        if isinstance(item, NumberedCall):
            self._last_call += 1
            link.send_call(self._last_call, item.first, item.call.method, item.call.arguments)
            self._writing = (self._last_call, item)
        else:
            link.send_batch(item)
        self._backlog.mark_sent()

    def _skip(self, item: Batch | NumberedCall, error: TrackError) -> None:
        """What can never be sent must not block what is behind it."""
        if isinstance(item, NumberedCall):
            item.call.fail(error)
        else:
            self._losses.drop(_size(item), str(error))
        self._backlog.skip_unsent()

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
        if now - self._active_at < _STAYS_AWAKE:
            return _LINGER
        # First the mark, then the look: a log call appends first and then compares.
        self._gate.mark = 0
        return 0.0 if self._rows or self.urgent or self.stopping else None

    def _handle(self, event: LinkEvent) -> None:
        if isinstance(event, Acked):
            self._attempts = 0
            for rejection in event.rejected:
                self._losses.reject(1, rejection.message)
            self._backlog.ack(event.last_seq)
            self._settle_flushes()
        elif isinstance(event, Refused):
            self._refused(event.error)
        else:
            self._attempts = 0
            self._answered(event)

    def _refused(self, error: TrackError) -> None:
        if isinstance(error, PermissionDenied):
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
        elif isinstance(event.error, TooBusy):
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
        self._give_up_numbered(error)
        # What they were to see first is gone.
        self._reads = {id: (call, 0) for id, (call, _) in self._reads.items()}

    def _give_up(self, error: TrackError) -> None:
        self._give_up_numbered(error)
        for call, _ in self._reads.values():
            call.fail(error)
        self._reads.clear()
        while self._rows:
            taken = take(self._rows)
            self._on_room(taken.heavy)
            if taken.rows:
                self._losses.drop(sum(map(points_in, taken.rows)), str(error))
            if taken.ticket is not None:
                self._accepted += 1
                taken.ticket.fail(error)

    def _give_up_numbered(self, error: TrackError) -> None:
        self._writing = None
        for item in self._backlog.clear():
            if isinstance(item, NumberedCall):
                item.call.fail(error)
            else:
                self._losses.drop(_size(item), str(error))
        for ticket, _ in self._flushes:
            ticket.fail(error)
        self._flushes.clear()


def _size(batch: Batch) -> int:
    """Its points and calls."""
    return sum(len(op) * len(op.names) if isinstance(op, PointsOp) else 1 for op in batch.ops)


def _close(link: Link) -> None:
    """Release a link that may be broken in any way."""
    try:
        link.close()
    except Exception:  # noqa: BLE001  # whatever broke it may also break its end
        _log.exception("a broken connection could not be closed")


def _settle(call: Call, event: Replied | Failed) -> None:
    if isinstance(event, Failed):
        call.fail(event.error)
    else:
        call.resolve(event.value)
