"""Who may see the board: the user himself on his machine, holders of a code, users by name and token."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import os
import secrets
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final, Protocol

from track_protocol.errors import AuthenticationError, BadArguments, TooBusy
from track_protocol.locations import local_username
from track_protocol.security.scram import Verifier, make_verifier
from track_protocol.security.tokens import new_token
from track_protocol.uri import Uri
from track_protocol.wire.roles import Role
from track_server.accounts.users import User, UserStore
from track_server.http.backoff import Backoff
from track_server.http.sessions import Codes, Login
from track_server.network.listener import origin_of

__all__ = ["Accounts", "Logins", "NoAccounts", "TooManyAttempts", "UserAccounts"]

_log = logging.getLogger(__name__)

_CHECKS_AT_ONCE: Final = 2
_CHECKS_WAITING: Final = 16
_MAX_NAME: Final = 64
_MAX_CHECKED: Final = 1_000
"""Names and tokens that are remembered, as hashes."""
_SALT_BYTES: Final = 32


class TooManyAttempts(AuthenticationError):
    """An address has to wait after wrong logins of a name.

    Attributes:
        seconds: how long.
    """

    code = "attempts"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"there were too many wrong logins of this name: wait {seconds:.0f} s")
        self.seconds = seconds


class Accounts(Protocol):
    """Users who log in by a name and a secret."""

    def verifier(self, name: str) -> tuple[Login, Verifier] | None:
        """A user, and what a secret is checked with; None if there is none of that name."""

    def named(self, token: str) -> str | None:
        """The name of the user whose generated token this seems to be; None if it is nobody's."""

    def current(self, login: Login) -> Role | None:
        """The role of who has logged in, as of now; None if the account was removed or changed."""


class UserAccounts:
    """The users of a server.

    Args:
        users: of the server.
    """

    def __init__(self, users: UserStore) -> None:
        self._users = users

    def verifier(self, name: str) -> tuple[Login, Verifier] | None:
        """See `Accounts.verifier`."""
        user = self._users.lookup(name)
        return None if user is None else (Login(user.name, user.role, _mark_of(user)), user.verifier)

    def named(self, token: str) -> str | None:
        """See `Accounts.named`."""
        return self._users.named(token)

    def current(self, login: Login) -> Role | None:
        """See `Accounts.current`."""
        user = self._users.lookup(login.user)
        return user.role if user is not None and _mark_of(user) == login.mark else None


class NoAccounts:
    """A board for one person has no users."""

    def verifier(self, name: str) -> tuple[Login, Verifier] | None:
        """See `Accounts.verifier`."""
        return None

    def named(self, token: str) -> str | None:
        """See `Accounts.named`."""
        return None

    def current(self, login: Login) -> Role | None:
        """See `Accounts.current`."""
        return None


