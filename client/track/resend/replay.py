"""Replay: one spool whose process is gone is sent by the same sender that its process had.

What is different here stands in the link: an error that does not pass by itself ends the replay at once
and leaves the spool as it is, and so does a server that lacks what comes before the spool.  A server
that has all of it, or more, has nothing to be sent.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from track.outbox.backlog import Backlog
from track.outbox.connecting import OpenLink
from track.outbox.disk import DiskCopy
from track.outbox.drops import Losses
from track.outbox.limits import Gate, Limits
from track.outbox.records import Row
from track.outbox.sender import Sender
from track.process.lifecycle import enroll
from track.resend.lossreport import LossReport
from track.resend.terms import CheckedLink, Rules, Terms
from track.spool.folder import Progressed, SpoolFolder
from track.spool.options import SpoolOptions, SpoolSync
from track.spool.reader import Recovered, recover
from track.spool.writer import Spool
from track_protocol.errors import CallTimeout, ServerUnreachable, SpoolError, SpoolForeign, TrackError
from track_protocol.wire.amount import Amount
from track_protocol.wire.batch import Batch
from track_protocol.wire.link import Link

__all__ = ["Destination", "Outcome", "Replay"]

_LOOKS: Final = 0.1
_STALLED: Final = 60.0
_GRACE: Final = 0.5
_ENDS: Final = 5.0
_MOST_IN_ONE: Final = 2**20
_NOTHING: Final = Amount()

_IN_FLIGHT: Final = 1_024
"""Batches that are sent and not yet acknowledged: they may be tiny, and bytes are limited besides."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a spool is sent.

    Attributes:
        open_link: makes a link to the server.
        name: of the server, for messages.
        address: of the server, without secrets.
        timeout: seconds after which a server that is away is given up.
    """

    open_link: OpenLink
    name: str
    address: str
    timeout: float


@dataclass(slots=True)
class Outcome:
    """How a replay ended.

    Attributes:
        path: the spool's folder.
        sent: what the server has now and had not before.
        left: what still waits.
        lost: log calls that are damaged here and not at the server.
        lost_more: whether the damage may have taken some more, nobody knows how many.
        rejected: what the server refused for good, or what could not be read any more.
        damages: one line for each damage that was found.
        torn_bytes: of a record that was not finished; they were cut off.
        told: what else there is to tell: why records were refused, and what a server lacks.
        error: why it was not sent, or not to the end.
    """

    path: Path
    sent: Amount = _NOTHING
    left: Amount = _NOTHING
    lost: int = 0
    lost_more: bool = False
    rejected: Amount = _NOTHING
    damages: list[str] = field(default_factory=list)
    torn_bytes: int = 0
    told: list[str] = field(default_factory=list)
    error: TrackError | None = None

    @property
    def is_good(self) -> bool:
        """Whether all that was logged is at the server."""
        return self.error is None and not (self.lost or self.lost_more or self.rejected)


class Replay:
    """Sends one spool, once.

    Args:
        path: its folder.
        destination: where to.
        rules: what may be sent there.
    """

    def __init__(self, path: Path, destination: Destination, rules: Rules | None = None) -> None:
        self._path = path
        self._destination = destination
        self._rules = rules or Rules()
        self._sender: Sender | None = None
        self._spool: Spool | None = None
        self._told: Link | None = None

    def run(self, show: Callable[[int], None] = lambda remaining: None) -> Outcome:
        """Send it, and wait until the server has confirmed all of it or something stands in the way.

        Args:
            show: told now and then how many points and other log calls remain.

        Returns:
            how it ended; no `TrackError` is raised.
        """
        options = SpoolOptions(self._path.parent, SpoolSync.NONE)
        try:
            folder = SpoolFolder.open(self._path)
        except SpoolError as error:
            return Outcome(self._path, error=error)
        try:
            spool, found = recover(folder, options)
        except SpoolError as error:
            folder.close()
            return Outcome(self._path, error=error)
        self._spool = spool
        enroll(self)
        try:
            return self._send(spool, found, options, show)
        finally:
            spool.close()
            folder.close()
            self._sender = self._spool = None

    def _send(
        self, spool: Spool, found: Recovered, options: SpoolOptions, show: Callable[[int], None]
    ) -> Outcome:
        before = spool.folder.progressed()
        outcome = Outcome(
            self._path, lost_more=found.is_cut, damages=found.damages, torn_bytes=found.torn_bytes
        )
        backlog, losses = _backlog_of(found), _Reasons()
        disk = DiskCopy(backlog, options, self._destination.address, losses, spool)
        origin = spool.folder.origin
        damaged = found.is_cut or found.missing_after(before.acked) > 0
        report = LossReport(spool, found) if damaged else None
        terms = Terms(self._rules, self._path, self._destination.name, origin.server, backlog, before)
        sender = Sender(
            deque[Row](),
            Gate(),
            lambda: CheckedLink(self._destination.open_link(), terms),
            self._destination.name,
            self._destination.timeout,
            Limits(batches_in_flight=_IN_FLIGHT),
            losses,
            lambda nbytes: None,
            session=bytes.fromhex(origin.session),
            backlog=backlog,
            disk=disk,
        )
        sender.retiring = True
        terms.stop = lambda: _stop(sender)
        self._sender = sender
        try:
            self._carry(sender, backlog, terms, show)
        finally:
            _stop(sender)
            if backlog.settled < backlog.next_seq - 1:
                _leave(spool.folder, backlog, terms, before)
        outcome.error = terms.error
        # What the server had confirmed once is kept for a while, and would not have been sent.
        outcome.left = found.waiting if terms.had is None else backlog.amount
        outcome.rejected, outcome.told = terms.refused + losses.unreadable, losses.reasons
        outcome.sent = terms.sent
        if terms.had is not None:
            outcome.lost = found.missing_after(terms.had) + terms.gap
        if report is not None and outcome.error is None and (outcome.lost or outcome.lost_more):
            self._tell_trials(report, outcome)
        return outcome

    def _tell_trials(self, report: LossReport, outcome: Outcome) -> None:
        to = self._destination
        try:
            report.send(to.open_link, to.timeout, outcome.lost)
        except TrackError as error:
            outcome.told.append(f"the trials were not told of what they lost: {error}")

    def _carry(self, sender: Sender, backlog: Backlog, terms: Terms, show: Callable[[int], None]) -> None:
        thread = threading.Thread(target=sender.run, name="track-replay", daemon=True)
        thread.start()
        patience = _Patience(self._destination, sender, backlog)
        try:
            while thread.is_alive():
                thread.join(_LOOKS)
                show(backlog.amount.total)
                terms.give_up(patience.ended())
        finally:
            _stop(sender)
            thread.join(_ENDS)

    # -- forks: the child leaves everything to its parent ------------------------------------------

    def before_fork(self) -> None:
        """The calling thread is about to fork: remember which link the child has to let go of."""
        sender = self._sender
        self._told = None if sender is None else sender.line.link or sender.line.opening

    def after_fork_in_parent(self) -> None:
        """The parent goes on as if nothing had happened."""
        self._told = None

    def after_fork_in_child(self) -> None:
        """Let go of the copies of the parent's files."""
        if isinstance(self._told, CheckedLink):
            self._told.after_fork_in_child()
        if self._spool is not None:
            self._spool.leave_to_parent()

    def leave(self, timeout: float) -> None:
        """The process ends: what is not sent stays in the spool, and nobody waits for it."""


