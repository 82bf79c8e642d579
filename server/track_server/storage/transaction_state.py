"""What a transaction has pending and cached, and how a record of it is undone.

Theory.  Rows that were loaded, and changes that are pending, are in memory.  A commit is one flush.  Between
transactions a lane's `Memory` caches what is often read: sessions, whether trials exist, and
the statistics of series, so that a batch of known series costs no read at all.

A *record* is undone completely: while one is open, each change in memory leaves its inverse in a journal.
If changes are flushed while it is open, a savepoint of the backend is set before, and what the flush changed
in memory is journalled like everything else.  So a record that fails leaves nothing of itself behind,
wherever it failed, and costs as much as it did itself.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, TypeVar

from track_protocol.errors import BadValue, StoreError
from track_server.storage.contract import (
    Blob,
    Changes,
    Document,
    Lease,
    Rewind,
    Series,
    SeriesKey,
    SessionState,
    Transaction,
    Wanted,
)
from track_server.storage.rewind import rewinds_in
from track_server.storage.series import take_pending
from track_server.storage.write_limits import WriteLimits

__all__ = ["BUFFER_BYTES", "MISSING", "Memory", "TransactionState"]

K = TypeVar("K")
V = TypeVar("V")

BUFFER_BYTES: Final = 4 * 2**20
"""Approximate bytes of points and parts of blobs that are flushed before the transaction ends."""

_MAX_CACHED: Final = 16_384
"""Maximum rows of each kind that are cached between transactions; beyond it the cache is cleared."""

MISSING: Final = object()

_CHANGES_BETWEEN_CHECKS: Final = 256
"""Changes of one record behind which the time that it takes is checked."""


@dataclass(slots=True)
class Memory:
    """What a lane caches of the tables between its transactions."""

    sessions: dict[bytes, SessionState] = field(default_factory=dict)
    trials: dict[bytes, tuple[Rewind, ...]] = field(default_factory=dict)
    """Rewinds of the trials that are known to exist."""
    series: dict[SeriesKey, Series] = field(default_factory=dict)
    """Also those that are known not to exist, without a handle."""
    series_counts: dict[bytes, int] = field(default_factory=dict)
    """Series of trials, those that are not written yet among them."""
    version: Hashable = None
    """Of the tables that this is of; see `Transaction.version`."""

    @property
    def _tables(self) -> tuple[dict[Any, Any], ...]:
        return self.sessions, self.trials, self.series, self.series_counts

    def keep_only(self, version: Hashable) -> None:
        """Clear the cache if it is not of this version."""
        if self.version != version:
            self.forget()
            self.version = version

    def forget(self) -> None:
        """What is in the tables may be something else."""
        for each in self._tables:
            each.clear()

    def trim(self) -> None:
        """Clear the cache when it exceeds its limit."""
        if max(map(len, self._tables)) > _MAX_CACHED:
            self.forget()


class TransactionState:
    """The one open transaction of a lane, without the operations of `UnitOfWork`; it ends once.

    Args:
        transaction: the backend's, which has just begun.
        memory: what the lane caches.
        limits: of what is written.
    """

    def __init__(self, transaction: Transaction, memory: Memory, limits: WriteLimits) -> None:
        self._tx = transaction
        self.limits = limits
        self._until = 0.0
        transaction.watch(self.check_time)
        self._memory = memory
        memory.keep_only(transaction.version)
        self._changes = Changes()
        self._grown: dict[SeriesKey, Series] = {}
        self._buffered = 0
        self._fields: dict[bytes, Document | None] = {}
        self._ids: dict[str, bytes] = {}
        self._revisions: dict[str, int | None] = {}
        self._sizes: dict[tuple[bytes | str, str], int] = {}
        self._projects: dict[str, Document | None] = {}
        self._groups: dict[str, Document | None] = {}
        self._leases: dict[bytes, dict[bytes, Lease]] = {}
        self._blobs: dict[str, Blob | None] = {}
        self._journal: list[tuple[Callable[..., Any], tuple[Any, ...]]] | None = None
        self._has_savepoint = False
        self._open = True

    # -- records -------------------------------------------------------------------------------------

    def start_record(self) -> None:
        """What changes from now on is undone by `undo_record`, until `keep_record`."""
        assert self._journal is None, "a record is open"
        self._journal = []
        self._until = time.thread_time() + self.limits.record_seconds

    def check_time(self) -> None:
        """Check that the open record, if there is one, has time left.

        Raises:
            BadValue: it has not; undo it.
        """
        if self._journal is not None and time.thread_time() > self._until:
            raise BadValue(
                f"it takes more than {self.limits.record_seconds:g} s of the store's time, and everybody "
                "else waits for it: divide it, or continue in a new trial"
            )

    def keep_record(self) -> None:
        """The record is part of the transaction."""
        self._journal = None
        if self._has_savepoint:
            self._has_savepoint = False
            self._tx.release()
        if self._buffered > BUFFER_BYTES:
            self.flush()

    def undo_record(self) -> None:
        """Undo everything that changed since `start_record`."""
        journal, self._journal = self._journal, None
        assert journal is not None, "no record is open"
        flushed, self._has_savepoint = self._has_savepoint, False
        if flushed:
            self._tx.undo()
        for undo, arguments in reversed(journal):
            undo(*arguments)
        if flushed:
            # Or each record that fails behind a flush would flush what is before it again.
            self.flush()

    def _set(self, table: dict[K, V], key: K, value: V) -> None:
        if self._journal is not None:
            self._note(_restore, table, key, table.get(key, MISSING))
        table[key] = value

    def _note(self, undo: Callable[..., Any], *arguments: Any) -> None:
        """Note how the next change of the open record is undone."""
        assert self._journal is not None
        if len(self._journal) % _CHANGES_BETWEEN_CHECKS == _CHANGES_BETWEEN_CHECKS - 1:
            self.check_time()
        self._journal.append((undo, arguments))

    def _remember(self, table: dict[K, V], found: dict[K, V]) -> None:
        """Note what the tables hold; what the open record itself has flushed goes when it is undone."""
        if self._has_savepoint:
            for key, value in found.items():
                self._set(table, key, value)
        else:
            table.update(found)

    def _drop(self, table: dict[K, Any], key: K) -> None:
        if key in table:
            if self._journal is not None:
                self._note(_restore, table, key, table[key])
            del table[key]

    def _add(self, values: list[V], value: V) -> None:
        if self._journal is not None:
            self._note(values.pop)
        values.append(value)

    @property
    def pending_series(self) -> int:
        """How many series have points that are not written yet; each costs time at the end."""
        return len(self._grown)

    # -- loading -------------------------------------------------------------------------------------

    def load(self, wanted: Wanted) -> None:
        """Load what is not known yet, in one round trip."""
        memory = self._memory
        # Not `-` between them, which iterates over the entire cache.
        rest = Wanted(
            {each for each in wanted.sessions if each not in memory.sessions},
            {each for each in wanted.trials if each not in memory.trials},
            {each for each in wanted.fields if each not in self._fields},
            {each for each in wanted.series if each not in memory.series},
            {each for each in wanted.blobs if each not in self._blobs},
        )
        if not rest:
            return
        found = self._tx.load(rest)
        remember = self._remember
        remember(memory.sessions, {state.sid: state for state in found.sessions})
        remember(memory.trials, {id: rewinds_in(metadata) for id, metadata in found.trials.items()})
        series = {series.key: series for series in found.series}
        remember(memory.series, {key: series.get(key) or Series(*key) for key in rest.series})
        documents: dict[bytes, Document | None] = {each["id"]: each for each in found.fields}
        remember(self._fields, {id: documents.get(id) for id in rest.fields})
        new = [each for each in found.fields if each["id"] not in memory.trials]
        remember(memory.trials, {each["id"]: rewinds_in(each["metadata"]) for each in new})
        blobs = {blob.digest: blob for blob in found.blobs}
        remember(self._blobs, {digest: blobs.get(digest) for digest in rest.blobs})

    def flush(self) -> None:
        """Hand what is pending to the backend, so that a search finds it."""
        if not (self._grown or self._changes):
            return
        if self._journal is not None and not self._has_savepoint:
            self.check_time()
            self._tx.savepoint()
            self._has_savepoint = True
        begun = time.thread_time()
        self._tx.flush(self._taken())
        # What earlier records left to write is no time of this one's.
        self._until += time.thread_time() - begun

    def _taken(self) -> Changes:
        """All that is pending, which then is not any more."""
        changes, grown, buffered = self._changes, self._grown, self._buffered
        if self._journal is not None:
            before = [(series, copy.copy(series)) for series in (*grown.values(), *changes.series)]
            self._journal.append((self._put_back, (changes, grown, buffered, before)))
        self._changes, self._grown, self._buffered = Changes(), {}, 0
        # The backend gets a copy: with what is before a record these changes may be flushed again.
        chunks = take_pending(grown.values())
        return replace(changes, series=[*changes.series, *grown.values()], chunks=chunks)

    def _put_back(
        self,
        changes: Changes,
        grown: dict[SeriesKey, Series],
        buffered: int,
        before: list[tuple[Series, Series]],
    ) -> None:
        self._changes, self._grown, self._buffered = changes, grown, buffered
        for series, state in before:
            for each in fields(Series):
                setattr(series, each.name, getattr(state, each.name))

    # -- the end -----------------------------------------------------------------------------------------

    def commit(self) -> None:
        """Make it durable; when this returns, a power cut does not lose it.

        Raises:
            StoreError: it could not be; roll it back.
        """
        if not self._open:
            raise StoreError("this transaction has ended: begin another one")
        self._tx.flush(self._taken(), commit=True)
        self._open = False
        self._memory.trim()

    def rollback(self) -> None:
        """Roll back; harmless when it has ended."""
        if self._open:
            self._open = False
            self._memory.forget()
            self._tx.rollback()


def _restore(table: dict[Any, Any], key: Any, value: Any) -> None:
    if value is MISSING:
        del table[key]
    else:
        table[key] = value
