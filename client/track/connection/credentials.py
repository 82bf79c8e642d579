"""The sources of a login without one in the URI: the user's own server, `track login`, the environment."""

from __future__ import annotations

import errno
import json
import logging
import os
import stat
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from track.connection.state_file import StateFile
from track.process.private import open_private
from track_protocol.errors import AuthenticationError, UsageError
from track_protocol.locations import credential_file, runtime_folder
from track_protocol.security.tokens import Secret

__all__ = ["LocalCredentials", "StoredLogin", "StoredLogins", "find_secret", "local_credentials"]

_MAX_FILE_BYTES: Final = 64 * 1024

_log: Final = logging.getLogger("track.connection.credentials")


@dataclass(frozen=True, slots=True)
class LocalCredentials:
    """Credentials that a server on this machine wrote for its own user.

    Attributes:
        host: where it listens.
        port: where it listens.
        pin: of its public key.
        username: to log in as.
        token: to log in with.
        pid: the server's process.
        plaintext: whether it works without TLS.
        path: the file with these credentials.
    """

    host: str
    port: int
    pin: str
    username: str
    token: Secret
    pid: int
    plaintext: bool
    path: Path


def local_credentials(port: int, env: Mapping[str, str] | None = None) -> LocalCredentials | None:
    """The credentials that this user's own server on `port` of this machine left, if there are any.

    To be asked for loopback hosts only.  A file that others could have written or read is not
    used, with a warning.

    Args:
        port: of the server.
        env: the environment that says where to look; `os.environ` by default.
    """
    uid = os.geteuid()
    path = credential_file(runtime_folder(os.environ if env is None else env, uid, _owner_of), port)
    try:
        return _parse(path, port, _read_trusted(path, uid))
    except FileNotFoundError:
        return None
    except OSError as error:
        reason = error.strerror or str(error)
    except (ValueError, KeyError, TypeError):
        reason = "it does not have the form that a server writes; restart the server"
    _log.warning("the credential file %s is not used: %s", path, reason)
    return None


def find_secret(variables: Mapping[str, str]) -> Secret | None:
    """The token or password of ``TRACK_TOKEN``, else that of the file that ``TRACK_TOKEN_FILE`` names.

    Args:
        variables: as `os.environ` has them.

    Returns:
        None if neither is set.

    Raises:
        UsageError: the file cannot be read or is empty.
    """
    if token := variables.get("TRACK_TOKEN", "").strip():
        return Secret(token)
    if name := variables.get("TRACK_TOKEN_FILE"):
        return _from_file(Path(name))
    return None


@dataclass(frozen=True, slots=True)
class StoredLogin:
    """A login that ``track login`` has stored, for the servers of one store only.

    Attributes:
        servers: their names, ``HOST:PORT``.
        pin: of their key; empty without TLS.
        username: to log in as.
        token: to log in with.
    """

    servers: tuple[str, ...]
    pin: str
    username: str
    token: Secret

    def is_of(self, servers: Collection[str], username: str | None) -> bool:
        """Whether it is that of a user at one of these servers; of any user, if none is named."""
        return not set(servers).isdisjoint(self.servers) and username in (None, self.username)


