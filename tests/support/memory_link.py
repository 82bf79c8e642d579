"""A store in memory and links to it that follow the protocol and break on request."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from track_protocol.errors import ConnectionLost, SequenceGap, ServerUnreachable, StoreError, TrackError
from track_protocol.wire.batch import Batch, CallOp, PointsOp, batch_from_wire, batch_to_wire
from track_protocol.wire.codec import decode, encode
from track_protocol.wire.columns import unpack
from track_protocol.wire.link import Acked, Failed, LinkEvent, Opened, Refused, Rejection, Replied

__all__ = ["MemoryLink", "MemoryStore", "Point"]


@dataclass(frozen=True)
class Point:
    """One stored value and the record it came with."""

    session: bytes
    seq: int
    trial: bytes
    kind: str
    name: str
    step: Any
    time: float
    value: Any


@dataclass
class MemoryStore:
    """Stores records exactly once per session and number, as a real store does.

    Attributes:
        points: in the order in which they were stored.
        calls: (session, seq, method, arguments) of stored calls and answered writes.
        sessions: the last record of each session.
        answer: gives a call's answer, or raises.
        unreachable: links cannot be opened.
        drop_acks: store, but do not answer.
        break_after: links break before they take in so many more batches; None never.
        refuse: answer batches with this error.
        open_error: raised by `MemoryLink.open`.
        reject: gives the reason why a point can never be stored, if there is one.
        role: of each user who opens a link.
        ended: when the process of the last link's session ended, as it was told.
    """

    points: list[Point] = field(default_factory=list)
    calls: list[tuple[bytes, int, str, dict[str, Any]]] = field(default_factory=list)
    reads: list[tuple[str, dict[str, Any], int]] = field(default_factory=list)
    sessions: dict[bytes, int] = field(default_factory=dict)
    replies: dict[bytes, tuple[int, LinkEvent]] = field(default_factory=dict)
    answer: Callable[[str, dict[str, Any]], Any] = lambda method, arguments: None
    unreachable: bool = False
    drop_acks: bool = False
    break_after: int | None = None
    break_on_call: int = 0
    refuse: TrackError | None = None
    open_error: TrackError | None = None
    reject: Callable[[Point], str | None] = lambda point: None
    role: str = "writer"
    ended: float | None = None
    opened: int = 0
    batches: int = 0
    largest: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)
    links: list[MemoryLink] = field(default_factory=list)

    def values(self, name: str = "loss") -> list[Any]:
        """Return the stored values of one series, in order."""
        return [point.value for point in self.points if point.name == name]

    def numbers(self) -> list[int]:
        """Return the sequence number of each point."""
        return [point.seq for point in self.points]

    def link(self) -> MemoryLink:
        """Return a new link; pass this method itself to an outbox."""
        return MemoryLink(self)

    def wait_until(self, condition: Callable[[], bool], seconds: float = 10.0) -> None:
        """Wait until a condition holds; check it after every change."""
        with self.changed:
            assert self.changed.wait_for(condition, seconds), "the condition never held"

    def notify(self) -> None:
        """Wake every `wait_until` to check its condition again."""
        with self.changed:
            self.changed.notify_all()

    def break_links(self) -> None:
        """Break every open link."""
        for link in self.links:
            link.cut()

    def apply(self, session: bytes, batch: Batch) -> LinkEvent:
        """Store the records of a batch that are new."""
        last = self.sessions.get(session, 0)
        if self.refuse is not None:
            return Refused(self.refuse)
        if batch.first > last + 1:
            return Refused(SequenceGap(f"{batch.first} came where {last + 1} was expected"))
        rejected: list[Rejection] = []
        if batch.last > last:
            for _, op in batch.after(last):
                if isinstance(op, CallOp):
                    self.calls.append((session, batch.first + op.offset, op.method, op.arguments))
                else:
                    rejected += self._keep(session, batch.first, op)
            self.sessions[session] = batch.last
        return Acked(self.sessions[session], rejected)

    def _keep(self, session: bytes, first: int, op: PointsOp) -> list[Rejection]:
        offsets = range(op.offsets, op.offsets + len(op)) if isinstance(op.offsets, int) else op.offsets
        steps, times = unpack(op.steps), unpack(op.times)
        rejected = []
        for name, column in zip(op.names, op.values, strict=True):
            rows = zip(offsets, steps, times, unpack(column), strict=True)
            for offset, step, time, value in rows:
                point = Point(session, first + offset, op.trial, op.kind, name, step, time, value)
                reason = self.reject(point)
                if reason is None:
                    self.points.append(point)
                else:
                    rejected.append(Rejection(point.seq, "bad-value", reason))
        return rejected

    def execute(
        self, session: bytes, call_id: int, seq: int | None, method: str, arguments: dict[str, Any]
    ) -> LinkEvent:
        """Answer a call; a repeated write gets its first answer again."""
        if seq is None:
            self.reads.append((method, arguments, len(self.points)))
            return self._outcome(call_id, method, arguments)
        known = self.replies.get(session)
        if known is not None and known[0] == seq:
            return _readdressed(known[1], call_id)
        last = self.sessions.get(session, 0)
        if seq != last + 1:
            return Failed(call_id, SequenceGap(f"{seq} came where {last + 1} was expected"))
        outcome = self._outcome(call_id, method, arguments)
        if isinstance(outcome, Failed) and isinstance(outcome.error, StoreError):
            return outcome  # nothing could be written, so the sequence number is not used up
        self.calls.append((session, seq, method, arguments))
        self.sessions[session] = seq
        self.replies[session] = (seq, outcome)
        return outcome

    def _outcome(self, call_id: int, method: str, arguments: dict[str, Any]) -> LinkEvent:
        try:
            return Replied(call_id, self.answer(method, arguments))
        except TrackError as error:
            return Failed(call_id, error)


def _readdressed(event: LinkEvent, call_id: int) -> LinkEvent:
    assert isinstance(event, (Replied, Failed))
    return Replied(call_id, event.value) if isinstance(event, Replied) else Failed(call_id, event.error)


class MemoryLink:
    """A link to a `MemoryStore`; all data goes through the wire's encoding."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._session = b""
        self._events: list[LinkEvent] = []
        self._woken = threading.Event()
        self._broken = False
        self.closed = False

    def open(self, session: bytes, timeout: float, ended: float | None = None) -> Opened:
        """Attach the session."""
        store = self._store
        if store.open_error is not None:
            raise store.open_error
        if store.unreachable:
            raise ServerUnreachable("memory store: unreachable; set `unreachable` to False")
        self._session = session
        store.opened += 1
        store.ended = ended
        store.links.append(self)
        store.notify()
        return Opened(store.sessions.get(session, 0), "one", store.role)

    def send_batch(self, batch: Batch) -> int:
        """Accept a batch, unless the link breaks first."""
        store = self._store
        data = encode(batch_to_wire(batch))
        if self._broken:
            return len(data)
        if store.break_after is not None:
            if store.break_after == 0:
                store.break_after = None
                self._broken = True
                return len(data)
            store.break_after -= 1
        store.batches += 1
        store.largest = max(store.largest, len(data))
        event = store.apply(self._session, batch_from_wire(decode(data)))
        if not store.drop_acks:
            self._events.append(event)
        store.notify()
        return len(data)

    def send_call(self, call_id: int, seq: int | None, method: str, arguments: dict[str, Any]) -> None:
        """Execute a call; its answer is lost while links are to break on calls."""
        store = self._store
        data = encode(arguments)
        if self._broken:
            return
        event = store.execute(self._session, call_id, seq, method, decode(data))
        if store.break_on_call:
            store.break_on_call -= 1
            self._broken = True
        elif not store.drop_acks:
            self._events.append(event)
        store.notify()

    def poll(self, timeout: float | None) -> list[LinkEvent]:
        """Return the answers of the store."""
        if not self._events and not self._broken:
            self._woken.wait(timeout)
            self._woken.clear()
        if self._broken:
            raise ConnectionLost("memory store: the link broke")
        events, self._events = self._events, []
        return events

    def wake(self) -> None:
        """End a poll."""
        self._woken.set()

    def cut(self) -> None:
        """Break it."""
        self._broken = True
        self._woken.set()

    def close(self) -> None:
        """Release it."""
        self.closed = True
        if self in self._store.links:
            self._store.links.remove(self)
