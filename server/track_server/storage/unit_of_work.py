"""A transaction as the methods see it: it reads its own writes, and costs the backend few round trips.

Theory.  Rows that were loaded, and changes that are pending, are in memory.  A read by key is answered from
there; a read that searches flushes what is pending first, so that the backend finds it.  A commit is one
flush.  Between transactions a lane's `Memory` keeps what is asked for again and again: sessions, whether
trials exist, and the statistics of series, so that a batch of known series costs no read at all.

A *record* is undone as a whole: while one is open, each change in memory leaves its inverse in a journal.
If changes are flushed while it is open, a savepoint of the backend is set before, and what the flush changed
in memory is journalled like everything else.  So a record that fails leaves nothing of itself behind,
wherever it failed, and costs as much as it did itself.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, TypeVar

from track_protocol.errors import BadValue, ItemNotFound, StoreError
from track_protocol.model.rejected import Rejected
from track_protocol.query.parse import Query
from track_protocol.wire.batch import SUPERSEDED
from track_server.storage import exactjson
from track_server.storage.contract import (
    Blob,
    BlobChange,
    Changes,
    Document,
    Lease,
    Points,
    Rewind,
    Series,
    SeriesKey,
    SessionState,
    Store,
    Transaction,
    Wanted,
)
from track_server.storage.rewind import rewind_series, rewinds_in
from track_server.storage.series import take_pending

__all__ = ["Memory", "UnitOfWork", "begin"]

K = TypeVar("K")
V = TypeVar("V")

_BUFFER_BYTES: Final = 4 * 2**20
"""Points and parts of blobs of about so many bytes are flushed before the transaction ends."""

_MAX_REMEMBERED: Final = 16_384
"""Rows of each kind that are remembered between transactions; beyond it all are forgotten."""

_COMPUTED: Final = frozenset({"id", "metrics", "chronos", "media"})
"""Fields of a trial's document that are no columns of its own."""

_MAX_REWOUND_POINTS: Final = 10_000_000
"""Points of the metrics that one rewind reads: about five seconds, for which everybody else waits."""

_MAX_JSON_CHARS: Final = 4 * 2**20
"""Characters of a field of values: a transaction that changes it reads and writes all of it, about 0.1 s."""

_MISSING: Final = object()


@dataclass(slots=True)
class Memory:
    """What a lane remembers of the tables between its transactions."""

    sessions: dict[bytes, SessionState] = field(default_factory=dict)
    trials: dict[bytes, tuple[Rewind, ...]] = field(default_factory=dict)
    """Rewinds of the trials that are known to exist."""
    series: dict[SeriesKey, Series] = field(default_factory=dict)
    """Also those that are known not to exist, without a handle."""
    version: Hashable = None
    """Of the tables that this is of; see `Transaction.version`."""

    def keep_only(self, version: Hashable) -> None:
        """Forget everything if it is not of this version."""
        if self.version != version:
            self.forget()
            self.version = version

    def forget(self) -> None:
        """What is in the tables may be something else."""
        for each in (self.sessions, self.trials, self.series):
            each.clear()

    def trim(self) -> None:
        """Forget everything when it is very much."""
        if max(len(self.sessions), len(self.trials), len(self.series)) > _MAX_REMEMBERED:
            self.forget()


def begin(store: Store, memory: Memory | None = None) -> UnitOfWork:
    """Start a transaction on a store.

    Args:
        store: the open store.
        memory: what the lane's earlier transactions left; by default nothing.

    Raises:
        StoreError: the store cannot be written.
    """
    return UnitOfWork(store.begin(), memory or Memory())


