"""The one place that names concrete classes: settings in, a wired server's parts out."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from track_protocol.errors import UsageError
from track_protocol.locations import default_home
from track_protocol.loopback import is_loopback
from track_protocol.uri import Uri, check_options, redact
from track_server.accounts.identity import Identity
from track_server.accounts.users import UserStore
from track_server.engine.engine import Engine
from track_server.http.settings import HttpSettings
from track_server.methods.presence import Presence
from track_server.network.limits import LEASE_SECONDS, Limits
from track_server.network.runtime import read_server_record
from track_server.storage.admin import StoreAdmin
from track_server.stores import ADMINS, check_store_uri, open_store

__all__ = [
    "DEFAULT_PORT",
    "Parts",
    "Settings",
    "admin_of",
    "assemble",
    "settings_from_uri",
    "uses_plaintext",
]

DEFAULT_PORT: Final = 8123
_EVERYWHERE: Final = ("", "0.0.0.0", "::")  # noqa: S104 -- compared with, not listened on


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a server.

    Attributes:
        backend: URI of the store; by default ``track.db`` in the home.
        host, port: where to listen; port 0 takes a free one.
        home: folder of identity, users and by default the store.
        plaintext: use no TLS; on loopback only.
        advertise: the name under which other machines reach this server.
        certificate, key: PEM files to use instead of the identity made on first start.
        ready_file: file that is written once the server accepts connections.
        limits: what peers may take.
        lease: seconds for which the processes of a trial may be disconnected until it is lost; 0 for ever.
        http: where the board is served; None for nowhere.
    """

    backend: str | None = None
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    home: Path = field(default_factory=lambda: default_home(os.environ))
    plaintext: bool = False
    advertise: str | None = None
    certificate: Path | None = None
    key: Path | None = None
    ready_file: Path | None = None
    limits: Limits = field(default_factory=Limits)
    lease: float = LEASE_SECONDS
    http: HttpSettings | None = None

    @property
    def store_uri(self) -> str:
        """The URI of the store."""
        return (
            self.backend
            if self.backend is not None
            else Uri("sqlite", path=str(self.home / "track.db")).to_text()
        )


@dataclass(frozen=True, slots=True)
class Parts:
    """What a server is made of."""

    settings: Settings
    identity: Identity
    users: UserStore
    engine: Engine
    presence: Presence


def uses_plaintext(layer: str | None) -> bool:
    """Whether a documented ``security_layer`` means plain text.

    ``AES``, and saying nothing (None, "None" or an empty string), mean TLS 1.3 with AES-256-GCM;
    ``plaintext`` means none, on loopback.

    Raises:
        UsageError: it is something else.
    """
    known = {"": False, "none": False, "aes": False, "plaintext": True}
    plain = known.get((layer or "").lower())
    if plain is None:
        raise UsageError(f"security_layer={layer} is unknown: use AES, the default, or plaintext on loopback")
    return plain


def admin_of(text: str | None, home: Path | None) -> tuple[StoreAdmin, Path]:
    """Who looks after a store from outside, and the store's main file.

    Args:
        text: its URI; by default that of the home's last server, else the home's own store.
        home: the server's folder, by default this user's.

    Raises:
        UriError: see `check_store_uri`.
        UsageError: the store is in memory only, or in a database.
    """
    if text is None:
        folder = (home or default_home(os.environ)).absolute()
        record = read_server_record(folder)
        text = record.store if record is not None else Settings(home=folder).store_uri
    uri = check_store_uri(text)
    admin = ADMINS.get(uri.scheme)
    if admin is None:
        if uri.scheme == "ephemeral":
            raise UsageError(f"{text}: this store exists only while its server runs: name a store in a file")
        raise UsageError(
            f"{redact(text)}: this store is in a database, which has tools of its own for checks and backups "
            "(pg_dump, pg_restore, pg_amcheck): name a store in a file"
        )
    return admin, Path(uri.path)


def assemble(settings: Settings) -> Parts:
    """Make the parts of a server; the store is open and locked when this returns.

    Raises:
        UsageError: the settings contradict each other.
        TrackError: identity, users or store cannot be had.
    """
    if settings.plaintext and not is_loopback(settings.host):
        raise UsageError(
            f"plain text on {settings.host} would show every token to the network: "
            "listen on 127.0.0.1, or leave security_layer=plaintext out"
        )
    if not (math.isfinite(settings.lease) and settings.lease >= 0):
        raise UsageError(f"a lease of {settings.lease} s is not valid: give 0 or more (0 turns it off)")
    identity = Identity.load_or_create(settings.home, certificate=settings.certificate, key=settings.key)
    users = UserStore(settings.home)
    users.mock_secret()  # now, before the first login waits for it
    # Only processes of this machine can find the store taken.
    here = "localhost" if settings.host in _EVERYWHERE else settings.host
    served_as = f"socket://{here}:{settings.port}"
    store = open_store(settings.store_uri, exclusive=True, served_as=served_as)
    engine = Engine(store, read_seconds=settings.limits.read_seconds, limits=settings.limits.writes)
    presence = Presence(settings.lease, engine, local=store.local_sessions)
    return Parts(settings, identity, users, engine, presence)


def settings_from_uri(text: str, **overrides: Any) -> Settings:
    """Settings from the documented ``socket://host:port?security_layer=AES&backend=URI``.

    Raises:
        UriError: it is malformed or holds an unknown option.
    """
    uri = Uri.parse(text)
    if uri.scheme != "socket" or not uri.hostname or uri.more_hosts:
        raise UsageError(f"{redact(text)}: a server listens on socket://HOST:PORT?backend=URI")
    options = check_options(
        uri,
        {
            "security_layer": str,
            "backend": str,
            "home": Path,
            "advertise": str,
            "certificate": Path,
            "key": Path,
            "lease": float,
        },
    )
    plain = uses_plaintext(options.pop("security_layer", None))
    port = DEFAULT_PORT if uri.port is None else uri.port
    return Settings(**{"host": uri.hostname, "port": port, "plaintext": plain, **options, **overrides})
