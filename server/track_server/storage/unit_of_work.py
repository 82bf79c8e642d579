"""A transaction as the methods see it: it reads its own writes, and costs the backend few round trips.

A read by key is answered from what is pending or was loaded (`TransactionState`); a read that searches
flushes what is pending first, so that the backend finds it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from track_protocol.errors import BadValue, ItemNotFound
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
    SessionState,
    Store,
    StoredChunk,
    Thinned,
    Wanted,
)
from track_server.storage.rewind import rewind_series, rewinds_in
from track_server.storage.transaction_state import BUFFER_BYTES, MISSING, Memory, TransactionState
from track_server.storage.write_limits import WriteLimits

__all__ = ["UnitOfWork", "begin"]

_DEFAULT_LIMITS: Final = WriteLimits()

_COMPUTED: Final = frozenset({"id", "metrics", "chronos", "media"})
"""Fields of a trial's document that are no columns of its own."""

_MAX_REWOUND_POINTS: Final = 10_000_000
"""Points of the metrics that one rewind reads: about five seconds, for which everybody else waits."""

_MAX_JSON_CHARS: Final = 4 * 2**20
"""Characters of a field of values: a transaction that changes it reads and writes all of it, about 0.1 s."""


def begin(store: Store, memory: Memory | None = None, limits: WriteLimits = _DEFAULT_LIMITS) -> UnitOfWork:
    """Start a transaction on a store.

    Args:
        store: the open store.
        memory: what the lane's earlier transactions left; by default nothing.
        limits: of what is written.

    Raises:
        StoreError: the store cannot be written.
    """
    return UnitOfWork(store.begin(), memory or Memory(), limits)


class UnitOfWork(TransactionState):
    """The one open transaction of a lane; it ends once, by `commit` or `rollback`.

    Documents that it is given or hands out are not to be changed in place.
    """

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
            self._remember(self._projects, {uid: self._tx.project_fields(uid)})
        return self._projects[uid]

    def group_fields(self, uid: str) -> Document | None:
        """The group's own fields."""
        if uid not in self._groups:
            self._remember(self._groups, {uid: self._tx.group_fields(uid)})
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
            self._remember(self._ids, {uid: found})
        return self._ids[uid]

    def newest_revision(self, hash: str) -> int | None:
        """The highest revision of all trials with that hash; None without any."""
        if hash not in self._revisions:
            self.flush()
            self._remember(self._revisions, {hash: self._tx.newest_revision(hash)})
        return self._revisions[hash]

    def trials(self, query: Query, limit: int | None = None) -> list[Document]:
        """Trials that match, at most `limit`."""
        self.flush()
        return self._tx.trials(query, limit)

    def select(self, query: Query, limit: int, seconds: float) -> list[Any]:
        """Keys (a trial's id, a group's or project's uid) of what matches, in order of insertion.

        Raises:
            TooBusy: it took longer than this many seconds.
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
        self._set(self._memory.series_counts, id, 0)
        newest = self._revisions.get(own["hash"], MISSING)
        if newest is not MISSING:
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
        self._drop(self._memory.series_counts, id)
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

        `aggregator` is stored with the series when it is created.

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
                self._count_series(trial, 1)
        self._add(series.pending, points)
        self._buffered += len(points.times.payload)
        if self._journal is None and self._buffered > BUFFER_BYTES:
            self.flush()

    def check_series(self, trial: bytes, kind: str, names: Sequence[str]) -> None:
        """Check that an existing trial has room for those of some series that it does not have yet.

        Raises:
            BadValue: it has not.
        """
        most, count = self.limits.series_per_trial, self._series_count(trial)
        if count + len(names) <= most:
            return
        keys = [(trial, kind, name) for name in names]
        self.load(Wanted(series=set(keys)))
        known = self._memory.series
        count += sum(known[key].handle is None and key not in self._grown for key in keys)
        if count > most:
            raise BadValue(
                f"trial {trial.hex()} would have {count:,} series, more than {most:,}: log fewer names, with "
                "what differs as a step or as a value"
            )

    def _series_count(self, trial: bytes) -> int:
        counts = self._memory.series_counts
        if trial not in counts:
            self.flush()
            self._remember(counts, {trial: self._tx.series_count(trial)})
        return counts[trial]

    def _count_series(self, trial: bytes, change: int) -> None:
        counts = self._memory.series_counts
        if trial in counts:
            self._set(counts, trial, counts[trial] + change)

    def _in_time(self, chunks: Iterator[StoredChunk]) -> Iterator[StoredChunk]:
        for chunk in chunks:
            self.check_time()
            yield chunk

    def rewinds(self, trial: bytes) -> tuple[Rewind, ...]:
        """The rewinds in the metadata of an existing trial; cheap enough for each batch.

        Raises:
            ItemNotFound: there is no such trial.
        """
        return self._known_trial(trial)

    def rewind(self, trial: bytes, step: float, before: float | None = None) -> int:
        """Move the points of later steps from an existing trial's metrics to its superseded series.

        Later is what is a finite number (no bool) above `step`; with `before`, only points of an earlier time
        (seconds since the epoch) are moved.  What was moved goes, in order, behind the points of the series
        of the same name and of kind ``superseded``, which trial documents do not contain.  A metric without
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
                "all other writers would wait for it: continue from the checkpoint in a new trial"
            )
        for series in found:
            chunks = self._in_time(self._tx.chunks(series, step))
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
                self._count_series(trial, -1)
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
            digest: of the complete blob.
            size: of the complete blob; of no meaning when it is there already.
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
        """Delete the bytes of a blob from an offset on, of which there are some."""
        if digest in self._changes.blobs:
            self.flush()
        known = self.blob(digest)
        assert known is not None, "there is something to cut"
        self._set(self._changes.blobs, digest, BlobChange(cut=stored))
        self._set(self._blobs, digest, replace(known, stored=stored))

    def drop_blob(self, digest: str) -> None:
        """Delete a blob; harmless when there is none."""
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

    def thinned_of(self, sid: bytes, first: int, last: int) -> list[Thinned]:
        """What overlaps `first` to `last` of the rejected records of a session that are no longer stored."""
        if self._changes.rejected:
            self.flush()
        return self._tx.thinned_of(sid, first, last)

    def put_rejected(self, record: Rejected) -> None:
        """Store what is rejected, after what was before; at most `MAX_REJECTED` of one session.

        Of the others their numbers are stored.
        """
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
            found = {lease.sid: lease for lease in self._tx.leases(trial)}
            self._remember(self._leases, {trial: found})
        return self._leases[trial]


def _own_fields(document: Document) -> Document:
    """A document without what is computed from others."""
    computed = ("metrics", "chronos", "media", "groups", "trials")
    return {name: value for name, value in document.items() if name not in computed}


def _no_trial(id: bytes) -> ItemNotFound:
    return ItemNotFound(f"no trial has the id {id.hex()}: create it with new_trial first")
