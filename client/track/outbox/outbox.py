"""The outbox itself: what other threads do with it, and what a fork and the end of the process do."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from track.outbox.backlog import Backlog
from track.outbox.connector import OpenLink
from track.outbox.drops import DropAccount
from track.outbox.durability import LocalDurability, TimeoutPolicy
from track.outbox.futures import Call, FlushFuture, Future
from track.outbox.queue import Limits, RecordQueue
from track.outbox.records import CALL, FUTURE, RECORD_BYTES_LIMIT, estimate_size
from track.outbox.sender import Sender
from track.outbox.thread import SenderThread
from track.outbox.writers import PointWriters, Write
from track.process.lifecycle import LifecycleHook, has_exited, register
from track.process.signals import is_asked_to_end
from track_protocol.errors import BadArguments, BadValue, PermissionDenied, ServerUnreachable, TrackError
from track_protocol.model.values import normalise
from track_protocol.wire.batch import METRIC
from track_protocol.wire.link import Link
from track_protocol.wire.methods import Access, method_named

if TYPE_CHECKING:
    from pathlib import Path

    from track.outbox.disk import DiskQueue
    from track.spool.options import SpoolOptions

__all__ = ["Creation", "Outbox"]

_log: Final = logging.getLogger("track")

_LATE_SAVE_S: Final = 5.0
"""Seconds that what is logged when the end of the process has flushed already may take to be saved."""

Creation = tuple[str, dict[str, Any]]
"""A log method that creates something, and its arguments."""


class Outbox(LifecycleHook):
    """Everything that one process sends to one store.

    Threads may share it.  After a fork the child has an empty one with a session of its own, and
    writers made before continue to work in both processes.

    Args:
        open_link: makes a link to the store; called again after each break, and in a forked child.
        name: of the store, for messages; without secrets.
        connect_timeout: seconds after which a call gives up when the store was never reached.
        limits: how much may wait.
        spool: where and how unsent records are stored on disk; by default nowhere.
        address: of the store, for the metadata of the spool; without secrets.
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
        self._queue = RecordQueue(self._limits, name, self._wake, lambda: self._sender.progress)
        self._writers = PointWriters(self._queue, self._sync if self._syncs_at_once else None)
        self.unconfirmed: dict[bytes | str, Creation] = {}
        self._begin()
        register(self)

    def _begin(self) -> None:
        """What a new process starts with."""
        self._inherited: list[Creation] = []
        self.drops = DropAccount()
        self._queue.begin(self.drops)
        self._fork_link: Link | None = None
        self._is_exiting = self._has_unsent = False
        backlog = Backlog()
        self._sender = Sender(
            self._queue.records,
            self._queue.gate,
            self._open_link,
            self._name,
            self.connect_timeout,
            self._limits,
            self.drops,
            self._queue.made_room,
            backlog=backlog,
            disk=self._disk_of(backlog),
        )
        self._thread = SenderThread(self._sender, self._send_inherited_first)
        self._timeouts = TimeoutPolicy(self._sender, self._name, self.connect_timeout)
        self._local = LocalDurability(self._sender, self._queue.records, self._name, self.drops)

    def _disk_of(self, backlog: Backlog) -> DiskQueue | None:
        if self._spool is None:
            return None
        from track.outbox.disk import DiskQueue

        return DiskQueue(backlog, self._spool, self._address, self.drops)

    # -- logging: never raises, and never waits but for room -------------------------------------

    def writer(self, trial: bytes, kind: str = METRIC, aggregator: list[Any] | None = None) -> Write:
        """The function that logs points of one trial; about a microsecond a call.

        Args:
            trial: the trial's 16-byte id.
            kind: `METRIC` or `CHRONO`.
            aggregator: wire form of how the series read back; None for the default of their kind.
        """
        return self._writers.writer(trial, kind, aggregator)

    def log_points(
        self, trial: bytes, kind: str, name: str, points: Iterable[tuple[Any, float, Any]]
    ) -> None:
        """See `PointWriters.log`."""
        self._writers.log(trial, kind, name, points)

    def log(self, method: str, arguments: dict[str, Any]) -> bool:
        """Log a call that has no answer; what cannot be stored is dropped with a warning.

        Args:
            method: a log method of the method table.
            arguments: by name; made plain here.

        Returns:
            whether it is on its way.
        """
        try:
            arguments = method_named(method, within=(Access.LOG,)).check(normalise(arguments, method))
            nbytes = 64 + estimate_size(arguments)
            if nbytes > RECORD_BYTES_LIMIT:
                raise BadValue(f"{method}: {nbytes:,} bytes at once are more than {RECORD_BYTES_LIMIT:,}")
        except BadArguments as error:
            trial = arguments.get("trial")
            self.drops.drop(1, str(error), trial if isinstance(trial, bytes | str) else None)
            return False
        had_room = self._queue.append_sized((CALL, method, time.time(), arguments, nbytes))
        if self._syncs_at_once:
            self._sync()
        return had_room

    @property
    def _syncs_at_once(self) -> bool:
        return self._spool is not None and self._spool.sync.value == "always"

    def create(self, key: bytes | str, method: str, arguments: dict[str, Any]) -> None:
        """Log a creation, and record it in `unconfirmed`.

        Args:
            key: the id or uid of what is created.
            method: a log method of the method table.
            arguments: by name.
        """
        self.unconfirmed[key] = (method, arguments)
        self.log(method, arguments)

    def inherit(self, unconfirmed: Mapping[bytes | str, Creation]) -> None:
        """Send creations of another process before what is logged from now on: this one may come first."""
        new = {key: creation for key, creation in unconfirmed.items() if key not in self.unconfirmed}
        self.unconfirmed.update(new)
        if self._thread.is_alive:
            for method, arguments in new.values():
                self.log(method, arguments)
        else:
            # Nothing connects before there is something to send.
            self._inherited += new.values()

    # -- the thread ------------------------------------------------------------------------------

    def _wake(self) -> bool:
        """Wake the sender; returns whether it also takes the records that follow."""
        self._thread.wake()
        if has_exited() and not self._is_exiting:
            self._save_late()
        return not has_exited()

    def _save_late(self) -> None:
        """Save what was logged after the flush at exit, which no other thread does any more."""
        self._is_exiting = True
        try:
            if self._has_unsent:
                self._stop()
            else:
                self.on_exit(_LATE_SAVE_S)
        finally:
            self._is_exiting = False

    @contextmanager
    def _has_waiter(self) -> Iterator[None]:
        """After the flush at exit, nothing runs without a waiting caller."""
        try:
            yield
        finally:
            if has_exited() and not self._is_exiting:
                self._stop()

    def _send_inherited_first(self) -> None:
        inherited, self._inherited = self._inherited, []
        self._queue.put_first(
            (CALL, method, time.time(), given, 64 + estimate_size(given)) for method, given in inherited
        )

    # -- calls with an answer --------------------------------------------------------------------

    def call(self, method: str, arguments: dict[str, Any], timeout: float = 60.0) -> Any:
        """Call a method and wait for its answer, which takes into account all that was logged before.

        Args:
            method: a method of the method table that has an answer.
            arguments: by name, in plain values.
            timeout: seconds to wait for the answer.

        Raises:
            ServerUnreachable: no server answers at the store's address.
            CallTimeout: no answer in time; a change may or may not have been made.
            TrackError: what the store raised, as the class it is.
        """
        return self.ask(method, arguments, timeout)()

    def ask(self, method: str, arguments: dict[str, Any], timeout: float = 60.0) -> Callable[[], Any]:
        """As `call`, but what it returns waits for the answer, so that several calls may be under way."""
        call = self._asked(method, arguments)

        def answer() -> Any:
            with self._has_waiter():
                return self._timeouts.answer(call, timeout)

        return answer

    def call_soon(self, method: str, arguments: dict[str, Any], limit: float) -> Any:
        """Call a method, and give up as soon as the store turns out to be unreachable.

        That is when an attempt to connect fails, or after `limit`; from then on it is known to be
        unreachable; later calls do not wait for it until it has answered something.

        Args:
            method: a method of the method table that has an answer.
            arguments: by name, in plain values.
            limit: seconds to wait for the answer.

        Raises:
            ServerUnreachable: the store is unreachable, or too slow.
            TrackError: what the store raised, as the class it is.
        """
        with self._has_waiter():
            return self._timeouts.answer_soon(lambda: self._asked(method, arguments), limit)

    @property
    def is_known_unreachable(self) -> bool:
        """Whether `call_soon` has waited in vain, and nothing came from the store since."""
        return self._timeouts.is_known_unreachable

    @property
    def reached(self) -> bool:
        """Whether this process was ever connected to the store."""
        return self._sender.connector.reached

    @property
    def session(self) -> bytes:
        """The id of the session in which the store numbers what this process logs."""
        return self._sender.session

    @property
    def problem(self) -> TrackError | None:
        """The last problem; None while there is none."""
        return self._sender.connector.problem

    @property
    def denied(self) -> PermissionDenied | None:
        """Why this user may not write, once the store has said so."""
        return self._sender.denied

    @property
    def role(self) -> str:
        """What the store lets this user do, as it said when it was last reached."""
        return self._sender.delivery.role

    def _asked(self, method: str, arguments: dict[str, Any]) -> Call:
        described = method_named(method, within=(Access.READ, Access.WRITE))
        described.check(arguments)
        call = Call(method, arguments, writes=described.access is Access.WRITE)
        self._enqueue(call)
        return call

    def _enqueue(self, future: Future) -> None:
        with self._thread.lock:
            self._queue.records.append((FUTURE, future))
            self._sender.asked += 1
        if not self._thread.wake() and not future.wait(0.0):
            future.fail(ServerUnreachable(f"{self._name} cannot be called: {self._thread.problem}"))

    # -- the copy on disk --------------------------------------------------------------------------

    @property
    def folder(self) -> Path | None:
        """The folder with the copy of unsent records; None while there is none."""
        return self._local.folder

    @property
    def fully_synced(self) -> bool:
        """Whether everything that waits has reached the disk of this machine."""
        return self._local.fully_synced

    def _sync(self) -> None:
        self._local.sync(self._enqueue)

    # -- durability ------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """How many log calls are not known to be durable yet."""
        return len(self._queue.records) + self._sender.unacknowledged

    @property
    def dropped(self) -> int:
        """How many points and calls never left this process."""
        return self.drops.dropped

    @property
    def rejected(self) -> int:
        """How many records the store rejected permanently."""
        return self.drops.rejected

    def flush(self, timeout: float | None = None) -> None:
        """Wait until everything logged before is durable; on a terminal, a bar shows a long wait.

        Args:
            timeout: seconds; None waits as long as the store makes progress.

        Raises:
            CallTimeout: it is not durable in time; sending continues.
            ServerUnreachable: the store was never reached.
            TrackError: a permanent failure.
        """
        self._flush(timeout, float)

    def _flush(self, timeout: float | None, shortened: Callable[[float], float]) -> None:
        if not self._thread.is_alive and not self._queue.records and not self._sender.unacknowledged:
            return
        future = FlushFuture()
        with self._has_waiter():
            self._enqueue(future)
            self._timeouts.watch(future, timeout, lambda: self.waiting, shortened)
            future.result()

    def persist(self, timeout: float | None = None) -> None:
        """Wait until the end of this process could lose nothing: all is stored, or on disk meanwhile.

        Args:
            timeout: see `flush`.

        Raises:
            TrackError: see `flush`; but not while everything is on this machine's disk.
        """
        try:
            self._flush(timeout, self._local.shortened)
        except TrackError as error:
            if not self.fully_synced:
                raise
            _log.info("queued in %s until it can be sent: %s", self.folder, error)

    def close(self, timeout: float | None = None) -> None:
        """Secure what was logged and release the connection; logging again opens it again.

        Args:
            timeout: seconds, see `persist`.

        Raises:
            TrackError: see `persist`; the connection is released all the same.
        """
        try:
            self.persist(timeout)
        finally:
            self.release()

    def release(self) -> None:
        """Release the connection, but continue to send what is only on disk while the process lives."""
        if self.waiting and self._local.fully_synced:
            self.close_when_drained()
        else:
            self._stop()

    def _stop(self) -> None:
        self._thread.stop(self.connect_timeout + 1.0)

    def close_when_drained(self) -> None:
        """Release the connection as soon as everything is durable, without a caller that waits."""
        self._sender.closing_when_drained = True
        self._sender.wake()

    def on_exit(self, timeout: float) -> None:
        """Save what there is because the process ends; an obstacle is reported in one line."""
        sender = self._sender
        shortened: Callable[[float], float] = float
        if sender.disk is not None and not sender.connector.reached:
            timeout = min(timeout, self.connect_timeout)
            if sender.connector.tried_for >= self.connect_timeout:
                # It was given the time to come up, and need not be given it again.
                shortened = self._local.shortened
        if is_asked_to_end():
            # A scheduler kills what has not ended within its time, and a person at a terminal waits.
            shortened = self._local.shortened
        # Of many outboxes at an address that does not answer, each would take this long.
        sender.close_timeout = min(sender.close_timeout, timeout)
        self._has_unsent = True
        try:
            self._flush(timeout, shortened)
        except TrackError as error:
            self._stop()
            self._local.report_unsent(error, self.waiting, meant=self._keeps_only)
        except KeyboardInterrupt:
            self._stop()
            self._local.report_unsent("interrupted", self.waiting, meant=self._keeps_only)
            raise
        else:
            self._has_unsent = False
            self._stop()

    # -- forks -----------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """The calling thread is about to fork: hold everything that the child will look at."""
        self._thread.lock.acquire()
        # After the fork the same link must be notified, whatever the sender has done since.
        self._fork_link = self._sender.connector.link or self._sender.connector.opening
        self._tell_link("before_fork")

    def after_fork_in_parent(self) -> None:
        """The parent continues unchanged."""
        self._tell_link("after_fork_in_parent")
        self._thread.lock.release()

    def after_fork_in_child(self) -> None:
        """The child begins empty: the parent sends the queued records, in its own session."""
        self._tell_link("after_fork_in_child")
        self._begin()
        self._inherited = list(self.unconfirmed.values())

    def _tell_link(self, hook: str) -> None:
        handle = getattr(self._fork_link, hook, None)
        if handle is not None:
            try:
                handle()
            except Exception:  # noqa: BLE001  # whatever is wrong with it, locks have to be released
                _log.exception("the connection to %s did not survive a fork", self._name)
