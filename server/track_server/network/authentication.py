"""How a peer logs in: the steps behind the AUTH frames."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

from track_protocol.errors import AuthenticationError, RemoteProtocolError
from track_protocol.security.scram import ServerExchange
from track_protocol.wire.roles import Role

__all__ = ["PASSWORD", "Accepted", "Login", "PasswordLogin", "ScramLogin"]

PASSWORD: Final = "PASSWORD"  # noqa: S105 - the mechanism's name
"""Mechanism in which the client sends user name and password inside TLS, for servers with an
authentication function of their own."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A login that succeeded, and the server's proof for the client."""

    username: str
    role: Role
    proof: str


class Login(Protocol):
    """One login in progress."""

    async def step(self, message: str) -> str | Accepted:
        """Take the client's message; give the next one, or the end.

        Raises:
            AuthenticationError: the client could not prove itself.
        """


class ScramLogin:
    """SCRAM: neither side sends its secret.

    Args:
        exchange: a fresh exchange.
        role_of: the role of a user that exists.
    """

    def __init__(self, exchange: ServerExchange, role_of: Callable[[str], Role | None]) -> None:
        self._exchange = exchange
        self._role_of = role_of
        self._challenged = False

    async def step(self, message: str) -> str | Accepted:
        """See `Login.step`."""
        if not self._challenged:
            self._challenged = True
            return self._exchange.challenge(message)
        proof = self._exchange.conclude(message)
        username = self._exchange.username
        role = self._role_of(username)
        if role is None:
            raise AuthenticationError("the user was removed during the login: ask for a new join URI")
        return Accepted(username, role, proof)


class PasswordLogin:
    """The documented hook: a function of the server's owner decides about name and password.

    Args:
        authenticate: called with name and password, in a thread; gives a truth value, the name of
            a role, or an awaitable of one of them.
    """

    def __init__(self, authenticate: Callable[[str, str], object]) -> None:
        self._authenticate = authenticate

    async def step(self, message: str) -> str | Accepted:
        """See `Login.step`."""
        username, separator, password = message.partition("\0")
        if not separator:
            raise RemoteProtocolError("a password login is user name, NUL, password")
        # In a thread, because a function that asks a directory or hashes a password takes its time.
        verdict = await asyncio.to_thread(self._authenticate, username, password)
        if inspect.isawaitable(verdict):
            verdict = await _value(verdict)
        if not verdict:
            raise AuthenticationError("the user name or the password was not accepted: check both")
        role = Role(verdict) if isinstance(verdict, str) else Role.WRITER
        return Accepted(username, role, "")


async def _value(awaitable: Awaitable[object]) -> object:
    return await awaitable
