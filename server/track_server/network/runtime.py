"""What a running server leaves for others: its own user's credentials, its address, that it is ready."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from track_protocol.errors import StoreCorrupt
from track_protocol.locations import credential_file, local_username, runtime_folder
from track_protocol.security.scram import make_verifier
from track_protocol.security.tokens import Secret, new_token
from track_protocol.wire.roles import Role
from track_server.accounts.private_files import owned_folder, read_private
from track_server.accounts.users import User
from track_server.storage.durable_files import replace_file

__all__ = [
    "LocalAccess",
    "ServerRecord",
    "publish_local_access",
    "read_server_record",
    "write_ready_file",
    "write_server_record",
]


@dataclass(frozen=True, slots=True)
class LocalAccess:
    """The login of the server's own user on this machine, valid while the server runs.

    Attributes:
        path: the credential file, which only that user may read.
        user: what the server has to accept besides the users of its store.
        token: what the file says; `withdraw` knows the file by it.
    """

    path: Path
    user: User
    token: Secret

    def withdraw(self) -> None:
        """Remove the file, unless another server has put its own in its place.

        To be called while the port is still held, since no other process can use it until then.
        """
        data = read_private(self.path)
        if data is not None and _token_in(data) == self.token:
            self.path.unlink(missing_ok=True)


def publish_local_access(
    *, host: str, port: int, pin: str, plaintext: bool, env: Mapping[str, str] | None = None
) -> LocalAccess:
    """Leave a fresh token for the server's own user, in place of what a killed server left.

    Args:
        host: where the server listens.
        port: where the server listens.
        pin: of the server's public key.
        plaintext: whether the server uses no TLS.
        env: the environment that says where; `os.environ` by default.

    Raises:
        UsageError: the folder for it belongs to another user.
        StoreReadOnly: it cannot be written.
    """
    uid = os.geteuid()
    path = credential_file(runtime_folder(os.environ if env is None else env, uid, _owner_of), port)
    owned_folder(path.parent.parent)
    owned_folder(path.parent).chmod(0o700)
    token = new_token()
    user = User(local_username(uid), Role.ADMIN, make_verifier(token), datetime.datetime.now(datetime.UTC))
    content = {
        "host": host,
        "port": port,
        "pin": pin,
        "username": user.name,
        "token": token,
        "pid": os.getpid(),
        "plaintext": plaintext,
    }
    replace_file(path, [json.dumps(content).encode()])
    return LocalAccess(path, user, Secret(token))


@dataclass(frozen=True, slots=True)
class ServerRecord:
    """Where the server of a home listens, or last did.

    Attributes:
        host: the address it listens on.
        port: the port it listens on.
        advertise: the name under which others reach it, None if not given.
        pin: of its public key.
        pid: its process.
        store: the URI of its store.
        plaintext: whether it uses no TLS.
        certificate: PEM file of its certificate, None for the one in its home.
    """

    host: str
    port: int
    advertise: str | None
    pin: str
    pid: int
    store: str
    plaintext: bool = False
    certificate: str | None = None


def write_server_record(home: Path, record: ServerRecord) -> None:
    """Write ``server.json`` into the home, for `track user add`.

    Raises:
        StoreReadOnly: it cannot be written.
    """
    replace_file(home / "server.json", [json.dumps(asdict(record), indent=2).encode()])


def read_server_record(home: Path) -> ServerRecord | None:
    """What the last server of this home wrote, None if there was none.

    Raises:
        StoreCorrupt: the file is not what `write_server_record` writes.
    """
    path = home / "server.json"
    data = read_private(path)
    if data is None:
        return None
    try:
        record = ServerRecord(**json.loads(data))
    except (ValueError, TypeError) as error:
        raise StoreCorrupt(
            f"{path} cannot be parsed ({error}): remove it; the server writes it again when it starts"
        ) from None
    return record


def write_ready_file(path: Path, content: Mapping[str, object]) -> None:
    """Announce in a file that the server accepts connections; replaces the file atomically.

    Args:
        path: the file; any user may read it, since it holds nothing secret.
        content: host, port, pin and pid.

    Raises:
        StoreReadOnly: it cannot be written.
    """
    replace_file(path, [json.dumps(dict(content)).encode() + b"\n"], mode=0o644)


def _token_in(data: bytes) -> Secret | None:
    try:
        return Secret(str(json.loads(data)["token"]))
    except (ValueError, KeyError, TypeError):
        return None


def _owner_of(path: Path) -> int | None:
    try:
        return path.lstat().st_uid
    except OSError:
        return None
