"""One peer: its bytes, its login, its calls and batches."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from functools import partial
from typing import Any, Final, Protocol, cast

from track_protocol.errors import (
    AuthenticationError,
    ConnectionLost,
    InternalError,
    RemoteProtocolError,
    StoreError,
    TooBusy,
    TrackError,
    UsageError,
)
from track_protocol.security.scram import Verifier
from track_protocol.security.tls import check_negotiated
from track_protocol.wire.connection import Connection, Side, State
from track_protocol.wire.events import (
    BatchReceived,
    CallReceived,
    ClientProved,
    CloseReceived,
    Event,
    HelloReceived,
    PasswordReceived,
    PingReceived,
    PongReceived,
    Undecoded,
    VerifierNeeded,
)
from track_protocol.wire.frames import FrameKind
from track_protocol.wire.login import ServerLogin
from track_protocol.wire.roles import Role
from track_server.network.authentication import decided_role
from track_server.network.memory import Claim
from track_server.network.progress import Progress, acknowledged
from track_server.network.requests import Attached, Pool, Requests, Writer, on_loop, resolve

__all__ = ["ServerContext", "Session"]

_log = logging.getLogger(__name__)

_SMALL_FRAME: Final = 64 * 1024
"""Memory of frames up to this many bytes is not claimed."""

_WRITE_BUFFER: Final = 64 * 1024
"""Bytes that wait to be sent to a peer, behind which it has to read before more is made for it."""

_OWN_FAULTS: Final = (InternalError, StoreError, UsageError)


class ServerContext(Pool, Protocol):
    """What a session needs from its server."""

    @property
    def generation(self) -> str:
        """Identifies the store's history."""

    @property
    def mock_secret(self) -> bytes:
        """The key from which the challenges for unauthenticated peers are derived."""

    def new_login(self) -> ServerLogin:
        """How a peer is to log in."""

    def verifier_of(self, session: Session, username: str) -> Verifier | None:
        """What a user's proof is checked with; None if there is no such user."""

    def role_of(self, session: Session, username: str) -> Role | None:
        """The role of the user that `verifier_of` found for this session; None if it has changed since."""

    def authenticate(self, reader: Session, username: str, password: str) -> object:
        """The documented hook."""

    def writer(self, sid: bytes, user: str) -> Writer:
        """The engine's name for a session that no connection has attached."""

    @property
    def decoder(self) -> Executor:
        """The thread that decodes large frames."""

    def connected(self, session: Session) -> None:
        """A peer connected."""

    def is_held_by_process(self, sid: bytes) -> bool:
        """Whether the process whose session it is holds it, and nobody who sends what a process has left."""

    def attached(self, session: Session) -> None:
        """A peer logged in; an older holder of its session is dropped."""

    def disconnected(self, session: Session) -> None:
        """A peer has disconnected."""


