"""``track doctor [URI]``: what is wrong here, and what to do about it."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Final

from track.configuration import environment, find_configuration
from track.connection.offline import offline_policy
from track.resend.orphans import destination_at
from track.run.resume import resumes_in
from track.spool.options import SpoolOptions, sends_orphans, spool_root
from track.spool.reader import Found, look_in
from track.spool.segments import CHECKSUMS_BY
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
from track_protocol.wire.roles import Role

__all__ = ["COMMAND", "Finding", "examine"]

_SECRETS: Final = ("TOKEN", "PASSWORD", "SECRET")
_LEAST_FREE: Final = 64 * 1024 * 1024

_STEPS: Final[tuple[tuple[str, str, tuple[type[TrackError], ...]], ...]] = (
    ("it can be reached", "it cannot be reached", (ServerUnreachable,)),
    ("the connection is encrypted", "the connection cannot be encrypted", (EncryptionMismatch,)),
    ("its key is the expected one", "its key is not the expected one", (PinMismatch,)),
    ("it accepts the login", "it does not accept the login", (AuthenticationError, TrackError)),
)
"""What opening a link goes through, in this order, how that fails, and the errors that say so."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        topic: versions, environment, spool or server.
        text: what was found.
        remedy: what to do about it; None if it is well.
    """

    topic: str
    text: str
    remedy: str | None = None

    @property
    def is_well(self) -> bool:
        """Whether there is nothing to do."""
        return self.remedy is None


def examine(uri: str | None, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Look at versions, variables, spools and the server.

    Args:
        uri: of the server; by default that of ``TRACK_URI``.
        environment: as `os.environ` has it.
    """
    yield from _versions()
    yield from _variables(environment)
    yield from _spools(environment)
    yield from _server(uri or environment.get("TRACK_URI"), environment)


def _versions() -> Iterator[Finding]:
    python = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    yield Finding("versions", f"trackwire {version('trackwire')}, {python}")
    slow = CHECKSUMS_BY != "c"
    yield Finding(
        "versions",
        f"checksums by google_crc32c's implementation in {CHECKSUMS_BY}",
        "spooling is slow: install a wheel of google-crc32c for this platform" if slow else None,
    )


def _variables(environment: Mapping[str, str]) -> Iterator[Finding]:
    if (file := find_configuration().path) is not None:
        yield Finding("environment", f"{file} is read")
    names = sorted(name for name in environment if name.startswith("TRACK_"))
    for name in names:
        hidden = any(word in name for word in _SECRETS) and not name.endswith("_FILE")
        yield Finding("environment", f"{name} is {'set' if hidden else redact(environment[name])}")
    if not names:
        yield Finding("environment", "no TRACK_ variable is set")
    try:
        SpoolOptions.of(environment)
        sends_orphans(environment)
        offline_policy(None, environment)
        resumes_in(environment)
    except UsageError as error:
        yield Finding("environment", str(error), "correct that variable, or unset it")


def _spools(environment: Mapping[str, str]) -> Iterator[Finding]:
    try:
        root = spool_root(environment)
        yield from _root(root, environment)
        found = look_in(root)
    except (OSError, SpoolError, UsageError) as error:
        yield Finding("spool", str(error), "set TRACK_SPOOL to a folder of yours that can be written")
        return
    for each in found:
        yield _spool(each, environment)
    if not found:
        yield Finding("spool", "nothing of earlier runs waits there")


def _root(root: Path, environment: Mapping[str, str]) -> Iterator[Finding]:
    there = next(path for path in (root, *root.parents) if path.exists())
    made = "" if there == root else ", which is made when it is needed"
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        yield Finding(
            "spool",
            f"spools lie in {root}, but {there} cannot be written",
            "give access to it, or set TRACK_SPOOL to another folder; until then, a killed process loses "
            "what the server has not confirmed",
        )
        return
    free = shutil.disk_usage(there).free
    yield Finding(
        "spool",
        f"spools lie in {root}{made}; {free:,} bytes are free there{_limit(environment)}",
        "make room, or set TRACK_SPOOL to a folder on another disk" if free < _LEAST_FREE else None,
    )


def _limit(environment: Mapping[str, str]) -> str:
    try:
        options = SpoolOptions.of(environment)
    except UsageError:
        return ""
    return f", and a process takes at most {options.limit:,}; flushed to the disk: {options.sync.value}"


def _spool(found: Found, environment: Mapping[str, str]) -> Finding:
    name = f"{found.path}: {found.state}"
    if found.in_use:
        return Finding("spool", name)
    if found.is_damage_only:
        return Finding("spool", name, f"have a look, then delete it: rm -r {found.path}")
    if found.trouble is not None:
        return Finding("spool", f"{name}: {found.trouble}", _remedy_of_trouble(found))
    return Finding(
        "spool", f"{name}; {_what_waits(found)}", f"track sync {found.path}{_how(found, environment)}"
    )


