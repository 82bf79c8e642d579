"""The users of a server: names, roles and SCRAM verifiers in ``users.json``."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from track_protocol.errors import ItemNotFound, StoreCorrupt, StoreError, UsageError
from track_protocol.security.scram import Verifier, make_verifier
from track_protocol.security.tokens import Secret, is_generated, new_token
from track_protocol.wire.roles import Role
from track_server.accounts.private_files import home_folder, read_private
from track_server.storage.durable_files import locked, replace_file

__all__ = ["User", "UserStore"]

_VERSION: Final = 1
_NAME: Final = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_RESERVED: Final = "local-"
_MOCK_SECRET_BYTES: Final = 32
_SHORT_HASH: Final = 16
"""Digits of a token's hash: enough to find its user."""

# Identifies a state of the file: time of change in ns, size and inode.
_Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class User:
    """One user.

    Attributes:
        name: by which the user logs in.
        role: what the user may do.
        verifier: what the user's proof is checked with.
        created: when the user was added, in UTC.
        token: a short hash of a generated token, by which its user is found; None with a password, which
            a fast hash would give away.
    """

    name: str
    role: Role
    verifier: Verifier
    created: datetime.datetime
    token: str | None = None


class UserStore:
    """The users in a server's home.

    Any process may add and remove users at any time: changes are made under a lock, the file is
    replaced atomically, and readers look at it again when it has changed.

    Args:
        home: the server's folder; made with mode 0700.

    Raises:
        UsageError: the folder is another user's, or others may write to it.
    """

    def __init__(self, home: Path) -> None:
        self._home = home_folder(home)
        self._path = home / "users.json"
        self._lock = home / "users.lock"
        self._seen: _Stamp | None = None
        self._users: Mapping[str, User] = {}
        self._mock_secret: bytes | None = None

    def add(self, name: str, role: Role, secret: Secret | str | None = None) -> str:
        """Add a user and return the token to log in with; it is not stored.

        Args:
            name: 1 to 64 letters, digits and ``. _ - @``, not starting with ``local-``.
            role: what the user may do.
            secret: a password that a person chose; by default a token is generated.

        Raises:
            UsageError: the name cannot be used, there is such a user already, or the password is
                empty.
        """
        _check_name(name)
        token = new_token() if secret is None else Secret(secret).reveal()
        if not token:
            raise UsageError(f"the password of {name!r} is empty: choose one, or let a token be generated")
        created = datetime.datetime.now(datetime.UTC)
        user = User(name, role, make_verifier(token), created, _hash_of_token(token))

        def with_user(users: dict[str, User]) -> None:
            if name in users:
                raise UsageError(
                    f"the user {name!r} exists already, and its token cannot be shown again: "
                    f"run 'track user remove {name}' first"
                )
            users[name] = user

        self._modify(with_user)
        return token

    def remove(self, name: str) -> None:
        """Remove a user.

        Raises:
            ItemNotFound: there is none of that name.
        """

        def without_user(users: dict[str, User]) -> None:
            if users.pop(name, None) is None:
                raise ItemNotFound(f"there is no user {name!r}: 'track user list' shows the names")

        self._modify(without_user)

    def list(self) -> tuple[User, ...]:
        """All users, by name."""
        return tuple(user for _, user in sorted(self.current().items()))

    def lookup(self, name: str) -> User | None:
        """The user of that name as of now, None if there is none.

        Raises:
            StoreError: the file cannot be read, or is not what this class writes.
        """
        return self.current().get(name)

    def named(self, token: str) -> str | None:
        """The name of the user whose generated token this seems to be; None if it is nobody's.

        Only the user's verifier tells whether it is.

        Raises:
            StoreError: the file cannot be read, or is not what this class writes.
        """
        short = _hash_of_token(token)
        if short is None:
            return None
        return next((user.name for user in self.current().values() if user.token == short), None)

    def current(self) -> Mapping[str, User]:
        """All users as of now, by name; a user who was removed and added again compares unequal.

        Raises:
            StoreError: the file cannot be read, or is not what this class writes.
        """
        stamp = self._stamp()
        if stamp != self._seen:
            # The stamp is older than what is read, so a change in between is seen the next time.
            self._users = self._read()
            self._seen = stamp
        return self._users

    def changed(self) -> bool:
        """Whether the file has changed since `current`, `lookup` or `list` was last called."""
        return self._stamp() != self._seen

    def mock_secret(self) -> bytes:
        """32 bytes from which the challenges for unknown users are derived; made once for a home.

        The first call may wait for another process that changes the users; later ones never do.

        Raises:
            StoreCorrupt: the file has another length.
        """
        if self._mock_secret is None:
            self._mock_secret = self._stored_mock_secret()
        return self._mock_secret

    def _stored_mock_secret(self) -> bytes:
        path = self._home / "mock.secret"
        with locked(self._lock):
            found = read_private(path)
            if found is None:
                found = secrets.token_bytes(_MOCK_SECRET_BYTES)
                replace_file(path, [found])
        if len(found) != _MOCK_SECRET_BYTES:
            raise StoreCorrupt(f"{path} is damaged: remove it, and a new one is made on the next start")
        return found

    def _stamp(self) -> _Stamp | None:
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{self._path} cannot be read: {error.strerror}") from error
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> dict[str, User]:
        data = read_private(self._path)
        return {} if data is None else _users_from_json(self._path, data)

    def _modify(self, change: Callable[[dict[str, User]], None]) -> None:
        with locked(self._lock):
            users = self._read()
            change(users)
            replace_file(self._path, [_users_to_json(users)])


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot be a user's name: use 1 to 64 of A-Z a-z 0-9 . _ - @")
    if name.startswith(_RESERVED):
        raise UsageError(f"{name!r} cannot be a user's name: {_RESERVED!r} is for the server's own user")


def _users_to_json(users: Mapping[str, User]) -> bytes:
    entries = {
        user.name: {
            "role": user.role.value,
            "created": user.created.isoformat(),
            "verifier": user.verifier.to_json(),
            "token": user.token,
        }
        for user in users.values()
    }
    return json.dumps({"version": _VERSION, "users": entries}, indent=2, sort_keys=True).encode()


def _users_from_json(path: Path, data: bytes) -> dict[str, User]:
    try:
        document = json.loads(data)
        if document["version"] != _VERSION:
            raise ValueError(f"its version is {document['version']!r}, not {_VERSION}")
        return {name: _user_from_json(name, entry) for name, entry in document["users"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreCorrupt(
            f"the users file {path} cannot be parsed ({type(error).__name__}: {error}): restore it from "
            "a backup, or remove it and add the users again"
        ) from None


def _user_from_json(name: str, entry: Mapping[str, object]) -> User:
    verifier = entry["verifier"]
    if not isinstance(verifier, dict):
        raise ValueError(f"the verifier of {name!r} is not an object")
    created = datetime.datetime.fromisoformat(str(entry["created"]))
    token = entry.get("token")
    if not isinstance(token, str | None):
        raise ValueError(f"the token's hash of {name!r} is not a text")
    return User(name, Role(str(entry["role"])), Verifier.from_json(verifier), created, token)


def _hash_of_token(token: str) -> str | None:
    return hashlib.sha256(token.encode()).hexdigest()[:_SHORT_HASH] if is_generated(token) else None
