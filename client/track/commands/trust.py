"""``track trust [FILE]``: let a ``track.config`` choose the server for a stored login."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from track.commands.printing import say
from track.configuration import find_configuration
from track.connection.trusted_files import TrustedFiles
from track_protocol.command import Command
from track_protocol.errors import ItemNotFound
from track_protocol.uri import redact

__all__ = ["COMMAND"]


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", nargs="?", type=Path, metavar="FILE", help="a track.config (default: the one used here)"
    )


def _run(arguments: argparse.Namespace) -> int:
    configuration = find_configuration(arguments.file.resolve() if arguments.file else None)
    if configuration.path is None:
        raise ItemNotFound("no track.config is used in this folder: name one")
    for name, value in sorted(configuration.variables.items()):
        say(f"  {_shown(name, value)}\n")
    TrustedFiles().add(configuration)
    say(f"{configuration.path} is trusted until it changes\n")
    return 0


def _shown(name: str, value: str) -> str:
    return f"{name}={'***' if name == 'TRACK_TOKEN' else redact(value)}"


COMMAND: Final = Command(
    help="let a track.config choose the server for a stored login", configure=_configure, run=_run
)
