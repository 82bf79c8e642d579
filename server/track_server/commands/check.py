"""``track check [STORE_URI]``: check that a store is undamaged, also while a server uses it."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Final

from track_protocol.command import Command
from track_server.commands.printing import say
from track_server.commands.store_options import add_store_options

__all__ = ["COMMAND"]


def _configure(parser: argparse.ArgumentParser) -> None:
    add_store_options(parser)
    parser.add_argument("--json", action="store_true", help="print JSON output")


def _run(arguments: argparse.Namespace) -> int:
    from track_server.app import admin_of
    from track_server.storage.admin import check

    admin, path = admin_of(arguments.store, arguments.home)
    seen = check(admin, path)
    if arguments.json:
        result = {"store": str(path), "sound": not seen.findings, **asdict(seen)}
        say(json.dumps(result) + "\n")
    elif seen.findings:
        say("".join(f"{finding}\n" for finding in seen.findings))
    else:
        counts = f"{seen.trials:,} trials, {seen.series:,} series, {seen.points:,} points"
        rejected = (
            f"; {seen.rejected:,} rejected records (fetch_rejected shows them)" if seen.rejected else ""
        )
        say(f"{path} is undamaged: {counts}{rejected}\n")
    return 1 if seen.findings else 0


COMMAND: Final = Command(
    help="check that a store is undamaged, also while its server runs", configure=_configure, run=_run
)
