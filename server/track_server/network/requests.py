"""The pending requests of one peer: its batches, its writes with an answer and its reads."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Protocol

from track_protocol.errors import (
    BadArguments,
    PermissionDenied,
    RemoteProtocolError,
    SessionFenced,
    TrackError,
)
from track_protocol.wire.answers import ANSWER_LIMIT
from track_protocol.wire.batch import Batch
from track_protocol.wire.connection import Connection, State
from track_protocol.wire.events import BatchReceived, CallReceived
from track_protocol.wire.link import Acked
from track_protocol.wire.methods import Access, method_named
from track_protocol.wire.roles import Role
from track_server.network.limits import Limits
from track_server.network.memory import Claim, MemoryBudget
from track_server.network.ordering import ReadAfterWrite

__all__ = ["Attached", "Executor", "Page", "Peer", "Pool", "Requests", "Writer", "on_loop", "resolve"]

_log = logging.getLogger(__name__)

_PAGES_AT_ONCE: Final = 2
"""Pages of answers to one peer that are made at once: each takes memory until it is sent."""

_PAGE_BYTES: Final = 128 * 1024
"""Memory that is claimed for a page before its size is known."""


_User = tuple[Hashable, Hashable]
"""The caller: a user, and one of its connections."""


class Writer(Protocol):
    """Who writes: a session of a user."""

    @property
    def sid(self) -> bytes:
        """The session's id."""

    @property
    def user(self) -> str:
        """Its owner."""

    @property
    def epoch(self) -> int:
        """Which of its holders."""


class Attached(Protocol):
    """A session that was taken over."""

    @property
    def writer(self) -> Writer:
        """Its new holder."""

    @property
    def last_seq(self) -> int:
        """Its last durable record."""


class Page(Protocol):
    """A piece of an answer."""

    @property
    def data(self) -> bytes:
        """An encoded value; of a list, the items of this page."""

    @property
    def rest(self) -> Any:
        """What the next page is made from; None when there is none."""


class Executor(Protocol):
    """What a peer's requests need from the engine; `done` may be called on any thread."""

    def submit_attach(
        self, sid: bytes, user: str, done: Callable[[Any], None], ended: float | None = None
    ) -> None:
        """Take a session over; ends with an `Attached` or a `TrackError`."""

    def submit_batch(self, writer: Any, batch: Batch, done: Callable[[Any], None]) -> None:
        """Store a batch."""

    def submit_call(
        self, writer: Any, seq: int, method: str, arguments: dict[str, Any], done: Callable[[Any], None]
    ) -> None:
        """Execute a write with an answer."""

    def submit_leave(self, writer: Any) -> None:
        """Shrink a session whose client said goodbye."""

    def submit_read(
        self,
        method: str,
        arguments: dict[str, Any],
        done: Callable[[Any], None],
        peer: tuple[Hashable, Hashable] = (None, None),
    ) -> None:
        """Answer a read, with a `Page` or a `TrackError`; peers take turns."""

    def submit_rest(
        self, rest: Any, done: Callable[[Any], None], peer: tuple[Hashable, Hashable] = (None, None)
    ) -> None:
        """Make the next page of a read's answer."""

    def last_seq(self, writer: Any) -> int:
        """The session's last durable record."""


class Pool(Protocol):
    """What the peers of a server share.

    Attributes:
        bytes_in_flight: of all peers together; each adds and subtracts its own.
        memory: bounds what all peers can make the server hold.
    """

    bytes_in_flight: int
    memory: MemoryBudget

    @property
    def engine(self) -> Executor:
        """Executes calls."""

    @property
    def limits(self) -> Limits:
        """What a peer may take."""


class Peer(Protocol):
    """The caller."""

    username: str | None
    role: Role | None

    @property
    def listens(self) -> bool:
        """Whether it is there and reads what it is sent."""

    def may(self, role: Role) -> bool:
        """Whether it has at least that role."""

    def drop(self, error: TrackError | None = None) -> None:
        """Say why, and close once that is sent."""

    def flush(self) -> None:
        """Send what the connection has to say."""

    def regulate(self) -> None:
        """Read from its socket, or stop to, as what is under way allows."""


