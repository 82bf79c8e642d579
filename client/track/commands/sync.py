"""``track sync [DIR]``: send the records that interrupted runs queued on this machine's disk."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from track.commands.fields import moment_text
from track.commands.login import ask_secret
from track.commands.printing import add_json, bytes_text, print_json, say, table
from track.connection.address import SocketAddress
from track.connection.trusted_files import spool_environment
from track.process.progress import Progress
from track.resend.foreign import copied_spool, foreign_spools
from track.resend.orphans import destination_at
from track.resend.replay import Destination, Outcome, Replay, ReplayRules
from track.spool.folder import Checkpoint, SpoolMetadata
from track.spool.options import spool_root
from track.spool.reader import Found, look_at, look_in
from track_protocol.command import Command
from track_protocol.errors import (
    AuthenticationError,
    ItemNotFound,
    ServerUnreachable,
    SpoolCorrupt,
    SpoolError,
    SpoolInUse,
    TrackError,
    UsageError,
)
from track_protocol.terminal import clean
from track_protocol.uri import Uri
from track_protocol.wire.counts import Counts

__all__ = ["COMMAND"]

_HEADER: Final = (
    "MADE",
    "PROGRAM",
    "HOST",
    "PID",
    "SERVER",
    "SESSION",
    "POINTS",
    "CALLS",
    "BYTES",
    "STATE",
    "FOLDER",
)


def _configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("dir", nargs="?", type=Path, metavar="DIR", help="one spool, or a folder of spools (default: all)")
    add("--to", metavar="URI", help="send to this server (default: the server that the spool names)")
    add(
        "--from-other-user",
        action="store_true",
        help="send a spool of another user, under that user's own login, and leave it as it is",
    )
    add("--dry-run", action="store_true", help="list the spools, send nothing")
    add("--despite-gap", action="store_true", help="send even if the server lacks earlier records")
    add_json(parser)


def _run(arguments: argparse.Namespace) -> int:
    root = arguments.dir or spool_root(spool_environment())
    if arguments.dir is not None and not root.is_dir():
        raise ItemNotFound(f"{root} is not a folder: name a spool, or a folder of spools")
    spools = _Spools(root, from_other_user=arguments.from_other_user, is_named=arguments.dir is not None)
    if arguments.dry_run:
        return _list(root, spools.look(), as_json=arguments.json)
    # Everything is reported once, at the end.
    logging.getLogger("track").addHandler(logging.NullHandler())
    login = _OwnerLogin(arguments.to) if arguments.from_other_user else _UserLogin(arguments.to)
    results = []
    for each, outcome in spools.send(_Shipping(login, ReplayRules(despite_gap=arguments.despite_gap))):
        results.append((each, outcome))
        if not arguments.json:
            say("".join(f"{line}\n" for line in _lines(each, outcome)))
            sys.stdout.flush()
    outcomes = [outcome for _, outcome in results]
    if arguments.json:
        print_json({"spools": [_as_json(*each) for each in results]})
    elif not results:
        say(f"no unsent records in {root}\n")
    else:
        sys.stdout.write(f"{_summary(outcomes)}\n")
    return _exit_code(outcomes)


class _Spools:
    """The spools in a folder: the user's own, or those of another user, of which a copy is sent.

    Raises:
        UsageError: `from_other_user` does not fit the folder's owner.
    """

    def __init__(self, root: Path, *, from_other_user: bool, is_named: bool) -> None:
        if from_other_user and not is_named:
            raise UsageError("--from-other-user needs the folder: track sync DIR --from-other-user")
        if is_named and not from_other_user and (owner := root.stat().st_uid) != os.geteuid():
            raise UsageError(
                f"{root} belongs to user {owner}, and its records would be stored as yours: have that user "
                "send them; or send them under that user's own login, with --from-other-user"
            )
        self._root = root
        self._is_foreign = from_other_user

    def look(self) -> list[Found]:
        """All of them, with what they hold."""
        if not self._is_foreign:
            return look_in(self._root)
        return [self._looked_at(path) for path in foreign_spools(self._root)]

    def _looked_at(self, path: Path) -> Found:
        try:
            with copied_spool(path) as copy:
                return replace(look_at(copy), path=path)
        except SpoolError as error:
            return _unusable(path, error)

    def send(self, shipping: _Shipping) -> Iterator[tuple[Found, Outcome]]:
        """Send one after the other."""
        if not self._is_foreign:
            # Sending a spool reads it anyway.
            for found in look_in(self._root, inside=False):
                yield found, shipping.send(found)
            return
        for path in foreign_spools(self._root):
            try:
                with copied_spool(path) as copy:
                    found = look_at(copy, inside=False)
                    outcome = shipping.send(found)
            except SpoolError as error:
                found, outcome = _unusable(path, error), Outcome(path, error=error)
            yield replace(found, path=path), replace(outcome, path=path)


def _unusable(path: Path, error: SpoolError) -> Found:
    return Found(path, None, Checkpoint(), isinstance(error, SpoolInUse), error=error)


class _UserLogin:
    """Sends with the logins of who runs the command.

    Args:
        to: the server that was named; None for the one that each spool names.
    """

    def __init__(self, to: str | None) -> None:
        self._to = to

    def destination(self, origin: SpoolMetadata) -> Destination:
        """Where a spool goes."""
        return destination_at(self._to or _server_of(origin))


class _OwnerLogin:
    """Sends each spool under the login that it was logged with; the token is asked for, and no other is used.

    Args:
        to: the server that was named, which must be for that user; None for the one that each spool names.
    """

    def __init__(self, to: str | None) -> None:
        self._to = to
        self._tokens: dict[tuple[str, str], str] = {}

    def destination(self, origin: SpoolMetadata) -> Destination:
        """Where a spool goes.

        Raises:
            AuthenticationError: it is not known under which login it was logged, or --to names another one.
        """
        owner = SocketAddress(_server_of(origin)).username
        if owner is None:
            raise AuthenticationError(
                "its records were logged by the server's own user, who needs no login there: only that user "
                "can send them"
            )
        uri = self._to or origin.server
        address = SocketAddress(uri)
        if address.username != owner:
            raise AuthenticationError(f"its records are {owner}'s at the server, and --to names another user")
        if not address.password:
            place = (owner, address.shown)
            if place not in self._tokens:
                self._tokens[place] = ask_secret(clean(f"Token of {owner} at {address.shown}: "))
            uri = replace(Uri.parse(uri), password=self._tokens[place]).to_text()
        return destination_at(uri)


class _Shipping:
    """Sends spools one after the other; `login` says where each goes, and with which login."""

    def __init__(self, login: _UserLogin | _OwnerLogin, rules: ReplayRules) -> None:
        self._login = login
        self._rules = rules
        self._unreachable: dict[str, ServerUnreachable] = {}

    def send(self, found: Found) -> Outcome:
        """Send one spool, or say why not."""
        if found.in_use:
            return Outcome(found.path, error=SpoolInUse(f"{found.path} is in use: its process sends it"))
        if found.is_damage_only:
            return Outcome(found.path)
        if found.metadata is None:
            return _unsent(found, found.error)
        try:
            destination = self._login.destination(found.metadata)
        except TrackError as error:
            return _unsent(found, error)
        if destination.name in self._unreachable:
            return _unsent(found, self._unreachable[destination.name])
        outcome = self._replay(found, destination)
        if isinstance(outcome.error, ServerUnreachable):
            self._unreachable[destination.name] = outcome.error
        return outcome

    def _replay(self, found: Found, destination: Destination) -> Outcome:
        with Progress(f"{found.path.name[:8]} to {destination.name}") as bar:
            return Replay(found.path, destination, self._rules).run(bar.show)


def _unsent(found: Found, error: TrackError | None) -> Outcome:
    return Outcome(found.path, left=look_at(found.path).waiting, error=error)


def _server_of(origin: SpoolMetadata) -> str:
    if not origin.server:
        raise SpoolCorrupt(
            "its spool.json, which names the server, is damaged: give the server with --to URI"
        )
    return origin.server


def _lines(found: Found, outcome: Outcome) -> Iterable[str]:
    """The outcome of one spool, in one line and one more for each damage and refusal."""
    yield f"{outcome.path}: {_sentence(found, outcome)}"
    if outcome.torn_bytes:
        yield f"  the last {outcome.torn_bytes:,} bytes, an incomplete record, were cut off"
    if outcome.damages:
        yield from (f"  {damage}" for damage in outcome.damages)
        if (outcome.path / "damaged").exists():
            yield f"  the damaged bytes were moved to {outcome.path / 'damaged'}"
    yield from (f"  {line}" for line in outcome.notes)


def _sentence(found: Found, outcome: Outcome) -> str:
    if isinstance(outcome.error, SpoolInUse):
        return _holder(found)
    if found.is_damage_only and outcome.error is None and not outcome.sent:
        return f"everything was sent; the damaged bytes are in {found.path / 'damaged'} and can be deleted"
    parts = [f"{outcome.sent} sent"]
    if outcome.left:
        parts.append(_wait(outcome.left))
    if outcome.rejected:
        parts.append(f"{outcome.rejected} refused")
    if outcome.lost:
        parts.append(f"{outcome.lost:,} log calls lost")
    if outcome.lost_more:
        parts.append("the last log calls may be lost")
    if outcome.error is not None:
        parts.append(f"sent in part: {outcome.error}" if outcome.sent else f"not sent: {outcome.error}")
    return ", ".join(parts)


def _wait(left: Counts) -> str:
    return f"{left} {'waits' if left.total == 1 else 'wait'}"


def _holder(found: Found) -> str:
    if found.in_use and found.metadata is not None:
        return f"in use by {found.metadata.program} (pid {found.metadata.pid}), which sends it itself"
    return "in use by another process, which sends it itself"


def _summary(outcomes: list[Outcome]) -> str:
    busy = sum(isinstance(each.error, SpoolInUse) for each in outcomes)
    failed = sum(each.error is not None for each in outcomes) - busy
    sent = sum((each.sent for each in outcomes), Counts())
    left = sum((each.left for each in outcomes), Counts())
    spools = "1 spool" if len(outcomes) == 1 else f"{len(outcomes)} spools"
    return f"{spools}: {sent} sent, {_wait(left)}; {busy} in use, {failed} not sent"


def _exit_code(outcomes: list[Outcome]) -> int:
    errors = [each.error for each in outcomes if each.error and not isinstance(each.error, SpoolInUse)]
    if errors:
        return errors[0].exit_code
    return 1 if any(each.lost or each.lost_more or each.rejected for each in outcomes) else 0


def _as_json(found: Found, outcome: Outcome) -> dict[str, Any]:
    error = outcome.error
    results = asdict(outcome) | {"path": str(outcome.path), "error": None if error is None else str(error)}
    for name in ("sent", "left", "rejected"):
        counts: Counts = getattr(outcome, name)
        results |= {name: counts.points, f"{name}_calls": counts.calls}
    return {
        **results,
        "in_use": isinstance(error, SpoolInUse),
        "session": found.metadata and found.metadata.session,
    }


def _list(root: Path, found: list[Found], *, as_json: bool) -> int:
    if as_json:
        print_json({"root": str(root), "spools": [each.as_json() for each in found]})
    elif not found:
        say(f"no unsent records in {root}\n")
    else:
        lines = table(_HEADER, [_row(each) for each in found])
        sys.stdout.write(f"{lines[0]}\n")
        for each, line in zip(found, lines[1:], strict=True):
            notes = [*each.held.damages, *([str(each.error)] if each.error else [])]
            say("".join(f"{text}\n" for text in [line, *(f"  {note}" for note in notes)]))
    return 0


def _row(found: Found) -> tuple[str, ...]:
    origin = found.metadata
    known = (
        ("?",) * 6
        if origin is None
        else (
            moment_text(origin.made, "seconds"),
            origin.program,
            origin.host,
            str(origin.pid),
            _place(origin.server),
            origin.session,
        )
    )
    waiting = (f"{found.waiting.points:,}", f"{found.waiting.calls:,}", bytes_text(found.nbytes))
    return (*known, *waiting, found.state, str(found.path))


def _place(server: str) -> str:
    """The server without its options."""
    return server.partition("?")[0]


COMMAND: Final = Command(
    help="send the records that interrupted runs left on this machine", configure=_configure, run=_run
)
