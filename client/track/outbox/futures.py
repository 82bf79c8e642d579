"""Futures: what a thread holds while it waits for the sender."""

from __future__ import annotations

import contextlib
import copy
from queue import Empty, SimpleQueue
from typing import Any

from track_protocol.errors import TrackError

__all__ = ["Call", "FlushFuture", "Future", "SyncFuture"]


class Future:
    """Resolved once, by the sender; its creator waits for it."""

    def __init__(self) -> None:
        # Not an event: a signal handler that flushes must not find its lock held by what it interrupted.
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._done = False
        self._error: TrackError | None = None
        self._value: Any = None
        self.cancelled = False
        """The caller has stopped waiting: a request that was not sent yet need not be sent."""

    @property
    def is_done(self) -> bool:
        """Whether it is resolved, or has failed."""
        return self._done

    def wait(self, seconds: float) -> bool:
        """Wait so long at most; returns whether it is done."""
        if not self._done:
            with contextlib.suppress(Empty):
                self._bell.get(timeout=seconds)
        return self._done

    def resolve(self, value: Any = None) -> None:
        """Resolve it."""
        self._value = value
        self._finish()

    def fail(self, error: TrackError) -> None:
        """Let it fail."""
        self._error = error
        self._finish()

    def _finish(self) -> None:
        self._done = True
        self._bell.put(None)

    def result(self) -> Any:
        """What it was resolved with; an error is raised, as an object of its own for each caller."""
        if self._error is not None:
            raise copy.copy(self._error).with_traceback(None)
        return self._value


class FlushFuture(Future):
    """Resolved when everything before it is durable."""


class SyncFuture(Future):
    """Resolved when everything before it is on this machine's disk, or at the store."""


class Call(Future):
    """Resolved by an answer.

    Attributes:
        method: name in the method table.
        arguments: by name.
        writes: whether it changes something and so takes a sequence number.
    """

    def __init__(self, method: str, arguments: dict[str, Any], *, writes: bool) -> None:
        super().__init__()
        self.method = method
        self.arguments = arguments
        self.writes = writes