class _NullPeer:
    """Replaces a disconnected peer."""

    username: str | None = None
    role: Role | None = None
    listens = False

    def may(self, role: Role) -> bool:
        return False

    def drop(self, error: TrackError | None = None) -> None:
        pass

    def flush(self) -> None:
        pass

    def regulate(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class _Held:
    """Memory that a request takes, and the claim on it if its frame was large."""

    nbytes: int
    claim: Claim | None


@dataclass(frozen=True, slots=True)
class _Read:
    """A read under way: its call, the memory that its arguments take, and what was answered so far.

    Attributes:
        method: what was called.
        since: when it came, on the loop's clock.
        pages: of the answer, so far.
        sent: their bytes.
    """

    call_id: int
    held: _Held
    method: str
    since: float
    pages: int = 0
    sent: int = 0


class Requests:
    """The requests of one peer that are under way.

    Args:
        peer: the caller.
        pool: what it shares with the others.
        connection: which says the answers.

    Attributes:
        writer: the engine's name for its session, set at the login.
        count: how many are under way.
        claim: the memory of the large frame whose request comes next.
    """

    def __init__(self, peer: Peer, pool: Pool, connection: Connection) -> None:
        self._peer: Peer = peer
        self._pool = pool
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._order = ReadAfterWrite()
        self._pages: deque[tuple[_Read, Callable[..., None]]] = deque()
        self._pages_running = 0
        self._unread: list[Claim] = []
        self.claim: Claim | None = None
        self._nbytes = 0
        self.count = 0
        self.writer: Writer | None = None

    def leave(self) -> None:
        """The peer is disconnected: what is under way ends without it.

        It would otherwise stay with all that it has sent until the interpreter looks for cycles, which it
        does by the number of objects and not by their size.
        """
        self._peer = _NullPeer()
        self.start_reads()

    @property
    def full(self) -> bool:
        """Whether no more should be taken from the peer until some of them are done."""
        limits = self._pool.limits
        return (
            self.count >= limits.batches_in_flight
            or self._nbytes >= limits.bytes_in_flight
            or (
                self._pool.bytes_in_flight >= limits.all_bytes_in_flight and self._nbytes >= limits.fair_bytes
            )
        )

    def batch(self, event: BatchReceived) -> None:
        """Have a batch stored."""
        expected = event.batch.first
        if not self._peer.may(Role.WRITER):
            self._connection.send_nack(expected, _denied(self._peer, "log"))
            self._peer.flush()
            return
        held = self._started(max(event.batch.nbytes_packed, event.charge))
        self._order.write_started()
        done = on_loop(self._loop, self._stored, expected, held)
        self._pool.engine.submit_batch(self.writer, event.batch, done)

    def _stored(self, expected: int, held: _Held, outcome: Acked | TrackError) -> None:
        if isinstance(outcome, SessionFenced):
            self._peer.drop(outcome)
        elif self._connection.state is State.OPEN:
            if isinstance(outcome, Acked):
                self._connection.send_ack(outcome.last_seq, outcome.rejected)
            else:
                self._connection.send_nack(expected, outcome)
        self._order.write_finished()
        self._finished(held)

    def call(self, event: CallReceived) -> None:
        """Have a call answered."""
        try:
            method = method_named(event.method, within=(Access.READ, Access.WRITE))
            if not self._peer.may(method.role):
                raise _denied(self._peer, method.name)
            if (event.seq is None) is not (method.access is Access.READ):
                raise RemoteProtocolError(
                    f"{method.name} is a {method.access.value}: only writes have a number"
                )
        except TrackError as error:
            self._connection.send_error(event.call_id, error)
            self._peer.flush()
            return
        if event.seq is None:
            self._read(event)
        else:
            self._write(event, event.seq)

    def _read(self, event: CallReceived) -> None:
        read = _Read(event.call_id, self._started(event.charge), event.method, self._loop.time())
        submit = partial(self._pool.engine.submit_read, event.method, event.arguments)
        self._order.read(lambda: self._page_wanted(read, submit))

    def _page_wanted(self, read: _Read, submit: Callable[..., None]) -> None:
        self._pages.append((read, submit))
        self.start_reads()

    def start_reads(self) -> None:
        """Request further pages, but not while the peer has not read the last ones."""
        if isinstance(self._peer, _NullPeer) or self._peer.listens:
            unread, self._unread = self._unread, []
            for claim in unread:
                claim.release()
        while self._pages and isinstance(self._peer, _NullPeer):
            self._finished(
                self._pages.popleft()[0].held
            )  # no caller waits for it, and its bytes are released
        while self._pages and self._pages_running < _PAGES_AT_ONCE and self._peer.listens:
            self._pages_running += 1
            self._claim_page(*self._pages.popleft())

    def _claim_page(self, read: _Read, submit: Callable[..., None]) -> None:
        """Have a page made once there is memory for it."""

        user = self._peer.username or ""

        def granted() -> None:
            # Not at once: the claim may be granted before `claim` has returned it.
            self._loop.call_soon(
                lambda: submit(on_loop(self._loop, self._page_made, read, claim), (user, self))
            )

        claim = self._pool.memory.claim(user, _PAGE_BYTES, granted)

    def _page_made(self, read: _Read, claim: Claim, outcome: Page | TrackError) -> None:
        self._pages_running -= 1
        if isinstance(self._peer, _NullPeer):
            self._finished(read.held)
        elif isinstance(outcome, TrackError):
            self._read_answered(read, outcome)
        elif (sent := read.sent + len(outcome.data)) > ANSWER_LIMIT:
            self._read_answered(read, _too_long())
        elif outcome.rest is None:
            self._read_answered(replace(read, pages=read.pages + 1, sent=sent), outcome.data)
        else:
            if self._connection.state is State.OPEN:
                self._connection.send_result(read.call_id, outcome.data, more=True)
                self._peer.flush()
            submit = partial(self._pool.engine.submit_rest, outcome.rest)
            self._pages.append((replace(read, pages=read.pages + 1, sent=sent), submit))
        if not isinstance(outcome, TrackError):
            claim.resize(len(outcome.data))
        self._unread.append(claim)
        self.start_reads()

    def _read_answered(self, read: _Read, outcome: bytes | TrackError) -> None:
        _log.debug(
            "%s of %s: %d pages, %d bytes, %.1f ms%s",
            read.method,
            self._peer.username,
            read.pages,
            read.sent,
            (self._loop.time() - read.since) * 1000,
            f", then {type(outcome).__name__}" if isinstance(outcome, TrackError) else "",
        )
        self._answered(read.call_id, read.held, outcome)

    def _write(self, event: CallReceived, seq: int) -> None:
        held = self._started(event.charge)
        self._order.write_started()
        done = on_loop(self._loop, self._written, event.call_id, held)
        self._pool.engine.submit_call(self.writer, seq, event.method, event.arguments, done)

    def _written(self, call_id: int, held: _Held, outcome: bytes | TrackError) -> None:
        self._order.write_finished()
        self._answered(call_id, held, outcome)

    def _answered(self, call_id: int, held: _Held, outcome: bytes | TrackError) -> None:
        if isinstance(outcome, SessionFenced):
            self._peer.drop(outcome)
        elif self._connection.state is State.OPEN:
            if isinstance(outcome, TrackError):
                self._connection.send_error(call_id, outcome, getattr(outcome, "trace", None))
            else:
                self._connection.send_result(call_id, outcome)
        self._finished(held)

    def _started(self, nbytes: int) -> _Held:
        claim, self.claim = self.claim, None
        self.count += 1
        self._nbytes += nbytes
        self._pool.bytes_in_flight += nbytes
        self._peer.regulate()
        return _Held(nbytes, claim)

    def _finished(self, held: _Held) -> None:
        self.count -= 1
        self._nbytes -= held.nbytes
        self._pool.bytes_in_flight -= held.nbytes
        if held.claim is not None:
            held.claim.release()
        self._peer.flush()
        self._peer.regulate()


def _too_long() -> BadArguments:
    return BadArguments(
        f"the answer has more than {ANSWER_LIMIT:,} bytes: ask for less at once, with start, limit or fields"
    )


def on_loop(loop: asyncio.AbstractEventLoop, then: Callable[..., None], *args: Any) -> Callable[[Any], None]:
    """A callback for other threads that calls `then(*args, outcome)` on the loop's."""

    def done(outcome: Any) -> None:
        loop.call_soon_threadsafe(partial(then, *args, outcome))

    return done


def resolve(future: asyncio.Future[Any], outcome: Any) -> None:
    """Set a future's result, unless it was cancelled."""
    if not future.done():
        future.set_result(outcome)


def _denied(peer: Peer, what: str) -> PermissionDenied:
    return PermissionDenied(
        f"user {peer.username!r} is a {peer.role} and may not {what}: ask for a writer's join URI "
        "('track user add NAME --role writer' on the server)"
    )
