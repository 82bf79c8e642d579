"""The ``track`` command: subcommands are installed entry points, errors become exit codes."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points, version
from typing import Any, Final, NoReturn

from track_protocol.command import Command
from track_protocol.errors import MissingExtra, TrackError, UsageError
from track_protocol.security.tokens import redact_tokens
from track_protocol.terminal import clean
from track_protocol.uri import redact

__all__ = ["main", "simpleboard_main", "start_track_server_main"]

_GROUP: Final = "track.commands"
_PACKAGE: Final = "trackwire"
_INTERRUPTED: Final = 130
_HELP: Final = "help"
_COMPLETION: Final = "completion"
_REMEDIES: Final = {errno.ENOSPC: "free some space", errno.EBADF: "it is closed: redirect it to a file"}
_DATABASES: Final = frozenset({"postgresql", "postgres"})
_SHELLS: Final = ("bash", "zsh", "fish", "tcsh")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand.

    Args:
        argv: the arguments; those of the process by default.

    Returns:
        0 ok, 1 failed, 2 usage, 3 not found, 4 authentication, 5 unreachable, 130 interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    _open_standard_streams()
    if any(redact_tokens(argument) != argument for argument in arguments):
        print(
            "track: every user of this machine can see the token on this command line: run 'track login' "
            "once, and leave it out",
            file=sys.stderr,
        )
    try:
        _refuse_passwords(arguments)
        try:
            code = _run(arguments)
        except SystemExit:
            sys.stdout.flush()  # a help that nobody can have read is a failure, too
            raise
        sys.stdout.flush()
        return code
    except TrackError as error:
        if os.environ.get("TRACK_DEBUG"):
            raise
        print(clean(f"track: {error}"), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        _drop_output()
        return 1
    except OSError as error:
        # The text of an error at a file names the file: without a name it is the output that failed.
        if error.filename is not None or os.environ.get("TRACK_DEBUG"):
            raise
        _drop_output()
        remedy = _REMEDIES.get(error.errno or 0, "check where it is redirected to")
        print(f"track: the output cannot be written ({error.strerror}): {remedy}", file=sys.stderr)
        return 1


def _refuse_passwords(arguments: Sequence[str]) -> None:
    """A password is not to be on a command line, where every user of the machine sees it.

    Raises:
        UsageError: one is in the URI of a database.
    """
    for argument in arguments:
        if argument.partition(":")[0].lower() in _DATABASES and redact(argument) != argument:
            raise UsageError(
                f"{redact(argument)}: every user of this machine can see a password on a command line: leave "
                "it out, and put it into ~/.pgpass or PGPASSWORD"
            )


def _open_standard_streams() -> None:
    """Have closed standard streams lead nowhere: else the next file that is opened would be the output.

    Closed output may only be read, so that writing to it fails.
    """
    if None not in (sys.stdin, sys.stdout, sys.stderr):
        return
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        if descriptor == 1:
            os.dup2(unwritable := os.open(os.devnull, os.O_RDONLY), 1)
            os.close(unwritable)
    os.close(descriptor)
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - as long as the process
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - as long as the process
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - as long as the process


def _drop_output() -> None:
    """Have the rest of the output lead nowhere, also what the interpreter writes at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def start_track_server_main() -> int:
    """``start_track_server …`` is ``track server …``."""
    return main(["server", *sys.argv[1:]])


def simpleboard_main() -> int:
    """``simpleboard …`` is ``track simpleboard …``."""
    return main(["simpleboard", *sys.argv[1:]])


def _run(arguments: list[str]) -> int:
    found = {point.name: point for point in entry_points(group=_GROUP)}
    if arguments[:1] == [_HELP]:
        arguments = [*arguments[1:2], "--help"]
    parser, loaded = _parser(_wanted(arguments, found), arguments[:1], found)
    args = parser.parse_args(arguments)
    if args.command == _COMPLETION:
        sys.stdout.write(_completion(args.shell, _parser(sorted(found), (), found)[0]))
        return 0
    return loaded[args.command].run(args)


class _Parser(argparse.ArgumentParser):
    """Quotes wrong arguments without the tokens in them, and does not hide that a help cannot be printed."""

    def _print_message(self, message: str, file: Any = None) -> None:
        (file or sys.stderr).write(message)

    def error(self, message: str) -> NoReturn:
        super().error(clean(redact_tokens(message)))


def _parser(
    names: Sequence[str], chosen: Sequence[str], found: Mapping[str, EntryPoint]
) -> tuple[argparse.ArgumentParser, dict[str, Command]]:
    """The parser of some subcommands, and these."""
    parser = _Parser(prog="track", description="Encrypted experiment tracking.")
    parser.add_argument("--version", action="version", version=f"track {version(_PACKAGE)}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    loaded: dict[str, Command] = {}
    for name in names:
        command = _load(found[name], chosen=name in chosen)
        if command is not None:
            command.configure(commands.add_parser(name, help=command.help, description=command.help))
            loaded[name] = command
    what = "print a script with which a shell completes commands and options"
    commands.add_parser(_COMPLETION, help=what, description=what).add_argument("shell", choices=_SHELLS)
    commands.add_parser(_HELP, help="show the help of a command").add_argument("topic", nargs="?")
    return parser, loaded


def _completion(shell: str, parser: argparse.ArgumentParser) -> str:
    try:
        import shtab
    except ImportError as error:
        raise MissingExtra(
            f"completion needs shtab, which is not installed ({error}): pip install 'trackwire[cli]'"
        ) from error
    return str(shtab.complete(parser, shell=shell))


def _wanted(arguments: list[str], found: Mapping[str, EntryPoint]) -> list[str]:
    """The one command that was asked for, or all, to list them."""
    if arguments[:1] in (["--version"], [_COMPLETION]):
        return []
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
