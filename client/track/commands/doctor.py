"""``track doctor [URI]``: what is wrong here, and what to do about it."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Final

from track.commands.printing import add_json, print_json, say
from track.configuration import find_configuration
from track.connection.address import SocketAddress
from track.connection.offline import offline_policy
from track.connection.trusted_files import spool_environment
from track.recording.resume import resumes_in
from track.resend.orphans import destination_at
from track.resend.replay import Destination
from track.spool.options import SpoolOptions, sends_orphans, spool_root
from track.spool.reader import Found, look_in
from track_protocol.command import Command
from track_protocol.errors import (
    AuthenticationError,
    EncryptionMismatch,
    PinMismatch,
    ServerUnreachable,
    SpoolCorrupt,
    SpoolError,
    TrackError,
    UsageError,
)
from track_protocol.uri import redact
from track_protocol.wire.link import Opened
from track_protocol.wire.roles import Role

__all__ = ["COMMAND", "Check", "examine"]

_SECRETS: Final = ("TOKEN", "PASSWORD", "SECRET")
_MIN_FREE_BYTES: Final = 64 * 1024 * 1024

_STEPS: Final[tuple[tuple[str, str, tuple[type[TrackError], ...]], ...]] = (
    ("it is reachable", "it is unreachable", (ServerUnreachable,)),
    ("the connection is encrypted", "the connection cannot be encrypted", (EncryptionMismatch,)),
    ("its key is the expected one", "its key is not the expected one", (PinMismatch,)),
    ("it accepts the login", "it does not accept the login", (AuthenticationError, TrackError)),
)
"""What opening a link goes through, in this order, how that fails, and the errors that say so."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        topic: versions, environment, spool or server.
        text: what was found.
        remedy: how to fix it; None if there is no problem.
    """

    topic: str
    text: str
    remedy: str | None = None

    @property
    def is_ok(self) -> bool:
        """Whether there is nothing to do."""
        return self.remedy is None


def examine(uri: str | None, environment: Mapping[str, str]) -> Iterator[Check]:
    """Look at versions, variables, spools and the server.

    Args:
        uri: of the server; by default that of ``TRACK_URI``.
        environment: as `os.environ` has it.
    """
    yield from _versions()
    yield from _variables(environment)
    yield from _spools(environment)
    yield from _server(uri or environment.get("TRACK_URI"))


def _versions() -> Iterator[Check]:
    python = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    yield Check("versions", f"trackwire {version('trackwire')}, {python}")


def _variables(environment: Mapping[str, str]) -> Iterator[Check]:
    if (file := find_configuration().path) is not None:
        yield Check("environment", f"{file} is read")
    names = sorted(name for name in environment if name.startswith("TRACK_"))
    for name in names:
        hidden = any(word in name for word in _SECRETS) and not name.endswith("_FILE")
        yield Check("environment", f"{name} is {'set' if hidden else redact(environment[name])}")
    if not names:
        yield Check("environment", "no TRACK_ variable is set")
    try:
        SpoolOptions.of(environment)
        sends_orphans(environment)
        offline_policy(None, environment)
        resumes_in(environment)
    except UsageError as error:
        yield Check("environment", str(error), "correct that variable, or unset it")


def _spools(environment: Mapping[str, str]) -> Iterator[Check]:
    try:
        root = spool_root(environment)
        yield from _root(root, environment)
        found = look_in(root)
    except (OSError, SpoolError, UsageError) as error:
        yield Check("spool", str(error), "set TRACK_SPOOL to a folder of yours that nobody else can write to")
        return
    for each in found:
        yield _spool(each)
    if not found:
        yield Check("spool", "no unsent records of earlier runs")


def _root(root: Path, environment: Mapping[str, str]) -> Iterator[Check]:
    there = next(path for path in (root, *root.parents) if path.exists())
    made = "" if there == root else ", created on first use"
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        yield Check(
            "spool",
            f"spools are in {root}, but {there} is not writable",
            "make it writable, or set TRACK_SPOOL to another folder; until then, a killed process loses "
            "what the server has not acknowledged",
        )
        return
    free = shutil.disk_usage(there).free
    yield Check(
        "spool",
        f"spools are in {root}{made}; {free:,} bytes are free there{_limit(environment)}",
        "free some space, or set TRACK_SPOOL to a folder on another disk" if free < _MIN_FREE_BYTES else None,
    )


def _limit(environment: Mapping[str, str]) -> str:
    try:
        options = SpoolOptions.of(environment)
    except UsageError:
        return ""
    return f"; maximum of {options.limit:,} bytes per process, flushed to disk: {options.sync.value}"


def _spool(found: Found) -> Check:
    name = f"{found.path}: {found.state}"
    if found.in_use:
        return Check("spool", name)
    if found.is_damage_only:
        return Check("spool", name, f"inspect it, then delete it: rm -r {found.path}")
    if found.error is not None:
        return Check("spool", f"{name}: {found.error}", _remedy_of_error(found))
    return Check("spool", f"{name}; {_what_waits(found)}", f"track sync {found.path}{_how(found)}")


def _remedy_of_error(found: Found) -> str:
    if isinstance(found.error, SpoolCorrupt):
        return "its records are in the .segment files: rename the folder back to its session"
    return "make it readable, or run this as the user who wrote it"


def _what_waits(found: Found) -> str:
    assert found.metadata is not None, "a spool without metadata has an error"
    origin = found.metadata
    whose = f"{origin.program} (pid {origin.pid} on {origin.host})"
    server = origin.server or "an unknown server, since spool.json is damaged"
    verb = "waits" if found.waiting.total == 1 else "wait"
    parts = [f"{found.waiting} of {whose} {verb} for {server}"]
    if found.checkpoint.problem is not None:
        parts.append(f"at the last attempt: {found.checkpoint.problem}")
    missing = found.held.missing_after(found.checkpoint.acked)
    if found.held.damages:
        parts.append(f"damaged places: {len(found.held.damages)}, with {missing:,} log calls lost")
    if found.held.torn_bytes:
        parts.append(f"the last {found.held.torn_bytes:,} bytes are an incomplete record and will be cut off")
    return "; ".join(parts)


def _how(found: Found) -> str:
    elsewhere = found.metadata is not None and found.metadata.host != socket.gethostname()
    to = "" if found.metadata is None else _to(found.metadata.server)
    sure = " (after its process on that machine has ended)" if elsewhere else ""
    damaged = ": intact records are sent, damaged bytes are moved aside" if found.held.damages else ""
    return to + sure + damaged


def _to(server: str) -> str:
    """What `track sync` also needs for the server that a spool names, since a spool has no token."""
    if not server:
        return " --to URI"
    try:
        destination_at(server)
    except AuthenticationError:
        return f" after 'track login {server}': there is no login for that server here"
    except TrackError:
        return " --to URI: the spool does not name its server"
    return ""


def _server(uri: str | None) -> Iterator[Check]:
    if not uri:
        yield Check("server", "no server is configured: give a URI, or set TRACK_URI")
        return
    if not uri.startswith("socket:"):
        yield Check("server", f"{redact(uri)} is a store on this machine; it needs no server")
        return
    try:
        found = [_Tried(destination_at(uri, only=host)) for host in SocketAddress(uri).hosts]
    except TrackError as error:
        yield Check("server", f"{redact(uri)}: no connection is possible", str(error))
        return
    has_one = any(each.opened is not None for each in found)
    for each in found:
        yield from _steps(each, has_others=has_one)
    yield from _stores(found)


class _Tried:
    """A server, and how opening a link to it has ended.

    Attributes:
        name: of the server.
        opened: what it said; None if the link could not be opened.
        error: why not.
    """

    def __init__(self, destination: Destination) -> None:
        self.name = destination.name
        self.opened: Opened | None = None
        self.error: TrackError | None = None
        link = destination.open_link()
        try:
            self.opened = link.open(_session_of(destination.address), destination.timeout)
        except TrackError as error:
            self.error = error
        finally:
            link.close()


def _steps(tried: _Tried, *, has_others: bool) -> Iterator[Check]:
    """What was found at one server.

    Args:
        tried: the server.
        has_others: whether another server of the URI takes its place if it is unreachable.
    """
    for passed, failed, kinds in _STEPS:
        if isinstance(tried.error, kinds):
            is_replaced = has_others and isinstance(tried.error, ServerUnreachable)
            text = f"{tried.name}: {failed}"
            if is_replaced:
                yield Check("server", f"{text}, and another host of the URI serves instead: {tried.error}")
            else:
                yield Check("server", text, str(tried.error))
            return
        yield Check("server", f"{tried.name}: {passed}")
    if tried.opened is not None:
        reader = tried.opened.role == Role.READER
        yield Check(
            "server",
            f"{tried.name}: your role is {tried.opened.role}, its store is {tried.opened.generation}",
            "a reader cannot log: ask for a writer's URI" if reader else None,
        )


def _stores(found: Sequence[_Tried]) -> Iterator[Check]:
    """Whether servers that one URI names have one store."""
    stores = {each.name: each.opened.generation for each in found if each.opened is not None}
    if len(set(stores.values())) > 1:
        yield Check(
            "server",
            f"{' and '.join(stores)} have different stores, and a client may log into any of them",
            "name servers of one store only, and send what the other store lacks with 'track sync'",
        )


def _session_of(address: str) -> bytes:
    """The same each time: a server remembers each session that was ever opened."""
    return sha256(f"track doctor {os.getuid()} {address}".encode()).digest()[:16]


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("uri", nargs="?", metavar="URI", help="the server to check (default: $TRACK_URI)")
    add_json(parser)


def _run(arguments: argparse.Namespace) -> int:
    checks = []
    for check in examine(arguments.uri, spool_environment()):
        checks.append(check)
        if not arguments.json:
            say("".join(_lines(check)))
            sys.stdout.flush()
    wrong = sum(not check.is_ok for check in checks)
    if arguments.json:
        shown = [asdict(check) | {"ok": check.is_ok} for check in checks]
        print_json({"ok": not wrong, "checks": shown})
    else:
        sys.stdout.write(
            "no problems found\n" if not wrong else f"{wrong} problem{'s' if wrong > 1 else ''} found\n"
        )
    return 1 if wrong else 0


def _lines(check: Check) -> list[str]:
    mark = "ok  " if check.is_ok else "FAIL"
    lines = [f"{mark}  {check.topic:<11}  {check.text}\n"]
    if check.remedy is not None:
        lines.append(f"{'':<19}→ {check.remedy}\n")
    return lines


COMMAND: Final = Command(
    help="check spools, settings and the connection to the server",
    configure=_configure,
    run=_run,
)
