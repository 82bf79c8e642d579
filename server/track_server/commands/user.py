"""``track user``: add, list and remove users, also while the server runs."""

from __future__ import annotations

import argparse
import getpass
import ipaddress
import json
import os
import socket
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Final

from track_protocol.command import Command
from track_protocol.errors import UsageError
from track_protocol.locations import default_home
from track_protocol.loopback import is_loopback
from track_protocol.security.tokens import Secret
from track_protocol.uri import Uri
from track_protocol.wire.roles import Role
from track_server.accounts.identity import Identity, pin_of_file
from track_server.accounts.private_files import new_private_file
from track_server.accounts.users import UserStore
from track_server.commands.printing import say, tell
from track_server.network.runtime import ServerRecord, read_server_record

__all__ = ["COMMAND"]

_DEFAULT_PORT: Final = 8123
_EVERYWHERE: Final = ("", "0.0.0.0", "::")  # noqa: S104 - compared with, not listened on
_SHORTEST_PASSWORD: Final = 8


def _configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="add|list|remove")
    add = actions.add_parser("add", help="add a user and print its join URI, once")
    add.add_argument("name", metavar="NAME", help="1 to 64 of A-Z a-z 0-9 . _ - @")
    add.add_argument(
        "--role", required=True, choices=[role.value for role in Role], help="what the user may do"
    )
    add.add_argument(
        "--host",
        help="host in the URI, or several with commas (default: where the server listens, or this machine)",
    )
    add.add_argument("--port", type=int, help="port in the URI (default: the server's)")
    add.add_argument(
        "--output", type=Path, metavar="FILE", help="write the URI to a new file that only you can read"
    )
    add.add_argument(
        "--password", action="store_true", help="ask for a password instead of generating a token"
    )
    show = actions.add_parser("list", help="list the users")
    show.add_argument("--json", action="store_true", help="print JSON output")
    remove = actions.add_parser("remove", help="remove a user and end its sessions")
    remove.add_argument("name", metavar="NAME")
    for action in (add, show, remove):
        action.add_argument("--home", type=Path, help="the server's folder (default: $TRACK_HOME)")


def _run(arguments: argparse.Namespace) -> int:
    home = arguments.home or default_home(os.environ)
    {"add": _add, "list": _list, "remove": _remove}[arguments.action](home, arguments)
    return 0


def _add(home: Path, arguments: argparse.Namespace) -> None:
    record = read_server_record(home)
    if record is None and not Identity.is_in(home):
        raise UsageError(
            f"no server has run in {home}, so there is no key for the URI: start 'track server' there first, "
            "or give the folder of the server that is meant, by --home or in TRACK_HOME"
        )
    users = UserStore(home)
    pin = _pin(home, record)
    hosts = _hosts(record, arguments.host)
    port = arguments.port or (record.port if record else _DEFAULT_PORT)
    password = _ask_password(arguments.name) if arguments.password else None
    plaintext = record is not None and record.plaintext
    query = {} if plaintext else {"security_layer": "AES", "pin": pin}
    (host, port_of_first), *more = [*((name, None) for name in hosts[:-1]), (hosts[-1], port)]
    join = Uri("socket", host, port_of_first, username=arguments.name, query=query, more_hosts=tuple(more))
    said = f"user {arguments.name!r} added with role {arguments.role}; this URI is not shown again"
    if password:
        said += " (without the password, which 'track login' asks for)"
    # The token cannot be shown twice, so there is a place for it before there is a token.
    with nullcontext(sys.stdout) if arguments.output is None else new_private_file(arguments.output) as file:
        token = users.add(arguments.name, Role(arguments.role), password)
        tell(f"{said}:" if arguments.output is None else f"{said}; it is in {arguments.output}")
        file.write(replace(join, password=None if password else token).to_text() + "\n")
        file.flush()


def _list(home: Path, arguments: argparse.Namespace) -> None:
    rows = [
        {"name": user.name, "role": user.role.value, "created": user.created.isoformat(timespec="seconds")}
        for user in UserStore(home).list()
    ]
    if arguments.json:
        say(json.dumps(rows) + "\n")
        return
    width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        say(f"{row['name']:<{width}}  {row['role']:<6}  {row['created']}\n")
    if not rows:
        tell(f"no users in {home}; 'track user add NAME --role writer' adds one")


def _remove(home: Path, arguments: argparse.Namespace) -> None:
    UserStore(home).remove(arguments.name)
    tell(f"user {arguments.name!r} removed")


def _pin(home: Path, record: ServerRecord | None) -> str:
    """The pin of the certificate that the server shows."""
    if record is not None and record.certificate is not None:
        return pin_of_file(Path(record.certificate))
    return Identity.load_or_create(home).pin


def _hosts(record: ServerRecord | None, given: str | None) -> list[str]:
    """The hosts of the URI; the port of the last one is that of all."""
    hosts = [each.strip("[]") for each in (given or _advertised(record)).split(",")]
    for host in hosts:
        if not _is_host(host):
            raise UsageError(f"{host!r} is not a host: give a name or an address, and the port by --port")
    return hosts


def _is_host(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return bool(text) and not set(text) & set(":/@?#[] ")
    return True


def _advertised(record: ServerRecord | None) -> str:
    if record is None:
        return socket.gethostname()
    if record.advertise:
        return record.advertise
    if is_loopback(record.host):
        tell("the server listens on this machine only, so the URI works only here")
        return "localhost"
    return socket.gethostname() if record.host in _EVERYWHERE else record.host


def _ask_password(name: str) -> Secret:
    """From the terminal, twice; or one line of standard input when that is not a terminal."""
    if sys.stdin.isatty():
        password = Secret(getpass.getpass(f"Password for {name}: "))
        if Secret(getpass.getpass("Again: ")) != password:
            raise UsageError("the two passwords are not the same: no user was added")
    else:
        password = Secret(sys.stdin.readline().rstrip("\n"))
    if len(password.reveal()) < _SHORTEST_PASSWORD:
        raise UsageError(f"a password needs at least {_SHORTEST_PASSWORD} characters: no user was added")
    return password


COMMAND: Final = Command(
    help="add, list and remove users; 'add' prints the URI to join with", configure=_configure, run=_run
)
