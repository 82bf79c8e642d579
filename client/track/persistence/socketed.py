"""The store behind a server: its client, and how to start the server from Python."""

from __future__ import annotations

import os
from dataclasses import replace
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final
from weakref import ref

from track.configuration import environment
from track.connection.address import SocketAddress
from track.connection.hosts import Hosts
from track.connection.link import SocketLink
from track.connection.login import find_login
from track.connection.offline import OfflineLink
from track.connection.trusted_files import spool_environment
from track.outbox import Outbox
from track.persistence.remote import OutboxProtocol
from track.process.signals import SignalHandler
from track.resend.orphans import recover_orphans
from track.resend.replay import Destination
from track.spool.options import SpoolOptions, sends_orphans
from track_protocol.errors import MissingExtra, RPCCallFailure
from track_protocol.uri import Uri

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import FrameType

    from track.persistence.framing import read, recv, send, to_bytes, to_obj, write
    from track_protocol.wire.link import Link, Opened

__all__ = [
    "RPCCallFailure",
    "ServerSignalHandler",
    "SocketClient",
    "SocketServer",
    "read",
    "recv",
    "send",
    "start_track_server",
    "to_bytes",
    "to_obj",
    "write",
]


_FRAMING: Final = frozenset({"read", "recv", "send", "to_bytes", "to_obj", "write"})
_OFFLINE_TIMEOUT_S: Final = 0.05
"""Seconds to wait for a server when `offline` says not to connect."""


class SocketClient(OutboxProtocol):
    """A store behind a server.

    A subclass may override `authenticate` to get its login from another source.

    Args:
        uri: ``socket://NAME:TOKEN@HOST,HOST:PORT?security_layer=AES&pin=sha256:...``.
        spools: queue records on disk, to be sent later if need be; without it, a process that ends loses
            what it did not send, which is right for a copy.

    Raises:
        UriError: it is malformed or holds an unknown option.
    """

    def __init__(self, uri: str, *, spools: bool = True) -> None:
        self._address = SocketAddress(uri)
        spool = SpoolOptions.of(spool_environment(), self._address.spool_sync, self._address.spool_limit)
        links = _Links(self._address, self, replace(Uri.parse(uri), password=None).to_text(), spool.root)
        self._links = links
        super().__init__(
            uri,
            Outbox(
                links,
                links.name,
                connect_timeout=self._address.timeout
                if self._address.offline.may_connect
                else _OFFLINE_TIMEOUT_S,
                spool=spool if spools else None,
                address=links.public,
                keeps_only=not self._address.offline.may_connect,
            ),
            self._address.offline,
        )

    @property
    def username(self) -> str | None:
        """The name of the login; None when the server's own user is let in by the file it left for them."""
        return (self.authenticate(self.uri) or (None, None))[0]

    @property
    def password(self) -> str | None:
        """The token or password of the login."""
        return (self.authenticate(self.uri) or (None, None))[1]

    @property
    def token(self) -> str | None:
        """The same as `password`."""
        return self.password

    @property
    def socket(self) -> Any:
        """The connected socket, for a look at its addresses; None while there is no connection."""
        return None if self._links.link is None else self._links.link.connected_socket

    def authenticate(self, uri: str) -> tuple[str, str] | None:
        """The login: name and token (or password).

        Args:
            uri: what this client was made with.

        Returns:
            By default what the URI and the environment say; None when neither says anything, so that
            the server's own user on its machine is let in by the file it left for them.
        """
        return find_login(self._address)


class _Links:
    """Makes the links of a client, which it does not keep alive: its records are sent also without it."""

    def __init__(self, address: SocketAddress, client: SocketClient, public: str, root: Path) -> None:
        self.name = f"the server at {address.shown}"
        self.public = public
        self._address = address
        self._hosts = Hosts(address.hosts)
        self._client = ref(client)
        self._login: tuple[str, str] | None = None
        self._root = root
        self._sends_orphans = sends_orphans(environment())
        self._recovered_by = 0
        self.link: SocketLink | None = None

    def __call__(self) -> Link:
        if not self._address.offline.may_connect:
            return OfflineLink()
        self.link = _TellingLink(self._address, self._authenticate, self._hosts, self._opened)
        return self.link

    def _opened(self) -> None:
        """A link is open: the first one of each process lets what earlier runs left be sent."""
        if self._recovered_by == os.getpid():
            return
        self._recovered_by = os.getpid()
        if self._has_spools():
            destination = Destination(self._plain_link, self.name, self.public, self._address.timeout)
            recover_orphans(self._root, destination, send=self._sends_orphans)

    def _has_spools(self) -> bool:
        """Whether there is a folder of spools that this user may look into."""
        try:
            return self._root.is_dir()
        except OSError:
            return False

    def _plain_link(self) -> Link:
        return SocketLink(self._address, self._authenticate, self._hosts)

    def _authenticate(self) -> tuple[str, str] | None:
        client = self._client()
        if client is not None:
            self._login = client.authenticate(client.uri)
        return self._login or find_login(self._address)


class _TellingLink(SocketLink):
    """Reports when it is open."""

    def __init__(
        self,
        address: SocketAddress,
        authenticate: Callable[[], tuple[str, str] | None],
        hosts: Hosts,
        opened: Callable[[], None],
    ) -> None:
        super().__init__(address, authenticate, hosts)
        self._announced_open = opened

    def open(self, session: bytes, timeout: float, ended: float | None = None) -> Opened:
        """See `Link.open`."""
        opened = super().open(session, timeout, ended)
        self._announced_open()
        return opened


class ServerSignalHandler(SignalHandler):
    """Has a server drain and stop when a signal requests this process to end; call `install`.

    `start_track_server` does that by itself.

    Args:
        server: a `SocketServer` that runs in this process.
    """

    def __init__(self, server: Any) -> None:
        self.server = server

    def sigint(self, signum: int, frame: FrameType | None) -> None:
        """Close the server after SIGINT."""
        self.server.close()

    def sigterm(self, signum: int, frame: FrameType | None) -> None:
        """Close the server after SIGTERM."""
        self.server.close()


def start_track_server(
    protocol: str,
    hostname: str,
    port: int,
    security_layer: str | None = None,
    backend: str | None = None,
) -> None:
    """Serve a store until SIGTERM or SIGINT.

    Args:
        protocol: URI of the store that requests are forwarded to.
        hostname: address to listen on.
        port: port to listen on; 0 takes a free one.
        security_layer: ``AES``, the default.
        backend: another name for `security_layer`.

    Raises:
        MissingExtra: the server is not installed.
    """
    _from_server("start_track_server")(
        protocol, hostname, port, security_layer=security_layer, backend=backend
    )


def _from_server(name: str) -> Any:
    """The object of that name in the server's package."""
    for point in entry_points(group="track.server", name=name):
        try:
            return getattr(import_module(point.module), point.attr)
        except ImportError as error:
            raise MissingExtra(
                f"{name} needs the server ({error}): pip install 'trackwire[server]'"
            ) from error
    raise MissingExtra(f"{name} needs the server: pip install 'trackwire[server]'")


def __getattr__(name: str) -> Any:
    if name == "SocketServer":
        return _from_server(name)
    if name in _FRAMING:
        # Deferred: a client needs no event loop.
        from track.persistence import framing

        return getattr(framing, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if TYPE_CHECKING:
    SocketServer: Any