class Logins:
    """Decides who logs in.

    Args:
        accounts: users by name.
        own: what the server's own user of this machine may do.
        codes: that log in once.
    """

    def __init__(self, accounts: Accounts, own: Role, codes: Codes) -> None:
        self.codes = codes
        self._accounts = accounts
        self._own = Login(local_username(os.geteuid()), own, here=True)
        self._backoff = Backoff()
        self._threads = ThreadPoolExecutor(_CHECKS_AT_ONCE, thread_name_prefix="track-login")
        self._checks = 0
        self._checking: dict[bytes, asyncio.Future[Login]] = {}
        self._checked: OrderedDict[bytes, Login] = OrderedDict()
        self._salt = secrets.token_bytes(_SALT_BYTES)
        # Of nobody: its check takes as long as that of a user.
        self._nobody = make_verifier(new_token())

    def close(self) -> None:
        """Check nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def own_code(self) -> str:
        """A code for the server's own user, who may use it from wherever his browser runs."""
        return self.codes.issue(replace(self._own, here=False))

    async def login(self, given: dict[str, Any], *, is_own_user: bool, address: str = "") -> Login:
        """Who logs in with what a browser sent.

        Args:
            given: ``{}``, ``{"code"}``, ``{"name", "token"}`` or ``{"uri"}``, and perhaps ``"embed": true``,
                for a page in a frame of another site's page, which may only read.
            is_own_user: whether the browser is known to be the server's own user's.
            address: of the peer, which has to wait after wrong logins.

        Raises:
            AuthenticationError: it is not accepted.
            TooManyAttempts: the name has to wait.
            BadArguments: it is none of these.
            TooBusy: too many logins are being checked.
        """
        given = dict(given)
        embed = given.pop("embed", False)
        if not (isinstance(embed, bool) and all(isinstance(each, str) for each in given.values())):
            raise BadArguments("a login is a code, a name and a token, or a URI: each is a text")
        found = await self._login(given, is_own_user, address)
        return replace(found, role=min(found.role, Role.READER)) if embed else found

    async def _login(self, given: dict[str, str], is_own_user: bool, address: str) -> Login:
        match given:
            case {"code": code, **others} if not others:
                found = self.codes.redeem(code)
                if found is None:
                    raise AuthenticationError(
                        "this code was used or is older than a minute: start 'track board' again"
                    )
                return found
            case {"name": name, "token": token, **others} if not others:
                return await self.check(name, token, address)
            case {"uri": text, **others} if not others:
                uri = Uri.parse(text.strip())
                return await self.check(uri.username or "", uri.password or "", address)
            case {} if not given:
                if is_own_user:
                    return self._own
                raise AuthenticationError(
                    "log in: this connection does not show that you are the server's own user"
                )
            case _:
                raise BadArguments("a login is {}, {code}, {name, token} or {uri}")

    async def check_token(self, token: str, address: str = "") -> Login:
        """Who has that generated token; see `check`."""
        name = self._accounts.named(token)
        if name is None:  # needs no wait: 160 random bits are not guessed
            raise AuthenticationError(
                "the token was not accepted: check it; a password that a person chose, and a token of an "
                "older server, need a name, too (Authorization: Basic, of NAME:TOKEN)"
            )
        return await self.check(name, token, address)

    async def check(self, name: str, token: str, address: str = "") -> Login:
        """Who has that name and token.

        Scripts send both with each request: what was accepted is remembered until the account changes.

        Args:
            name: of the user.
            token: generated, or a password.
            address: of the peer.  It has to wait after wrong logins of a name, and no other: else anybody
                could keep a user out.

        Raises:
            AuthenticationError: nobody has.
            TooManyAttempts: the address has to wait with this name.
            TooBusy: too many are being checked.
        """
        name = name[: _MAX_NAME + 1]
        secret = hmac.digest(self._salt, f"{name}\0{token}".encode(errors="surrogatepass"), "sha256")
        if (known := self._remembered(secret)) is not None:
            return known
        checking = self._checking.get(secret)
        if checking is None:
            checking = self._checking[secret] = self._begin(name, token, address)
            checking.add_done_callback(lambda _done: self._checking.pop(secret))
        login = self._checked[secret] = await asyncio.shield(checking)
        if len(self._checked) > _MAX_CHECKED:
            self._checked.popitem(last=False)
        return login

    def _remembered(self, secret: bytes) -> Login | None:
        """Who was accepted before, with the role as of now."""
        login = self._checked.get(secret)
        role = None if login is None else self._accounts.current(login)
        if login is None or role is None:
            self._checked.pop(secret, None)
            return None
        return replace(login, role=role)

    def _begin(self, name: str, token: str, address: str) -> asyncio.Future[Login]:
        """Begin to check a name and token, if the address need not wait and not too many are checked."""
        guesser = f"{origin_of(address)} {name}"
        if (seconds := self._backoff.wait(guesser)) > 0:
            raise TooManyAttempts(seconds)
        if self._checks >= _CHECKS_WAITING:
            raise TooBusy("too many logins are being checked: try again in a moment")
        # Before the check, so that many at once are not checked for nothing.
        self._backoff.failed(guesser)
        self._checks += 1
        return asyncio.ensure_future(self._check(name, token, guesser))

    async def _check(self, name: str, token: str, guesser: str) -> Login:
        found = self._accounts.verifier(name)
        login, verifier = found if found is not None else (None, self._nobody)
        try:
            matches = await asyncio.get_running_loop().run_in_executor(self._threads, verifier.matches, token)
        finally:
            self._checks -= 1
        if login is None or not matches:
            _log.warning("a wrong login at the board, from address and name %r", guesser)
            raise AuthenticationError("the name or the token was not accepted: check both")
        self._backoff.succeeded(guesser)
        return login

    def current(self, login: Login, *, is_own_user: bool) -> Login | None:
        """Who has logged in, with the role as of now; None if the account is gone or changed.

        Args:
            login: as it was.
            is_own_user: whether the request is known to come from the server's own user.
        """
        if login.user == self._own.user:
            return login if is_own_user or not login.here else None
        role = self._accounts.current(login)
        return None if role is None else replace(login, role=min(role, login.role))


def _mark_of(user: User) -> bytes:
    """Identifies the state of an account: a user who was removed and added again is another one."""
    state = [user.name, user.role.value, user.created.isoformat(), user.verifier.to_json()]
    return hashlib.sha256(json.dumps(state).encode()).digest()
