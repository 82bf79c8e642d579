"""A server as a process of its own: event loop, signals, what it prints, exit."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import uvloop

from track_protocol.errors import UsageError
from track_protocol.loopback import is_loopback
from track_protocol.terminal import clean
from track_protocol.uri import redact
from track_server.app import Settings, uses_plaintext
from track_server.network.limits import OTHER_FILES
from track_server.network.server import SocketServer
from track_server.network.stopping import stopped_by_signals

__all__ = ["announcement", "serve", "start_track_server"]

_log = logging.getLogger(__name__)

_SWITCH_INTERVAL_S: Final = 0.0005
"""How long a thread may keep the interpreter while others wait for it: 5 ms by default, which a small call
would wait several times while large reads are encoded."""

_MALLOC_OPTIONS: Final = {-8: 1, -1: 4 * 1024 * 1024, -3: 1024 * 1024}
"""Of glibc: M_ARENA_MAX, M_TRIM_THRESHOLD and M_MMAP_THRESHOLD, the latter two in bytes.  A page of points
takes several buffers of half a megabyte; with smaller thresholds the kernel clears their memory anew each
time, which was a third of what a read costs."""

_EVERYWHERE: Final = ("0.0.0.0", "::")  # noqa: S104 - compared with, not listened on


def announcement(server: SocketServer) -> str:
    """The message of a started server: where it listens, the store, the pin, how to join."""
    settings = server.settings
    host, port = server.address
    layer = "plain text, this machine only" if settings.plaintext else "TLS 1.3 AES-256-GCM"
    option = "?security_layer=plaintext" if settings.plaintext else ""
    lines = [
        f"listening  {host}:{port}, {layer}",
        f"store      {redact(settings.store_uri)}",
        f"home       {settings.home}",
        f"pin        {server.pin}",
    ]
    if server.board_url is not None:
        lines.append(f"board      {server.board_url}")
    if is_loopback(host) or host in _EVERYWHERE:
        lines.append(f"you, here  TrackClient('socket://localhost:{port}{option}')")
    lines.append(
        f"others     track user add NAME --role writer --home {settings.home}   (prints the join URI)"
    )
    if is_loopback(host):
        lines.append("network    only this machine can connect; --listen 0.0.0.0:8123 opens it to others")
    return "\n".join(lines)


def _return_freed_memory() -> None:
    """Have glibc return what is freed: a heap for each thread and large blocks would stay with the process.

    See mallopt(3).  Other C libraries do this by themselves, or have no such call.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, value in _MALLOC_OPTIONS.items():
            mallopt(parameter, value)


def _allow_open_files(count: int) -> None:
    """Raise this process's limit of open files, by default 1,024, as far as the system lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _run(server: SocketServer, ready: Callable[[SocketServer], None]) -> None:
    # Before the ready file appears, whose reader may want to stop the server at once.
    with stopped_by_signals(server.close):
        await server.start()
        ready(server)
        await server.wait_closed()


def _print_announcement(server: SocketServer) -> None:
    sys.stderr.write(clean(f"{announcement(server)}\n"))
    sys.stderr.flush()


def serve(
    settings: Settings,
    *,
    server_class: type[SocketServer] = SocketServer,
    ready: Callable[[SocketServer], None] = _print_announcement,
) -> None:
    """Run a server until SIGTERM or SIGINT (in the main thread), then drain and return.

    Args:
        settings: of the server.
        server_class: `SocketServer` or a class derived from it.
        ready: called once the server accepts.

    Raises:
        TrackError: the server cannot start.
    """
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    _return_freed_memory()
    _allow_open_files(settings.limits.connections + OTHER_FILES)
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
        home: the server's folder for identity and users; `track_protocol.locations.default_home` by
            default.

    Raises:
        TrackError: the server cannot start; the message says why and what to do.
    """
    if security_layer is not None and backend is not None and security_layer != backend:
        raise UsageError(
            f"security_layer={security_layer!r} and backend={backend!r} contradict each other: give one of "
            "them"
        )
    plain = uses_plaintext(security_layer or backend)
    settings = Settings(backend=protocol, host=hostname, port=port, plaintext=plain)
    if home is not None:
        settings = Settings(backend=protocol, host=hostname, port=port, plaintext=plain, home=Path(home))
    serve(settings)
