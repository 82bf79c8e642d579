"""A server as a process of its own: event loop, signals, what it prints, exit."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import uvloop
from track_protocol.errors import UsageError
from track_protocol.loopback import is_loopback
from track_protocol.uri import redact

from track_server.app import Settings, speaks_plaintext
from track_server.socketed import SocketServer

__all__ = ["announcement", "serve", "start_track_server"]

_log = logging.getLogger(__name__)


def announcement(server: SocketServer) -> str:
    """What to tell whoever started a server: where it listens, the store, the pin, how to join."""
    settings = server.settings
    host, port = server.address
    home = f" --home {settings.home}"
    wide = not is_loopback(host)
    lines = [
        f"listening  {host}:{port}, " + ("plain text, this machine only" if settings.plaintext else "TLS 1.3 AES-256-GCM"),
        f"store      {redact(settings.store_uri)}",
        f"home       {settings.home}",
        f"pin        {server.pin}",
        f"you, here  TrackClient('socket://localhost:{port}')",
        f"others     track user add NAME --role writer{home}   (prints the URI to join with)",
    ]
    if not wide:
        lines.append("network    only this machine can connect; --listen 0.0.0.0:8123 opens it to others")
    return "\n".join(lines)


async def _run(server: SocketServer, ready: Callable[[SocketServer], None]) -> None:
    await server.start()
    if threading.current_thread() is threading.main_thread():
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, server.close)
    ready(server)
    await server.wait_closed()


def _print_announcement(server: SocketServer) -> None:
    print(announcement(server), file=sys.stderr, flush=True)


def serve(
    settings: Settings,
    *,
    server_class: type[SocketServer] = SocketServer,
    ready: Callable[[SocketServer], None] = _print_announcement,
) -> None:
    """Run a server until SIGTERM or SIGINT (in the main thread), then drain and return.

    Args:
        settings: what the server is told.
        server_class: `SocketServer` or a class derived from it.
        ready: called once the server accepts.

    Raises:
        TrackError: the server cannot start.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(server_class(settings=settings), ready))
    _log.info("stopped")


def start_track_server(
    protocol: str,
    hostname: str,
    port: int,
    security_layer: str | None = None,
    backend: str | None = None,
    *,
    home: str | Path | None = None,
) -> None:
    """Serve a store until SIGTERM or SIGINT; then drain and return.

    Args:
        protocol: URI of the store that requests are forwarded to.
        hostname: address to listen on.
        port: port to listen on; 0 takes a free one.
        security_layer: ``AES`` (the default): TLS 1.3 with AES-256-GCM.
        backend: another name of `security_layer`.
        home: the server's folder for identity and users; `track_protocol.places.default_home` by
            default.

    Raises:
        TrackError: the server cannot start; the message says why and what to do.
    """
    if security_layer is not None and backend is not None and security_layer != backend:
        raise UsageError(f"security_layer={security_layer!r} and backend={backend!r} contradict: give one")
    plain = speaks_plaintext(security_layer or backend)
    settings = Settings(backend=protocol, host=hostname, port=port, plaintext=plain)
    if home is not None:
        settings = Settings(backend=protocol, host=hostname, port=port, plaintext=plain, home=Path(home))
    serve(settings)
