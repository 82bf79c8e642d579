"""``track restore BACKUP [STORE_URI]``: replace a closed store with a checked backup."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from track_protocol.command import Command
from track_server.commands.printing import say
from track_server.commands.store_options import add_store_options

__all__ = ["COMMAND"]


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "backup",
        type=Path,
        metavar="BACKUP",
        help="a file that 'track backup' made; for file: also a JSON document",
    )
    add_store_options(parser)


def _run(arguments: argparse.Namespace) -> int:
    from track_server.app import admin_of
    from track_server.storage.admin import restore

    admin, path = admin_of(arguments.store, arguments.home)
    done = restore(admin, arguments.backup, path)
    seen = done.checked
    say(f"{path}: {seen.points:,} points, {seen.trials:,} trials restored\n")
    if done.aside is not None:
        say(f"the previous store is now {done.aside}\n")
    return 0


COMMAND: Final = Command(
    help="replace a store with a backup; the previous store is renamed", configure=_configure, run=_run
)
