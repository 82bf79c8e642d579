"""``track simpleboard``, also as ``simpleboard``: the experiments of a folder in the browser."""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path
from typing import Final

from track.commands.board import board_app, show_board
from track.persistence.board import opened_for_board
from track.tracker.folder import FolderStores
from track_protocol.board import BoardOptions
from track_protocol.command import Command
from track_protocol.errors import ItemNotFound

__all__ = ["COMMAND"]

_FOLDER: Final = Path("experiments")
_NOTHING: Final = "ephemeral:"
"""What is shown while there is no database in the folder."""
_EVERYWHERE: Final = "0.0.0.0"  # noqa: S104 - with TLS and a login


def _configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("-p", "--port", type=int, metavar="PORT", help="port (default: 8124, or a free one)")
    add("--host", default="127.0.0.1", metavar="HOST", help="where to listen (default: this machine only)")
    add(
        "--public",
        action="store_const",
        dest="host",
        const=_EVERYWHERE,
        help="listen on every address, encrypted, for the users of 'track user'",
    )
    add(
        "-e",
        "--exp-dir",
        type=Path,
        default=_FOLDER,
        metavar="DIR",
        help=f"folder of the experiments (default: {_FOLDER})",
    )
    add("--no-browser", action="store_true", help="print the address only")


def _run(args: argparse.Namespace) -> int:
    if not args.exp_dir.is_dir():
        raise ItemNotFound(f"{args.exp_dir} is no folder: name the folder of the experiments with -e")
    interface = board_app("simpleboard_of_folder")(args.exp_dir)
    databases = interface.databases

    def files() -> list[Path]:
        return [Path(databases.folder, name) for name in databases.names()]

    with closing(FolderStores(files)) as stores, opened_for_board(_NOTHING) as nothing:
        options = BoardOptions(args.port, host=args.host, interface=interface, stores=stores)
        show_board(nothing, options, opens_browser=not args.no_browser)
    return 0


COMMAND: Final = Command("show the experiments of a folder in the browser", _configure, _run)
