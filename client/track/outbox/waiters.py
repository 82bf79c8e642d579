"""Waiting futures, each for the record that was numbered last when it came.

A read waits until that record was sent, since the store keeps the order; a flush until it is durable
there; a sync until it is durable here.
"""

from __future__ import annotations

from track.outbox.backlog import Backlog
from track.outbox.futures import Call, FlushFuture, Future, SyncFuture
from track_protocol.errors import SpoolError
from track_protocol.wire.link import Failed, Replied

__all__ = ["Waiters", "resolve"]


class Waiters:
    """Reads, flushes and syncs that are not resolved.

    Only the sender uses it.

    Args:
        backlog: holds the records they wait for.
    """

    def __init__(self, backlog: Backlog) -> None:
        self._backlog = backlog
        self._last_call = 0
        self._reads: dict[int, tuple[Call, int]] = {}
        self._sent: set[int] = set()
        self._flushes: list[tuple[FlushFuture, int]] = []
        self._syncs: list[tuple[SyncFuture, int]] = []

    def __bool__(self) -> bool:
        return bool(self._reads or self._flushes or self._syncs)

    def add(self, future: Call | FlushFuture | SyncFuture) -> None:
        """Add a future that waits for everything that is numbered now."""
        after = self._backlog.next_seq - 1
        if isinstance(future, Call):
            self._reads[self.new_call_id()] = (future, after)
        elif isinstance(future, SyncFuture):
            self._syncs.append((future, after))
        else:
            self._flushes.append((future, after))
            self.resolve_flushes()

    def new_call_id(self) -> int:
        """A call id that no other call of this session has."""
        self._last_call += 1
        return self._last_call

    # -- reads -----------------------------------------------------------------------------------

    def sendable_reads(self) -> list[tuple[int, Call]]:
        """Those whose records were all sent on this link, each once, with the number of its answer."""
        if len(self._sent) == len(self._reads):
            return []
        horizon = self._backlog.horizon
        for call_id in [call_id for call_id, (call, _) in self._reads.items() if call.cancelled]:
            del self._reads[call_id]
            self._sent.discard(call_id)
        ready = [
            (call_id, call)
            for call_id, (call, after) in self._reads.items()
            if call_id not in self._sent and after <= horizon
        ]
        self._sent.update(call_id for call_id, _ in ready)
        return ready

    def answered(self, event: Replied | Failed) -> None:
        """The store has answered a call, which may be cancelled."""
        call, _ = self._reads.pop(event.call_id, (None, 0))
        self._sent.discard(event.call_id)
        if call is not None:
            resolve(call, event)

    def detach(self) -> None:
        """The link is closed: no read counts as sent."""
        self._sent.clear()

    # -- flushes and syncs -----------------------------------------------------------------------

    def resolve_flushes(self) -> None:
        """More may be durable at the store."""
        waiting, resolved_through = self._flushes, self._backlog.resolved_through
        if waiting and waiting[0][1] <= resolved_through:
            self._flushes = [(future, after) for future, after in waiting if after > resolved_through]
            for future, after in waiting:
                if after <= resolved_through:
                    future.resolve()

    def resolve_syncs(self, synced: int, problem: SpoolError | None) -> None:
        """The disk was written.

        Args:
            synced: the last record that is durable there.
            problem: why it cannot be written.
        """
        waiting, self._syncs = self._syncs, []
        for future, after in waiting:
            if problem is not None:
                future.fail(problem)
            elif after <= max(synced, self._backlog.acked):
                future.resolve()
            else:
                self._syncs.append((future, after))

    # -- when the records change -----------------------------------------------------------------

    def renumbered(self) -> None:
        """The records have new numbers: wait for the last of them."""
        last = self._backlog.next_seq - 1
        self._reads = {call_id: (call, last) for call_id, (call, _) in self._reads.items()}
        self._flushes = [(future, last) for future, _ in self._flushes]
        self._syncs = [(future, last) for future, _ in self._syncs]

    def drop_flushes(self) -> list[Future]:
        """What they wait for will not become durable: return the futures to fail."""
        flushes, self._flushes = self._flushes, []
        return [future for future, _ in flushes]

    def drop_reads(self) -> list[Future]:
        """No answer will come: return the futures to fail."""
        reads, self._reads = self._reads, {}
        self._sent.clear()
        return [call for call, _ in reads.values()]

    def free_reads(self) -> None:
        """The records that reads had to see first were dropped: the reads wait for nothing."""
        self._reads = {call_id: (call, 0) for call_id, (call, _) in self._reads.items()}


def resolve(call: Call, event: Replied | Failed) -> None:
    """Resolve a call with its answer."""
    if isinstance(event, Failed):
        call.fail(event.error)
    else:
        call.resolve(event.value)
