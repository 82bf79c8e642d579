"""The link: the interface through which an outbox sends to a store.

A socket to a server and an engine in the same process are both links.  The outbox's one thread
opens the link, sends on it and polls it; only `wake` may be called from other threads.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from track_protocol.errors import TrackError
from track_protocol.wire.batch import Batch

__all__ = ["Acked", "Failed", "Link", "LinkEvent", "Opened", "Refused", "Rejection", "Replied"]


@dataclass(frozen=True, slots=True)
class Opened:
    """A link that is ready.

    Attributes:
        last_seq: the session's last durable record in the store; 0 for a new session.
        generation: identifies the store's history; it changes when an older state is restored.
        role: the user's role: "admin", "writer" or "reader".
    """

    last_seq: int
    generation: str
    role: str


@dataclass(frozen=True, slots=True)
class Rejection:
    """A record that can never be stored, and why."""

    seq: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Acked:
    """All records up to `last_seq` are durable, but for those in `rejected`."""

    last_seq: int
    rejected: list[Rejection] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Refused:
    """The store does not take this session's batches at all (for example: a reader that writes)."""

    error: TrackError


@dataclass(frozen=True, slots=True)
class Replied:
    """The answer to a call."""

    call_id: int
    value: Any


@dataclass(frozen=True, slots=True)
class Failed:
    """The error that a call ended with."""

    call_id: int
    error: TrackError


LinkEvent = Acked | Refused | Replied | Failed


class Link(Protocol):
    """A way to one store for one session."""

    def open(self, session: bytes, timeout: float, ended: float | None = None) -> Opened:
        """Connect, prove each other, and attach `session` (16 bytes).

        Args:
            session: its id.
            timeout: seconds.
            ended: when the session's process was last alive, in seconds since the epoch, if this sends what
                an ended process has left; None from the process itself.

        Raises:
            ServerUnreachable: worth trying again later.
            TrackError: anything else is final.
        """

    def send_batch(self, batch: Batch) -> int:
        """Queue `batch` for sending; returns its size in bytes (0 where nothing is encoded).

        A broken link accepts it too, and the next `poll` raises.
        """

    def send_call(self, call_id: int, seq: int | None, method: str, arguments: dict[str, Any]) -> None:
        """Queue a call; `seq` is its record's number if it changes something, else None."""

    def poll(self, timeout: float | None) -> list[LinkEvent]:
        """Move bytes until something arrives, `wake` is called or `timeout` seconds pass.

        Raises:
            ConnectionLost: the link is broken; open a new one.
        """

    def wake(self) -> None:
        """End a `poll` that is under way in another thread, or the next one at once."""

    def close(self) -> None:
        """Say goodbye and release everything; harmless when repeated."""
