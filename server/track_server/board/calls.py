"""What the board asks of a store: calls of the method table, and to hear when something may have changed."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol

from track_protocol.board import BoardStore
from track_protocol.errors import BadArguments, TrackError, error_from_wire
from track_protocol.wire.batch import Batch, CallOp
from track_protocol.wire.codec import decode, encode
from track_protocol.wire.link import Acked
from track_protocol.wire.methods import METHODS, Access
from track_server.board.threads import in_own_thread, in_turn
from track_server.engine.engine import Engine
from track_server.engine.jobs import Attached, Writer
from track_server.engine.readers import Page
from track_server.network.requests import on_loop, resolve

__all__ = ["Calls", "EngineCalls", "JoinedCalls", "StoreCalls"]

ANSWER_LIMIT: Final = 16 * 1024 * 1024
"""Bytes of one answer: a page asks for what it shows."""
_BESIDE_BYTES: Final = 64 * 1024
"""Size from which on an answer is decoded beside the event loop, which training processes wait for."""

_CALLS_AT_ONCE: Final = 6
"""Calls of one viewer at once; a browser makes no more to a host."""
_POLL_S: Final = 1.0
_SID_BYTES: Final = 16
_Asked = tuple[str, str, bytes]
"""User, method and encoded arguments of a read."""

_READERS: Final = 1
_READ_S: Final = 2.0
"""Seconds for the statements of one page of a read."""


class Calls(Protocol):
    """A store, as the board uses it."""

    async def call(self, user: str, method: str, arguments: dict[str, Any]) -> Any:
        """The answer of a read or write of the method table.

        Args:
            user: on whose behalf.
            method: its name.
            arguments: by name, as they travel on the wire.

        Raises:
            TrackError: what the store raises.
        """

    async def log(self, user: str, method: str, arguments: dict[str, Any]) -> None:
        """Make a log call of the method table, and wait until it is durable; see `call`."""

    async def changed(self) -> None:
        """Return when something may have been committed since the last time."""

    @property
    def fault(self) -> str | None:
        """Why nothing can be written now, in a sentence; None where something can, or it is not known."""


class StoreCalls:
    """A store that the client's side has opened; each call waits in a thread.

    Args:
        store: the store.
    """

    def __init__(self, store: BoardStore) -> None:
        self._store = store
        self._slots = asyncio.Semaphore(_CALLS_AT_ONCE)

    async def call(self, user: str, method: str, arguments: dict[str, Any]) -> Any:
        """See `Calls.call`."""
        return await self._in_thread(partial(self._store.call, method, arguments))

    async def log(self, user: str, method: str, arguments: dict[str, Any]) -> None:
        """See `Calls.log`."""
        await self._in_thread(partial(self._store.log, method, arguments))

    async def changed(self) -> None:
        """See `Calls.changed`: whoever else writes tells nobody, so the store is asked once a second."""
        await asyncio.sleep(_POLL_S)

    @property
    def fault(self) -> str | None:
        """See `Calls.fault`: whoever else writes tells nobody."""
        return None

    async def _in_thread(self, function: Callable[[], Any]) -> Any:
        async with self._slots:
            return await in_own_thread(function)


class JoinedCalls:
    """Asks a store once for what several pages ask for at the same time.

    Nobody gets an answer that was begun before he asked, which might lack what he knows to be stored: who
    asks for what is being read shares the next read of it with all who ask meanwhile.

    Args:
        calls: the store.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._reads: dict[_Asked, asyncio.Future[Any]] = {}
        self._next: dict[_Asked, asyncio.Future[Any]] = {}

    async def call(self, user: str, method: str, arguments: dict[str, Any]) -> Any:
        """See `Calls.call`; an answer may be others' too, so nobody changes it."""
        if METHODS[method].access is not Access.READ:
            return await self._calls.call(user, method, arguments)
        asked = (user, method, encode(arguments))
        found = self._next.get(asked)
        if found is None:
            running = self._reads.get(asked)
            if running is None:
                found = self._begin(asked, arguments)
            else:
                found = self._next[asked] = asyncio.ensure_future(self._after(running, asked, arguments))
        return await asyncio.shield(found)

    def _begin(self, asked: _Asked, arguments: dict[str, Any]) -> asyncio.Future[Any]:
        user, method, _ = asked
        running = self._reads[asked] = asyncio.ensure_future(self._calls.call(user, method, arguments))
        running.add_done_callback(lambda _done: self._reads.pop(asked))
        return running

    async def _after(self, running: asyncio.Future[Any], asked: _Asked, arguments: dict[str, Any]) -> Any:
        await asyncio.wait([running])
        del self._next[asked]
        return await self._begin(asked, arguments)

    async def log(self, user: str, method: str, arguments: dict[str, Any]) -> None:
        """See `Calls.log`."""
        await self._calls.log(user, method, arguments)

    async def changed(self) -> None:
        """See `Calls.changed`."""
        await self._calls.changed()

    @property
    def fault(self) -> str | None:
        """See `Calls.fault`."""
        return self._calls.fault


