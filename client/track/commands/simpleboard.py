"""``track simpleboard``, also as ``simpleboard``: the experiments of a folder in the browser."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from track.commands.board import board_app, show_board
from track.persistence.board import opened_for_board
from track.process.progress import Progress
from track.tracker.experiment_db import store_at
from track.tracker.importing import import_database
from track.tracker.legacy import LegacyDatabase
from track_protocol.board import BoardOptions
from track_protocol.command import Command
from track_protocol.errors import ItemNotFound

__all__ = ["COMMAND"]

_FOLDER: Final = Path("experiments")
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
    stores, older = _databases(args.exp_dir)
    # The board shows one store: the one that was written to last; older databases are not written to.
    with opened_for_board(store_at(stores[-1]) if stores else "ephemeral:") as store:
        for path in older if not stores else ():
            with Progress(f"reading {path.name}") as bar:
                import_database(LegacyDatabase(path), store.protocol, path.stem, bar.show)
        options = BoardOptions(args.port, host=args.host, interface=interface)
        show_board(store, options, opens_browser=not args.no_browser)
    return 0


def _databases(folder: Path) -> tuple[list[Path], list[Path]]:
    """The stores in a folder, the last one written to last, and the databases of the older system."""
    found = sorted(folder.glob("*.db"), key=lambda path: path.stat().st_mtime)
    older = [path for path in found if LegacyDatabase.is_at(path)]
    return [path for path in found if path not in older], older


COMMAND: Final = Command("show the experiments of a folder in the browser", _configure, _run)
