"""Replay: the spool of an ended process is sent by the same sender that its process had.

The differences are in the link: a permanent error ends the replay at once
and leaves the spool as it is, and so does a server that lacks what comes before the spool.  A server
that has all of it, or more, has nothing to be sent.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from track.outbox.backlog import Backlog
from track.outbox.connector import OpenLink, close_quietly
from track.outbox.disk import DiskQueue
from track.outbox.drops import DropAccount
from track.outbox.queue import Gate, Limits
from track.outbox.records import CALL, Record, batch_of
from track.outbox.sender import Sender
from track.process.lifecycle import LifecycleHook, register
from track.spool.folder import Checkpoint, SpoolFolder
from track.spool.options import SpoolOptions, SpoolSync
from track.spool.reader import Recovered, batch_in, recover
from track.spool.writer import Spool
from track_protocol.errors import (
    CallTimeout,
    PermissionDenied,
    RemoteProtocolError,
    ServerUnreachable,
    SessionFenced,
    SpoolError,
    SpoolForeign,
    TooBusy,
    TrackError,
)
from track_protocol.wire.batch import Batch, CallOp, PointsOp
from track_protocol.wire.counts import Counts
from track_protocol.wire.link import Acked, Link, LinkEvent, Opened, Refused
from track_protocol.wire.roles import Role

__all__ = ["Destination", "GuardedLink", "LossReport", "Outcome", "Replay", "ReplayPolicy", "ReplayRules"]

_log: Final = logging.getLogger("track")

_POLL_INTERVAL_S: Final = 0.1
_STALL_TIMEOUT_S: Final = 60.0
_GRACE_S: Final = 0.5
_CLOSE_TIMEOUT_S: Final = 5.0
_NOTHING: Final = Counts()

_MAX_BATCHES_IN_FLIGHT: Final = 1_024
"""Batches that are sent and not yet acknowledged: they may be tiny, and bytes are limited besides."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a spool is sent.

    Attributes:
        open_link: makes a link to the server.
        name: of the server, for messages.
        address: of the server, without secrets.
        timeout: seconds after which the replay stops if the server is unreachable.
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
        lost_more: whether the damage may have destroyed further ones, of unknown number.
        rejected: what the server rejected permanently, or what is unreadable.
        damages: one line for each damage that was found.
        torn_bytes: of a record that was not finished; they were cut off.
        notes: why records were rejected, and what a server lacks.
        error: why it was not sent, or not to the end.
    """

    path: Path
    sent: Counts = _NOTHING
    left: Counts = _NOTHING
    lost: int = 0
    lost_more: bool = False
    rejected: Counts = _NOTHING
    damages: list[str] = field(default_factory=list)
    torn_bytes: int = 0
    notes: list[str] = field(default_factory=list)
    error: TrackError | None = None


class Replay(LifecycleHook):
    """Sends one spool, once.

    Args:
        path: its folder.
        destination: where to.
        rules: what may be sent there.
    """

    def __init__(self, path: Path, destination: Destination, rules: ReplayRules | None = None) -> None:
        self._path = path
        self._destination = destination
        self._rules = rules or ReplayRules()
        self._sender: Sender | None = None
        self._spool: Spool | None = None
        self._fork_link: Link | None = None

    def run(self, show: Callable[[int], None] = lambda remaining: None) -> Outcome:
        """Send it, and wait until the server has confirmed all of it or sending fails.

        Args:
            show: receives now and then how many points and other log calls remain.

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
        register(self)
        try:
            _log.debug("replay of %s to %s: %s", self._path, self._destination.name, found.waiting)
            outcome = self._send(spool, found, options, show)
            _log.debug(
                "replay of %s: sent %s, left %s, %s", self._path, outcome.sent, outcome.left, outcome.error
            )
            return outcome
        finally:
            spool.close()
            folder.close()
            self._sender = self._spool = None

    def _send(
        self, spool: Spool, found: Recovered, options: SpoolOptions, show: Callable[[int], None]
    ) -> Outcome:
        before = spool.folder.checkpoint()
        outcome = Outcome(
            self._path, lost_more=found.is_cut, damages=found.damages, torn_bytes=found.torn_bytes
        )
        backlog, drops = _backlog_of(found), _Reasons()
        disk = DiskQueue(backlog, options, self._destination.address, drops, spool)
        metadata = spool.folder.metadata
        damaged = found.is_cut or found.missing_after(before.acked) > 0
        report = LossReport(spool, found) if damaged else None
        policy = ReplayPolicy(
            self._rules, self._path, self._destination.name, metadata.server, backlog, before
        )
        ended = metadata.made if found.last_time is None else found.last_time
        sender = Sender(
            deque[Record](),
            Gate(),
            lambda: GuardedLink(self._destination.open_link(), policy, ended),
            self._destination.name,
            self._destination.timeout,
            Limits(batches_in_flight=_MAX_BATCHES_IN_FLIGHT),
            drops,
            lambda nbytes: None,
            session=bytes.fromhex(metadata.session),
            backlog=backlog,
            disk=disk,
        )
        sender.closing_when_drained = True
        policy.stop = lambda: _stop(sender)
        self._sender = sender
        try:
            self._carry(sender, backlog, policy, show)
        finally:
            _stop(sender)
            if backlog.resolved_through < backlog.next_seq - 1:
                _leave(spool.folder, backlog, policy, before)
        outcome.error = policy.error
        # Confirmed segments are retained for a while, and would not have been sent.
        outcome.left = found.waiting if policy.had is None else backlog.counts
        outcome.rejected, outcome.notes = policy.refused + drops.unreadable, drops.reasons
        outcome.sent = policy.sent
        if policy.had is not None:
            outcome.lost = found.missing_after(policy.had) + policy.gap
        if report is not None and outcome.error is None and (outcome.lost or outcome.lost_more):
            self._tell_trials(report, outcome)
        return outcome

    def _tell_trials(self, report: LossReport, outcome: Outcome) -> None:
        to = self._destination
        try:
            report.send(to.open_link, to.timeout, outcome.lost)
        except TrackError as error:
            outcome.notes.append(f"the dropped counts could not be stored in the trials: {error}")

    def _carry(
        self, sender: Sender, backlog: Backlog, policy: ReplayPolicy, show: Callable[[int], None]
    ) -> None:
        thread = threading.Thread(target=sender.run, name="track-replay", daemon=True)
        thread.start()
        stall = _StallLimit(self._destination, sender, backlog)
        try:
            while thread.is_alive():
                thread.join(_POLL_INTERVAL_S)
                show(backlog.counts.total)
                policy.give_up(stall.ended())
        finally:
            _stop(sender)
            thread.join(_CLOSE_TIMEOUT_S)

    # -- forks: the child leaves everything to its parent ------------------------------------------

    def before_fork(self) -> None:
        """The calling thread is about to fork: record which link the child has to close."""
        sender = self._sender
        self._fork_link = None if sender is None else sender.connector.link or sender.connector.opening

    def after_fork_in_parent(self) -> None:
        """The parent continues unchanged."""
        self._fork_link = None

    def after_fork_in_child(self) -> None:
        """Close the child's copy of the connection; its files are closed already."""
        if isinstance(self._fork_link, GuardedLink):
            self._fork_link.after_fork_in_child()


