"""Connects the parts of a board: in a server, on its engine, and for one viewer, on any store."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Final

import uvloop

from track_protocol.board import BoardOptions, BoardStore, Interface
from track_protocol.errors import MissingExtra, TrackError, UsageError
from track_protocol.locations import default_home
from track_protocol.loopback import is_loopback
from track_protocol.uri import redact
from track_protocol.wire.roles import Role
from track_server.accounts.identity import Identity
from track_server.accounts.users import UserStore
from track_server.app import Parts
from track_server.embedded import SharedEngineLink
from track_server.network.listening import listen
from track_server.network.misdialled import http_answer, is_tls
from track_server.network.runtime import read_server_record
from track_server.network.stopping import stopped_by_signals

try:
    from track_server.board.calls import EngineCalls, StoreCalls
    from track_server.board.logins import Accounts, Logins, NoAccounts, UserAccounts
    from track_server.board.routes import application
    from track_server.board.stores import Shown, Stores
    from track_server.board.visitors import Visitors
    from track_server.http.certificates import browser_context, host_names, named_certificate
    from track_server.http.files import Pages
    from track_server.http.guard import Guard, Rules
    from track_server.http.listener import HttpListener
    from track_server.http.sessions import Codes, SessionTable
    from track_server.http.settings import DEFAULT_HTTP_PORT, HttpSettings
except ModuleNotFoundError as error:
    raise MissingExtra(
        f"the board needs {error.name}, which is not installed: pip install 'trackwire[board]'"
    ) from error

__all__ = ["BoardService", "home_uri", "log_everybody_out", "serve_board", "server_board"]

_SESSIONS: Final = "board.db"
_CERTIFICATE: Final = "board.crt"


class BoardService:
    """One board: its application, sessions and listener.

    Args:
        stores: what it shows.
        accounts: users who log in by name.
        own: what this process's user may do.
        sessions: file of the sessions; None for memory.
        settings: how the service is reached.
        listening: the socket.
        tls: the context of the handshake, None on loopback.
        names: hosts by which it may be addressed, besides loopback.
        interface: see `BoardOptions.interface`.

    Attributes:
        url: of its first page.
        logins: decides who logs in.
    """

    def __init__(
        self,
        stores: Stores,
        *,
        accounts: Accounts,
        own: Role,
        sessions: Path | None,
        settings: HttpSettings,
        listening: socket.socket,
        tls: ssl.SSLContext | None,
        names: frozenset[str],
        interface: Interface | None = None,
    ) -> None:
        host, port = listening.getsockname()[:2]
        self.url = _url(host, port, tls is not None, settings)
        self._sessions = SessionTable(sessions)
        self.logins = Logins(accounts, own, Codes())
        self._stores = stores
        visitors = Visitors(self._sessions, self.logins, port)
        self._interface = interface
        routes = () if interface is None else interface.routes
        app = application(stores, visitors, version("trackwire"), Pages(), routes)
        rules = Rules(names | settings.names, settings.prefix, settings.embed, settings.proxies)
        refusal = None if tls is None else lambda first: None if is_tls(first) else _encrypted_only(self.url)
        self._listener = HttpListener(listening, Guard(app, rules), tls, refusal=refusal)

    def start(self) -> None:
        """Answer requests from now on."""
        self._listener.start()

    async def close(self) -> None:
        """End all streams, answer what is in flight for a moment, and release everything."""
        self._stores.close()
        await self._listener.close()
        self.logins.close()
        if self._interface is not None:
            await asyncio.to_thread(self._interface.close)
        self._sessions.release()


def server_board(parts: Parts, settings: HttpSettings, uri: str) -> BoardService:
    """The board of a server; to be called on its event loop.

    Args:
        parts: of the server.
        settings: how the board is reached.
        uri: what a script gives as ``TRACK_URI`` to reach the server.

    Raises:
        TrackError: the address, the certificate or the sessions cannot be had.
    """
    listening = listen(settings.host, settings.port)
    try:
        # On loopback nobody else's name leads here, and to look for those of the host may take long.
        names = settings.names if is_loopback(settings.host) else host_names(settings.host) | settings.names
        if parts.settings.advertise is not None:
            names |= {parts.settings.advertise}
        own = (
            None
            if is_loopback(settings.host)
            else _context(parts.settings.home, parts.identity, names, _given_certificate(parts))
        )
        calls = EngineCalls(parts.engine, parts.users.mock_secret())
        return BoardService(
            Stores(Shown(redact(parts.settings.store_uri), uri, calls)),
            accounts=UserAccounts(parts.users),
            own=Role.ADMIN,
            sessions=parts.settings.home / _SESSIONS,
            settings=settings,
            listening=listening,
            tls=own,
            names=names,
            interface=_simpleboard(parts),
        )
    except BaseException:
        listening.close()
        raise


def _given_certificate(parts: Parts) -> Path | None:
    return None if parts.settings.certificate is None else parts.identity.certificate_path


def _simpleboard(parts: Parts) -> Interface | None:
    """SimpleBoard's interface, which the client's package has; None where that is not installed."""
    found = next(iter(entry_points(group="track.board", name="simpleboard_of_link")), None)
    if found is None:
        return None
    interface: Interface = found.load()(
        lambda: SharedEngineLink(parts.engine), redact(parts.settings.store_uri)
    )
    return interface


def _context(
    home: Path, identity: Identity, names: frozenset[str], certificate: Path | None = None
) -> ssl.SSLContext:
    """TLS for browsers: a certificate that was given for the names, else one of the identity's key."""
    made = certificate or named_certificate(home / _CERTIFICATE, identity.key_path, names)
    return browser_context(made, identity.key_path)


