"""Who is logged in with a browser: the table of sessions, and the codes that open one.

A session has two secrets of 128 bits: a cookie, which scripts cannot read, and a key, which only pages of
this origin can.  Cookies know no ports, so another server on the same host sees the cookie; and what steals
the key has no cookie.  Only hashes are stored: who reads the table cannot log in with it."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import apsw

from track_protocol.errors import StoreError
from track_protocol.wire.roles import Role

__all__ = ["ABSOLUTE_S", "CODE_S", "IDLE_S", "Codes", "Login", "Secrets", "SessionTable"]

IDLE_S: Final = 7 * 86_400.0
"""Seconds without a request after which a session ends."""
ABSOLUTE_S: Final = 30 * 86_400.0
"""Seconds after its login at which a session ends."""
CODE_S: Final = 60.0
"""Seconds for which a code may be used, once."""

_SECRET_BYTES: Final = 16
_TOUCH_S: Final = 600.0
"""Seconds after which another request is noted: not each of them is a write."""
_MAX_PER_USER: Final = 100
_MAX_CODES: Final = 1_000
_BUSY_MS: Final = 100
"""Another process holds the lock for a change only, and the event loop waits for it."""
_TABLE: Final = """
CREATE TABLE IF NOT EXISTS board_session(
  cookie BLOB PRIMARY KEY, key BLOB NOT NULL, user TEXT NOT NULL, role TEXT NOT NULL, mark BLOB NOT NULL,
  here INTEGER NOT NULL, created REAL NOT NULL, seen REAL NOT NULL
) WITHOUT ROWID
"""


@dataclass(frozen=True, slots=True)
class Login:
    """Who has logged in.

    Attributes:
        user: the name.
        role: what the user may do, at most.
        mark: of the state of the user's account; another one ends the session.
        here: let in as the server's own user of this machine, and only as long as that can be told.
    """

    user: str
    role: Role
    mark: bytes = b""
    here: bool = False


@dataclass(frozen=True, slots=True)
class Secrets:
    """What opens a session: both together."""

    cookie: str
    key: str


class SessionTable:
    """The sessions of browsers; for one thread of one process, beside others that clear it.

    Args:
        path: the database, which is made for this user only; None for memory.
        clock: seconds since the epoch.

    Raises:
        StoreError: the database cannot be had.
    """

    def __init__(self, path: Path | None = None, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        try:
            if path is not None:
                path.touch(mode=0o600)
            self._db = apsw.Connection(":memory:" if path is None else str(path))
            self._db.set_busy_timeout(_BUSY_MS)
            # So a login waits for no disk, and a request for no other process that writes.
            self._db.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL")
            self._db.execute(_TABLE)
        except (apsw.Error, OSError) as error:
            raise StoreError(
                f"the sessions of the board in {path} cannot be opened ({error}): remove the file, and "
                "everybody logs in again"
            ) from error

    def open(self, login: Login) -> Secrets:
        """A new session; of a user who has very many, the oldest ends.

        Raises:
            StoreError: it cannot be stored.
        """
        made = Secrets(secrets.token_urlsafe(_SECRET_BYTES), secrets.token_urlsafe(_SECRET_BYTES))
        now = self._clock()
        row = (
            _hashed(made.cookie),
            _hashed(made.key),
            login.user,
            str(login.role),
            login.mark,
            int(login.here),
            now,
            now,
        )
        with _storing(), self._db:
            self._db.execute("INSERT INTO board_session VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
            self._db.execute(
                "DELETE FROM board_session WHERE cookie IN (SELECT cookie FROM board_session WHERE user = ? "
                "ORDER BY seen DESC, created DESC LIMIT -1 OFFSET ?)",
                (login.user, _MAX_PER_USER),
            )
            self._db.execute(
                "DELETE FROM board_session WHERE seen < ? OR created < ?", (now - IDLE_S, now - ABSOLUTE_S)
            )
        return made

    def find(self, cookie: str, key: str) -> Login | None:
        """Who has the session of a cookie and its key; None if it has ended or there is none.

        Raises:
            StoreError: the sessions cannot be read.
        """
        with _storing():
            found = self._db.execute(
                "SELECT key, user, role, mark, here, created, seen FROM board_session WHERE cookie = ?",
                (_hashed(cookie),),
            ).fetchone()
        if found is None:
            return None
        hashed, user, role, mark, here, created, seen = found
        if not hmac.compare_digest(hashed, _hashed(key)):
            return None
        now = self._clock()
        if now - seen > IDLE_S or now - created > ABSOLUTE_S:
            self.close(cookie)
            return None
        if now - seen > _TOUCH_S:
            with suppress(apsw.Error):  # noted by the next request: this one only reads
                self._db.execute("UPDATE board_session SET seen = ? WHERE cookie = ?", (now, _hashed(cookie)))
        return Login(user, Role(role), mark, bool(here))

    def close(self, cookie: str) -> None:
        """End a session; harmless when repeated.

        Raises:
            StoreError: that cannot be stored.
        """
        with _storing():
            self._db.execute("DELETE FROM board_session WHERE cookie = ?", (_hashed(cookie),))

    def clear(self) -> int:
        """End all sessions; returns how many there were.

        Raises:
            StoreError: that cannot be stored.
        """
        with _storing():
            self._db.execute("DELETE FROM board_session")
        return int(self._db.changes())

    def release(self) -> None:
        """Release the database; harmless when repeated."""
        self._db.close()


@contextmanager
def _storing() -> Iterator[None]:
    try:
        yield
    except apsw.Error as error:
        raise StoreError(f"the board's sessions cannot be used ({error}): try again in a moment") from error


class Codes:
    """Codes of 128 bits that each log in once, within a minute.

    Args:
        clock: seconds that only advance.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._codes: dict[bytes, tuple[Login, float]] = {}

    def issue(self, login: Login) -> str:
        """A new code."""
        now = self._clock()
        self._codes = {code: each for code, each in self._codes.items() if each[1] > now}
        while len(self._codes) >= _MAX_CODES:
            del self._codes[next(iter(self._codes))]
        code = secrets.token_urlsafe(_SECRET_BYTES)
        self._codes[_hashed(code)] = (login, now + CODE_S)
        return code

    def redeem(self, code: str) -> Login | None:
        """Who logs in with a code; None if it was used, is too old or never was one."""
        login, until = self._codes.pop(_hashed(code), (None, 0.0))
        return login if self._clock() < until else None


def _hashed(secret: str) -> bytes:
    # Fast is right: 128 random bits cannot be searched, whatever the hash costs.
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
