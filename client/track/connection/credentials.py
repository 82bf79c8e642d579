"""The sources of a login without one in the URI: the user's own server, the environment, a file."""

from __future__ import annotations

import errno
import json
import logging
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from track.configuration import environment
from track_protocol.errors import UsageError
from track_protocol.locations import credential_file, runtime_folder
from track_protocol.security.tokens import Secret

__all__ = ["LocalCredentials", "find_secret", "local_credentials"]

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


def find_secret(given: str | None, env: Mapping[str, str] | None = None) -> Secret | None:
    """The token or password to log in with.

    It is the one of the URI, else ``TRACK_TOKEN``, else the content of the file that
    ``TRACK_TOKEN_FILE`` names; None if there is none.

    Args:
        given: what the URI says.
        env: the environment; by default with what `track.config` says beneath it.

    Raises:
        UsageError: the file cannot be read or is empty.
    """
    variables = environment() if env is None else env
    if given:
        return Secret(given)
    if token := variables.get("TRACK_TOKEN", "").strip():
        return Secret(token)
    if name := variables.get("TRACK_TOKEN_FILE"):
        return _from_file(Path(name))
    return None


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