def serve_board(store: BoardStore, options: BoardOptions, ready: Callable[[str, str], None]) -> None:
    """Show a store until SIGTERM or SIGINT.

    Args:
        store: the store.
        options: how.
        ready: called once requests are answered, with the address, and with the address that logs in, once.

    Raises:
        TrackError: the address cannot be had.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(store, options, ready))


async def _serve(store: BoardStore, options: BoardOptions, ready: Callable[[str, str], None]) -> None:
    service = _team_board(store, options) if not is_loopback(options.host) else _own_board(store, options)
    ended = asyncio.Event()
    with stopped_by_signals(ended.set):
        try:
            service.start()
            ready(service.url, f"{service.url}#login={service.logins.own_code()}")
            await ended.wait()
        finally:
            await service.close()


def _own_board(store: BoardStore, options: BoardOptions) -> BoardService:
    return _board(store, options, NoAccounts(), _on_loopback(options.port), None, frozenset())


def _team_board(store: BoardStore, options: BoardOptions) -> BoardService:
    """A board that others reach, too: encrypted, and for the users of this user's server."""
    home = default_home(os.environ)
    users = UserStore(home)
    if not users.current():
        raise UsageError(
            f"{options.host} is reached by others, who have to log in, and there are no users: "
            "add one with: track user add NAME --role reader"
        )
    names = host_names(options.host)
    identity = Identity.load_or_create(home)
    listening = listen(options.host, DEFAULT_HTTP_PORT if options.port is None else options.port)
    return _board(store, options, UserAccounts(users), listening, _context(home, identity, names), names)


def _board(
    store: BoardStore,
    options: BoardOptions,
    accounts: Accounts,
    listening: socket.socket,
    tls: ssl.SSLContext | None,
    names: frozenset[str],
) -> BoardService:
    return BoardService(
        Stores(Shown(store.shown, store.uri, StoreCalls(store)), options.stores),
        accounts=accounts,
        own=store.role,
        sessions=None,
        settings=HttpSettings(options.host, embed=options.embed),
        listening=listening,
        tls=tls,
        names=names,
        interface=options.interface,
    )


def home_uri() -> str | None:
    """The URI of the server of this user's home; None if there never was one.

    Raises:
        StoreCorrupt: what it has left there cannot be read.
    """
    record = read_server_record(default_home(os.environ))
    if record is None:
        return None
    return f"socket://localhost:{record.port}{'?security_layer=plaintext' if record.plaintext else ''}"


def log_everybody_out() -> int:
    """End all sessions of browsers with the server of this user's home; returns how many there were."""
    path = default_home(os.environ) / _SESSIONS
    if not path.exists():
        return 0
    table = SessionTable(path)
    try:
        return table.clear()
    finally:
        table.release()


def _on_loopback(port: int | None) -> socket.socket:
    if port is None:
        with suppress(TrackError):  # another board has the usual port
            return listen("127.0.0.1", DEFAULT_HTTP_PORT)
    return listen("127.0.0.1", port or 0)


def _url(host: str, port: int, encrypted: bool, settings: HttpSettings) -> str:
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared with, not listened on
        host = next(iter(sorted(settings.names)), socket.gethostname())
    # Not localhost: that may be ::1 first, where another user may listen on the same port.
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if encrypted else 'http'}://{shown}:{port}{settings.prefix}/"


def _encrypted_only(url: str) -> bytes:
    return http_answer(f"This board is encrypted: open {url}")
