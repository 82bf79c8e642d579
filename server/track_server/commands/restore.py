"""``track restore BACKUP [STORE_URI]``: put a verified backup in the place of a store that nobody uses."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from track_protocol.command import Command

__all__ = ["COMMAND"]


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("backup", type=Path, metavar="BACKUP", help="a file that 'track backup' made")
    parser.add_argument(
        "store", nargs="?", metavar="STORE_URI", help="sqlite:FILE or file:FILE (default: that of the home)"
    )
    parser.add_argument("--home", type=Path, metavar="DIR", help="the server's folder (default: $TRACK_HOME)")


def _run(arguments: argparse.Namespace) -> int:
    from track_server.app import admin_of
    from track_server.storage.admin import restore

    admin, path = admin_of(arguments.store, arguments.home)
    done = restore(admin, arguments.backup, path)
    seen = done.checked
    sys.stdout.write(f"{path}: {seen.points:,} points, {seen.trials:,} trials restored\n")
    if done.aside is not None:
        sys.stdout.write(f"what was there is kept as {done.aside}\n")
    return 0


COMMAND: Final = Command(
    help="replace a store by a backup, and keep what was there", configure=_configure, run=_run
)
