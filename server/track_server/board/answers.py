"""Bodies and errors of the board's interface."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive

from track_protocol.errors import (
    AuthenticationError,
    BadArguments,
    ItemNotFound,
    PermissionDenied,
    RPCCallFailure,
    ServerUnreachable,
    SessionFenced,
    StoreError,
    TooBusy,
    TrackError,
    TrialInUse,
    UnknownMethod,
    UsageError,
)
from track_server.board.logins import TooManyAttempts
from track_server.board.threads import in_turn
from track_server.http.guard import error_body
from track_server.http.listener import TooManyConnections
from track_server.http.values import from_json, to_json

__all__ = [
    "BODY_LIMIT",
    "LOGIN_LIMIT",
    "Endpoint",
    "answering",
    "body_of",
    "error_answer",
    "json_answer",
    "limited",
]

_log = logging.getLogger(__name__)

BODY_LIMIT: Final = 4 * 1024 * 1024
"""Bytes of a request's body."""
LOGIN_LIMIT: Final = 16 * 1024
"""The same where nobody has logged in yet."""

_BESIDE_BYTES: Final = 64 * 1024
"""Size from which on a body is read beside the event loop."""
_BODY_S: Final = 20.0
"""Seconds for a body to come."""

Endpoint = Callable[[Request], Awaitable[Response]]


class _TooLarge(BadArguments):
    """A body is longer than what is read."""

    code = "too-large"


_STATUS: Final[tuple[tuple[type[TrackError], int], ...]] = (
    (TooManyAttempts, 429),
    (TooManyConnections, 429),
    (_TooLarge, 413),
    (AuthenticationError, 401),
    (PermissionDenied, 403),
    (ItemNotFound, 404),
    (UnknownMethod, 404),
    (TrialInUse, 409),
    (SessionFenced, 409),
    (BadArguments, 400),
    (UsageError, 400),
    (TooBusy, 503),
    (StoreError, 503),
    (ServerUnreachable, 503),
)
"""The status of an error: that of the first class that it is of."""


def json_answer(value: Any, status: int = 200) -> Response:
    """A value as the body of an answer."""
    return Response(to_json(value), status, {"cache-control": "no-store"}, "application/json")


def answering(endpoint: Endpoint) -> Endpoint:
    """An endpoint whose errors become answers."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except ClientDisconnect:
            return Response(status_code=400)
        except TrackError as error:
            return error_answer(error)

    return answer


def error_answer(error: TrackError, *, with_detail: bool = False) -> Response:
    """An error as an answer.

    Args:
        error: the error.
        with_detail: say it under ``detail``, too, where SimpleBoard's clients look for it.
    """
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    message = error.message if isinstance(error, RPCCallFailure) else str(error)
    if status == 500:
        _log.error("a request of the board failed: %s", error, exc_info=error)
    headers = {"cache-control": "no-store"}
    if isinstance(error, TooManyAttempts):
        headers["retry-after"] = str(max(1, round(error.seconds)))
    elif status in (429, 503):
        headers["retry-after"] = "1"
    if status == 413 or isinstance(error, TooManyConnections):
        headers["connection"] = "close"  # instead of reading the rest, or staying one of them
    body = error_body(error.code, message, **({"detail": message} if with_detail else {}))
    return Response(body, status, headers, "application/json")


async def body_of(request: Request, limit: int = BODY_LIMIT) -> dict[str, Any]:
    """The JSON object that a request's body is; an empty body is an empty object.

    Args:
        request: the request.
        limit: bytes of the body.

    Raises:
        BadArguments: it is no JSON object, of another type, too long, or does not come.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        # Also what makes a browser ask first whether a page of another site may send it.
        raise BadArguments("the body is JSON: send it with Content-Type: application/json")
    data = await Request(request.scope, limited(request, limit)).body()
    if len(data) < _BESIDE_BYTES:
        return from_json(data) if data else {}
    return await in_turn(partial(from_json, data))


def limited(request: Request, limit: int = BODY_LIMIT) -> Receive:
    """Receives a request, whose body is so long and takes so long at most.

    Args:
        request: the request.
        limit: bytes of the body.

    Raises:
        BadArguments: here or when it is received, it is too long, or does not come.
    """
    if _announced(request) > limit:
        raise _too_large(limit)
    nbytes, is_complete = 0, False
    until = asyncio.get_running_loop().time() + _BODY_S

    async def receive() -> Message:
        nonlocal nbytes, is_complete
        if is_complete:  # what comes now is the end of the connection, whenever that is
            return await request.receive()
        try:
            async with asyncio.timeout_at(until):
                message = await request.receive()
        except TimeoutError:
            raise BadArguments(f"the body did not come within {_BODY_S:.0f} s") from None
        nbytes += len(message.get("body", b""))
        is_complete = not message.get("more_body", False)
        if nbytes > limit:
            raise _too_large(limit)
        return message

    return receive


def _announced(request: Request) -> int:
    text = request.headers.get("content-length", "0")
    return int(text) if text.isdecimal() else 0


def _too_large(limit: int) -> BadArguments:
    return _TooLarge(f"the body has more than {limit:,} bytes: send less at once")
