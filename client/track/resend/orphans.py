"""The next start: what earlier runs on this machine left for the same server is sent behind the scenes."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from track.resend.login import is_same_server
from track.resend.replay import Destination, Outcome, Replay
from track.resend.terms import Rules
from track.spool.folder import is_held, read_origin, spools_in
from track.spool.inventory import look_at
from track_protocol.errors import SpoolError, SpoolInUse, TrackError
from track_protocol.wire.amount import Amount

__all__ = ["tend_leftovers"]

_log: Final = logging.getLogger("track")


def tend_leftovers(root: Path, destination: Destination, *, send: bool) -> None:
    """Send left-over spools one after the other, on a thread of its own that nobody waits for.

    Only those that were written on this machine, by the same user of the same server, and that nobody
    holds.  What stands in the way is told in one line, and left to ``track sync``.

    Args:
        root: the folder of all spools.
        destination: the server, and the login that this process has for it.
        send: False only tells of them.
    """
    work: Callable[[Path, Destination], None] = _send_all if send else _tell_of_all
    threading.Thread(
        target=_guarded, args=(work, root, destination), name="track-leftovers", daemon=True
    ).start()


def _guarded(work: Callable[[Path, Destination], None], root: Path, destination: Destination) -> None:
    try:
        work(root, destination)
    except (OSError, TrackError) as error:
        _log.warning("spools of earlier runs in %s cannot be looked at: %s", root, error)
    except Exception:  # noqa: BLE001  # nothing here may disturb a run that has nothing to do with it
        _log.exception("spools of earlier runs in %s cannot be looked at; 'track doctor' may tell more", root)


def _tell_of_all(root: Path, destination: Destination) -> None:
    found = [look_at(path) for path in _waiting(root, destination)]
    if found:
        waiting = sum((each.waiting for each in found), Amount())
        verb = "waits" if waiting.total == 1 else "wait"
        _log.info("%s of earlier runs %s in %s: track sync %s", waiting, verb, root, root)


def _send_all(root: Path, destination: Destination) -> None:
    waiting = _waiting(root, destination)
    if not waiting:
        return
    _log.info("what earlier runs left is sent from %s to %s", root, destination.name)
    outcomes = []
    for path in waiting:
        outcome = Replay(path, destination, Rules(same_store=True)).run()
        if isinstance(outcome.error, SpoolInUse):
            continue  # another start was first
        outcomes.append(outcome)
        if outcome.error is not None and not isinstance(outcome.error, SpoolError):
            break  # it would be no better with the next one
    sent = sum((each.sent for each in outcomes), Amount())
    _log.info("%s of earlier runs %s sent", sent, "was" if sent.total == 1 else "were")
    _tell_of_failures([each for each in outcomes if each.error is not None], root)
    _tell_of_losses(outcomes)


def _tell_of_failures(failed: list[Outcome], root: Path) -> None:
    if failed:
        _log.warning(
            "what earlier runs left waits in %s (%s): 'track sync' sends them, 'track doctor' explains more",
            root,
            failed[0].error,
        )


def _tell_of_losses(outcomes: list[Outcome]) -> None:
    lost = sum(each.lost for each in outcomes)
    rejected = sum((each.rejected for each in outcomes), Amount())
    if lost or rejected:
        why = "".join(f"; {reason}" for each in outcomes for reason in each.told)
        _log.warning(
            "of what earlier runs had left, %s log calls were damaged and %s refused%s",
            f"{lost:,}",
            rejected,
            why,
        )


def _waiting(root: Path, destination: Destination) -> list[Path]:
    """Spools that may be sent; not looked into, since that takes a while if they are large."""
    return [path for path in spools_in(root) if _is_ours(path, destination) and not is_held(path)]


def _is_ours(path: Path, destination: Destination) -> bool:
    try:
        origin = read_origin(path)
    except SpoolError:
        return False
    if not any(path.glob("*.segment")):
        return False
    # Locks of other hosts are not to be relied on where they share a folder over the network.
    return origin.host == socket.gethostname() and is_same_server(origin.server, destination.address)
