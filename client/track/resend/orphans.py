"""At the next start, unsent records of earlier runs on this machine are sent in the background."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from track.connection.address import SocketAddress
from track.connection.credentials import local_credentials
from track.connection.hosts import Host, Hosts
from track.connection.link import SocketLink
from track.connection.login import find_login
from track.resend.replay import Destination, Outcome, Replay, ReplayRules
from track.spool.folder import is_held, read_metadata, segments_in, spools_in
from track.spool.reader import look_at
from track_protocol.errors import AuthenticationError, SpoolError, SpoolInUse, TrackError, UsageError
from track_protocol.uri import Uri
from track_protocol.wire.counts import Counts
from track_protocol.wire.link import Link

__all__ = ["destination_at", "is_same_server", "public_address", "recover_orphans"]

_log: Final = logging.getLogger("track")


def recover_orphans(root: Path, destination: Destination, *, send: bool) -> None:
    """Send orphaned spools one after the other, in a background thread.

    Only those that were written on this machine, by the same user of the same server, and that no process
    holds.  An obstacle is reported in one line, and the spool left to ``track sync``.

    Args:
        root: the folder of all spools.
        destination: the server, and the login that this process has for it.
        send: False only reports them.
    """
    work: Callable[[Path, Destination], None] = _send_all if send else _report_all
    threading.Thread(
        target=_guarded, args=(work, root, destination), name="track-orphans", daemon=True
    ).start()


def _guarded(work: Callable[[Path, Destination], None], root: Path, destination: Destination) -> None:
    try:
        work(root, destination)
    except (OSError, TrackError) as error:
        _log.warning("spools of earlier runs in %s cannot be read: %s", root, error)
    except Exception:  # noqa: BLE001  # nothing here may disturb a run that has nothing to do with it
        _log.exception("spools of earlier runs in %s cannot be read; 'track doctor' may show why", root)


def _report_all(root: Path, destination: Destination) -> None:
    found = [look_at(path) for path in _waiting(root, destination)]
    if found:
        waiting = sum((each.waiting for each in found), Counts())
        verb = "waits" if waiting.total == 1 else "wait"
        _log.info("%s of earlier runs %s in %s: track sync %s", waiting, verb, root, root)


def _send_all(root: Path, destination: Destination) -> None:
    waiting = _waiting(root, destination)
    if not waiting:
        return
    _log.info("sending unsent records of earlier runs from %s to %s", root, destination.name)
    outcomes = []
    for path in waiting:
        outcome = Replay(path, destination, ReplayRules(same_store=True)).run()
        if isinstance(outcome.error, SpoolInUse):
            continue  # another start was first
        outcomes.append(outcome)
        if outcome.error is not None and not isinstance(outcome.error, SpoolError):
            break  # it would be no better with the next one
    sent = sum((each.sent for each in outcomes), Counts())
    _log.info("%s of earlier runs %s sent", sent, "was" if sent.total == 1 else "were")
    _report_failures([each for each in outcomes if each.error is not None], root)
    _report_dropped(outcomes)


def _report_failures(failed: list[Outcome], root: Path) -> None:
    if failed:
        _log.warning(
            "records of earlier runs are still queued in %s (%s): run 'track doctor', then 'track sync'",
            root,
            failed[0].error,
        )


def _report_dropped(outcomes: list[Outcome]) -> None:
    lost = sum(each.lost for each in outcomes)
    rejected = sum((each.rejected for each in outcomes), Counts())
    if lost or rejected:
        why = "".join(f"; {reason}" for each in outcomes for reason in each.notes)
        _log.warning(
            "of the records of earlier runs, %s log calls were damaged and %s were rejected%s",
            f"{lost:,}",
            rejected,
            why,
        )


def _waiting(root: Path, destination: Destination) -> list[Path]:
    """Spools that may be sent; not looked into, since that takes a while if they are large."""
    return [path for path in spools_in(root) if _is_ours(path, destination) and not is_held(path)]


def _is_ours(path: Path, destination: Destination) -> bool:
    try:
        metadata = read_metadata(path)
    except SpoolError:
        return False
    if not segments_in(path):
        return False
    # Locks of other hosts are not to be relied on where they share a folder over the network.
    return metadata.host == socket.gethostname() and is_same_server(metadata.server, destination.address)


def destination_at(
    uri: str, env: Mapping[str, str] | None = None, *, only: Host | None = None
) -> Destination:
    """The server at an address, with a login for it: see `find_login`, else what the user's own server left.

    Args:
        uri: given by hand, or from a spool's metadata: without the token.
        env: the environment; that of the process by default.
        only: the only one of its hosts that is used; by default all are.

    Raises:
        UriError: it is none of a server.
        AuthenticationError: there is no login.
    """
    address = SocketAddress(uri)
    variables = os.environ if env is None else env
    try:
        login = find_login(address, variables)
    except AuthenticationError:
        if not _may_be_own(address, variables):
            raise
        login = None
    if login is None and not _may_be_own(address, variables):
        raise AuthenticationError(f"no login for {address.shown}: run 'track login {public_address(uri)}'")

    hosts = Hosts(address.hosts if only is None else [only])
    shown = address.shown if only is None else only.shown

    def open_link() -> Link:
        return SocketLink(address, lambda: login, hosts)

    return Destination(open_link, f"the server at {shown}", public_address(uri), address.timeout)


def public_address(uri: str) -> str:
    """A URI without the password in it."""
    return replace(Uri.parse(uri), password=None).to_text()


def is_same_server(recorded: str, uri: str) -> bool:
    """Whether a spool's address is that of a client: one of the hosts, the user, and the key if both say."""
    try:
        one, other = SocketAddress(recorded), SocketAddress(uri)
    except UsageError:  # of a spool of another machine
        return False
    return one.is_same_server(other) and one.username == other.username


def _may_be_own(address: SocketAddress, environment: Mapping[str, str]) -> bool:
    """Whether the server is the user's own, which leaves them a login while it runs.

    Without a name it may be an unreachable one: the link distinguishes it from another user's.
    """
    local = [local_credentials(host.port, environment) for host in address.hosts if host.is_loopback]
    names = {None, *(each.username for each in local if each is not None)}
    return bool(local) and address.username in names
