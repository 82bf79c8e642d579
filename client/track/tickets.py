"""Tickets: what a thread holds while it waits for the sender."""

from __future__ import annotations

import copy
import threading
from typing import Any

from track_protocol.errors import TrackError

__all__ = ["Call", "FlushTicket", "Ticket"]


class Ticket:
    """Settled once, by the sender; waited for by whoever made it."""

    def __init__(self) -> None:
        self._settled = threading.Event()
        self._error: TrackError | None = None
        self._value: Any = None
        self.abandoned = False
        """Nobody waits any more: what was not sent yet need not be."""

    def wait(self, seconds: float) -> bool:
        """Wait so long at most; returns whether it is settled."""
        return self._settled.wait(seconds)

    def resolve(self, value: Any = None) -> None:
        """Settle it well."""
        self._value = value
        self._settled.set()

    def fail(self, error: TrackError) -> None:
        """Settle it with an error."""
        self._error = error
        self._settled.set()

    def result(self) -> Any:
        """What it was settled with; an error is raised, as an object of its own for each caller."""
        if self._error is not None:
            raise copy.copy(self._error).with_traceback(None)
        return self._value


class FlushTicket(Ticket):
    """Settled when everything before it is durable."""


class Call(Ticket):
    """Settled by an answer.

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