class _Reasons(DropAccount):
    """Keeps what there is to tell, instead of logging it.

    Attributes:
        reasons: why something is lost.
        unreadable: what could not be read any more.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reasons: list[str] = []
        self.unreadable = Counts()

    def drop_all(self, counts: Counts, reason: str, trial: bytes | str | None = None) -> None:
        """Keep points and other log calls apart."""
        self.unreadable += counts
        super().drop_all(counts, reason, trial)

    def warn(self, message: str, *, again: bool = False) -> None:
        """Keep it, once."""
        if message not in self.reasons:
            self.reasons.append(message)


class _StallLimit:
    """How long a server may be unreachable, or without a sign that it stores anything."""

    def __init__(self, destination: Destination, sender: Sender, backlog: Backlog) -> None:
        self._destination = destination
        self._sender = sender
        self._backlog = backlog
        self._acked = backlog.acked
        self._moved = self._linked = time.monotonic()

    def ended(self) -> TrackError | None:
        """Why there is none left."""
        now, name = time.monotonic(), self._destination.name
        if self._sender.connector.link is not None:
            self._linked = now
        if self._acked != self._backlog.acked:
            self._acked, self._moved = self._backlog.acked, now
        if now - self._linked > self._destination.timeout + _GRACE_S:
            problem = self._sender.connector.problem
            return ServerUnreachable(str(problem) if problem is not None else f"{name} cannot be reached")
        if now - self._moved > max(_STALL_TIMEOUT_S, self._destination.timeout + 2 * _GRACE_S):
            return CallTimeout(f"{name} has confirmed nothing for {_STALL_TIMEOUT_S:g} s: is it overloaded?")
        return None


def _backlog_of(found: Recovered) -> Backlog:
    backlog = Backlog()
    if found.intact:
        # Where nothing was ever removed from a spool, what is missing at its beginning is damaged.
        backlog.adopt(found.intact, 1 if found.begins else found.intact[0].first)
    return backlog


def _stop(sender: Sender) -> None:
    sender.stopping = True
    sender.wake()


def _leave(folder: SpoolFolder, backlog: Backlog, policy: ReplayPolicy, before: Checkpoint) -> None:
    """Say how far it has come; a server that it does not belong to has no say in that."""
    problem = None if policy.error is None else str(policy.error)
    with contextlib.suppress(OSError):  # only informative, and the spool may be deleted
        _note(folder, backlog, policy, before, problem)


def _note(
    folder: SpoolFolder, backlog: Backlog, policy: ReplayPolicy, before: Checkpoint, problem: str | None
) -> None:
    if isinstance(policy.error, SpoolForeign):
        folder.write_checkpoint(before)
    elif policy.generation is None:
        folder.write_checkpoint(Checkpoint(before.acked, before.generation, problem))
    else:
        folder.write_checkpoint(Checkpoint(backlog.acked, policy.generation, problem))


_TRANSIENT: Final = (ServerUnreachable, TooBusy)
"""After these it is tried again, until time is up."""


@dataclass(frozen=True, slots=True)
class ReplayRules:
    """What may be sent where.

    Attributes:
        despite_gap: send what there is to a server that lacks what comes before it.
        same_store: only to the store that it was logged for, as far as that is known.
    """

    despite_gap: bool = False
    same_store: bool = False


class ReplayPolicy:
    """On which terms the links of a replay are used, and what ended it; for whatever thread uses them.

    Args:
        rules: what may be sent.
        path: of the spool.
        name: of the server.
        server: that the spool was logged for.
        backlog: what is to be sent.
        before: how far the spool had come.

    Attributes:
        stop: ends the replay.
        error: why it was ended.
        had: the last record that the server had when it was first reached; None if it never was.
        generation: of the server's store; None if it was never reached.
        gap: how many log calls neither side has, though they were confirmed once.
        sent: what the server has now and had not when it was first reached.
        refused: what the server rejects permanently.
    """

    def __init__(
        self, rules: ReplayRules, path: Path, name: str, server: str, backlog: Backlog, before: Checkpoint
    ) -> None:
        self._rules = rules
        self._path = path
        self._name = name
        self._server = server
        self._begin = backlog.acked + 1
        self._end = backlog.next_seq - 1
        self._before = before
        self.stop: Callable[[], None] = lambda: None
        self.error: TrackError | None = None
        self.had: int | None = None
        self.generation: str | None = None
        self.gap = 0
        self.sent = self.refused = Counts()
        self._known = 0
        self._under_way: dict[int, Batch] = {}

    def give_up(self, error: TrackError | None) -> None:
        """End the replay, if there is an error; the first one counts."""
        if error is not None:
            self.error = self.error or error
            self.stop()

    def judge(self, error: TrackError) -> None:
        """End the replay for an error that does not pass by itself."""
        if isinstance(error, SessionFenced):
            self.give_up(
                SessionFenced(f"{self._path} is being sent by another process, which has taken over")
            )
        elif not isinstance(error, _TRANSIENT):
            self.give_up(error)

    def admit(self, opened: Opened) -> Opened:
        """What the sender is to know of a link that is open.

        Raises:
            SpoolForeign: the server lacks what comes before the spool.
            PermissionDenied: nothing can be sent there by a reader.
        """
        if opened.last_seq < self._begin - 1 and not self._rules.despite_gap:
            raise SpoolForeign(self._gap_at(opened))
        stranger = self._before.generation not in (None, opened.generation) and opened.last_seq == 0
        if stranger and self._rules.same_store:
            raise SpoolForeign(
                f"{self._name} has another store than the one {self._path} was logged for: if the records "
                f"belong there nevertheless, send them with: track sync {self._path}"
            )
        if opened.role == Role.READER and opened.last_seq < self._end:
            raise PermissionDenied(
                f"this user of {self._name} has the role reader and may not log: use a writer's URI"
            )
        if self.had is None:
            self.had = self._known = min(opened.last_seq, self._end)
            self.gap = max(0, self._begin - 1 - opened.last_seq)
        self._stored(min(opened.last_seq, self._end))
        self._under_way.clear()  # the rest is sent again
        self.generation = opened.generation
        # Records after this copy are in another one, or were sent by its process.
        return Opened(min(opened.last_seq, self._end), opened.generation, opened.role)

    def sending(self, batch: Batch) -> None:
        """Record what may be rejected, one record after the other."""
        self._under_way[batch.first] = batch

    def check(self, acked: Acked) -> None:
        """Count what is refused, and require that a server confirms only records of the spool.

        Raises:
            RemoteProtocolError: it does.
        """
        if acked.last_seq > self._end:
            raise RemoteProtocolError(
                f"{self._name} confirmed record {acked.last_seq}, but {self._path} ends with {self._end}: "
                "the spool was not changed; check that this is the right server"
            )
        refused = [(each.seq, self._logged(each.seq - 1, each.seq)) for each in acked.rejected]
        self._stored(acked.last_seq)
        for seq, counts in refused:
            self.refused += counts
            # Of what was stored in part, the server tells again what it had refused before.
            self.sent -= counts if self.had is not None and seq > self.had else Counts()

    def _stored(self, last_seq: int) -> None:
        """The server has everything up to `last_seq`, but for what it refuses."""
        if last_seq > self._known:
            self.sent += self._logged(self._known, last_seq)
            self._known = last_seq
        while self._under_way:
            first = next(iter(self._under_way))
            if self._under_way[first].last > last_seq:
                break
            del self._under_way[first]

    def _logged(self, after: int, last_seq: int) -> Counts:
        """What is under way after the one record, up to the other."""
        counts = Counts()
        for batch in self._under_way.values():
            if batch.first > last_seq:
                break  # they are in order, and may be many
            if batch.first > after and batch.last <= last_seq:
                counts += batch.counts
            elif batch.last > after:
                counts += batch.counts_after(after) - batch.counts_after(last_seq)
        return counts

    def _gap_at(self, opened: Opened) -> str:
        known = self._before.generation
        lacking = f"log calls {opened.last_seq + 1:,} to {self._begin - 1:,}"
        why = (
            "it is another server, or its store was restored from an older backup"
            if known != opened.generation
            else "its session has expired"
        )
        return (
            f"{self._path} begins with log call {self._begin:,}, and {lacking}, which were confirmed by "
            f"{self._server} (store {known or 'unknown'}), are not at {self._name} (store "
            f"{opened.generation}): {why}. "
            "Nothing was changed. Name the right server: --to URI; or send what is here without them: "
            "--despite-gap"
        )


class GuardedLink:
    """A link whose use ends the replay when something does not pass by itself.

    Args:
        link: to the server.
        policy: what ends the replay.
        ended: when the spool's process was last alive, in seconds since the epoch.
    """

    def __init__(self, link: Link, policy: ReplayPolicy, ended: float) -> None:
        self._link = link
        self._policy = policy
        self._ended = ended

    def open(self, session: bytes, timeout: float, ended: float | None = None) -> Opened:
        """See `Link.open`; the server learns that the session's process has ended."""
        try:
            return self._policy.admit(self._link.open(session, timeout, self._ended))
        except TrackError as error:
            self._policy.judge(error)
            # To the sender the server is unreachable, so it does not report what the outcome reports.
            raise ServerUnreachable(str(error)) from error

    def poll(self, timeout: float | None) -> list[LinkEvent]:
        """See `Link.poll`."""
        try:
            events = self._link.poll(timeout)
            for event in events:
                if isinstance(event, Acked):
                    self._policy.check(event)
        except TrackError as error:
            self._policy.judge(error)
            if self._policy.error is None:
                raise
            return []
        for event in events:
            if isinstance(event, Refused):
                self._policy.judge(event.error)
        return events if self._policy.error is None else []

    def send_batch(self, batch: Batch) -> int:
        """See `Link.send_batch`."""
        self._policy.sending(batch)
        return self._link.send_batch(batch)

    def send_call(self, call_id: int, seq: int | None, method: str, arguments: dict[str, Any]) -> None:
        """See `Link.send_call`."""
        self._link.send_call(call_id, seq, method, arguments)

    def wake(self) -> None:
        """See `Link.wake`."""
        self._link.wake()

    def close(self) -> None:
        """See `Link.close`."""
        self._link.close()

    def after_fork_in_child(self) -> None:
        """Close the child's copy of the connection."""
        hook = getattr(self._link, "after_fork_in_child", None)
        if hook is not None:
            hook()


