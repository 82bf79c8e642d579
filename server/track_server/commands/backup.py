"""``track backup DEST [STORE_URI]``: a verified copy of a store, also while a server uses it."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Final

from track_protocol.command import Command

__all__ = ["COMMAND"]


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dest", type=Path, metavar="DEST", help="the file to make; never overwritten")
    parser.add_argument(
        "store", nargs="?", metavar="STORE_URI", help="sqlite:FILE or file:FILE (default: that of the home)"
    )
    parser.add_argument("--home", type=Path, metavar="DIR", help="the server's folder (default: $TRACK_HOME)")


def _run(arguments: argparse.Namespace) -> int:
    from track_server.app import admin_of
    from track_server.storage.admin import back_up

    admin, path = admin_of(arguments.store, arguments.home)
    started = time.monotonic()
    seen = back_up(admin, path, arguments.dest)
    took = time.monotonic() - started
    sys.stdout.write(f"{arguments.dest}: {seen.points:,} points, {seen.trials:,} trials, {took:.1f} s\n")
    return 0


COMMAND: Final = Command(
    help="copy a store, also while its server runs, and verify the copy", configure=_configure, run=_run
)
