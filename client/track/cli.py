"""The ``track`` command: subcommands are installed entry points, errors become exit codes."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from track_protocol.command import Command
from track_protocol.errors import MissingExtra, TrackError

__all__ = ["main", "start_track_server_main"]

_GROUP: Final = "track.commands"
_INTERRUPTED: Final = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand.

    Args:
        argv: the arguments; those of the process by default.

    Returns:
        0 ok, 1 failed, 2 usage, 3 not found, 4 authentication, 5 unreachable, 130 interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _run(arguments)
        sys.stdout.flush()
        return code
    except TrackError as error:
        if os.environ.get("TRACK_DEBUG"):
            raise
        print(f"track: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader closed the pipe: exit silently, also when the interpreter flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def start_track_server_main() -> int:
    """``start_track_server …`` is ``track server …``."""
    return main(["server", *sys.argv[1:]])


def _run(arguments: list[str]) -> int:
    found = {point.name: point for point in entry_points(group=_GROUP)}
    parser = argparse.ArgumentParser(prog="track", description="Encrypted experiment tracking.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    loaded: dict[str, Command] = {}
    for name in _wanted(arguments, found):
        command = _load(found[name], chosen=name in arguments[:1])
        if command is not None:
            command.configure(commands.add_parser(name, help=command.help, description=command.help))
            loaded[name] = command
    args = parser.parse_args(arguments)
    return loaded[args.command].run(args)


def _wanted(arguments: list[str], found: Mapping[str, EntryPoint]) -> list[str]:
    """The one command that was asked for, or all, to list them."""
    return arguments[:1] if arguments and arguments[0] in found else sorted(found)


def _load(point: EntryPoint, *, chosen: bool) -> Command | None:
    """The command; None when its extra is not installed and it is only to be listed."""
    try:
        command: Command = point.load()
    except MissingExtra:
        if chosen:
            raise
        return None
    except ImportError as error:
        if chosen:
            raise MissingExtra(
                f"'track {point.name}' needs more than the client ({error}): pip install 'trackwire[server]'"
            ) from error
        return None
    return command


if __name__ == "__main__":
    sys.exit(main())
