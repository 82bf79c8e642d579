"""``track board [URI]``: show a store in the browser."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from html import escape
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Final

from track.persistence.board import OpenStore, opened_for_board
from track.persistence.existing import check_exists, existing_uri
from track_protocol.board import BoardOptions
from track_protocol.command import Command
from track_protocol.errors import MissingExtra, UsageError

__all__ = ["COMMAND", "board_app", "open_browser", "show_board"]

_GROUP: Final = "track.board"


def _configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "uri",
        nargs="?",
        metavar="URI",
        help="the store: socket://HOST, sqlite:FILE or file:FILE (default: $TRACK_URI, uri in track.config, "
        "or this user's server)",
    )
    add("--port", type=int, metavar="PORT", help="port on this machine (default: 8124, or a free one)")
    add("--no-browser", action="store_true", help="print the address only")
    add("--embed", metavar="ORIGIN", help="the origin whose pages may show the board in a frame, for reading")
    add("--end-with-stdin", action="store_true", help="end when standard input does, for who starts it")
    add("--logout", action="store_true", help="end all logins of browsers with this user's server, and exit")


def _run(args: argparse.Namespace) -> int:
    if args.logout:
        count = board_app("logout")()
        print(f"{count} {'login' if count == 1 else 'logins'} ended")
        return 0
    if args.port is not None and not 0 <= args.port <= 65_535:
        raise UsageError(f"--port {args.port}: a port is a number from 0 to 65535")
    if args.end_with_stdin:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    with opened_for_board(_store(args.uri)) as store:
        interface = board_app("simpleboard")(store.protocol)
        options = BoardOptions(args.port, args.embed, interface=interface)
        show_board(store, options, opens_browser=not args.no_browser)
    return 0


def _end_with_stdin() -> None:
    """End this process when whoever holds the other end of its standard input has ended, or closes it."""
    with suppress(OSError):
        while os.read(0, 4096):
            pass
    os.kill(os.getpid(), signal.SIGTERM)


def show_board(store: OpenStore, options: BoardOptions, *, opens_browser: bool) -> None:
    """Show a store until SIGTERM or SIGINT, and print the address.

    Raises:
        TrackError: the address cannot be had, or the app is not installed.
    """

    def ready(_: str, login: str) -> None:
        print(login, flush=True)
        if opens_browser:
            open_browser(login)

    board_app("serve")(store, options, ready)


def _store(uri: str | None) -> str:
    """The URI that was given or configured, else that of this user's server."""
    if uri is not None:
        check_exists(uri)
        return uri
    try:
        return existing_uri(None)
    except UsageError:
        home: str | None = board_app("home")()
        if home is None:
            raise
        return home


def board_app(name: str) -> Callable[..., Any]:
    """A function of the installed app."""
    missing = "the board needs packages that are not installed: pip install 'trackwire[board]'"
    found: EntryPoint | None = next(iter(entry_points(group=_GROUP, name=name)), None)
    if found is None:
        raise MissingExtra(missing)
    try:
        function: Callable[..., Any] = found.load()
    except MissingExtra:
        raise
    except ImportError as error:
        raise MissingExtra(f"{missing} ({error})") from error
    return function


def _is_desktop() -> bool:
    """Whether a browser that opens now is seen by who types here."""
    if os.environ.get("SSH_CONNECTION"):
        return False
    return sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def open_browser(login: str) -> None:
    """Open a board in the browser where there is a desktop.

    Args:
        login: address of the board, with the code that logs in; never on a command line, which everybody
            can read.
    """
    if not _is_desktop():
        return
    if Path("/proc/net/tcp").exists():
        webbrowser.open(login.partition("#")[0])  # the server sees whose process asks
        return
    with tempfile.NamedTemporaryFile("w", prefix="track-board-", suffix=".html", delete=False) as page:
        page.write(f'<meta http-equiv="refresh" content="0; url={escape(login)}">')
    webbrowser.open(Path(page.name).as_uri())


COMMAND: Final = Command("show a store in the browser", _configure, _run)
