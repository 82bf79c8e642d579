"""``track backup DEST [STORE_URI]``: a verified copy of a store, also while a server uses it."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Final

from track_protocol.command import Command
from track_server.commands.printing import say
from track_server.commands.store_options import add_store_options

__all__ = ["COMMAND"]


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "dest",
        type=Path,
        metavar="DEST",
        help="the file to create, which must not exist; it is a SQLite store, also for file:",
    )
    add_store_options(parser)


def _run(arguments: argparse.Namespace) -> int:
    from track_server.app import admin_of
    from track_server.storage.admin import back_up

    admin, path = admin_of(arguments.store, arguments.home)
    started = time.monotonic()
    seen = back_up(admin, path, arguments.dest)
    took = time.monotonic() - started
    say(f"{arguments.dest}: {seen.points:,} points, {seen.trials:,} trials, {took:.1f} s\n")
    return 0


COMMAND: Final = Command(
    help="back up a store, also while its server runs, and check the backup", configure=_configure, run=_run
)
