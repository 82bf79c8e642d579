"""Waiting for the store: for how long, and what is told when there was no answer in time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, Final

from track.outbox.futures import Call, Ticket
from track.outbox.sender import Sender
from track.process.progress import Progress
from track_protocol.errors import CallTimeout, ServerUnreachable

__all__ = ["Patience"]

_STALLED: Final = 60.0
"""Seconds without any progress after which a flush without a timeout gives up."""

_GLANCE: Final = 0.02
"""A call that need not wait for a store that is away looks so often, in seconds, whether it is."""

_QUIET: Final = 1.0
_REDRAW: Final = 0.1


class Patience:
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
                call.abandoned = True
                raise self._no_answer(call.method, time.monotonic() - started)
        return call.result()

    def answer_soon(self, ask: Callable[[], Call], patience: float) -> Any:
        """Ask, and wait until there is an answer or the store turns out to be away.

        Args:
            ask: asks.
            patience: seconds.

        Raises:
            TrackError: see `Outbox.call_soon`.
        """
        started, sender = time.monotonic(), self._sender
        seen, progress, linked = sender.line.problem, sender.progress, sender.line.link is not None
        deadline = started if self.is_known_away else started + patience
        call = ask()
        while not call.wait(max(0.001, min(_GLANCE, deadline - time.monotonic()))):
            if linked and sender.line.link is None:
                # A connection that breaks may have been idle for too long; the attempt after it tells.
                seen = sender.line.problem
            linked = sender.line.link is not None
            failed = not linked and sender.line.problem is not seen
            if failed or time.monotonic() >= deadline:
                call.abandoned = True
                self._missed_at = progress
                raise self._no_answer(call.method, time.monotonic() - started)
        return call.result()

    @property
    def is_known_away(self) -> bool:
        """Whether `call_soon` has waited in vain, and nothing came from the store since."""
        return self._missed_at == self._sender.progress

    def _remaining(self, started: float, timeout: float) -> float:
        limit = timeout if self._sender.line.reached else min(timeout, self._connect_timeout)
        return max(0.0, started + limit - time.monotonic())

    def _no_answer(self, what: str, waited: float) -> ServerUnreachable:
        problem = self._sender.line.problem
        asked = f"{what} had no answer within {waited:.1f} s"
        if not self._sender.line.reached and isinstance(problem, ServerUnreachable):
            return type(problem)(f"{problem} ({asked})")
        why = "" if problem is None else f" ({problem})"
        if self._sender.line.reached:
            return CallTimeout(
                f"{self._name} did not answer {what} within {waited:.1f} s{why}: "
                "see whether it is running and not overloaded"
            )
        return ServerUnreachable(
            f"{asked}: {self._name} cannot be reached{why}: start the server, or correct the address"
        )

    # -- for what was logged to be saved ---------------------------------------------------------

    def watch(
        self,
        ticket: Ticket,
        timeout: float | None,
        waiting: Callable[[], int],
        shortened: Callable[[float], float] = float,
    ) -> None:
        """Wait until what was logged is saved; on a terminal, a bar shows a long wait.

        Args:
            ticket: stands behind it.
            timeout: seconds; None for as long as there is progress.
            waiting: how many log calls are not saved yet.
            shortened: of the seconds without progress after which nobody waits any longer; asked each time.

        Raises:
            CallTimeout: it is not saved in time.
            ServerUnreachable: the store was never reached.
        """
        with Progress("saving") as bar:
            self._watch(ticket, timeout, waiting, shortened, bar)

    def _watch(
        self,
        ticket: Ticket,
        timeout: float | None,
        waiting: Callable[[], int],
        shortened: Callable[[float], float],
        bar: Progress,
    ) -> None:
        started = moved = time.monotonic()
        seen = self._sender.progress
        while not ticket.wait(
            _REDRAW if timeout is None else max(0.0, min(_REDRAW, started + timeout - time.monotonic()))
        ):
            now = time.monotonic()
            if self._sender.progress != seen:
                seen, moved = self._sender.progress, now
            late = timeout is not None and now - started >= timeout
            if late or now - moved >= shortened(self._without_progress(timeout)):
                ticket.abandoned = True
                raise self._no_answer(f"the request to save {waiting():,} records", now - started)
            if now - started >= _QUIET:
                bar.show(waiting())

    def _without_progress(self, timeout: float | None) -> float:
        if timeout is not None:
            return math.inf
        return _STALLED if self._sender.line.reached else self._connect_timeout
