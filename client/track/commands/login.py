"""``track login [URI]``: ask for a token, check it at the server, and store it for that server only."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from dataclasses import replace
from hashlib import sha256
from typing import Final

from track.commands.printing import say
from track.configuration import options
from track.connection.address import SocketAddress
from track.connection.credentials import StoredLogin, StoredLogins
from track.connection.link import SocketLink
from track.connection.trust import KnownServers
from track_protocol.command import Command
from track_protocol.errors import ItemNotFound, UsageError
from track_protocol.security.tokens import Secret
from track_protocol.terminal import clean
from track_protocol.uri import Uri, redact

__all__ = ["COMMAND", "ask_secret"]

_LONGEST: Final = 64 * 1024


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "uri",
        nargs="?",
        metavar="URI",
        help="socket://NAME@HOST:PORT, or with several hosts, without the token (default: $TRACK_URI)",
    )
    parser.add_argument("--remove", action="store_true", help="remove the stored login instead")


def _run(arguments: argparse.Namespace) -> int:
    if arguments.uri and Uri.parse(arguments.uri).password:
        raise UsageError(
            f"{redact(arguments.uri)}: every user of this machine can see a token on a command line: leave "
            "it out, and it is asked for"
        )
    return _remove(arguments.uri) if arguments.remove else _log_in(arguments.uri)


def _log_in(uri: str | None) -> int:
    address = SocketAddress(_with_token(uri or _configured()))
    if not address.username or not address.password:
        raise UsageError(
            f"{address.shown}: a user name and a token are needed: give the URI that 'track user add' "
            "printed, or socket://NAME@HOST:PORT and the token"
        )
    name, token = address.username, Secret(address.password)
    link = SocketLink(address, lambda: (name, token.reveal()))
    try:
        opened = link.open(_session_of(address), address.timeout)
    finally:
        link.close()
    servers = sorted(address.names)
    if link.pin:
        for each in servers:
            KnownServers().save(each, link.pin)
    logins = StoredLogins()
    logins.store(StoredLogin(tuple(servers), link.pin, name, token))
    say(f"logged in to {address.shown} as {name} ({opened.role}); the token is in {logins.path}\n")
    server = replace(Uri.parse(f"socket://{','.join(servers)}"), username=name).to_text()
    say(f"use it: TrackClient({server!r}), or export TRACK_URI={server}\n")
    return 0


def _remove(uri: str | None) -> int:
    uri = uri or _configured()
    if not uri:
        raise UsageError("which login? give socket://HOST:PORT, or socket://NAME@HOST:PORT")
    address = SocketAddress(uri)
    if not StoredLogins().remove(address.names, address.username):
        raise ItemNotFound(f"no login is stored for {redact(uri)}")
    say(f"the login for {redact(uri)} was removed\n")
    return 0


def _configured() -> str | None:
    """The server that is configured, without a token."""
    uri = options("uri", None)
    if not isinstance(uri, str) or not uri.startswith("socket:"):
        return None
    return replace(Uri.parse(uri), password=None).to_text()


def _with_token(uri: str | None) -> str:
    """A server's URI with the token that is entered, or the complete URI, if that is what is entered."""
    if uri is None:
        return ask_secret("URI that 'track user add' printed: ")
    given = ask_secret(f"Token for {clean(redact(uri))}: ")
    return given if given.startswith("socket:") else replace(Uri.parse(uri), password=given).to_text()


def ask_secret(prompt: str) -> str:
    """A secret from the terminal, which does not show it, or one line of standard input.

    Raises:
        UsageError: there is none.
    """
    given = getpass.getpass(prompt) if sys.stdin.isatty() else sys.stdin.readline(_LONGEST)
    if not given.strip():
        raise UsageError("nothing was entered: enter the token, or give it on standard input")
    return given.strip()


def _session_of(address: SocketAddress) -> bytes:
    """The same each time: a server remembers each session that was ever opened."""
    text = f"track login {os.getuid()} {address.username} {','.join(sorted(address.names))}"
    return sha256(text.encode()).digest()[:16]


COMMAND: Final = Command(
    help="ask for a token, check it at the server, and store it for this user", configure=_configure, run=_run
)
