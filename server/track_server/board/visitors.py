"""Who sends a request: the holder of a session, or a script with a name and a token."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Callable, Hashable
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from track_protocol.board import Visitor
from track_protocol.errors import AuthenticationError
from track_server.board.logins import Logins
from track_server.http.listener import PEER, HttpPeer
from track_server.http.sessions import ABSOLUTE_S, Login, SessionTable

__all__ = ["KEY_HEADER", "Visitors", "peer_of"]

KEY_HEADER: Final = "x-track-key"


def peer_of(request: Request) -> HttpPeer:
    """Who is at the other end of a request's connection."""
    peer = request.scope["state"][PEER]
    assert isinstance(peer, HttpPeer)
    return peer


class Visitors:
    """Tells who sends a request, and opens and closes sessions.

    Args:
        sessions: of browsers.
        logins: decides who logs in.
        port: of this service; browsers share cookies between all ports of a host, so theirs are told
            apart by it.
    """

    def __init__(self, sessions: SessionTable, logins: Logins, port: int) -> None:
        self.logins = logins
        self._sessions = sessions
        self._cookie = f"__Host-track-{port}"
        self._embedded = f"{self._cookie}-embed"
        """A page in a frame has a session of its own, which only reads."""

    async def identify(self, request: Request) -> Login:
        """Who sends a request.

        Raises:
            AuthenticationError: it cannot be told.
        """
        found = await self.known(request)
        if found is None:
            raise AuthenticationError("log in: this request has no session, or one that has ended")
        return found

    async def known(self, request: Request) -> Login | None:
        """Who sends a request; None if it has neither a session nor a token.

        Raises:
            AuthenticationError: its token is not accepted.
        """
        found = self.in_session(request)
        if found is None and (given := request.headers.get("authorization")):
            found = await self._with_token(given, peer_of(request).address)
        if found is not None:
            peer_of(request).belongs_to(found.user)
        return found

    async def _with_token(self, header: str, address: str) -> Login:
        scheme, _, given = header.partition(" ")
        if scheme.lower() == "bearer":
            return await self.logins.check_token(given.strip(), address)
        return await self.logins.check(*_basic(scheme, given), address)

    def in_session(self, request: Request) -> Login | None:
        """Who has the session of a request, with the role as of now; None without one."""
        key = request.headers.get(KEY_HEADER, "")
        for name in (self._cookie, self._embedded):
            cookie = request.cookies.get(name, "")
            login = self._sessions.find(cookie, key)
            if login is None:
                continue
            current = self.logins.current(login, is_own_user=peer_of(request).is_own_user)
            if current is None and not login.here:
                self._sessions.close(cookie)
            return current
        return None

    async def admit(self, request: Request) -> tuple[str, Visitor]:
        """Who sends a request of another interface than the board's own, whose clients know no key: the
        user's name, and what that interface gets.

        The server's own user needs none: that it is no other site's page which asks was checked before.

        Raises:
            AuthenticationError: it cannot be told.
        """
        peer = peer_of(request)
        login = self.in_session(request)
        # A key that belongs to no session tells nobody from anybody.
        key = None if login is None else request.headers.get(KEY_HEADER)
        if login is None and peer.is_own_user and not request.headers.get("authorization"):
            login = await self.logins.login({}, is_own_user=True)
        if login is None:
            login = await self.identify(request)
        peer.belongs_to(login.user)
        return login.user, Visitor((login.user, key), login.role, peer.is_own_user)

    def visitor_of(self, request: Request) -> Hashable:
        """Tells the browsers and scripts of one user apart: by the key of a session, else by the address."""
        if self.in_session(request) is None:
            return peer_of(request).address
        return request.headers.get(KEY_HEADER)

    def watched(self, request: Request, login: Login) -> Callable[[], bool]:
        """Tells whether an answer that has begun may go on.

        Args:
            request: the request.
            login: who was found to send it.
        """
        if self.in_session(request) is not None:
            return lambda: self.in_session(request) is not None
        return lambda: self.logins.current(login, is_own_user=False) is not None

    async def log_in(self, request: Request, given: dict[str, Any]) -> tuple[Login, str, str]:
        """Open a session with what a browser sent; returns who it is, the key, and the header of the cookie.

        Raises:
            TrackError: see `Logins.login`.
        """
        peer = peer_of(request)
        login = await self.logins.login(given, is_own_user=peer.is_own_user, address=peer.address)
        peer.belongs_to(login.user)
        made = self._sessions.open(login)
        name = self._embedded if given.get("embed") else self._cookie
        return login, made.key, _cookie(name, made.cookie, int(ABSOLUTE_S))

    def log_out(self, request: Request) -> Response:
        """End the session of a request."""
        answer = Response(status_code=204)
        key = request.headers.get(KEY_HEADER, "")
        for name in (self._cookie, self._embedded):
            cookie = request.cookies.get(name, "")
            if cookie and self._sessions.find(cookie, key) is not None:
                self._sessions.close(cookie)
                answer.headers.append("set-cookie", _cookie(name, "", 0))
        return answer


def _cookie(name: str, value: str, seconds: int) -> str:
    return f"{name}={value}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Strict"


def _basic(scheme: str, encoded: str) -> tuple[str, str]:
    try:
        name, colon, token = b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        name, colon, token = "", "", ""
    if scheme.lower() != "basic" or not colon:
        raise AuthenticationError(
            "a script logs in with the header Authorization: Bearer TOKEN, or Basic, of NAME:TOKEN"
        )
    return name, token
