"""``track server [BACKEND_URI] --listen HOST:PORT --home DIR``: run a server."""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from track_protocol.command import Command
from track_protocol.errors import UsageError
from track_protocol.locations import default_home
from track_server.commands.printing import LogFormatter
from track_server.http.settings import HttpSettings
from track_server.network.limits import LEASE_SECONDS

__all__ = ["COMMAND"]

_PORT = 8123


def _configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "backend",
        nargs="?",
        metavar="BACKEND_URI",
        help="the store: sqlite:FILE, file:FILE or ephemeral: (default: track.db in --home)",
    )
    add(
        "--listen",
        default=f"127.0.0.1:{_PORT}",
        metavar="HOST:PORT",
        help="address to listen on; port 0 selects a free one (default: %(default)s)",
    )
    add(
        "--home",
        type=Path,
        metavar="DIR",
        help="folder for identity, users and default store (default: $TRACK_HOME, or ~/.local/share/track)",
    )
    add("--advertise", metavar="HOST", help="the name under which other machines reach this server")
    add(
        "--certificate",
        type=Path,
        metavar="PEM",
        help="use this certificate instead of the one made on first start",
    )
    add("--key", type=Path, metavar="PEM", help="private key of --certificate")
    add(
        "--ready-file",
        type=Path,
        metavar="FILE",
        help="file that receives host, port, pin and pid once connections are accepted",
    )
    add(
        "--log-level",
        default="warning",
        choices=["debug", "info", "warning", "error"],
        help="what the log contains (default: %(default)s)",
    )
    add(
        "--lease",
        type=float,
        default=LEASE_SECONDS,
        metavar="SECONDS",
        help="seconds without a connection after which a trial is lost; 0: never (default: %(default)g)",
    )
    add(
        "--http",
        metavar="[HOST:]PORT",
        help="serve the board in browsers, too; on HOST with TLS and a login (default HOST: 127.0.0.1)",
    )
    add(
        "--http-name",
        action="append",
        default=[],
        metavar="HOST",
        help="a further name under which browsers reach it; may be repeated",
    )
    add("--http-prefix", default="", metavar="PATH", help="path under which a reverse proxy shows it")
    add(
        "--http-proxy",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="believe the forwarded headers of the reverse proxy at this address; may be repeated",
    )
    add("--embed", metavar="ORIGIN", help="pages of this origin may show the board in a frame, for reading")
    add(
        "--security-layer",
        default="AES",
        metavar="AES",
        help="AES, or plaintext on loopback only (default: %(default)s)",
    )


def _run(args: argparse.Namespace) -> int:
    from track_server.accounts.identity import Identity
    from track_server.app import Settings, uses_plaintext
    from track_server.network.process import serve

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LogFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=args.log_level.upper(), handlers=[handler])
    host, port = _address("--listen", args.listen)
    settings = Settings(
        backend=args.backend,
        host=host,
        port=port,
        home=(args.home or default_home(os.environ)).absolute(),
        plaintext=uses_plaintext(args.security_layer),
        advertise=args.advertise,
        certificate=args.certificate,
        key=args.key,
        ready_file=args.ready_file,
        lease=args.lease,
        http=_http(args),
    )
    if settings.certificate is None and not Identity.is_in(settings.home):
        _make_identity(settings.home)
    serve(settings)
    return 0


def _make_identity(home: Path) -> None:
    """Have the identity made by another process, since what that loads would stay in this one: 12 MB.

    If that process fails, this one makes the identity as it starts, or says why it cannot.
    """
    make = (
        "import sys; from pathlib import Path; from track_server.accounts.identity import Identity; "
        "Identity.load_or_create(Path(sys.argv[1]))"
    )
    with suppress(OSError):
        subprocess.run(  # noqa: S603 - this interpreter, and code of this module
            [sys.executable, "-P", "-c", make, home],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


def _http(args: argparse.Namespace) -> HttpSettings | None:
    if args.http is None:
        if given := [
            name for name in ("http_name", "http_prefix", "http_proxy", "embed") if getattr(args, name)
        ]:
            raise UsageError(f"--{given[0].replace('_', '-')} is about the board: give --http, too")
        return None
    text = args.http if ":" in args.http else f"127.0.0.1:{args.http}"
    host, port = _address("--http", text)
    names = frozenset(args.http_name)
    return HttpSettings(host, port, names, args.http_prefix, args.embed, frozenset(args.http_proxy))


def _address(option: str, text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon:
        host, port = text, str(_PORT)
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise UsageError(
            f"{option} {text}: the port must be a number from 0 to 65535, as in 127.0.0.1:{_PORT}"
        )
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 - no host is how people say "everywhere"


COMMAND: Final = Command("run a tracking server", _configure, _run)