_MAX_TRIALS: Final = 100


class LossReport:
    """The trials of one damaged spool, which is read before it is sent and deleted.

    Args:
        spool: the spool.
        found: what it holds.
    """

    def __init__(self, spool: Spool, found: Recovered) -> None:
        metadata = spool.folder.metadata
        self._session = sha256(b"losses of " + bytes.fromhex(metadata.session)).digest()[:16]
        self._reason = f"damaged on the disk of {metadata.host}, where {metadata.program} had queued it"
        self._is_open = found.is_cut
        trials: dict[bytes | str, None] = {}
        for each in found.intact:
            # What cannot be read any more is lost, too, which the replay finds.
            with suppress(SpoolError):
                for _, _, payload in spool.read_extent(each.location):
                    named = [_trial_of(op) for op in batch_in(payload).ops]
                    trials |= dict.fromkeys(trial for trial in named if trial is not None)
            if len(trials) >= _MAX_TRIALS:
                break
        self._trials = list(trials)[:_MAX_TRIALS]

    def send(self, open_link: OpenLink, timeout: float, lost: int) -> None:
        """Tell them, and wait until that is stored.

        Args:
            open_link: makes a link to the server that has the rest.
            timeout: seconds.
            lost: how many log calls are lost; there may be more if the end is unknown.

        Raises:
            TrackError: the server does not take it.
        """
        if not self._trials:
            return
        reason = self._reason + (", and perhaps more" if self._is_open else "")
        reports = [{"trial": trial, "points": lost, "reason": reason} for trial in self._trials]
        batch = batch_of(1, [(CALL, "log_trial_dropped_points", time.time(), each, 0) for each in reports])
        deadline = time.monotonic() + timeout
        link = open_link()
        try:
            if link.open(self._session, timeout).last_seq > 0:
                return
            link.send_batch(batch)
            while (left := deadline - time.monotonic()) > 0:
                for event in link.poll(left):
                    if isinstance(event, Refused):
                        raise event.error
                    if isinstance(event, Acked) and event.last_seq >= batch.last:
                        return
        finally:
            close_quietly(link)
        raise CallTimeout(f"the dropped counts were not stored within {timeout:g} s")


def _trial_of(op: PointsOp | CallOp) -> bytes | str | None:
    """The trial that a log call belongs to, if it does to one."""
    if isinstance(op, PointsOp):
        return op.trial
    trial: Any = op.arguments.get("trial")
    if isinstance(trial, dict):
        trial = trial.get("id")
    return trial if isinstance(trial, bytes | str) else None
