"""The documented hook: a function of the server's owner decides about name and password."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable

from track_protocol.errors import AuthenticationError
from track_protocol.security.tokens import Secret
from track_protocol.wire.roles import Role

__all__ = ["decided_role"]


async def decided_role(authenticate: Callable[[str, str], object], username: str, password: Secret) -> Role:
    """The role that `authenticate` gives a user.

    Args:
        authenticate: called with name and password, in a thread; gives a truth value, the name of
            a role, or an awaitable of one of them.
        username: as the client gave it.
        password: as the client gave it.

    Raises:
        AuthenticationError: it refuses.
    """
    # In a thread, because a function that queries a directory or hashes a password is slow.
    verdict = await asyncio.to_thread(authenticate, username, password.reveal())
    if inspect.isawaitable(verdict):
        verdict = await _value(verdict)
    if not verdict:
        raise AuthenticationError("the user name or the password was not accepted: check both")
    return Role(verdict) if isinstance(verdict, str) else Role.WRITER


async def _value(awaitable: Awaitable[object]) -> object:
    return await awaitable
