"""One peer: its bytes, its login, its calls and batches."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Coroutine
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
from track_protocol.security.encryption import check_negotiated
from track_protocol.security.scram import Verifier
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
    VerifierNeeded,
)
from track_protocol.wire.login import ServerLogin
from track_protocol.wire.roles import Role
from track_server.network.authentication import decided_role
from track_server.network.requests import Attached, Pool, Requests, Writer, on_loop, resolve

__all__ = ["Desk", "Session"]

_log = logging.getLogger(__name__)

_OWN_FAULTS: Final = (InternalError, StoreError, UsageError)


class Desk(Pool, Protocol):
    """What a session needs from its server."""

    @property
    def generation(self) -> str:
        """Identifies the store's history."""

    @property
    def mock_secret(self) -> bytes:
        """The key from which the challenges for strangers are derived."""

    def new_login(self) -> ServerLogin:
        """How a peer is to log in."""

    def verifier_of(self, session: Session, username: str) -> Verifier | None:
        """What a user's proof is checked with; None if there is no such user."""

    def role_of(self, session: Session, username: str) -> Role | None:
        """The role of the user that `verifier_of` found for this session; None if it has changed since."""

    def authenticate(self, reader: Session, username: str, password: str) -> object:
        """The documented hook."""

    def writer(self, sid: bytes, user: str) -> Writer:
        """The engine's name for a session that nobody has attached."""

    def arrived(self, session: Session) -> None:
        """A peer connected."""

    def attached(self, session: Session) -> None:
        """A peer logged in; an older holder of its session is dropped."""

    def left(self, session: Session) -> None:
        """A peer is gone."""


class Session(asyncio.Protocol):
    """The server's side of one connection.

    Args:
        desk: the server.
        visitor: what the server knows the connection by.

    Attributes:
        visitor: as given.
        peer: the address as text.
        sid: the session's id, known after the greeting.
        username, role: who it is, None before the login.
        draining: set when nothing more is taken from it.
    """

    def __init__(self, desk: Desk, visitor: Any) -> None:
        self._desk = desk
        self.visitor = visitor
        self._loop = asyncio.get_running_loop()
        self._connection = Connection(Side.SERVER, desk.limits.silence_seconds)
        self._requests = Requests(self, desk, self._connection)
        self._login_task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._reading = True
        self._dropped = False
        self._transport: asyncio.Transport | None = None
        self.peer = "?"
        self.sid = b""
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
        try:
            self._desk.arrived(self)
            if tls is not None:
                check_negotiated(tls)
        except TrackError as error:
            self.drop(error)
            return
        self._timer = self._loop.call_later(self._desk.limits.login_seconds, self._login_expired)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._connection.note_life(self._loop.time())
        try:
            events = self._connection.receive_data(data)
        except TrackError as error:
            self.drop(error)
            return
        for event in events:
            if not self._dropped:
                self._handle(event)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._cancel_timer()
        if self._login_task is not None:
            self._login_task.cancel()
        self._transport = None
        self._desk.left(self)
        self._requests.leave()

    def pause_writing(self) -> None:
        """The peer does not read: give it some time, and take nothing from it meanwhile."""
        self._cancel_timer()
        self._timer = self._loop.call_later(self._desk.limits.stalled_seconds, self._stalled)
        self.regulate()

    def resume_writing(self) -> None:
        """The peer reads again."""
        self._cancel_timer()
        self.regulate()
        self._requests.start_reads()

    # -- ending ------------------------------------------------------------------------------------

    def drop(self, error: TrackError | None = None) -> None:
        """Say why, and close once that is sent."""
        if error is not None:
            _log.info("closing %s: %s", self.peer, error)
        self._dropped = True
        self._connection.send_close(self._told(error))
        self.flush()
        if self._transport is not None:
            self._transport.close()

    def _told(self, error: TrackError | None) -> TrackError | None:
        """What a peer may hear: the server's own faults name its files, which are no stranger's business."""
        if self.role is not None or not isinstance(error, _OWN_FAULTS):
            return error
        _log.error("the login of %s failed: %s", self.peer, error)
        return type(error)("the server failed during the login, and its log says why: try again later")

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    @property
    def idle(self) -> bool:
        """Whether no request is under way of a peer that is there to be answered."""
        return self._requests.count == 0 or self._transport is None

    def check_life(self) -> None:
        """Ask a silent peer for a sign of life, and drop one that was asked and gave none."""
        if not self._reading:  # while its socket is not read, silence means nothing
            return
        try:
            self._connection.handle_timeout(self._loop.time())
        except ConnectionLost as error:
            _log.info("dropping %s: %s", self.peer, error)
            self.abort()
        else:
            self.flush()

    def _login_expired(self) -> None:
        self.drop(TooBusy("the login took too long: connect again"))

    def _stalled(self) -> None:
        _log.info("dropping %s: it does not read what it is sent", self.peer)
        self.abort()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- what the peer says --------------------------------------------------------------------------

    def _handle(self, event: Event) -> None:
        handler = _HANDLERS.get(type(event))
        try:
            if handler is None:
                raise RemoteProtocolError(f"a client may not say {type(event).__name__}")
            handler(self, event)
        except TrackError as error:
            self.drop(error)
        except Exception as error:  # noqa: BLE001 - a fault in here is one peer's, not everybody's
            _log.exception("the session of %s failed", self.peer)
            self.drop(InternalError(f"the server failed: {error!r}"))

    def _greeted(self, event: HelloReceived) -> None:
        self.sid = event.session
        self._connection.send_server_hello("track", self._desk.new_login())
        self.flush()

    def _named(self, event: VerifierNeeded) -> None:
        verifier = self._desk.verifier_of(self, event.username)
        self._connection.send_challenge(verifier, self._desk.mock_secret)
        self.flush()

    def _proved(self, event: ClientProved) -> None:
        role = self._desk.role_of(self, event.username)
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
        role = await decided_role(partial(self._desk.authenticate, self), event.username, event.password)
        await self._accept(event.username, role)

    async def _accept(self, username: str, role: Role) -> None:
        desk = self._desk
        self.username, self.role = username, role
        if self._dropped:  # for whatever reason, it must not end the older holder of its session
            return
        if self.may(Role.WRITER):
            self._cancel_timer()  # what is left to wait for is the disk
            last_seq = await self._taken_over()
        else:
            self._requests.writer = writer = desk.writer(self.sid, username)
            last_seq = await self._loop.run_in_executor(None, desk.engine.last_seq, writer)
        if self._dropped:
            return
        self._cancel_timer()
        desk.attached(self)
        self._connection.send_ready(last_seq, desk.generation, str(role))
        self.flush()

    async def _taken_over(self) -> int:
        """Make this peer the one holder of its session; returns the session's last durable record."""
        assert self.username is not None
        outcome: asyncio.Future[Attached | TrackError] = self._loop.create_future()
        done = on_loop(self._loop, resolve, outcome)
        self._desk.engine.submit_attach(self.sid, self.username, done)
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
        wanted = not (self._requests.full or self._stuffed)
        if wanted is not self._reading:
            self._reading = wanted
            self._connection.note_life(self._loop.time())
            (self._transport.resume_reading if wanted else self._transport.pause_reading)()

    @property
    def listens(self) -> bool:
        """Whether the peer is there and reads what it is sent."""
        return self._transport is not None and not self._stuffed

    @property
    def _stuffed(self) -> bool:
        """Whether the peer does not read what it is sent."""
        return self._timer is not None and self._connection.state is State.OPEN

    def flush(self) -> None:
        """Send what the connection has to say."""
        data = self._connection.data_to_send()
        if data and self._transport is not None:
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
}
