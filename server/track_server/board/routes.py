"""The routes of the board: its interface under ``/api/v1``, and its pages everywhere else."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from hashlib import sha256
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route, Router
from starlette.types import Receive, Scope, Send

from track_protocol.board import IN_THREAD, VISITOR
from track_protocol.errors import BadArguments, BadQuery, ItemNotFound, TrackError
from track_protocol.model.media import is_digest
from track_protocol.wire.columns import Column, unpack
from track_server.board.actions import ACTIONS, act
from track_server.board.answers import LOGIN_LIMIT, answering, body_of, error_answer, json_answer, limited
from track_server.board.changes import Hub, Listener
from track_server.board.filters import described, filter_query
from track_server.board.stores import Shown, Stores
from track_server.board.threads import in_own_thread, in_turn
from track_server.board.turns import Turns
from track_server.board.visitors import Visitors, peer_of
from track_server.http.files import Pages
from track_server.http.frames import MEDIA_TYPE, columns_frame
from track_server.http.sessions import Login

__all__ = ["application"]

_API: Final = "/api/v1"
_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
_FRAMED: Final = frozenset({"fetch_columns", "fetch_grouped_columns", "fetch_tails"})
"""Calls whose answer is series, in the form of `columns_frame`."""
_POINTS: Final = "fetch_metrics"
"""The call whose answer is packed columns, which JSON has as lists."""
_PAGE_BYTES: Final = 262_144
_FILTERS_AT_ONCE: Final = 4
"""Each has a thread."""
_REMEMBERED: Final = 1_000
"""Answers of writes that are remembered, for those that are sent again."""
_NOBODY: Final[Mapping[str, Any]] = {
    "user": None,
    "role": None,
    "login": False,
    "fault": None,
    "store": None,
    "uri": None,
    "database": None,
    "databases": [],
}
"""What a page gets to know of a session, as far as there is none."""
_IMAGES: Final = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
}


def application(
    stores: Stores, visitors: Visitors, version: str, pages: Pages, more: Sequence[BaseRoute]
) -> Starlette:
    """The board as an application.

    Args:
        stores: what is shown.
        visitors: tells who asks.
        version: of this software.
        pages: its files.
        more: routes of other interfaces below ``/api/``; who sends their requests is found out first.
    """
    turns = Turns()
    api = _Api(stores, visitors, turns, version)
    routes: list[BaseRoute] = [
        Route(f"{_API}/{path}", answering(endpoint), methods=[method])
        for method, path, endpoint in (
            ("GET", "session", api.session),
            ("POST", "login", api.login),
            ("POST", "logout", api.logout),
            ("POST", "call/{method}", api.call),
            ("POST", "filter", api.filter),
            ("GET", "blob/{digest}", api.blob),
            ("GET", "events", api.events),
        )
    ]

    async def shell(request: Request) -> Response:
        return pages.shell(request)

    # SimpleBoard answers what it does not know with its page; the board's own interface has errors alone.
    others = [
        Route(f"{_API}/{{rest:path}}", answering(_nothing), methods=_METHODS),
        *more,
        Route("/{rest:path}", shell, methods=["GET"]),
        Route("/{rest:path}", answering(_nothing), methods=_METHODS),
    ]
    rest = Route("/api/{rest:path}", _Admitting(visitors, turns, Router(others)))
    return Starlette(routes=[*routes, rest, Route("/{path:path}", pages.answer, methods=["GET"])])


async def _nothing(request: Request) -> Response:
    raise ItemNotFound(f"{request.url.path[:80]} is no address of this interface")


class _Admitting:
    """Lets the requests of those through who may see the board, and says who they are."""

    def __init__(self, visitors: Visitors, turns: Turns, router: Router) -> None:
        self._visitors = visitors
        self._turns = turns
        self._router = router

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            user, scope["state"][VISITOR] = await self._visitors.admit(request)
            scope["state"][IN_THREAD] = in_own_thread
            async with self._turns.turn(user, self._visitors.visitor_of(request)):
                await self._router(scope, limited(request), send)
        except TrackError as error:
            await error_answer(error, with_detail=True)(scope, receive, send)


class _Events(StreamingResponse):
    """The stream of one listener, who leaves with it, also when the peer left before it began."""

    def __init__(self, hub: Hub, listener: Listener, may_listen: Callable[[], bool]) -> None:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(hub.events(listener, may_listen), 200, headers, "text/event-stream")
        self._leave = partial(hub.leave, listener)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._leave()


class _Api:
    """The endpoints of ``/api/v1``."""

    def __init__(self, stores: Stores, visitors: Visitors, turns: Turns, version: str) -> None:
        self._stores = stores
        self._visitors = visitors
        self._turns = turns
        self._version = version
        self._filters = asyncio.Semaphore(_FILTERS_AT_ONCE)
        self._made: OrderedDict[tuple[Hashable, ...], asyncio.Future[Response]] = OrderedDict()

    async def session(self, request: Request) -> Response:
        """Who is logged in; the store is named only to those who are, or may be without a login."""
        login = await self._visitors.known(request)
        found: dict[str, Any] = {**_NOBODY, "version": self._version}
        if login is None and not peer_of(request).is_own_user:
            return json_answer({**found, "login": True})
        found |= {"database": await self._stores.name_of(request), "databases": await self._stores.names()}
        try:
            shown = await self._stores.of(request)
        except TrackError as error:  # the page says so, and offers the others
            return json_answer({**found, "fault": str(error)})
        found |= {"store": shown.store, "uri": shown.uri}
        if login is not None:
            found |= {"user": login.user, "role": str(shown.limited(login).role)}
        return json_answer(found)

    async def login(self, request: Request) -> Response:
        """Open a session."""
        login, key, cookie = await self._visitors.log_in(request, await body_of(request, LOGIN_LIMIT))
        answer = json_answer({"key": key, "user": login.user, "role": str(login.role)})
        answer.headers["set-cookie"] = cookie
        return answer

    async def logout(self, request: Request) -> Response:
        """End a session."""
        await self._visitors.identify(request)
        return self._visitors.log_out(request)

    async def call(self, request: Request) -> Response:
        """Make a call of the method table; a write that is sent again under its key is not made again."""
        login, shown = await self._visitors.identify(request), await self._stores.of(request)
        login = shown.limited(login)
        name, given = request.path_params["method"], await body_of(request)
        key = request.headers.get("idempotency-key")
        if key is None or name not in ACTIONS:  # the answers of reads are large, and there is no need
            return await self._called(request, shown, login, name, given)
        # With the role: who may do less is not answered as who may do more.
        named = (shown, login.user, str(login.role), name, sha256(key.encode()).digest())
        known = self._made.get(named)
        if known is None:
            called = self._called(request, shown, login, name, given)
            known = self._made[named] = asyncio.ensure_future(called)
            known.add_done_callback(lambda made: made.exception() and self._made.pop(named, None))
            if len(self._made) > _REMEMBERED:
                self._made.popitem(last=False)
        return await asyncio.shield(known)

    async def _called(
        self, request: Request, shown: Shown, login: Login, name: str, given: dict[str, Any]
    ) -> Response:
        async with self._turn(request, login):
            found = await act(shown.calls, login, name, given)
            # Beside the event loop, which training processes wait for, too.
            return await in_turn(partial(self._answer, name, found))

    def _turn(self, request: Request, login: Login) -> AbstractAsyncContextManager[None]:
        return self._turns.turn(login.user, self._visitors.visitor_of(request))

    @staticmethod
    def _answer(name: str, found: Any) -> Response:
        if name in _FRAMED:
            return Response(columns_frame(found), 200, {"cache-control": "no-store"}, MEDIA_TYPE)
        if name == _POINTS:
            found = {part: list(unpack(Column(*found[part]))) for part in found}
        return json_answer(found)

    async def filter(self, request: Request) -> Response:
        """The query of a filter."""
        login, shown = await self._visitors.identify(request), await self._stores.of(request)
        given = await body_of(request)
        try:
            async with self._turn(request, login), self._filters:
                query = await filter_query(shown.calls, login.user, given)
            return json_answer({"query": query})
        except BadQuery as error:
            return json_answer(
                {"error": {"code": error.code, "message": str(error), **described(error)}}, 400
            )

    async def events(self, request: Request) -> Response:
        """What changes, as Server-Sent Events."""
        login, shown = await self._visitors.identify(request), await self._stores.of(request)
        listener = await shown.hub.join(login.user, request.headers.get("last-event-id") or None)
        return _Events(shown.hub, listener, self._visitors.watched(request, login))

    async def blob(self, request: Request) -> Response:
        """A stored file: an image of a known kind is shown, everything else is only saved."""
        login, shown = await self._visitors.identify(request), await self._stores.of(request)
        digest = request.path_params["digest"]
        if not is_digest(digest):
            raise BadArguments("a blob is named by 64 hexadecimal digits")
        async with self._turn(request, login):
            first = await _part(shown, login, digest, 0)
        if not first:
            raise ItemNotFound(f"there is no blob {digest}: it may not have been sent completely yet")

        async def parts() -> Any:
            part, offset = first, 0
            while part:
                yield part
                offset += len(part)
                part = await _part(shown, login, digest, offset)

        kind = _image_type(first)
        headers = {"cache-control": "private, max-age=86400, immutable", "vary": "x-track-key"}
        if kind is None:
            headers["content-disposition"] = f'attachment; filename="{digest[:16]}"'
        return StreamingResponse(parts(), 200, headers, kind or "application/octet-stream")


async def _part(shown: Shown, login: Login, digest: str, offset: int) -> bytes:
    arguments = {"digest": digest, "offset": offset, "limit": _PAGE_BYTES}
    part: bytes = await shown.calls.call(login.user, "fetch_blob", arguments)
    return part


def _image_type(first: bytes) -> str | None:
    """The type of an image by its first bytes, whatever its name says."""
    if first.startswith(b"RIFF") and first[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for magic, kind in _IMAGES.items() if first.startswith(magic)), None)
