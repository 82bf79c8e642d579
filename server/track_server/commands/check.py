"""``track check [STORE_URI]``: whether a store is what was written to it, also while a server uses it."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Final

from track_protocol.command import Command

__all__ = ["COMMAND"]


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "store", nargs="?", metavar="STORE_URI", help="sqlite:FILE or file:FILE (default: that of the home)"
    )
    parser.add_argument("--home", type=Path, metavar="DIR", help="the server's folder (default: $TRACK_HOME)")
    parser.add_argument("--json", action="store_true", help="for a machine to read")


def _run(arguments: argparse.Namespace) -> int:
    from track_server.app import admin_of
    from track_server.storage.admin import check

    admin, path = admin_of(arguments.store, arguments.home)
    seen = check(admin, path)
    if arguments.json:
        told = {"store": str(path), "sound": not seen.findings, **asdict(seen)}
        sys.stdout.write(json.dumps(told) + "\n")
    elif seen.findings:
        sys.stdout.writelines(f"{finding}\n" for finding in seen.findings)
    else:
        counts = f"{seen.trials:,} trials, {seen.series:,} series, {seen.points:,} points"
        aside = f"; {seen.rejected:,} rejected records (fetch_rejected shows them)" if seen.rejected else ""
        sys.stdout.write(f"{path} is sound: {counts}{aside}\n")
    return 1 if seen.findings else 0


COMMAND: Final = Command(
    help="check a store's integrity, also while its server runs", configure=_configure, run=_run
)