class _Reasons(Losses):
    """Keeps what there is to tell, instead of logging it.

    Attributes:
        reasons: why something is lost.
        unreadable: what could not be read any more.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reasons: list[str] = []
        self.unreadable = Amount()

    def drop_all(self, amount: Amount, reason: str, trial: bytes | str | None = None) -> None:
        """Keep points and other log calls apart."""
        self.unreadable += amount
        super().drop_all(amount, reason, trial)

    def warn(self, message: str, *, again: bool = False) -> None:
        """Keep it, once."""
        if message not in self.reasons:
            self.reasons.append(message)


class _Patience:
    """How long a server may be away, or without a sign that it stores anything."""

    def __init__(self, destination: Destination, sender: Sender, backlog: Backlog) -> None:
        self._destination = destination
        self._sender = sender
        self._backlog = backlog
        self._acked = backlog.acked
        self._moved = self._linked = time.monotonic()

    def ended(self) -> TrackError | None:
        """Why there is none left."""
        now, name = time.monotonic(), self._destination.name
        if self._sender.line.link is not None:
            self._linked = now
        if self._acked != self._backlog.acked:
            self._acked, self._moved = self._backlog.acked, now
        if now - self._linked > self._destination.timeout + _GRACE:
            problem = self._sender.line.problem
            return ServerUnreachable(str(problem) if problem is not None else f"{name} cannot be reached")
        if now - self._moved > max(_STALLED, self._destination.timeout + 2 * _GRACE):
            return CallTimeout(f"{name} has confirmed nothing for {_STALLED:g} s: is it overloaded?")
        return None


def _backlog_of(found: Recovered) -> Backlog:
    backlog = Backlog()
    if found.begins and found.kept:
        # Nothing was ever removed from this spool: what is missing at its beginning is damaged.
        for first in range(1, found.kept[0].first, _MOST_IN_ONE):
            backlog.add(Batch(first, min(_MOST_IN_ONE, found.kept[0].first - first), []), 0)
    for each in found.kept:
        backlog.adopt(each)
    return backlog


def _stop(sender: Sender) -> None:
    sender.stopping = True
    sender.wake()


def _leave(folder: SpoolFolder, backlog: Backlog, terms: Terms, before: Progressed) -> None:
    """Say how far it has come; a server that it does not belong to has no say in that."""
    problem = None if terms.error is None else str(terms.error)
    with contextlib.suppress(OSError):  # it is for people, and the spool may be gone
        _note(folder, backlog, terms, before, problem)


def _note(
    folder: SpoolFolder, backlog: Backlog, terms: Terms, before: Progressed, problem: str | None
) -> None:
    if isinstance(terms.error, SpoolForeign):
        folder.note(before)
    elif terms.generation is None:
        folder.note(Progressed(before.acked, before.generation, problem))
    else:
        folder.note(Progressed(backlog.acked, terms.generation, problem))
