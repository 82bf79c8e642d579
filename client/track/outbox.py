"""The outbox: log calls leave their records here and go on; one thread carries them to the store.

The way of a point::

    write(step, values)          checks, one tuple, one append: no lock, no system call
      → rows (a deque)           whatever came since the sender looked last
      → backlog                  batches, packed column-wise and numbered for life
      → link                     sent, and sent again after a break, until acknowledged as durable

Calls with an answer and flushes stand in the same line as tickets, so they see, or wait for, all that
was logged before them.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from track.backlog import Backlog
from track.connecting import OpenLink
from track.lifecycle import enroll, prepare_for_exit
from track.losses import Losses
from track.progress import Progress
from track.records import CALL, ROW_BYTES_LIMIT, TICKET, Row, Shape, plain_step, points_in, trial_of, weigh
from track.sender import Gate, Limits, Sender
from track.tickets import Call, FlushTicket, KeepTicket, Ticket
from track_protocol.batch import CHRONO, METRIC
from track_protocol.errors import (
    BadArguments,
    BadValue,
    CallTimeout,
    PermissionDenied,
    ServerUnreachable,
    TrackError,
)
from track_protocol.link import Link
from track_protocol.methods import Access, method_named
from track_protocol.values import check_name, normalise

if TYPE_CHECKING:
    from pathlib import Path

    from track.diskcopy import DiskCopy
    from track.spool.options import SpoolOptions

__all__ = ["CHRONO", "METRIC", "Creation", "Outbox", "Write"]

_log: Final = logging.getLogger("track")

Creation = tuple[str, dict[str, Any]]
"""A log method that creates something, and its arguments."""

Write = Callable[[Any, Mapping[str, Any]], None]
"""Takes a step (None for none) and values by name; the mapping must not be changed afterwards."""

_PLAIN: Final = frozenset({float, int, bool, type(None)})
_STEPS: Final = frozenset({int, float, type(None)})
_MOST_SHAPES: Final = 1_024
_MOST_NAMES: Final = 1_024
_MOST_WRITERS: Final = 1_024

_WAITS_FOR_ROOM: Final = 1.0
"""Seconds without any progress after which a log call that found no room drops what it has."""

_STALLED: Final = 60.0
"""Seconds without any progress after which a flush without a timeout gives up."""

_SLOW: Final = 5.0
"""The same for a store that is there and does not answer, when everything is on disk, too."""

_GLANCE: Final = 0.02
"""A call that need not wait for a store that is away looks so often, in seconds, whether it is."""

_QUIET: Final = 1.0
_REDRAW: Final = 0.1


class Outbox:
    """Everything that one process sends to one store.

    Threads may share it.  After a fork the child has an empty one with a session of its own, and
    writers made before go on working in both processes.

    Args:
        open_link: makes a link to the store; called again after each break, and in a forked child.
        name: of the store, for messages; without secrets.
        connect_timeout: seconds after which a call gives up when the store was never reached.
        limits: how much may wait.
        spool: where and how a copy of what waits is kept on disk; by default nowhere.
        address: of the store, which the copy tells; without secrets.
        keeps_only: nothing is meant to be sent; that the store cannot be reached is no error then.

    Attributes:
        connect_timeout: as given.
        unconfirmed: creations that the store was not seen to have, by the item's id or uid.
    """

    def __init__(
        self,
        open_link: OpenLink,
        name: str = "the server",
        *,
        connect_timeout: float = 10.0,
        limits: Limits | None = None,
        spool: SpoolOptions | None = None,
        address: str = "",
        keeps_only: bool = False,
    ) -> None:
        self._open_link = open_link
        self._spool = spool
        self._address = address
        self._keeps_only = keeps_only
        self._name = name
        self.connect_timeout = connect_timeout
        self._limits = limits or Limits()
        self._rows: deque[Row] = deque()
        self._gate = Gate()
        self._writers = lru_cache(_MOST_WRITERS)(self._make_writer)
        self.unconfirmed: dict[bytes | str, Creation] = {}
        self._begin()
        enroll(self)

    def _begin(self) -> None:
        """What a new process starts with."""
        self._rows.clear()
        self._inherited: list[Creation] = []
        self._missed_at: int | None = None
        self._gate.mark = 0
        self._lock = threading.RLock()
        # Its lock, too, is reentrant: a signal handler or a destructor may log in the middle of a log call.
        self._room = threading.Condition()
        self._waiting_for_room = 0
        self._hopeless = False
        self._heavy = 0
        self.losses = Losses()
        self._thread: threading.Thread | None = None
        self._starting = False
        self._told: Link | None = None
        self._late: KeepTicket | None = None
        backlog = Backlog()
        self._sender = Sender(
            self._rows,
            self._gate,
            self._open_link,
            self._name,
            self.connect_timeout,
            self._limits,
            self.losses,
            self._made_room,
            backlog=backlog,
            disk=self._disk_of(backlog),
        )

    def _disk_of(self, backlog: Backlog) -> DiskCopy | None:
        if self._spool is None:
            return None
        from track.diskcopy import DiskCopy

        return DiskCopy(backlog, self._spool, self._address, self.losses)

    # -- logging: never raises, and never waits but for room -------------------------------------

    def writer(self, trial: bytes, kind: str = METRIC, aggregator: list[Any] | None = None) -> Write:
        """The function that logs points of one trial; about a microsecond a call.

        Args:
            trial: the trial's 16-byte id.
            kind: `METRIC` or `CHRONO`.
            aggregator: wire form of how the series read back; None for the default of their kind.
        """
        return self._writers(trial, kind, None if aggregator is None else tuple(aggregator))

    def _durable(self, write: Write) -> Write:
        """The same, but it returns when what it logged is on disk."""

        def write_durably(step: Any, values: Mapping[str, Any]) -> None:
            write(step, values)
            self._keep()

        return write_durably

    def log(self, method: str, arguments: dict[str, Any]) -> None:
        """Log a call that has no answer; what cannot be stored is dropped with a warning.

        Args:
            method: a log method of the method table.
            arguments: by name; made plain here.
        """
        try:
            arguments = method_named(method, within=(Access.LOG,)).check(normalise(arguments, method))
            nbytes = 64 + weigh(arguments)
            if nbytes > ROW_BYTES_LIMIT:
                raise BadValue(f"{method}: {nbytes:,} bytes at once are more than {ROW_BYTES_LIMIT:,}")
        except BadArguments as error:
            trial = arguments.get("trial")
            self.losses.drop(1, str(error), trial if isinstance(trial, bytes | str) else None)
            return
        self._append_heavy((CALL, method, time.time(), arguments, nbytes))
        if self._keeps_at_once:
            self._keep()

    @property
    def _keeps_at_once(self) -> bool:
        return self._spool is not None and self._spool.sync.value == "always"

    def _keep(self) -> None:
        """Wait until everything logged is on disk, but not again for a disk that did not answer in time."""
        late = self._late
        if late is not None and not late.wait(0.0):
            return
        ticket = KeepTicket()
        self._enqueue(ticket)
        self._late = None if ticket.wait(_WAITS_FOR_ROOM) else ticket
        if self._late is not None:
            self.losses.warn(
                f"what was logged is not on disk after {_WAITS_FOR_ROOM:g} s, and training goes on without "
                f"knowing when it is: see whether {self._sender_folder()} answers"
            )

    def _sender_folder(self) -> str:
        return str(self.folder or "the disk")

    @property
    def folder(self) -> Path | None:
        """Where on disk there is a copy of what waits; None while there is none."""
        disk = self._sender.disk
        return None if disk is None else disk.folder

    def create(self, key: bytes | str, method: str, arguments: dict[str, Any]) -> None:
        """Log a creation, and remember it in `unconfirmed`.

        Args:
            key: the id or uid of what is created.
            method: a log method of the method table.
            arguments: by name.
        """
        self.unconfirmed[key] = (method, arguments)
        self.log(method, arguments)

    def inherit(self, unconfirmed: Mapping[bytes | str, Creation]) -> None:
        """Send creations of another process once there is something to send, for this one may come first."""
        self.unconfirmed.update(unconfirmed)
        self._inherited = list(unconfirmed.values())

    def _make_writer(self, trial: bytes, kind: str, aggregator: tuple[Any, ...] | None) -> Write:
        shapes: dict[tuple[str, ...], Shape] = {}
        spec = None if aggregator is None else list(aggregator)
        # Everything a log call touches is a local of this closure: that is what makes it fast.
        rows, gate, crossed, careful = self._rows, self._gate, self._crossed, self._log_carefully
        append, shape_of, now, plain, plain_steps = rows.append, shapes.get, time.time, _PLAIN, _STEPS

        def write(step: Any, values: Mapping[str, Any]) -> None:
            shape = shape_of(tuple(values))
            if shape is None or type(step) not in plain_steps:
                careful(shapes, trial, kind, spec, step, values)
                return
            for value in values.values():
                if type(value) not in plain:
                    careful(shapes, trial, kind, spec, step, values)
                    return
            append((shape, step, now(), values))
            if len(rows) >= gate.mark:
                crossed()

        return self._durable(write) if self._keeps_at_once else write

    def _log_carefully(
        self,
        shapes: dict[tuple[str, ...], Shape],
        trial: bytes,
        kind: str,
        spec: list[Any] | None,
        step: Any,
        values: Mapping[str, Any],
    ) -> None:
        """Log names for the first time, or values that have to be made plain at once."""
        at = time.time()
        try:
            step = plain_step(step)
        except BadValue as error:
            self.losses.drop(len(values), str(error), trial)
            return
        plain = {}
        for name, value in values.items():
            try:
                plain[check_name(name, kind)] = normalise(value, name)
            except BadValue as error:
                self.losses.drop(1, str(error), trial)
        names = list(plain)
        for start in range(0, len(names), _MOST_NAMES):
            part = tuple(names[start : start + _MOST_NAMES])
            shape = shapes.get(part)
            if shape is None:
                if len(shapes) >= _MOST_SHAPES:
                    shapes.clear()
                shape = Shape(trial, kind, part, None if spec is None else [spec] * len(part))
                shapes[part] = shape
            self._append_points(shape, step, at, {name: plain[name] for name in part})

    def _append_points(self, shape: Shape, step: Any, at: float, values: dict[str, Any]) -> None:
        if all(type(value) in _PLAIN for value in values.values()) and type(step) in _STEPS:
            self._append((shape, step, at, values))
            return
        nbytes = shape.row_bytes + weigh(step) + weigh(list(values.values()))
        if nbytes <= ROW_BYTES_LIMIT:
            self._append_heavy((shape, step, at, values, nbytes))
        elif len(values) > 1:
            for name, value in values.items():
                aggregators = shape.aggregators and shape.aggregators[:1]
                self._append_points(
                    Shape(shape.trial, shape.kind, [name], aggregators), step, at, {name: value}
                )
        else:
            reason = f"{shape.names[0]}: more than {ROW_BYTES_LIMIT:,} bytes in one value"
            self.losses.drop(1, reason, shape.trial)

    def _append(self, row: Row) -> None:
        self._rows.append(row)
        if len(self._rows) >= self._gate.mark:
            self._crossed()

    def _append_heavy(self, row: Row) -> None:
        with self._room:
            self._heavy += row[4]
        self._append(row)
        if self._heavy > self._limits.row_bytes:
            self._crossed()

    # -- room ------------------------------------------------------------------------------------

    def _crossed(self) -> None:
        """The rows are as many as the sender wanted to be told of, or too many."""
        if self._is_full():
            self._sender.hurried = True
            self._wake()
            if not self._wait_for_room():
                self._drop_newest()
            return
        self._hopeless = False
        # Following calls need not wake the sender again: it sets the mark anew when it has looked.
        self._gate.mark = self._capacity()
        self._wake()

    def _capacity(self) -> int:
        """How many rows may wait, judged by the newest one."""
        try:
            width = points_in(self._rows[-1]) if len(self._rows[-1]) > 2 else 1
        except IndexError:
            width = 1
        # A row is a tuple, a dict, a float for the time, and an object for each value.
        return min(self._limits.rows, self._limits.row_bytes // (320 + 48 * width))

    def _is_full(self) -> bool:
        return len(self._rows) >= self._capacity() or self._heavy > self._limits.row_bytes

    def _wait_for_room(self) -> bool:
        """Wait as long as there is progress; after having waited in vain, not again until there is room."""
        if self._hopeless:
            return False
        with self._room:
            self._waiting_for_room += 1
            try:
                while self._is_full():
                    seen = self._sender.progress
                    self._room.wait(_WAITS_FOR_ROOM)
                    if self._is_full() and self._sender.progress == seen:
                        self._hopeless = True
                        return False
            finally:
                self._waiting_for_room -= 1
        return True

    def _drop_newest(self) -> None:
        try:
            row = self._rows.pop()
        except IndexError:
            return
        if row[0] is TICKET:
            self._rows.append(row)
            return
        if len(row) == 5:
            self._lighter(row[4])
        reason = f"{self._name} does not keep up or is away, and no room is left"
        self.losses.drop(points_in(row), reason, trial_of(row))

    def _made_room(self, nbytes: int) -> None:
        if nbytes:
            self._lighter(nbytes)
        if self._waiting_for_room:
            with self._room:
                self._room.notify_all()

    def _lighter(self, nbytes: int) -> None:
        with self._room:
            self._heavy -= nbytes

    # -- the thread ------------------------------------------------------------------------------

    def _wake(self) -> None:
        thread = self._thread
        if thread is None or self._sender.stopping or not thread.is_alive():
            self._start()
        self._sender.wake()

    def _start(self) -> None:
        with self._lock:
            self._sender.stopping = self._sender.retiring = False
            # A signal handler that logs while the thread starts must not start another one.
            if self._starting or (self._thread is not None and self._thread.is_alive()):
                return
            self._starting = True
            try:
                prepare_for_exit()
                self._put_inherited_first()
                thread = threading.Thread(target=self._sender.run, name="track-sender", daemon=True)
                thread.start()
                self._thread = thread
            finally:
                self._starting = False

    def _put_inherited_first(self) -> None:
        inherited, self._inherited = self._inherited, []
        rows = [(CALL, method, time.time(), given, 64 + weigh(given)) for method, given in inherited]
        with self._room:
            self._heavy += sum(row[4] for row in rows)
        self._rows.extendleft(reversed(rows))

    # -- calls with an answer --------------------------------------------------------------------

    def call(self, method: str, arguments: dict[str, Any], timeout: float = 60.0) -> Any:
        """Call a method and wait for its answer, which takes into account all that was logged before.

        Args:
            method: a method of the method table that has an answer.
            arguments: by name, in plain values.
            timeout: seconds to wait for the answer.

        Raises:
            ServerUnreachable: nobody answers at the store's address.
            CallTimeout: no answer in time; a change may or may not have been made.
            TrackError: what the store raised, as the class it is.
        """
        call = self._asked(method, arguments)
        started = time.monotonic()
        while not call.wait(self._remaining(started, timeout)):
            if self._remaining(started, timeout) <= 0.0:
                call.abandoned = True
                raise self._no_answer(method, time.monotonic() - started)
        return call.result()

    def call_soon(self, method: str, arguments: dict[str, Any], patience: float) -> Any:
        """Call a method, and give up as soon as the store turns out to be away.

        That is when an attempt to connect fails, or after `patience`; from then on it is known to be away,
        and nobody waits for it again until it has given a sign of life.

        Args:
            method: a method of the method table that has an answer.
            arguments: by name, in plain values.
            patience: seconds to wait for the answer.

        Raises:
            ServerUnreachable: the store is away, or too slow.
            TrackError: what the store raised, as the class it is.
        """
        started, sender = time.monotonic(), self._sender
        seen, progress, linked = sender.problem, sender.progress, sender.link is not None
        deadline = started if self.is_known_away else started + patience
        call = self._asked(method, arguments)
        while not call.wait(max(0.001, min(_GLANCE, deadline - time.monotonic()))):
            if linked and sender.link is None:
                # A connection that breaks may have been idle for too long; the attempt after it tells.
                seen = sender.problem
            linked = sender.link is not None
            failed = not linked and sender.problem is not seen
            if failed or time.monotonic() >= deadline:
                call.abandoned = True
                self._missed_at = progress
                raise self._no_answer(method, time.monotonic() - started)
        return call.result()

    @property
    def is_known_away(self) -> bool:
        """Whether `call_soon` has waited in vain, and nothing came from the store since."""
        return self._missed_at == self._sender.progress

    @property
    def reached(self) -> bool:
        """Whether this process was ever connected to the store."""
        return self._sender.reached

    @property
    def denied(self) -> PermissionDenied | None:
        """Why this user may not write, once the store has said so."""
        return self._sender.denied

    def _asked(self, method: str, arguments: dict[str, Any]) -> Call:
        described = method_named(method, within=(Access.READ, Access.WRITE))
        described.check(arguments)
        call = Call(method, arguments, writes=described.access is Access.WRITE)
        self._enqueue(call)
        return call

    def _remaining(self, started: float, timeout: float) -> float:
        limit = timeout if self._sender.reached else min(timeout, self.connect_timeout)
        return max(0.0, started + limit - time.monotonic())

    def _no_answer(self, what: str, waited: float) -> ServerUnreachable:
        problem = self._sender.problem
        asked = f"{what} had no answer within {waited:.1f} s"
        if not self._sender.reached and isinstance(problem, ServerUnreachable):
            return type(problem)(f"{problem} ({asked})")
        why = "" if problem is None else f" ({problem})"
        if self._sender.reached:
            return CallTimeout(
                f"{self._name} did not answer {what} within {waited:.1f} s{why}: "
                "see whether it is running and not overloaded"
            )
        return ServerUnreachable(
            f"{asked}: {self._name} cannot be reached{why}: start the server, or correct the address"
        )

    def _enqueue(self, ticket: Ticket) -> None:
        with self._lock:
            self._rows.append((TICKET, ticket))
            self._sender.asked += 1
        self._wake()

    # -- durability ------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """How many log calls are not known to be durable yet."""
        return len(self._rows) + self._sender.unacknowledged

    @property
    def dropped(self) -> int:
        """How many points and calls never left this process."""
        return self.losses.dropped

    @property
    def rejected(self) -> int:
        """How many records the store refused for good."""
        return self.losses.rejected

    def flush(self, timeout: float | None = None) -> None:
        """Wait until everything logged before is durable; on a terminal, a bar shows a long wait.

        Args:
            timeout: seconds; None waits as long as the store makes progress.

        Raises:
            CallTimeout: it is not durable in time; it goes on being sent.
            ServerUnreachable: the store was never reached.
            TrackError: what stands in the way for good.
        """
        if not self._is_working and not self._rows and not self._sender.unacknowledged:
            return
        ticket = FlushTicket()
        self._enqueue(ticket)
        with Progress("saving") as bar:
            self._watch(ticket, timeout, bar, self._patience if timeout is None else _endless)
        ticket.result()

    def secure(self, timeout: float | None = None) -> None:
        """Wait until the end of this process could lose nothing: stored, or on disk while the store is away.

        Args:
            timeout: see `flush`.

        Raises:
            TrackError: see `flush`; but not while everything is on this machine's disk.
        """
        ticket = FlushTicket()
        try:
            if self._sender.disk is None:
                self.flush(timeout)
                return
            self._enqueue(ticket)
            with Progress("saving") as bar:
                patience = self._patience if timeout is None else _endless
                self._watch(ticket, timeout, bar, lambda: self._with_disk(patience()))
            ticket.result()
        except TrackError as error:
            if not self._is_kept:
                raise
            _log.info("kept in %s until it can be sent: %s", self.folder, error)

    @property
    def _is_working(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _watch(
        self, ticket: Ticket, timeout: float | None, bar: Progress, patience: Callable[[], float]
    ) -> None:
        started = moved = time.monotonic()
        seen = self._sender.progress
        pause = _QUIET
        while not ticket.wait(
            pause if timeout is None else max(0.0, min(pause, started + timeout - time.monotonic()))
        ):
            now, pause = time.monotonic(), _REDRAW
            if self._sender.progress != seen:
                seen, moved = self._sender.progress, now
            late = timeout is not None and now - started >= timeout
            if late or now - moved >= patience():
                ticket.abandoned = True
                raise self._no_answer(f"the request to save {self.waiting:,} records", now - started)
            bar.show(self.waiting)

    def _patience(self) -> float:
        return _STALLED if self._sender.reached else self.connect_timeout

    def _with_disk(self, patience: float) -> float:
        if not self._is_kept:
            return patience
        return _WAITS_FOR_ROOM if self._sender.is_away else min(patience, _SLOW)

    @property
    def _is_kept(self) -> bool:
        """Whether what waits is on disk, so that nobody needs to stand by until it is sent."""
        disk = self._sender.disk
        # In this order: what leaves the rows is first packed, and then numbered.
        return disk is not None and not self._rows and not self._sender.packing and disk.is_whole

    def close(self, timeout: float | None = None) -> None:
        """Secure what was logged and release the connection; logging again opens it again.

        Args:
            timeout: seconds, see `secure`.

        Raises:
            TrackError: see `secure`; the connection is released all the same.
        """
        try:
            self.secure(timeout)
        finally:
            self.release()

    def release(self) -> None:
        """Release the connection, but go on sending what is only on disk yet while the process lives."""
        if self.waiting and self._is_kept:
            self.retire()
        else:
            self._stop()

    def _stop(self) -> None:
        with self._lock:
            thread = self._thread
            if thread is None:
                return
            self._sender.stopping = True
            self._sender.wake()
            thread.join(self.connect_timeout + 1.0)
            if not thread.is_alive():
                self._thread = None
            self._gate.mark = 0

    def retire(self) -> None:
        """Release the connection as soon as everything is durable; nobody is going to wait for that."""
        self._sender.retiring = True
        self._sender.wake()

    def leave(self, timeout: float) -> None:
        """Save what there is because the process ends; what stands in the way is told in one line."""
        sender = self._sender
        if sender.disk is not None and not sender.reached:
            timeout = min(timeout, self.connect_timeout)
        # Of many outboxes at an address that does not answer, each would take this long.
        sender.patience = min(sender.patience, timeout)
        try:
            self.flush(timeout)
        except TrackError as error:
            self._stop()
            self._tell_what_is_left(error)
        except KeyboardInterrupt:
            self._stop()
            self._tell_what_is_left("interrupted")
            raise
        else:
            self._stop()

    def _tell_what_is_left(self, error: TrackError | str) -> None:
        points, folder = self._sender.unsent_points, self.folder
        if self._is_kept and points and self._keeps_only:
            _log.warning(
                "%s points for %s are kept in %s, as offline=require says: send them with: track sync %s",
                f"{points:,}",
                self._name,
                folder,
                folder,
            )
        elif self._is_kept and points:
            _log.error(
                "%s points are not at %s yet (%s): they are kept in %s, and the next start here sends them, "
                "or now: track sync %s",
                f"{points:,}",
                self._name,
                self._sender.problem or error,
                folder,
                folder,
            )
        elif self.waiting:
            _log.error("%s log calls were not saved: %s", f"{self.waiting:,}", error)

    # -- forks -----------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """The calling thread is about to fork: hold everything that the child will look at."""
        self._lock.acquire()
        # Behind the fork it must be the same one that is told, whatever the sender has done since.
        self._told = self._sender.link or self._sender.opening
        self._tell_link("before_fork")

    def after_fork_in_parent(self) -> None:
        """The parent goes on as if nothing had happened."""
        self._tell_link("after_fork_in_parent")
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """The child begins empty: what waits here is the parent's to send, in the parent's session."""
        self._tell_link("after_fork_in_child")
        if self._sender.disk is not None:
            self._sender.disk.leave_to_parent()
        self._begin()
        self._inherited = list(self.unconfirmed.values())

    def _tell_link(self, hook: str) -> None:
        told = getattr(self._told, hook, None)
        if told is not None:
            try:
                told()
            except Exception:  # noqa: BLE001  # whatever is wrong with it, locks have to be released
                _log.exception("the connection to %s did not survive a fork", self._name)


def _endless() -> float:
    return math.inf