class EngineCalls:
    """The store of a server, from inside: a session of each user's writes, a thread of its own reads.

    So pages in browsers delay no training, and a read that takes very long ends with an error.

    Args:
        engine: of the server.
        secret: from which the ids of those sessions are derived, so that no client can take one first.
    """

    def __init__(self, engine: Engine, secret: bytes) -> None:
        self._engine = engine
        self._readers = engine.open_readers(_READERS, _READ_S)
        self._secret = secret
        self._sessions: dict[str, _Session] = {}
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._is_waiting = False
        self._has_changed = False
        engine.on_commit(self._committed)

    async def call(self, user: str, method: str, arguments: dict[str, Any]) -> Any:
        """See `Calls.call`."""
        if METHODS[method].access is Access.WRITE:
            return await self._session(user).call(method, arguments)
        peer = (user, "board")
        page = await _outcome(partial(self._readers.submit, method, arguments, peer=peer))
        pages, nbytes = [page], len(page.data)
        while page.rest is not None:
            page = await _outcome(partial(self._readers.submit_rest, page.rest, peer=peer))
            pages.append(page)
            nbytes += len(page.data)
            if nbytes > ANSWER_LIMIT:
                raise BadArguments(
                    f"the answer has more than {ANSWER_LIMIT:,} bytes: ask for less at once, with "
                    "start and limit"
                )
        if nbytes < _BESIDE_BYTES:
            return _decoded(pages)
        return await in_turn(partial(_decoded, pages))

    async def log(self, user: str, method: str, arguments: dict[str, Any]) -> None:
        """See `Calls.log`."""
        await self._session(user).log(method, arguments)

    async def changed(self) -> None:
        """See `Calls.changed`."""
        self._is_waiting = True
        if not self._has_changed:
            await self._changed.wait()
        self._is_waiting = self._has_changed = False
        self._changed.clear()

    @property
    def fault(self) -> str | None:
        """See `Calls.fault`."""
        return self._engine.fault

    def _committed(self) -> None:
        """Of a writer thread; while nobody looks, a commit costs no more than this mark."""
        self._has_changed = True
        if self._is_waiting:
            self._loop.call_soon_threadsafe(self._changed.set)

    def _session(self, user: str) -> _Session:
        found = self._sessions.get(user)
        if found is None:
            sid = hmac.digest(self._secret, f"board\0{user}".encode(), "sha256")[:_SID_BYTES]
            found = self._sessions[user] = _Session(self._engine, Writer(sid, user))
        return found


class _Session:
    """One user's writes, one after the other, each stored exactly once."""

    def __init__(self, engine: Engine, writer: Writer) -> None:
        self._engine = engine
        self._writer = writer
        self._last_seq: int | None = None
        self._lock = asyncio.Lock()

    async def call(self, method: str, arguments: dict[str, Any]) -> Any:
        def submit(seq: int, done: Callable[[Any], None]) -> None:
            self._engine.submit_call(self._writer, seq, method, arguments, done)

        return decode(await self._next(submit))

    async def log(self, method: str, arguments: dict[str, Any]) -> None:
        def submit(seq: int, done: Callable[[Any], None]) -> None:
            self._engine.submit_batch(self._writer, Batch(seq, 1, [CallOp(0, method, arguments)]), done)

        acked = await self._next(submit)
        assert isinstance(acked, Acked)
        for each in acked.rejected:
            raise error_from_wire(each.code, each.message)

    async def _next(self, submit: Callable[[int, Callable[[Any], None]], None]) -> Any:
        """The outcome of the session's next record."""
        async with self._lock:
            if self._last_seq is None:
                attach = partial(self._engine.submit_attach, self._writer.sid, self._writer.user)
                attached = await _outcome(attach)
                assert isinstance(attached, Attached)
                self._writer, self._last_seq = attached.writer, attached.last_seq
            # Until it has succeeded, whether it was numbered is for the store to say.
            seq, self._last_seq = self._last_seq + 1, None
            outcome = await _outcome(partial(submit, seq))
            self._last_seq = seq
            return outcome


def _decoded(pages: list[Page]) -> Any:
    first, *others = [decode(page.data) for page in pages]
    for items in others:
        first += items
    return first


async def _outcome(submit: Callable[[Callable[[Any], None]], None]) -> Any:
    """What the engine answers; a `TrackError` is raised."""
    loop = asyncio.get_running_loop()
    made: asyncio.Future[Any] = loop.create_future()
    submit(on_loop(loop, resolve, made))
    outcome = await made
    if isinstance(outcome, TrackError):
        raise outcome
    return outcome