class Session(asyncio.Protocol):
    """The server's side of one connection.

    Args:
        context: the server.
        origin: what the server knows the connection by.

    Attributes:
        origin: as given.
        counted: whether it counts among the connections of its user.
        peer: the address as text.
        sid: the session's id, known after the greeting.
        ended: when the session's process was last alive, if the peer sends what it has left.
        username, role: who it is, None before the login.
        draining: set when nothing more is taken from it.
    """

    def __init__(self, context: ServerContext, origin: Any) -> None:
        self._context = context
        self.origin = origin
        self.counted = False
        self._loop = asyncio.get_running_loop()
        self._connection = Connection(Side.SERVER, context.limits.silence_seconds)
        self._requests = Requests(self, context, self._connection)
        self._login_task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._reading = True
        self._decoding = False
        self._frame_claim: Claim | None = None
        self._arriving = Progress(context.limits.stalled_seconds)
        self._sending = Progress(context.limits.stalled_seconds)
        self._written = self._acknowledged = 0
        self._dropped = False
        self._transport: asyncio.Transport | None = None
        self.peer = "?"
        self.sid = b""
        self.ended: float | None = None
        self.username: str | None = None
        self.role: Role | None = None
        self.draining = False

    # -- asyncio's side ----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's do not inherit from it
        name = transport.get_extra_info("peername") or ("?",)
        self.peer = ":".join(map(str, name[:2]))
        tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        self._transport.set_write_buffer_limits(high=_WRITE_BUFFER)
        _log.debug("%s: connected", self.peer)
        try:
            self._context.connected(self)
            if tls is not None:
                check_negotiated(tls)
        except TrackError as error:
            self.drop(error)
            return
        self._timer = self._loop.call_later(self._context.limits.login_seconds, self._login_expired)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        now = self._loop.time()
        self._connection.note_life(now)
        self._arriving.moved(now, len(data))
        self._take(partial(self._connection.receive_data, data))

    def _take(self, receive: Callable[[], list[Event]]) -> None:
        """Handle what comes out of the connection."""
        try:
            events = receive()
        except TrackError as error:
            self.drop(error)
            return
        for event in events:
            if not self._dropped:
                self._handle(event)
        self._watch_frame()

    def _watch_frame(self) -> None:
        """Give a frame that has begun a deadline, and memory if it is a large one."""
        if not self._connection.incomplete or self._transport is None:
            self._arriving.end()
            if self._frame_claim is not None:
                self._frame_claim.release()
                self._frame_claim = None
        elif self._reading:
            self._arriving.begin(self._loop.time())
            announced = self._connection.announced
            if announced > _SMALL_FRAME and self._frame_claim is None:
                self._frame_claim = self._context.memory.claim(self.username or "", announced, self.regulate)
                self.regulate()

    def _decode(self, event: Undecoded) -> None:
        """Decode a large frame on another thread, once there is memory; nothing is read meanwhile."""
        _log.debug("%s: a frame of %d bytes is decoded in a thread", self.peer, len(event.body))
        self._decoding = True
        self.regulate()

        def granted() -> None:
            self._loop.call_soon(lambda: self._context.decoder.submit(decode))

        def decode() -> None:
            try:
                decoded: Any = event.decode()
            except TrackError as error:
                decoded = error
            self._loop.call_soon_threadsafe(self._decoded, claim, decoded)

        claim = self._context.memory.claim(self.username or "", event.charge, granted)

    def _decoded(self, claim: Claim, decoded: tuple[FrameKind, Event] | TrackError) -> None:
        self._decoding = False
        if isinstance(decoded, TrackError):
            self.drop(decoded)
        elif not self._dropped and self._transport is not None:
            self._requests.claim = claim
            self._take(partial(self._connection.receive_decoded, decoded))
            if self._requests.claim is None:  # it is the request's now
                self.regulate()
                return
            self._requests.claim = None
        claim.release()
        self.regulate()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._cancel_timer()
        if self._login_task is not None:
            self._login_task.cancel()
        self._transport = None
        _log.debug("%s: disconnected", self.peer)
        self._context.disconnected(self)
        self._requests.leave()
        self._watch_frame()

    def pause_writing(self) -> None:
        """The peer does not read as fast as it is sent: take nothing from it meanwhile."""
        self._sending.begin(self._loop.time())
        self.regulate()

    def resume_writing(self) -> None:
        """The peer has read."""
        self._sending.end()
        self.regulate()
        self._requests.start_reads()

    # -- ending ------------------------------------------------------------------------------------

    def drop(self, error: TrackError | None = None) -> None:
        """Say why, and close once that is sent."""
        if error is not None:
            _log.info("closing %s: %s", self.peer, error)
        self._dropped = True
        self._connection.send_close(self._reported(error))
        self.flush()
        if self._transport is not None:
            self._transport.close()

    def _reported(self, error: TrackError | None) -> TrackError | None:
        """What a peer may see: the server's own faults name its files, which only users may see."""
        if self.role is not None or not isinstance(error, _OWN_FAULTS):
            return error
        _log.error("the login of %s failed: %s", self.peer, error)
        return type(error)("the server failed during the login, and its log says why: try again later")

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    @property
    def requests_in_flight(self) -> int:
        """How many batches and calls are not answered yet."""
        return self._requests.count

    @property
    def idle(self) -> bool:
        """Whether no request is under way of a peer that is there to be answered."""
        return self._requests.count == 0 or self._transport is None

    def check_life(self) -> None:
        """Send a keepalive to a silent peer; drop one that did not answer it, or that is stuck."""
        now = self._loop.time()
        self._note_progress(now)
        if self._sending.is_late(now):
            self._give_up("the peer does not read what is sent")
        elif self._arriving.is_late(now):
            self._give_up("the peer sent the beginning of a frame and not the rest")
        elif self._reading:  # while its socket is not read, silence means nothing
            self._ask_for_life()

    def _note_progress(self, now: float) -> None:
        """What the peer takes of a backlog is a sign of life, though it has not come to a ping yet."""
        if self._transport is None:
            return
        acked = acknowledged(self._transport.get_extra_info("socket"))
        if acked is None:
            waiting = self._transport.get_write_buffer_size()
            acked = self._written - waiting, waiting > 0
        taken, self._acknowledged = acked[0] - self._acknowledged, acked[0]
        if taken > 0:
            self._sending.moved(now, taken)
            # The kernel of a process that hangs acknowledges a ping too, but then nothing more waits.
            if acked[1]:
                self._connection.note_life(now)

    def _give_up(self, why: str) -> None:
        _log.info("dropping %s: %s", self.peer, why)
        self.abort()

    def _ask_for_life(self) -> None:
        try:
            self._connection.handle_timeout(self._loop.time())
        except ConnectionLost as error:
            _log.info("dropping %s: %s", self.peer, error)
            self.abort()
        else:
            self.flush()

    def _login_expired(self) -> None:
        self.drop(TooBusy("the login took too long: connect again"))

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- what the peer says --------------------------------------------------------------------------

    def _handle(self, event: Event) -> None:
        handler = _HANDLERS.get(type(event))
        try:
            if handler is None:
                raise RemoteProtocolError(f"a client may not send {type(event).__name__}")
            handler(self, event)
        except TrackError as error:
            self.drop(error)
        except Exception as error:  # noqa: BLE001 - a fault in here is one peer's, not everybody's
            _log.exception("the session of %s failed", self.peer)
            self.drop(InternalError(f"the server failed: {error!r}"))

    def _greeted(self, event: HelloReceived) -> None:
        self.sid, self.ended = event.session, event.ended
        self._connection.send_server_hello("track", self._context.new_login())
        self.flush()

    def _named(self, event: VerifierNeeded) -> None:
        verifier = self._context.verifier_of(self, event.username)
        self._connection.send_challenge(verifier, self._context.mock_secret)
        self.flush()

    def _proved(self, event: ClientProved) -> None:
        role = self._context.role_of(self, event.username)
        if role is None:
            raise AuthenticationError("the user was removed during the login: ask for a new join URI")
        self._finish(self._accept(event.username, role))

    def _password_given(self, event: PasswordReceived) -> None:
        self._finish(self._decide(event))

    def _finish(self, rest: Coroutine[Any, Any, None]) -> None:
        """Do what is left of a login in a task; meanwhile the peer may say nothing but CLOSE."""
        self._login_task = self._loop.create_task(rest)
        self._login_task.add_done_callback(self._finished)

    async def _decide(self, event: PasswordReceived) -> None:
        role = await decided_role(partial(self._context.authenticate, self), event.username, event.password)
        await self._accept(event.username, role)

    async def _accept(self, username: str, role: Role) -> None:
        context = self._context
        self.username, self.role = username, role
        if self._dropped:  # for whatever reason, it must not end the older holder of its session
            return
        if self.may(Role.WRITER):
            self._cancel_timer()  # what is left to wait for is the disk
            last_seq = await self._taken_over()
        else:
            self._requests.writer = writer = context.writer(self.sid, username)
            last_seq = await self._loop.run_in_executor(None, context.engine.last_seq, writer)
        if self._dropped:
            return
        self._cancel_timer()
        context.attached(self)
        self._connection.send_ready(last_seq, context.generation, str(role))
        _log.debug("%s: %s logged in as %s, last record %d", self.peer, username, role, last_seq)
        self.flush()

    async def _taken_over(self) -> int:
        """Make this peer the one holder of its session; returns the session's last durable record."""
        assert self.username is not None
        outcome: asyncio.Future[Attached | TrackError] = self._loop.create_future()
        done = on_loop(self._loop, resolve, outcome)
        ended = None if self._context.is_held_by_process(self.sid) else self.ended
        self._context.engine.submit_attach(self.sid, self.username, done, ended)
        attached = await outcome
        if isinstance(attached, TrackError):
            raise attached
        self._requests.writer = attached.writer
        return attached.last_seq

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._login_task = None
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, TrackError):
            self.drop(error)
        elif error is not None:
            _log.error("the login of %s failed", self.peer, exc_info=error)
            self.drop(InternalError(f"the server failed during the login: {error!r}"))

    def _logged(self, event: BatchReceived) -> None:
        if not self.draining:
            self._requests.batch(event)

    def _called(self, event: CallReceived) -> None:
        if not self.draining:
            self._requests.call(event)

    def _pinged(self, event: PingReceived) -> None:
        self._connection.send_pong(event.token)
        self.flush()

    def _ponged(self, event: PongReceived) -> None:
        """`data_received` has noted it as a sign of life."""

    def _goodbye(self, event: CloseReceived) -> None:
        if self._requests.writer is not None and self.may(Role.WRITER):
            self._context.engine.submit_leave(self._requests.writer)
        if self._transport is not None:
            self._transport.close()

    # -- what its requests need ---------------------------------------------------------------------

    def may(self, role: Role) -> bool:
        """Whether it has at least that role."""
        return self.role is not None and self.role >= role

    def regulate(self) -> None:
        """Read from the socket only while what the peer has under way stays within bounds."""
        if self._transport is None:
            return
        awaits_memory = self._frame_claim is not None and not self._frame_claim.is_granted
        wanted = not (self._requests.full or self._stuffed or self._decoding or awaits_memory)
        if wanted is not self._reading:
            self._reading = wanted
            now = self._loop.time()
            self._connection.note_life(now)
            self._arriving.end()  # it is this side that keeps the frame waiting
            if wanted and self._connection.incomplete:
                self._arriving.begin(now)
            (self._transport.resume_reading if wanted else self._transport.pause_reading)()

    @property
    def listens(self) -> bool:
        """Whether the peer is there and reads what it is sent."""
        return self._transport is not None and not self._stuffed

    @property
    def _stuffed(self) -> bool:
        """Whether the peer does not read what it is sent."""
        return self._sending.is_expected and self._connection.state is State.OPEN

    def flush(self) -> None:
        """Send what the connection has to say."""
        data = self._connection.data_to_send()
        if data and self._transport is not None:
            self._written += len(data)
            self._transport.write(data)


_HANDLERS: dict[type, Callable[[Session, Any], None]] = {
    HelloReceived: Session._greeted,
    VerifierNeeded: Session._named,
    ClientProved: Session._proved,
    PasswordReceived: Session._password_given,
    BatchReceived: Session._logged,
    CallReceived: Session._called,
    PingReceived: Session._pinged,
    PongReceived: Session._ponged,
    CloseReceived: Session._goodbye,
    Undecoded: Session._decode,
}
