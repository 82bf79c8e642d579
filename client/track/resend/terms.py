"""On which terms a spool is sent: what a server must have, and what ends it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from track.outbox.backlog import Backlog
from track.spool.folder import Progressed
from track_protocol.errors import (
    PermissionDenied,
    RemoteProtocolError,
    ServerUnreachable,
    SessionFenced,
    SpoolForeign,
    TooBusy,
    TrackError,
)
from track_protocol.wire.amount import Amount
from track_protocol.wire.batch import Batch
from track_protocol.wire.link import Acked, Link, LinkEvent, Opened, Refused
from track_protocol.wire.roles import Role

__all__ = ["CheckedLink", "Rules", "Terms"]

_PASSES: Final = (ServerUnreachable, TooBusy)
"""After these it is tried again, as long as there is patience."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What may be sent where.

    Attributes:
        despite_gap: send what there is to a server that lacks what comes before it.
        same_store: only to the store that it was logged for, as far as that is known.
    """

    despite_gap: bool = False
    same_store: bool = False


class Terms:
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
        refused: what the server does not take, for good.
    """

    def __init__(
        self, rules: Rules, path: Path, name: str, server: str, backlog: Backlog, before: Progressed
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
        self.sent = self.refused = Amount()
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
        elif not isinstance(error, _PASSES):
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
                f"{self._name} has another store than the one that {self._path} was logged for: if it "
                f"belongs there all the same, send it by hand: track sync {self._path}"
            )
        if opened.role == Role.READER and opened.last_seq < self._end:
            raise PermissionDenied(
                f"this user of {self._name} is a reader and may not log anything: use a writer's URI"
            )
        if self.had is None:
            self.had = self._known = min(opened.last_seq, self._end)
            self.gap = max(0, self._begin - 1 - opened.last_seq)
        self._stored(min(opened.last_seq, self._end))
        self._under_way.clear()  # the rest is sent again
        self.generation = opened.generation
        # Whatever came behind this copy is in another one, or was sent by its process itself.
        return Opened(min(opened.last_seq, self._end), opened.generation, opened.role)

    def sending(self, batch: Batch) -> None:
        """Remember what may be refused, one record after the other."""
        self._under_way[batch.first] = batch

    def check(self, acked: Acked) -> None:
        """Count what is refused, and require that a server confirms no more than there is.

        Raises:
            RemoteProtocolError: it does.
        """
        if acked.last_seq > self._end:
            raise RemoteProtocolError(
                f"{self._name} confirmed record {acked.last_seq}, but {self._path} ends with {self._end}: "
                "it is kept as it is; is that the right server?"
            )
        refused = [(each.seq, self._logged(each.seq - 1, each.seq)) for each in acked.rejected]
        self._stored(acked.last_seq)
        for seq, amount in refused:
            self.refused += amount
            # Of what was stored in part, the server tells again what it had refused before.
            self.sent -= amount if self.had is not None and seq > self.had else Amount()

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

    def _logged(self, after: int, last_seq: int) -> Amount:
        """What is under way behind the one record, up to the other."""
        amount = Amount()
        for batch in self._under_way.values():
            if batch.first > last_seq:
                break  # they are in order, and may be many
            if batch.first > after and batch.last <= last_seq:
                amount += batch.amount
            elif batch.last > after:
                amount += batch.amount_after(after) - batch.amount_after(last_seq)
        return amount

    def _gap_at(self, opened: Opened) -> str:
        known = self._before.generation
        lacking = f"log calls {opened.last_seq + 1:,} to {self._begin - 1:,}"
        why = (
            "it is another server, or one that was set back to an older state"
            if known != opened.generation
            else "it has forgotten them"
        )
        return (
            f"{self._path} begins with log call {self._begin:,}, and {lacking}, which were confirmed by "
            f"{self._server} (store {known or 'unknown'}), are not at {self._name} (store "
            f"{opened.generation}): {why}. "
            "Nothing was changed. Name the right server: --to URI; or send what is here without them: "
            "--despite-gap"
        )


class CheckedLink:
    """A link whose use ends the replay when something does not pass by itself."""

    def __init__(self, link: Link, terms: Terms) -> None:
        self._link = link
        self._terms = terms

    def open(self, session: bytes, timeout: float) -> Opened:
        """See `Link.open`."""
        try:
            return self._terms.admit(self._link.open(session, timeout))
        except TrackError as error:
            self._terms.judge(error)
            # To the sender it is away: it has nothing to tell of what is told in the end.
            raise ServerUnreachable(str(error)) from error

    def poll(self, timeout: float | None) -> list[LinkEvent]:
        """See `Link.poll`."""
        try:
            events = self._link.poll(timeout)
            for event in events:
                if isinstance(event, Acked):
                    self._terms.check(event)
        except TrackError as error:
            self._terms.judge(error)
            if self._terms.error is None:
                raise
            return []
        for event in events:
            if isinstance(event, Refused):
                self._terms.judge(event.error)
        return events if self._terms.error is None else []

    def send_batch(self, batch: Batch) -> int:
        """See `Link.send_batch`."""
        self._terms.sending(batch)
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
        """Let go of the parent's connection."""
        hook = getattr(self._link, "after_fork_in_child", None)
        if hook is not None:
            hook()