class StoredLogins(StateFile[list[StoredLogin]]):
    """What ``track login`` has stored, in ``credentials.json``, which only its user may read."""

    _NAME = "credentials.json"
    _FIELD = "logins"

    def find(self, servers: Collection[str], username: str | None = None) -> StoredLogin | None:
        """The login for the servers that a URI names; the latest one if no user is named.

        Of a login with a key it is enough that it was stored for one of them: all have to show that key.

        Raises:
            AuthenticationError: the file is damaged, or others may read it.
        """
        found = [each for each in self._read() if each.is_of(servers, username)]
        return next((each for each in reversed(found) if each.pin or set(servers) <= set(each.servers)), None)

    def store(self, login: StoredLogin) -> None:
        """Store a login, in the place of an earlier one of that user.

        Servers of the earlier one that have the same key are servers of the new one, too.

        Raises:
            AuthenticationError: the file is damaged, or cannot be written.
        """
        self._change(lambda logins: _with(logins, login))

    def remove(self, servers: Collection[str], username: str | None = None) -> bool:
        """Remove the login of a user, or those of all users; whether there was one.

        Raises:
            AuthenticationError: the file is damaged, or cannot be written.
        """
        before = self._read()
        left = _without(before, servers, username)
        if len(left) < len(before):
            self._change(lambda logins: _without(logins, servers, username))
        return len(left) < len(before)

    def _change(self, change: Callable[[list[StoredLogin]], list[StoredLogin]]) -> None:
        try:
            with self._locked():
                self._write([_login_to_json(each) for each in change(self._read())])
        except OSError as error:
            raise AuthenticationError(
                f"the login cannot be stored in {self.path} ({error.strerror}): make that folder writable by "
                "you alone, or set XDG_STATE_HOME to another one"
            ) from error

    def _content(self) -> bytes:
        with os.fdopen(open_private(self.path, os.O_RDONLY, is_root=True), "rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise ValueError(f"others may read it: chmod 600 {self.path}, and have new tokens made")
            return file.read()

    def _parsed(self, value: Any) -> list[StoredLogin]:
        return [_login_from_json(each) for each in value]

    def _unusable(self, reason: Exception) -> AuthenticationError:
        return AuthenticationError(
            f"{self.path}, where 'track login' stores logins, cannot be used ({reason}): repair it, or "
            "remove it and log in again"
        )


def _with(logins: list[StoredLogin], login: StoredLogin) -> list[StoredLogin]:
    earlier = [each for each in logins if each.is_of(login.servers, login.username) and each.pin == login.pin]
    servers = dict.fromkeys(
        (*login.servers, *(name for each in earlier if each.pin for name in each.servers))
    )
    left = _without(logins, login.servers, login.username)
    return [*left, replace(login, servers=tuple(servers))]


def _without(logins: list[StoredLogin], servers: Collection[str], username: str | None) -> list[StoredLogin]:
    return [each for each in logins if not each.is_of(servers, username)]


def _login_to_json(login: StoredLogin) -> dict[str, Any]:
    return {
        "servers": login.servers,
        "pin": login.pin,
        "username": login.username,
        "token": login.token.reveal(),
    }


def _login_from_json(entry: Mapping[str, Any]) -> StoredLogin:
    pin, username, token = (str(entry[name]) for name in ("pin", "username", "token"))
    return StoredLogin(tuple(map(str, entry["servers"])), pin, username, Secret(token))


def _from_file(path: Path) -> Secret:
    try:
        with path.open(encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"TRACK_TOKEN_FILE: {path} cannot be read: {error}") from None
    if not text:
        raise UsageError(f"TRACK_TOKEN_FILE: {path} is empty; write the token into it")
    # Only a warning: container platforms mount secrets with modes that their user cannot change.
    if mode & 0o007:
        _log.warning("TRACK_TOKEN_FILE: every user of this machine can read %s: run chmod 600 %s", path, path)
    return Secret(text)


def _read_trusted(path: Path, uid: int) -> bytes:
    # Without O_NONBLOCK a named pipe in its place would block the program forever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if fault := _fault_of(os.fstat(descriptor), uid):
            raise PermissionError(errno.EACCES, fault)
        return os.read(descriptor, _MAX_FILE_BYTES)
    finally:
        os.close(descriptor)


def _fault_of(found: os.stat_result, uid: int) -> str | None:
    if not stat.S_ISREG(found.st_mode):
        return "it is not a regular file"
    if found.st_uid != uid:
        return f"it belongs to user {found.st_uid}, who could direct you to another server; remove it"
    if found.st_mode & 0o077:
        return "others may read it, so its token is not a secret; remove it and restart the server"
    return None


def _parse(path: Path, port: int, data: bytes) -> LocalCredentials:
    content = json.loads(data)
    found = LocalCredentials(
        host=str(content["host"]),
        port=int(content["port"]),
        pin=str(content["pin"]),
        username=str(content["username"]),
        token=Secret(str(content["token"])),
        pid=int(content["pid"]),
        plaintext=bool(content["plaintext"]),
        path=path,
    )
    if found.port != port:
        raise ValueError("it is for another port")
    return found


def _owner_of(path: Path) -> int | None:
    try:
        return path.lstat().st_uid
    except OSError:
        return None
