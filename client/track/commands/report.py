"""``track report TRIAL``: the report of a trial, the JSON that ``report()`` prints."""

from __future__ import annotations

import argparse
from typing import Final

from track.commands.printing import print_json
from track.commands.stores import add_store, add_trial, opened
from track.persistence.lookup import find_trial
from track.serialization import to_json
from track_protocol.command import Command

__all__ = ["COMMAND"]


def _configure(parser: argparse.ArgumentParser) -> None:
    add_trial(parser)
    add_store(parser)
    parser.add_argument("--full", action="store_true", help="include internal fields")
    parser.add_argument("--json", action="store_true", help="no effect: the output is always JSON")


def _run(arguments: argparse.Namespace) -> int:
    with opened(arguments.uri) as protocol:
        report = to_json(find_trial(protocol, arguments.trial), short=not arguments.full)
    print_json(report)
    return 0


COMMAND: Final = Command("print the report of a trial, with all its points, as JSON", _configure, _run)