def _remedy_of_trouble(found: Found) -> str:
    if isinstance(found.trouble, SpoolCorrupt):
        return "its records are in the .segment files: give the folder its old name back, the session"
    return "give access to it, or look at it as the user who wrote it"


def _what_waits(found: Found) -> str:
    assert found.metadata is not None, "without it there is trouble"
    origin = found.metadata
    whose = f"{origin.program} (pid {origin.pid} on {origin.host})"
    server = origin.server or "an unknown server, since spool.json is damaged"
    verb = "waits" if found.waiting.total == 1 else "wait"
    parts = [f"{found.waiting} of {whose} {verb} for {server}"]
    if found.checkpoint.problem is not None:
        parts.append(f"at the last attempt: {found.checkpoint.problem}")
    missing = found.held.missing_after(found.checkpoint.acked)
    if found.held.damages:
        parts.append(f"{len(found.held.damages)} damages, {missing:,} log calls lost by them")
    if found.held.torn_bytes:
        parts.append(
            f"the last {found.held.torn_bytes:,} bytes were not written to the end, and will be cut off"
        )
    return "; ".join(parts)


def _how(found: Found, environment: Mapping[str, str]) -> str:
    elsewhere = found.metadata is not None and found.metadata.host != socket.gethostname()
    to = "" if found.metadata is None else _to(found.metadata.server, environment)
    sure = " (make sure that its process on that machine has ended)" if elsewhere else ""
    damaged = ": what is whole is sent, the damaged bytes are set aside" if found.held.damages else ""
    return to + sure + damaged


def _to(server: str, environment: Mapping[str, str]) -> str:
    """What is missing to send to the server that a spool tells, which keeps no token."""
    if not server:
        return " --to URI"
    try:
        destination_at(server, environment)
    except AuthenticationError:
        return (
            " --to URI, with the one that 'track user add' printed, since nothing here tells a token for it"
        )
    except TrackError:
        return " --to URI, since the spool's is none"
    return ""


def _server(uri: str | None, environment: Mapping[str, str]) -> Iterator[Finding]:
    if not uri:
        yield Finding("server", "none is configured: name one, or set TRACK_URI")
        return
    if not uri.startswith("socket:"):
        yield Finding("server", f"{redact(uri)} is a store of this machine, without a server")
        return
    try:
        destination = destination_at(uri, environment)
        link = destination.open_link()
    except TrackError as error:
        yield Finding("server", f"{redact(uri)}: there is no way to it", str(error))
        return
    try:
        opened = link.open(_session_of(destination.address), destination.timeout)
    except TrackError as error:
        yield from _failed_at(destination.name, error)
        return
    finally:
        link.close()
    yield from (Finding("server", f"{destination.name}: {step}") for step, _, _ in _STEPS)
    reader = opened.role == Role.READER
    yield Finding(
        "server",
        f"{destination.name}: the role there is {opened.role}, its store {opened.generation}",
        "a reader may not log anything: ask for a writer's URI" if reader else None,
    )


def _session_of(address: str) -> bytes:
    """The same each time: a server remembers each session that was ever opened."""
    return sha256(f"track doctor {os.getuid()} {address}".encode()).digest()[:16]


def _failed_at(name: str, error: TrackError) -> Iterator[Finding]:
    for passed, failed, kinds in _STEPS:
        if isinstance(error, kinds):
            yield Finding("server", f"{name}: {failed}", str(error))
            return
        yield Finding("server", f"{name}: {passed}")


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("uri", nargs="?", metavar="URI", help="the server to look at (default: $TRACK_URI)")
    parser.add_argument("--json", action="store_true", help="for a machine to read")


def _run(arguments: argparse.Namespace) -> int:
    findings = []
    for finding in examine(arguments.uri, environment()):
        findings.append(finding)
        if not arguments.json:
            sys.stdout.writelines(_lines(finding))
            sys.stdout.flush()
    wrong = sum(not finding.is_well for finding in findings)
    if arguments.json:
        told = [asdict(finding) | {"well": finding.is_well} for finding in findings]
        sys.stdout.write(json.dumps({"well": not wrong, "findings": told}) + "\n")
    else:
        sys.stdout.write("all is well\n" if not wrong else f"{wrong} to be looked after\n")
    return 1 if wrong else 0


def _lines(finding: Finding) -> list[str]:
    mark = "ok  " if finding.is_well else "FAIL"
    lines = [f"{mark}  {finding.topic:<11}  {finding.text}\n"]
    if finding.remedy is not None:
        lines.append(f"{'':<19}→ {finding.remedy}\n")
    return lines


COMMAND: Final = Command(
    help="explain what is wrong with spools, settings and the way to the server, and what mends it",
    configure=_configure,
    run=_run,
)
