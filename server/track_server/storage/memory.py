"""The ephemeral backend: everything in memory, gone with the process."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

from track_protocol.errors import ItemNotFound, StoreError
from track_protocol.model.rejected import FIRST_KEPT, MOST_KEPT, Rejected
from track_protocol.wire.batch import METRIC, SUPERSEDED
from track_server.methods.rewinds import rewinds_in
from track_server.storage.contract import Document, Lease, Points, Rewind, SessionState
from track_server.storage.file_write import write_durably
from track_server.storage.memory_blobs import new_blob
from track_server.storage.memory_document import DocumentHeader, document_lines
from track_server.storage.memory_series import copied, empty_series
from track_server.storage.memory_tables import COMPUTED, KINDS, MemoryView, Tables
from track_server.storage.memory_versions import Grown, Table

__all__ = ["MemoryStore", "MemoryTransaction"]

K = TypeVar("K", str, bytes)
T = TypeVar("T", bound="MemoryTransaction")


class MemoryTransaction(MemoryView):
    """Writes in front of the committed version, and reads them."""

    def __init__(self, tables: Tables, ended: Callable[[], None]) -> None:
        super().__init__(tables, tables.clock.committed + 1)
        self._ended = ended
        self._open = True

    def put_project(self, document: Document) -> None:
        """Insert or replace by ``uid``; ``groups`` and ``trials`` are ignored."""
        kept = _kept("project", document)
        self._tables.projects.put(kept["uid"], kept)

    def put_group(self, document: Document) -> None:
        """Insert or replace by ``uid``; ``trials`` is ignored."""
        kept = _kept("group", document)
        uid, tables = kept["uid"], self._tables
        before = tables.groups.get(uid, self._version) or {}
        tables.groups.put(uid, kept)
        self._move(tables.project_groups, before.get("project_id"), kept.get("project_id"), uid)

    def add_trial(self, document: Document) -> None:
        """Insert a trial; its ``id`` and ``uid`` are new. ``metrics`` and ``chronos`` are ignored."""
        kept = _kept("trial", document)
        self._tables.ordinals[kept["id"]] = next(self._tables.next_ordinal)
        self._put_trial({}, kept)

    def update_trial(self, id: bytes, changes: Mapping[str, Any]) -> None:
        """Replace some top-level fields (any but id, metrics, chronos) of an existing trial."""
        before = self._trial(id)
        self._put_trial(before, {**before, **_kept("trial", changes), "id": id})

    def delete_trial(self, id: bytes) -> None:
        """Delete a trial with its series, links and leases."""
        tables, before = self._tables, self._trial(id)
        for kind in KINDS:
            names = self.series_names(id, kind)
            for name in names:
                tables.series.put((id, kind, name), None)
            if names:
                tables.names.put((id, kind), None)
        for lease in self.leases(id):
            self._set_leases(id, lease.sid)
        self._forget_uses(lambda use: use[1] == id)
        for group in tables.groups.values(self._version):
            link = (group["uid"], id)
            if tables.links.get(link, self._version) is not None:
                tables.links.put(link, None)
                self._move(tables.group_trials, group["uid"], None, id)
        self._move(tables.by_hash, before["hash"], None, id)
        self._move(tables.project_trials, before.get("project_id"), None, id)
        tables.by_uid.put(before["uid"], None)
        tables.trials.put(id, None)

    def link(self, group_uid: str, trial: bytes) -> None:
        """Put a trial into a group; harmless when it is in already."""
        tables = self._tables
        if tables.links.get((group_uid, trial), self._version) is None:
            self._trial(trial)
            if tables.groups.get(group_uid, self._version) is None:
                raise ItemNotFound(f"no group has the uid {group_uid!r}: put it first")
            tables.links.put((group_uid, trial), True)
            self._move(tables.group_trials, None, group_uid, trial)

    def append_points(
        self, trial: bytes, kind: str, name: str, aggregator: list[Any] | None, points: Points
    ) -> None:
        """Append to a series of an existing trial, which the first points create."""
        self._append(trial, kind, name, aggregator, points)

    def rewinds(self, trial: bytes) -> tuple[Rewind, ...]:
        """What the metadata of an existing trial tells of its rewinds."""
        return rewinds_in(self._trial(trial)["metadata"])

    def rewind(self, trial: bytes, step: float, before: float | None = None) -> int:
        """Move the points of later steps from a trial's metrics to its superseded series."""
        self._trial(trial)
        tables, moved, left = self._tables, 0, []
        for name in self.series_names(trial, METRIC):
            key = (trial, METRIC, name)
            series = tables.series.get(key, self._version)
            assert series is not None
            rest, later = series.rewound(step, before)
            if later:
                tables.series.put(key, rest if len(rest) else None)
                moved += sum(map(len, later))
            for points in later:
                self._append(trial, SUPERSEDED, name, None, points)
            left += [name] if len(rest) else []
        if moved:
            tables.names.put((trial, METRIC), Grown.of(*left))
        return moved

    def _append(
        self, trial: bytes, kind: str, name: str, aggregator: list[Any] | None, points: Points
    ) -> None:
        tables, key = self._tables, (trial, kind, name)
        series = tables.series.get(key, self._version)
        if series is None:
            self._trial(trial)
            series = empty_series(aggregator)
            names = tables.names.get((trial, kind), self._version)
            tables.names.put((trial, kind), Grown.of(name) if names is None else names.and_(name))
        series = series.append(points)
        tables.series.put(key, series)
        if series.fragmented:
            tables.fragmented.add(key)

    def add_blob_data(self, digest: str, size: int, data: bytes, time: float) -> None:
        """Append bytes to a blob, which the first ones (or none) create, and note when."""
        blobs = self._tables.blobs
        kept = blobs.get(digest, self._version) or new_blob(digest, size, time)
        blobs.put(digest, kept.append(data, time))

    def cut_blob(self, digest: str, stored: int) -> None:
        """Forget the bytes of a blob from an offset on, of which there are some."""
        blobs = self._tables.blobs
        if kept := blobs.get(digest, self._version):
            blobs.put(digest, kept.cut(stored))

    def drop_blob(self, digest: str) -> None:
        """Forget a blob; harmless when there is none."""
        self._tables.blobs.put(digest, None)
        self._forget_uses(lambda use: use[0] == digest)

    def use_blob(self, digest: str, trial: bytes) -> None:
        """Note that an existing trial refers to an existing blob; harmless when repeated."""
        self._trial(trial)
        if self.blob(digest) is not None:
            self._tables.blob_uses.put((digest, trial), (digest, trial))

    def release_blobs(self, trial: bytes) -> None:
        """Note that a trial refers to no blob any more."""
        self._trial(trial)
        self._forget_uses(lambda use: use[1] == trial)

    def _forget_uses(self, meant: Callable[[tuple[str, bytes]], bool]) -> None:
        for use in filter(meant, self.blob_uses()):
            self._tables.blob_uses.put(use, None)

    def put_session(self, state: SessionState) -> None:
        """Insert or replace by ``sid``."""
        self._tables.sessions.put(state.sid, state)

    def put_rejected(self, record: Rejected) -> None:
        """Keep what can never be stored, behind what was kept before."""
        tables, number = self._tables, self._tables.next_rejected
        tables.rejected.put(number, record)
        tables.next_rejected += 1
        self._join(tables.session_rejected, record.session, number)
        if record.trial is not None:
            self._join(tables.trial_rejected, record.trial, number)
        kept = tables.session_rejected.get(record.session, self._version)
        if kept is not None and len(kept) > MOST_KEPT:
            self._drop_rejected(next(islice(kept, FIRST_KEPT, None)))

    def _drop_rejected(self, number: int) -> None:
        tables = self._tables
        record = tables.rejected.get(number, self._version)
        assert record is not None
        tables.rejected.put(number, None)
        for index, target in (
            (tables.session_rejected, record.session),
            (tables.trial_rejected, record.trial),
        ):
            members = None if target is None else index.get(target, self._version)
            if target is not None and members is not None:
                index.put(target, Grown.of(*(other for other in members if other != number)))

    def put_lease(self, lease: Lease) -> None:
        """Insert or replace by ``trial``, which exists, and ``sid``."""
        self._trial(lease.trial)
        self._set_leases(lease.trial, lease.sid, lease)

    def drop_lease(self, trial: bytes, sid: bytes) -> None:
        """Remove a lease; harmless when there is none."""
        self._set_leases(trial, sid)

    def _set_leases(self, trial: bytes, sid: bytes, *ours: Lease) -> None:
        tables = self._tables
        others = [lease for lease in self.leases(trial) if lease.sid != sid]
        tables.leases.put(trial, (*others, *ours) or None)
        leased = tables.leased.get(sid, self._version) or frozenset()
        tables.leased.put(sid, (leased | {trial} if ours else leased - {trial}) or None)

    def commit(self) -> None:
        """Make it the committed state."""
        if not self._open:
            raise StoreError("this transaction has ended: begin another one")
        self._tables.commit()
        self._end()

    def rollback(self) -> None:
        """Forget it all; harmless when it has ended."""
        if self._open:
            self._tables.undo()
            self._end()

    def _end(self) -> None:
        self._open = False
        self._ended()

    def _put_trial(self, before: Document, after: Document) -> None:
        tables, id = self._tables, after["id"]
        tables.trials.put(id, after)
        if before.get("uid") != after["uid"]:
            if before:
                tables.by_uid.put(before["uid"], None)
            tables.by_uid.put(after["uid"], id)
        self._move(tables.by_hash, before.get("hash"), after["hash"], id)
        self._move(tables.project_trials, before.get("project_id"), after.get("project_id"), id)

    def _move(self, index: Table[str, Grown[Any]], source: str | None, target: str | None, item: Any) -> None:
        """Move an item of an index from one list (or none) to another (or none)."""
        if source == target:
            return
        if source is not None:
            rest = [kept for kept in index.get(source, self._version) or () if kept != item]
            index.put(source, Grown.of(*rest))
        if target is not None:
            self._join(index, target, item)

    def _join(self, index: Table[K, Grown[Any]], target: K, item: Any) -> None:
        members = index.get(target, self._version)
        index.put(target, Grown.of(item) if members is None else members.and_(item))


