"""Local durability: whether unsent records are on this machine's disk, and how long to wait for that."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from track.outbox.drops import DropAccount
from track.outbox.futures import Call, Future, SyncFuture
from track.outbox.records import Record
from track.outbox.sender import Sender
from track.process.progress import Progress
from track_protocol.errors import CallTimeout, ServerUnreachable, TrackError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["LocalDurability", "TimeoutPolicy"]

_log: Final = logging.getLogger("track")

_SYNC_TIMEOUT_S: Final = 1.0
"""Maximum wait for the disk, in seconds."""

_SLOW_STORE_S: Final = 5.0
"""Maximum wait for a reachable store that does not answer, in seconds, while everything is on disk."""


class LocalDurability:
    """What the threads of a training process may expect of the copy on disk.

    Args:
        sender: whose copy it is; there may be none.
        records: that wait to be numbered.
        name: of the store, for messages.
        drops: reports a disk that does not answer.
    """

    def __init__(self, sender: Sender, records: deque[Record], name: str, drops: DropAccount) -> None:
        self._sender = sender
        self._records = records
        self._name = name
        self._drops = drops
        self._late: SyncFuture | None = None

    @property
    def folder(self) -> Path | None:
        """Where it is; None while there is none."""
        disk = self._sender.disk
        return None if disk is None else disk.folder

    @property
    def _location(self) -> str:
        return str(self.folder or "the disk")

    @property
    def fully_synced(self) -> bool:
        """Whether all unsent records are on disk, so that no caller has to wait until they are sent."""
        disk = self._sender.disk
        # In this order: what leaves the records is first packed, and then numbered.
        return disk is not None and not self._records and not self._sender.packing and disk.fully_synced

    def sync(self, enqueue: Callable[[Future], None]) -> None:
        """Wait until everything logged is on disk, but not again for a disk that did not answer in time.

        Args:
            enqueue: enqueues a future behind the records logged so far.
        """
        late = self._late
        if late is not None and not late.wait(0.0):
            return
        future = SyncFuture()
        enqueue(future)
        self._late = None if future.wait(_SYNC_TIMEOUT_S) else future
        if self._late is not None:
            self._drops.warn(
                f"the disk has not confirmed the last log calls after {_SYNC_TIMEOUT_S:g} s; training "
                f"continues without waiting for it: check the disk of {self._location}"
            )

    def shortened(self, limit: float) -> float:
        """Seconds to wait for the store, given the seconds to wait without a disk."""
        if not self.fully_synced:
            return limit
        # No wait for an unreachable store: a loop of short trials would wait at the end of each of them.
        return 0.0 if self._sender.connector.is_unreachable else min(limit, _SLOW_STORE_S)

    def report_unsent(self, error: TrackError | str, waiting: int, *, meant: bool) -> None:
        """Report in one line, at the end of the process, what the store does not have.

        Args:
            error: why the store does not have everything.
            waiting: how many log calls are not known to be durable.
            meant: nothing was meant to be sent.
        """
        unsent, folder = self._sender.unsent, self.folder
        reported = f"{unsent} {'is' if unsent.total == 1 else 'are'}"
        if self.fully_synced and unsent and meant:
            _log.warning(
                "%s queued for %s in %s because of offline=require; send with: track sync %s",
                reported,
                self._name,
                folder,
                folder,
            )
        elif self.fully_synced and unsent:
            _log.error(
                "%s not at %s yet (%s), but queued in %s: the next start on this machine sends them, "
                "or send now with: track sync %s",
                reported,
                self._name,
                self._sender.connector.problem or error,
                folder,
                folder,
            )
        elif waiting and folder is not None:
            _log.error(
                "of %s log calls that %s does not have (%s), only a part is queued in %s: the next start "
                "on this machine sends that part, or send now with: track sync %s",
                f"{waiting:,}",
                self._name,
                self._sender.connector.problem or error,
                folder,
                folder,
            )
        elif waiting:
            _log.error("%s log calls were not saved: %s", f"{waiting:,}", error)


_STALL_TIMEOUT_S: Final = 60.0
"""Seconds without any progress after which a flush without a timeout gives up."""

_POLL_INTERVAL_S: Final = 0.02
"""A call that need not wait for an unreachable store looks so often, in seconds, whether it is."""

_BAR_DELAY_S: Final = 1.0
_REDRAW_INTERVAL_S: Final = 0.1


class TimeoutPolicy:
    """How long one waits for a store, by what its sender knows of it.

    Args:
        sender: of this process to that store.
        name: of the store, for messages.
        connect_timeout: seconds after which one gives up when the store was never reached.
    """

    def __init__(self, sender: Sender, name: str, connect_timeout: float) -> None:
        self._sender = sender
        self._name = name
        self._connect_timeout = connect_timeout
        self._missed_at: int | None = None

    # -- for an answer ---------------------------------------------------------------------------

    def answer(self, call: Call, timeout: float) -> Any:
        """Wait for a call's answer.

        Args:
            call: asked already.
            timeout: seconds.

        Raises:
            TrackError: see `Outbox.call`.
        """
        started = time.monotonic()
        while not call.wait(self._remaining(started, timeout)):
            if self._remaining(started, timeout) <= 0.0:
                call.cancelled = True
                raise self._no_answer(call.method, time.monotonic() - started)
        return call.result()

    def answer_soon(self, ask: Callable[[], Call], limit: float) -> Any:
        """Ask, and wait until there is an answer or the store turns out to be unreachable.

        Args:
            ask: makes the request.
            limit: seconds.

        Raises:
            TrackError: see `Outbox.call_soon`.
        """
        started, sender = time.monotonic(), self._sender
        seen, progress, linked = sender.connector.problem, sender.progress, sender.connector.link is not None
        deadline = started if self.is_known_unreachable else started + limit
        call = ask()
        while not call.wait(max(0.001, min(_POLL_INTERVAL_S, deadline - time.monotonic()))):
            if linked and sender.connector.link is None:
                # A connection may break because it was idle for too long; the next attempt shows more.
                seen = sender.connector.problem
            linked = sender.connector.link is not None
            failed = not linked and sender.connector.problem is not seen
            if failed or time.monotonic() >= deadline:
                call.cancelled = True
                self._missed_at = progress
                raise self._no_answer(call.method, time.monotonic() - started)
        return call.result()

    @property
    def is_known_unreachable(self) -> bool:
        """Whether `call_soon` has waited in vain, and nothing came from the store since."""
        return self._missed_at == self._sender.progress

    def _remaining(self, started: float, timeout: float) -> float:
        limit = timeout if self._sender.connector.reached else min(timeout, self._connect_timeout)
        return max(0.0, started + limit - time.monotonic())

    def _no_answer(self, what: str, waited: float) -> ServerUnreachable:
        problem = self._sender.connector.problem
        if not self._sender.connector.reached and isinstance(problem, ServerUnreachable):
            return type(problem)(f"{problem} ({what} had no answer within {waited:.1f} s)")
        # An attempt that has not failed yet says nothing about the server: on a busy machine a login takes
        # seconds.  Only a refusal, or no route, makes it unreachable.
        why = "" if problem is None else f" ({problem})"
        return CallTimeout(
            f"{self._name} did not answer {what} within {waited:.1f} s{why}: "
            "check that it is running and not overloaded"
        )

    # -- for what was logged to be saved ---------------------------------------------------------

    def watch(
        self,
        future: Future,
        timeout: float | None,
        waiting: Callable[[], int],
        shortened: Callable[[float], float] = float,
    ) -> None:
        """Wait until what was logged is saved; on a terminal, a bar shows a long wait.

        Args:
            future: enqueued behind it.
            timeout: seconds; None for as long as there is progress.
            waiting: how many log calls are not saved yet.
            shortened: maps the seconds without progress to the seconds after which the wait ends; called
            each time.

        Raises:
            CallTimeout: it is not saved in time.
            ServerUnreachable: the store was never reached.
        """
        with Progress("saving") as bar:
            self._watch(future, timeout, waiting, shortened, bar)

    def _watch(
        self,
        future: Future,
        timeout: float | None,
        waiting: Callable[[], int],
        shortened: Callable[[float], float],
        bar: Progress,
    ) -> None:
        started = moved = time.monotonic()
        seen = self._sender.progress
        while not future.wait(
            _REDRAW_INTERVAL_S
            if timeout is None
            else max(0.0, min(_REDRAW_INTERVAL_S, started + timeout - time.monotonic()))
        ):
            now = time.monotonic()
            if self._sender.progress != seen:
                seen, moved = self._sender.progress, now
            late = timeout is not None and now - started >= timeout
            if late or now - moved >= shortened(self._without_progress(timeout)):
                future.cancelled = True
                raise self._no_answer(f"the request to save {waiting():,} records", now - started)
            if now - started >= _BAR_DELAY_S:
                bar.show(waiting())

    def _without_progress(self, timeout: float | None) -> float:
        if timeout is not None:
            return math.inf
        return _STALL_TIMEOUT_S if self._sender.connector.reached else self._connect_timeout