class UnitOfWork:
    """The one open transaction of a lane; it ends once, by `commit` or `rollback`.

    Documents that it is given or hands out are not to be changed in place.

    Args:
        transaction: the backend's, which has just begun.
        memory: what the lane remembers.
    """

    def __init__(self, transaction: Transaction, memory: Memory) -> None:
        self._tx = transaction
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

    def keep_record(self) -> None:
        """The record is part of the transaction."""
        self._journal = None
        if self._has_savepoint:
            self._has_savepoint = False
            self._tx.release()
        if self._buffered > _BUFFER_BYTES:
            self.flush()

    def undo_record(self) -> None:
        """Forget everything that changed since `start_record`."""
        journal, self._journal = self._journal, None
        assert journal is not None, "no record is open"
        flushed, self._has_savepoint = self._has_savepoint, False
        if flushed:
            self._tx.undo()
        for undo, arguments in reversed(journal):
            undo(*arguments)
        if flushed:
            # Or each record that fails behind a flush would flush what is before it once more.
            self.flush()

    def _set(self, table: dict[K, V], key: K, value: V) -> None:
        if self._journal is not None:
            self._journal.append((_restore, (table, key, table.get(key, _MISSING))))
        table[key] = value

    def _drop(self, table: dict[K, Any], key: K) -> None:
        if key in table:
            if self._journal is not None:
                self._journal.append((_restore, (table, key, table[key])))
            del table[key]

    def _add(self, values: list[V], value: V) -> None:
        if self._journal is not None:
            self._journal.append((values.pop, ()))
        values.append(value)

    @property
    def pending_series(self) -> int:
        """How many series have points that are not written yet; each costs time at the end."""
        return len(self._grown)

    # -- loading -------------------------------------------------------------------------------------

    def load(self, wanted: Wanted) -> None:
        """Load what is not known yet, in one round trip."""
        memory = self._memory
        # Not `-` between them, which passes over all that is remembered.
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
        memory.sessions.update({state.sid: state for state in found.sessions})
        memory.trials.update({id: rewinds_in(metadata) for id, metadata in found.trials.items()})
        memory.series.update({series.key: series for series in found.series})
        for key in rest.series:
            memory.series.setdefault(key, Series(*key))
        self._fields.update(dict.fromkeys(rest.fields))
        for document in found.fields:
            self._fields[document["id"]] = document
            memory.trials.setdefault(document["id"], rewinds_in(document["metadata"]))
        self._blobs.update(dict.fromkeys(rest.blobs))
        self._blobs.update({blob.digest: blob for blob in found.blobs})

    def flush(self) -> None:
        """Hand what is pending to the backend, so that a search finds it."""
        if not (self._grown or self._changes):
            return
        if self._journal is not None and not self._has_savepoint:
            self._tx.savepoint()
            self._has_savepoint = True
        self._tx.flush(self._taken())

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

    # -- projects and groups ---------------------------------------------------------------------------

    def project(self, uid: str) -> Document | None:
        """The project with that uid, and the uids of its groups and trials."""
        self.flush()
        return self._tx.project(uid)

    def group(self, uid: str) -> Document | None:
        """The group with that uid, and the uids of its trials."""
        self.flush()
        return self._tx.group(uid)

    def project_fields(self, uid: str) -> Document | None:
        """The project's own fields."""
        if uid not in self._projects:
            self._projects[uid] = self._tx.project_fields(uid)
        return self._projects[uid]

    def group_fields(self, uid: str) -> Document | None:
        """The group's own fields."""
        if uid not in self._groups:
            self._groups[uid] = self._tx.group_fields(uid)
        return self._groups[uid]

    def groups(self, query: Query, limit: int | None = None) -> list[Document]:
        """Groups that match, at most `limit`."""
        self.flush()
        return self._tx.groups(query, limit)

    def put_project(self, document: Document) -> None:
        """Insert or replace by ``uid``; ``groups`` and ``trials`` are ignored."""
        own = _own_fields(document)
        self._set(self._projects, own["uid"], own)
        self._set(self._changes.projects, own["uid"], own)

    def put_group(self, document: Document) -> None:
        """Insert or replace by ``uid``; ``trials`` is ignored."""
        own = _own_fields(document)
        self._set(self._groups, own["uid"], own)
        self._set(self._changes.groups, own["uid"], own)

    def link(self, group_uid: str, trial: bytes) -> None:
        """Put a trial into a group; harmless when it is in already.

        Raises:
            ItemNotFound: there is no such group or trial.
        """
        self._known_trial(trial)
        if self.group_fields(group_uid) is None:
            raise ItemNotFound(f"no group has the uid {group_uid!r}: create it with new_trial_group first")
        self._add(self._changes.links, (group_uid, trial))

    # -- trials ------------------------------------------------------------------------------------------

    def trial(self, id: bytes) -> Document | None:
        """The trial with that internal id, with a summary of each of its series."""
        self.flush()
        return self._tx.trial(id)

    def trial_fields(self, id: bytes) -> Document | None:
        """The trial without its ``metrics``, ``chronos`` and ``media``; not to be changed in place."""
        if id not in self._fields:
            self.load(Wanted(fields={id}))
        return self._fields[id]

    def has_trial(self, id: bytes) -> bool:
        """Whether there is a trial with that internal id."""
        return self._rewinds(id) is not None

    def trial_id(self, uid: str) -> bytes | None:
        """The internal id of the trial with that uid."""
        if uid not in self._ids:
            found = self._tx.trial_id(uid)
            if found is None:
                return None
            self._ids[uid] = found
        return self._ids[uid]

    def newest_revision(self, hash: str) -> int | None:
        """The highest revision of all trials with that hash; None without any."""
        if hash not in self._revisions:
            self.flush()
            self._revisions[hash] = self._tx.newest_revision(hash)
        return self._revisions[hash]

    def trials(self, query: Query, limit: int | None = None) -> list[Document]:
        """Trials that match, at most `limit`."""
        self.flush()
        return self._tx.trials(query, limit)

    def select(self, query: Query, limit: int, seconds: float) -> list[Any]:
        """Keys (a trial's id, a group's or project's uid) of what matches, in order of insertion.

        Raises:
            TooBusy: it took longer than so many seconds.
        """
        self.flush()
        return self._tx.select(query, limit, seconds)

    def add_trial(self, document: Document) -> None:
        """Insert a trial; its ``id`` and ``uid`` are new. ``metrics``, ``chronos`` and ``media`` are ignored.

        It was created now, unless the document says when.
        """
        own = {"created": time.time(), "started": None, "ended": None, **_own_fields(document)}
        id = own["id"]
        self._set(self._changes.new_trials, id, own)
        self._set(self._fields, id, own)
        self._set(self._ids, own["uid"], id)
        self._set(self._memory.trials, id, rewinds_in(own["metadata"]))
        newest = self._revisions.get(own["hash"], _MISSING)
        if newest is not _MISSING:
            self._set(self._revisions, own["hash"], max(own["revision"], newest or 0))

    def update_trial(self, id: bytes, changes: Mapping[str, Any]) -> None:
        """Replace some top-level fields (any but id, metrics, chronos and media) of an existing trial.

        Raises:
            ItemNotFound: there is no such trial.
            KeyError: a trial has no such field.
        """
        known = self.trial_fields(id)
        if known is None:
            raise _no_trial(id)
        changed = {name: value for name, value in changes.items() if name not in _COMPUTED}
        for name in changed:
            if name not in known:
                raise KeyError(f"a trial has no field {name!r}")
        document = {**known, **changed}
        self._set(self._fields, id, document)
        pending = self._changes
        if id in pending.new_trials:
            self._set(pending.new_trials, id, document)
        else:
            self._set(pending.trials, id, {**pending.trials.get(id, {}), **changed})
        if "metadata" in changed:
            self._set(self._memory.trials, id, rewinds_in(changed["metadata"]))

    def delete_trial(self, id: bytes) -> None:
        """Delete a trial with its series, links and leases.

        Raises:
            ItemNotFound: there is no such trial.
        """
        known = self.trial_fields(id)
        if known is None:
            raise _no_trial(id)
        self.flush()
        self._add(self._changes.deleted, id)
        self.flush()
        for series in [key for key in self._memory.series if key[0] == id]:
            self._drop(self._memory.series, series)
        self._drop(self._memory.trials, id)
        self._set(self._fields, id, None)
        self._drop(self._leases, id)
        self._drop(self._ids, known["uid"])
        self._drop(self._revisions, known["hash"])

    def _rewinds(self, id: bytes) -> tuple[Rewind, ...] | None:
        if id not in self._memory.trials:
            self.load(Wanted(trials={id}))
        return self._memory.trials.get(id)

    def _known_trial(self, id: bytes) -> tuple[Rewind, ...]:
        rewinds = self._rewinds(id)
        if rewinds is None:
            raise _no_trial(id)
        return rewinds

    def merged(self, key: bytes | str, field: str, before: Document, values: Document) -> Document:
        """The values of a field of an item, its id or uid is `key`, with others merged in.

        Raises:
            BadValue: it would be very large.
        """
        merged = before | values
        known = self._sizes.get((key, field))
        size = (len(exactjson.dumps(before)) if known is None else known) + len(exactjson.dumps(values))
        if size > _MAX_JSON_CHARS and (size := len(exactjson.dumps(merged))) > _MAX_JSON_CHARS:
            raise BadValue(
                f"{field} would have {size:,} characters, more than {_MAX_JSON_CHARS:,}: log large values as "
                "files, and lists that grow as metrics"
            )
        self._sizes[key, field] = size
        return merged

    # -- points ------------------------------------------------------------------------------------------

    def points(self, trial: bytes, kind: str, name: str, start: int, limit: int) -> Points | None:
        """Up to `limit` points of a series from ordinal `start`; None if there is no such series."""
        self.flush()
        return self._tx.points(trial, kind, name, start, limit)

    def append_points(
        self, trial: bytes, kind: str, name: str, aggregator: list[Any] | None, points: Points
    ) -> None:
        """Append to a series of an existing trial, which the first points create.

        `aggregator` is remembered with the series when it is created.

        Raises:
            ItemNotFound: there is no such trial.
        """
        key = (trial, kind, name)
        series = self._memory.series.get(key)
        if series is None:
            self._known_trial(trial)
            self.load(Wanted(series={key}))
            series = self._memory.series[key]
        if key not in self._grown:
            self._set(self._grown, key, series)
            if series.handle is None and not series.pending:
                self._known_trial(trial)
                series.aggregator = aggregator
        self._add(series.pending, points)
        self._buffered += len(points.times.payload)
        if self._journal is None and self._buffered > _BUFFER_BYTES:
            self.flush()

    def rewinds(self, trial: bytes) -> tuple[Rewind, ...]:
        """The rewinds in the metadata of an existing trial; cheap enough to ask for each batch.

        Raises:
            ItemNotFound: there is no such trial.
        """
        return self._known_trial(trial)

    def rewind(self, trial: bytes, step: float, before: float | None = None) -> int:
        """Move the points of later steps from an existing trial's metrics to its superseded series.

        Later is what is a finite number (no bool) above `step`; with `before`, only points of an earlier time
        (seconds since the epoch) are moved.  What was moved goes, in order, behind the points of the series
        of the same name and of kind ``superseded``, of which trial documents tell nothing.  A metric without
        a point left is no series any more.

        Returns:
            how many points were moved.

        Raises:
            ItemNotFound: there is no such trial.
            BadValue: it would take too long; nothing was changed.
            SeriesDamaged: a series cannot be read; nothing was changed.
        """
        self._known_trial(trial)
        self.flush()
        changes, plans = Changes(), []
        found = self._tx.later_series(trial, step)
        if (count := sum(series.count for series in found)) > _MAX_REWOUND_POINTS:
            raise BadValue(
                f"the metrics to rewind have {count:,} points, more than {_MAX_REWOUND_POINTS:,}, and "
                "everybody else would wait for it: continue from the checkpoint in a new trial"
            )
        for series in found:
            chunks = self._tx.chunks(series, step)
            plans.append(rewind_series(series, chunks, step, before, changes))
        pending = self._changes
        for name in ("removed", "moved", "rewritten"):
            for each in getattr(changes, name):
                self._add(getattr(pending, name), each)
        for left, taken in plans:
            if left.count:
                self._set(self._memory.series, left.key, left)
                self._add(pending.series, left)
            else:
                self._set(self._memory.series, left.key, Series(*left.key))
                self._add(pending.emptied, left)
            for points in taken:
                self.append_points(trial, SUPERSEDED, left.name, None, points)
        return sum(len(points) for _, taken in plans for points in taken)

    # -- blobs -------------------------------------------------------------------------------------------

    def blob(self, digest: str) -> Blob | None:
        """What is known of a blob."""
        if digest not in self._blobs:
            self.load(Wanted(blobs={digest}))
        return self._blobs[digest]

    def blob_data(self, digest: str, offset: int, limit: int) -> bytes:
        """Up to `limit` of the bytes of a blob that are here, from `offset` on; none if it is not known."""
        if digest in self._changes.blobs:
            self.flush()
        return self._tx.blob_data(digest, offset, limit)

    def unused_blobs(self, before: float, limit: int) -> list[str]:
        """Digests of blobs that no trial uses and that were last touched before a time, at most `limit`."""
        self.flush()
        return self._tx.unused_blobs(before, limit)

    def add_blob_data(self, digest: str, size: int, data: bytes, time: float) -> None:
        """Append bytes to a blob, which the first ones (or none) create, and note when.

        Args:
            digest: of the whole blob.
            size: of the whole blob; of no meaning when it is there already.
            data: what follows the bytes that are here.
            time: now, in seconds since the epoch.
        """
        known = self.blob(digest) or Blob(digest, size, 0, time)
        change = self._changes.blobs.get(digest, BlobChange())
        parts = (*change.parts, data) if data else change.parts
        self._set(self._changes.blobs, digest, replace(change, size=known.size, time=time, parts=parts))
        self._set(self._blobs, digest, replace(known, stored=known.stored + len(data), time=time))
        self._buffered += len(data)

    def cut_blob(self, digest: str, stored: int) -> None:
        """Forget the bytes of a blob from an offset on, of which there are some."""
        if digest in self._changes.blobs:
            self.flush()
        known = self.blob(digest)
        assert known is not None, "there is something to cut"
        self._set(self._changes.blobs, digest, BlobChange(cut=stored))
        self._set(self._blobs, digest, replace(known, stored=stored))

    def drop_blob(self, digest: str) -> None:
        """Forget a blob; harmless when there is none."""
        self._set(self._changes.blobs, digest, BlobChange(dropped=True))
        self._set(self._blobs, digest, None)

    def use_blob(self, digest: str, trial: bytes) -> None:
        """Note that an existing trial refers to an existing blob; harmless when repeated."""
        self._known_trial(trial)
        self._add(self._changes.uses, (digest, trial))

    # -- sessions, leases and what was rejected ---------------------------------------------------------

    def session(self, sid: bytes) -> SessionState | None:
        """What is known of a session."""
        if sid not in self._memory.sessions:
            self.load(Wanted(sessions={sid}))
        return self._memory.sessions.get(sid)

    def put_session(self, state: SessionState) -> None:
        """Insert or replace by ``sid``."""
        self._set(self._memory.sessions, state.sid, state)
        self._set(self._changes.sessions, state.sid, state)

    def rejected_of(self, sid: bytes, first: int, last: int) -> list[Rejected]:
        """What of a session was quarantined with any record from `first` to `last`."""
        if self._changes.rejected:
            self.flush()
        return self._tx.rejected_of(sid, first, last)

    def put_rejected(self, record: Rejected) -> None:
        """Store what is rejected, after what was before; at most `MAX_REJECTED` of one session."""
        self._add(self._changes.rejected, record)

    def leases(self, trial: bytes) -> list[Lease]:
        """All leases of a trial, in any order."""
        return list(self._leases_of_trial(trial).values())

    def leases_of(self, sid: bytes) -> list[Lease]:
        """All leases of a session, in any order."""
        self.flush()
        return self._tx.leases_of(sid)

    def leases_by_status(self, lowest: int, highest: int) -> list[Lease]:
        """Those not superseded, of all trials whose status has a value from `lowest` to `highest`."""
        self.flush()
        return self._tx.leases_by_status(lowest, highest)

    def put_lease(self, lease: Lease) -> None:
        """Insert or replace by ``trial``, which exists, and ``sid``.

        Raises:
            ItemNotFound: there is no such trial.
        """
        self._known_trial(lease.trial)
        self._set(self._leases_of_trial(lease.trial), lease.sid, lease)
        self._set(self._changes.leases, (lease.trial, lease.sid), lease)

    def drop_lease(self, trial: bytes, sid: bytes) -> None:
        """Remove a lease; harmless when there is none."""
        self._drop(self._leases_of_trial(trial), sid)
        self._set(self._changes.leases, (trial, sid), None)

    def _leases_of_trial(self, trial: bytes) -> dict[bytes, Lease]:
        if trial not in self._leases:
            self._leases[trial] = {lease.sid: lease for lease in self._tx.leases(trial)}
        return self._leases[trial]

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
        """Forget it all; harmless when it has ended."""
        if self._open:
            self._open = False
            self._memory.forget()
            self._tx.rollback()


def _restore(table: dict[Any, Any], key: Any, value: Any) -> None:
    if value is _MISSING:
        del table[key]
    else:
        table[key] = value


def _own_fields(document: Document) -> Document:
    """A document without what is computed from others."""
    computed = ("metrics", "chronos", "media", "groups", "trials")
    return {name: value for name, value in document.items() if name not in computed}


def _no_trial(id: bytes) -> ItemNotFound:
    return ItemNotFound(f"no trial has the id {id.hex()}: create it with new_trial first")