def _kept(kind: str, document: Mapping[str, Any]) -> Document:
    computed = COMPUTED[kind]
    return {name: copied(value) for name, value in document.items() if name not in computed}


class MemoryStore:
    """A store that lives as long as the object.

    Args:
        uri: the URI it was opened with.
        generation: of the history it continues; random when it starts one.
    """

    def __init__(self, uri: str = "ephemeral:", *, generation: str | None = None) -> None:
        self._uri = uri
        self._generation = generation or uuid.uuid4().hex
        self._tables = Tables()
        self._writing = False

    @property
    def uri(self) -> str:
        """The URI it was opened with."""
        return self._uri

    @property
    def generation(self) -> str:
        """Identifies the store's history."""
        return self._generation

    def begin(self) -> MemoryTransaction:
        """Start the write transaction.

        Raises:
            StoreError: one is open.
        """
        return self.begin_as(MemoryTransaction)

    def begin_as(self, make: Callable[[Tables, Callable[[], None]], T]) -> T:
        """Start the write transaction as an object that `make` returns.

        Args:
            make: takes the tables, and what to call when the transaction has ended.

        Raises:
            StoreError: one is open.
        """
        if self._writing:
            raise StoreError("a transaction is open: commit it or roll it back before the next one begins")
        self._writing = True
        return make(self._tables, self._ended)

    @contextmanager
    def snapshot(self) -> Iterator[MemoryView]:
        """A consistent view of what is committed; any thread."""
        tables = self._tables
        version = tables.clock.enter()
        try:
            yield MemoryView(tables, version)
        finally:
            tables.clock.leave(version)

    def maintain(self, seconds: float) -> bool:
        """Let go of what was deleted, and merge small chunks for about that long; True if more is left."""
        tables = self._tables
        if not self._writing:
            tables.sweep()
        if self._writing or not tables.fragmented:
            return bool(tables.fragmented)
        deadline = time.monotonic() + seconds
        while tables.fragmented and time.monotonic() < deadline:
            key = tables.fragmented.pop()
            series = tables.series.get(key, tables.clock.committed)
            if series is not None and series.fragmented:
                tables.series.put(key, series.merged())
        tables.commit()
        return bool(tables.fragmented)

    def save(self, path: str | None = None) -> None:
        """Write a copy to `path`, as a readable document that the file backend opens.

        Without a path there is nothing to do.

        Raises:
            StoreError: it cannot be written there.
        """
        if path is not None:
            with self.snapshot() as view:
                write_durably(path, document_lines(view, DocumentHeader(self._generation)))

    def reopen(self) -> None:
        """Nothing can fail here."""

    def abandon(self) -> None:
        """Nothing to release; harmless when repeated."""

    def close(self) -> None:
        """Nothing to release; harmless when repeated."""

    def _ended(self) -> None:
        self._writing = False
