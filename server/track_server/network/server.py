"""The server behind ``socket://``: many peers, one engine."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections import Counter
from collections.abc import Callable, Coroutine, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NoReturn

import uvloop

from track_protocol.errors import (
    ConnectionLost,
    PermissionDenied,
    SessionFenced,
    TooBusy,
    TrackError,
    UsageError,
)
from track_protocol.security.scram import Verifier
from track_protocol.uri import redact
from track_protocol.wire.codec import decode
from track_protocol.wire.login import ServerLogin
from track_protocol.wire.roles import Role
from track_server.accounts.users import User
from track_server.app import Parts, Settings, assemble, settings_from_uri
from track_server.engine.engine import Engine
from track_server.engine.jobs import Writer
from track_server.engine.readers import Page
from track_server.http.settings import HttpSettings
from track_server.network.limits import Limits, within_descriptors
from track_server.network.listener import Listener
from track_server.network.listening import listen
from track_server.network.memory import MemoryBudget
from track_server.network.misdialled import http_answer, is_http, is_tls, tls_only
from track_server.network.requests import on_loop, resolve
from track_server.network.runtime import (
    LocalAccess,
    ServerRecord,
    publish_local_access,
    write_ready_file,
    write_server_record,
)
from track_server.network.session import Session
from track_server.network.tls import server_context

if TYPE_CHECKING:
    from track_server.boards import BoardService

__all__ = ["SocketServer"]

_log = logging.getLogger(__name__)

_LOOK_EVERY: Final = 0.01
_GOODBYE_SECONDS: Final = 1.0


class _Ended(Coroutine[Any, Any, None]):
    """What is left of a coroutine that was run already, for ``asyncio.run(server.run_server())``."""

    def send(self, value: object) -> NoReturn:
        raise StopIteration

    def throw(self, *error: Any) -> NoReturn:
        raise error[0]

    def close(self) -> None:
        """There is nothing to close."""

    def __await__(self) -> Generator[Any, Any, None]:
        yield from ()


class SocketServer:
    """A tracking server inside an asyncio loop.

    Inherit from it and override `authenticate` to decide yourself who may log in; clients then send
    the password inside TLS, and only toward a server whose pin they know.

    Args:
        uri: ``socket://{hostname}:{port}?security_layer={AES}&backend={URI}``; further options are
            home, advertise, certificate, key and lease.
        settings: of the server, instead of a URI.

    Attributes:
        address: (host, port) that it listens on, once it does.
    """

    def __init__(self, uri: str | None = None, *, settings: Settings | None = None) -> None:
        if (uri is None) is (settings is None):
            raise UsageError("a SocketServer is made from a URI or from settings: give one of them")
        self.settings = settings if settings is not None else settings_from_uri(uri or "")
        self.address: tuple[str, int] = (self.settings.host, self.settings.port)
        self.bytes_in_flight = 0
        self.memory = MemoryBudget(self.settings.limits.memory_bytes)
        self.decoder = ThreadPoolExecutor(1, thread_name_prefix="track-decoder")
        self._users_connected: Counter[str] = Counter()
        self._limits = self.settings.limits
        self._parts: Parts | None = None
        self._local: LocalAccess | None = None
        self._listener: Listener | None = None
        self._sessions: set[Session] = set()
        self._holders: dict[bytes, Session] = {}
        self._proving: dict[Session, User | None] = {}
        self._seen_users: Mapping[str, User] = {}
        self._closing: asyncio.Event | None = None
        self._hurry = False
        self._failure: TrackError | None = None
        self._board: BoardService | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def sessions(self) -> tuple[Session, ...]:
        """The peers that are connected, whether they have logged in or not; any thread."""
        return tuple(self._sessions)

    # -- the documented interface --------------------------------------------------------------------

    def authenticate(self, reader: Session, username: str, password: str) -> bool | str | Role:
        """Decide whether a peer may log in; may be a coroutine function when overridden.

        Args:
            reader: the peer's session; the same object for all that the peer does.
            username: as the client gave it.
            password: as the client gave it.

        Returns:
            False to refuse; True for a writer, or the name of a role.
        """
        user = self._user(username)
        if user is None or not user.verifier.matches(password):
            return False
        return user.role

    def get_username(self, reader: Session) -> str | None:
        """Who the peer is, None before its login."""
        return reader.username

    def is_authenticated(self, reader: Session) -> bool:
        """Whether the peer has logged in."""
        return reader.role is not None

    @staticmethod
    def close_connection(writer: Session | asyncio.StreamWriter) -> None:
        """Close a peer's connection.

        Args:
            writer: the peer's session, which is what `authenticate` is given; or a connection of your own.
        """
        if isinstance(writer, Session):
            writer.drop()
        else:
            writer.close()

    async def handle_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Always refuses: who is let in, TLS and limits belong together, and `run_server` looks after them.

        Raises:
            UsageError: always; the connection is closed.
        """
        writer.close()
        raise UsageError("a SocketServer accepts its connections itself: call run_server() instead")

    def process_args(self, args: Mapping[str, Any], cache: Any = None) -> dict[str, Any]:
        """The arguments of a call as they travel: here ids stay ids, which the store resolves itself.

        Args:
            args: by name.
            cache: ignored; accepted from scripts that pass it.
        """
        return dict(args)

    async def exec(
        self,
        reader: Session | None,
        writer: Any,
        proc_name: str,
        proc: Any,
        args: Mapping[str, Any],
        cache: Any = None,
    ) -> Any:
        """Call a method of the server's store from within the server, for example in `authenticate`.

        Args:
            reader: on whose behalf, or None; it must have logged in.
            writer, proc, cache: ignored; accepted from scripts that pass them.
            proc_name: a call of the method table that reads, such as ``fetch_trials``.
            args: by name, as they travel.

        Returns:
            plain values, such as documents of trials.

        Raises:
            TrackError: what the call raises.
            PermissionDenied: the peer has not logged in.
            UnknownMethod: no call that reads is called that; to write, connect with a `SocketClient`.
        """
        if reader is not None and not self.is_authenticated(reader):
            raise PermissionDenied("this peer has not logged in: it may not call methods yet")
        submit = partial(self.engine.submit_read, proc_name, self.process_args(args, cache))
        page = await self._page(submit)
        value = decode(page.data)
        while page.rest is not None:
            page = await self._page(partial(self.engine.submit_rest, page.rest))
            value += decode(page.data)
        return value

    @staticmethod
    async def _page(submit: Callable[[Callable[[Any], None]], None]) -> Page:
        made: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        submit(on_loop(asyncio.get_running_loop(), resolve, made))
        outcome = await made
        if isinstance(outcome, TrackError):
            raise outcome
        assert isinstance(outcome, Page)
        return outcome

    def run_server(self) -> Coroutine[Any, Any, None]:
        """Serve until `close` is called, then drain: answer what is in flight, commit, close the store.

        Inside an event loop, await it there.  A plain call serves in its own loop, and returns at the end.

        Raises:
            TrackError: the store, the identity or the address cannot be had, or the writer thread died.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._run())
            return _Ended()
        return self._run()

    async def _run(self) -> None:
        await self.start()
        await self.wait_closed()

    def close(self) -> None:
        """Begin to drain; may be called from any thread or signal handler.  A second call hurries.

        Harmless when the server has ended, and its loop with it.
        """
        loop = self._loop
        if loop is None:
            return
        try:
            loop.call_soon_threadsafe(self._close)
        except RuntimeError:
            if not loop.is_closed():  # it may be closed between a look at it and the call
                raise

    # -- running -------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen, and tell so: credential file, server record, ready file."""
        self._loop = asyncio.get_running_loop()
        self._limits = within_descriptors(self.settings.limits)
        self._closing = asyncio.Event()
        if self.settings.ready_file is not None:
            with contextlib.suppress(OSError):  # writing it reports what is wrong with it
                self.settings.ready_file.unlink()  # an earlier server's
        listening = listen(self.settings.host, self.settings.port)
        host, port = self.address = listening.getsockname()[:2]
        try:
            self._parts = await asyncio.to_thread(assemble, replace(self.settings, port=port))
            tls = None if self.settings.plaintext else server_context(self._parts.identity)
            if self.settings.http is not None:
                self._board = self._open_board(self.settings.http)
            self._announce(host, port)
        except BaseException:
            listening.close()
            await self._release()
            raise
        self._parts.engine.on_failure(self._engine_failed)
        self._listener = Listener(
            listening, self.limits, tls, lambda connection: Session(self, connection), self._refusal
        )
        if self._board is not None:
            self._board.start()

    async def wait_closed(self, writer: asyncio.StreamWriter | None = None) -> None:
        """Serve what `start` began; see `run_server`.

        Args:
            writer: wait for the end of this connection instead, one of your own.
        """
        if writer is not None:
            await writer.wait_closed()
            return
        assert self._closing is not None
        assert self._listener is not None
        coroutines = (self._listener.accept(), self._watch(), self._made.presence.watch())
        tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            await asyncio.wait([closing, *tasks], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (closing, *tasks):
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            await self._drain()
        for result in results:
            if isinstance(result, Exception):
                raise result
        if self._failure is not None:
            raise self._failure

    def _open_board(self, settings: HttpSettings) -> BoardService:
        # Deferred: the extra `board` is needed for it.
        from track_server.boards import server_board

        layer = "security_layer=plaintext" if self.settings.plaintext else f"pin={self.pin}"
        reached = self.settings.advertise or self.address[0]
        host = "localhost" if reached in ("0.0.0.0", "::") else reached  # noqa: S104 - only compared with
        shown = f"[{host}]" if ":" in host else host
        return server_board(self._made, settings, f"socket://{shown}:{self.address[1]}?{layer}")

    @property
    def board_url(self) -> str | None:
        """Address of the board; None without one."""
        return None if self._board is None else self._board.url

    def _refusal(self, first: bytes) -> bytes | None:
        """The answer to a peer that speaks no Track, by its first bytes."""
        if is_http(first):
            board = f"the board is at {self.board_url}" if self._board else "start it with --http for a board"
            return http_answer(f"This port of the server is for Track's clients: {board}")
        return None if self.settings.plaintext or is_tls(first) else tls_only()

    @property
    def pin(self) -> str:
        """Of the server's public key."""
        return self._made.identity.pin

    @property
    def _made(self) -> Parts:
        if self._parts is None:
            raise UsageError("the server has not been started: call run_server(), or await start() first")
        return self._parts

    def _announce(self, host: str, port: int) -> None:
        settings, identity = self.settings, self._made.identity
        try:
            self._local = publish_local_access(
                host=host, port=port, pin=identity.pin, plaintext=settings.plaintext
            )
        except TrackError as error:
            _log.warning("you need a join URI even on this machine ('track user add'): %s", error)
        record = ServerRecord(
            host=host,
            port=port,
            advertise=settings.advertise,
            pin=identity.pin,
            pid=os.getpid(),
            store=redact(settings.store_uri),
            plaintext=settings.plaintext,
            certificate=str(settings.certificate) if settings.certificate else None,
        )
        write_server_record(settings.home, record)
        if settings.ready_file is not None:
            content = {"host": host, "port": port, "pin": identity.pin, "pid": os.getpid()}
            if self._board is not None:
                content["board"] = self._board.url
            write_ready_file(settings.ready_file, content)

    def _engine_failed(self, error: TrackError) -> None:
        """Stop at once: nothing can be stored any more."""
        self._failure = error
        self.close()

    def _close(self) -> None:
        assert self._closing is not None
        self._hurry = self._closing.is_set()
        self._closing.set()

    async def _drain(self) -> None:
        assert self._listener is not None
        if self._board is not None:
            await self._board.close()
        self._withdraw()
        self._listener.close()
        sessions = list(self._sessions)
        for session in sessions:
            session.draining = True
        await self._until(
            lambda: all(session.idle for session in sessions), self.settings.limits.drain_seconds
        )
        for session in sessions:
            session.drop(
                ConnectionLost("the server is stopping: connect again after its restart")
                if session.role
                else None
            )
        await self._until(lambda: not self._sessions, _GOODBYE_SECONDS)
        for session in list(self._sessions):
            session.abort()
        await self._release()

    async def _release(self) -> None:
        self._withdraw()
        if self._parts is not None:
            await asyncio.to_thread(self._parts.engine.close)
        self.decoder.shutdown(wait=False, cancel_futures=True)

    def _withdraw(self) -> None:
        """Take the credential file back, while the port it is about is still ours."""
        local, self._local = self._local, None
        if local is not None:
            try:
                local.withdraw()
            except (TrackError, OSError) as error:
                _log.warning("the credential file %s cannot be removed: %s", local.path, error)

    async def _until(self, condition: Callable[[], bool], seconds: float) -> None:
        assert self._loop is not None
        deadline = self._loop.time() + seconds
        while not condition() and self._loop.time() < deadline and not self._hurry:  # noqa: ASYNC110 - rare
            await asyncio.sleep(_LOOK_EVERY)

    async def _watch(self) -> None:
        """Periodically drop removed users, and send keepalives to silent peers."""
        while True:
            await asyncio.sleep(self._limits.watch_seconds)
            try:
                self._drop_removed()
            except TrackError as error:
                _log.error("the users cannot be read, so no one can log in: %s", error)
            for session in list(self._sessions):
                session.check_life()

    def _drop_removed(self) -> None:
        """Drop whose user is not the one that logged in any more, also if there is one of the same name."""
        users = self._made.users.current()
        if users is self._seen_users:
            return
        self._seen_users = users
        for session in list(self._sessions):
            if session.username is None or self._decides:
                continue
            if self._user(session.username) != self._proving[session]:
                session.drop(
                    PermissionDenied(f"user {session.username!r} was removed or changed: log in again")
                )

    # -- what sessions need (`track_server.network.session.ServerContext`) ----------------------------------

    @property
    def engine(self) -> Engine:
        """Executes calls."""
        return self._made.engine

    @property
    def limits(self) -> Limits:
        """What a peer may take."""
        return self._limits

    @property
    def generation(self) -> str:
        """Identifies the store's history."""
        return self._made.engine.store.generation

    @property
    def mock_secret(self) -> bytes:
        """The key from which the challenges for unauthenticated peers are derived."""
        return self._made.users.mock_secret()

    @property
    def _decides(self) -> bool:
        """Whether `authenticate` was overridden, so that clients send the password itself, inside TLS."""
        return type(self).authenticate is not SocketServer.authenticate and not self.settings.plaintext

    def new_login(self) -> ServerLogin:
        """How a peer is to log in."""
        binding = None if self.settings.plaintext else self._made.identity.binding
        return ServerLogin(binding, password=self._decides)

    def verifier_of(self, session: Session, username: str) -> Verifier | None:
        """What a user's proof is checked with; None if there is no such user."""
        user = self._proving[session] = self._user(username)
        return user.verifier if user is not None else None

    def role_of(self, session: Session, username: str) -> Role | None:
        """The role of the user that `verifier_of` found for this session; None if it has changed since."""
        user = self._user(username)
        return user.role if user is not None and user == self._proving[session] else None

    def writer(self, sid: bytes, user: str) -> Writer:
        """The engine's name for a session that no connection has attached."""
        return Writer(sid, user)

    def connected(self, session: Session) -> None:
        """A peer connected."""
        self._sessions.add(session)

    def is_held_by_process(self, sid: bytes) -> bool:
        """Whether the process whose session it is holds it: then what is sent of its spool is of a copy."""
        holder = self._holders.get(sid)
        return holder is not None and holder.ended is None

    def attached(self, session: Session) -> None:
        """A peer logged in; an older holder of its session is dropped.

        Raises:
            PermissionDenied: that is another user's.
        """
        older = self._holders.get(session.sid)
        if older is not None and older.username != session.username:
            raise PermissionDenied("this session belongs to another user: start a new one")
        assert session.username is not None
        if self._users_connected[session.username] >= self.limits.connections_per_user:
            raise TooBusy(
                f"user {session.username!r} has {self.limits.connections_per_user:,} connections already, "
                "which is the limit for one user: end some of them"
            )
        self._users_connected[session.username] += 1
        session.counted = True
        if self._listener is not None:
            self._listener.authenticated(session.origin)
        self._holders[session.sid] = session
        self._made.presence.connected(session.sid, session.ended)
        if older is not None and older is not session:
            older.drop(
                SessionFenced("another connection took over this session: attach it again to take it back")
            )

    def disconnected(self, session: Session) -> None:
        """A peer has disconnected."""
        self._sessions.discard(session)
        if session.counted and session.username is not None:
            self._users_connected -= Counter([session.username])
            session.counted = False
        self._proving.pop(session, None)
        if self._holders.get(session.sid) is session:
            del self._holders[session.sid]
            self._made.presence.disconnected(session.sid)
        if self._listener is not None:
            self._listener.disconnected(session.origin)

    def _user(self, name: str) -> User | None:
        if self._local is not None and name == self._local.user.name:
            return self._local.user
        return self._made.users.lookup(name)
