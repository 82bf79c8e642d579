"""What the memory holds, and a view of it as of one version."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import count, islice
from typing import Any, Final

from track_protocol.errors import ItemNotFound
from track_protocol.model.media import MEDIA_KINDS
from track_protocol.model.rejected import Rejected
from track_protocol.query.order import Order, in_order
from track_protocol.query.parse import Kind, Query
from track_protocol.query.tree import Among, Contains, Ordered, Present, leaves
from track_protocol.wire.batch import CHRONO, METRIC, SUPERSEDED
from track_server.storage.contract import Blob, Document, Lease, Points, SessionState
from track_server.storage.memory_blobs import KeptBlob
from track_server.storage.memory_series import Series, copied
from track_server.storage.memory_versions import Clock, Grown, Table

__all__ = ["COMPUTED", "KINDS", "MemoryView", "Tables"]

KINDS: Final = (METRIC, CHRONO, SUPERSEDED, *MEDIA_KINDS)
"""Of the series that a trial may have."""

_SERIES_FIELDS: Final = {"metrics": METRIC, "chronos": CHRONO}
COMPUTED: Final[Mapping[str, frozenset[str]]] = {
    "project": frozenset({"groups", "trials"}),
    "group": frozenset({"trials"}),
    "trial": frozenset({*_SERIES_FIELDS, SUPERSEDED, "media"}),
}
"""Fields of each kind of document that are made when it is read, and are not kept with it."""


class Tables:
    """What a store holds; documents in here are never changed, only replaced."""

    def __init__(self) -> None:
        self.clock = clock = Clock()
        self.projects: Table[str, Document] = Table(clock)
        self.groups: Table[str, Document] = Table(clock)
        self.trials: Table[bytes, Document] = Table(clock)
        self.sessions: Table[bytes, SessionState] = Table(clock)
        self.rejected: Table[int, Rejected] = Table(clock)
        self.leases: Table[bytes, tuple[Lease, ...]] = Table(clock)
        self.series: Table[tuple[bytes, str, str], Series] = Table(clock)
        self.blobs: Table[str, KeptBlob] = Table(clock)
        self.blob_uses: Table[tuple[str, bytes], tuple[str, bytes]] = Table(clock)
        # Indexes.
        self.leased: Table[bytes, frozenset[bytes]] = Table(clock)
        self.names: Table[tuple[bytes, str], Grown[str]] = Table(clock)
        self.by_uid: Table[str, bytes] = Table(clock)
        self.by_hash: Table[str, Grown[bytes]] = Table(clock)
        self.links: Table[tuple[str, bytes], bool] = Table(clock)
        self.group_trials: Table[str, Grown[bytes]] = Table(clock)
        self.project_trials: Table[str, Grown[bytes]] = Table(clock)
        self.project_groups: Table[str, Grown[str]] = Table(clock)
        self.session_rejected: Table[bytes, Grown[int]] = Table(clock)
        self.trial_rejected: Table[bytes, Grown[int]] = Table(clock)
        # Of the next rejected record; those of a transaction that was undone are left out.
        self.next_rejected = 0
        # Where a trial stands in the order of insertion; of no meaning for ids that are not in `trials`.
        self.ordinals: dict[bytes, int] = {}
        self.next_ordinal = count()
        self.fragmented: set[tuple[bytes, str, str]] = set()
        self._all: Final = [table for table in vars(self).values() if isinstance(table, Table)]

    def commit(self) -> None:
        """Make what was written the committed state."""
        oldest = self.clock.advance()
        for table in self._all:
            table.settle(oldest)

    def sweep(self) -> None:
        """Let go of what was taken out and no reader sees any more; no transaction is open."""
        oldest = self.clock.oldest()
        for id in self.trials.sweep(oldest):
            self.ordinals.pop(id, None)
        for table in self._all:
            table.sweep(oldest)

    def undo(self) -> None:
        """Forget what was written since the last commit."""
        for table in self._all:
            table.undo()


class MemoryView:
    """The tables as of one version; everything it returns is the caller's own."""

    def __init__(self, tables: Tables, version: int) -> None:
        self._tables = tables
        self._version = version

    def project(self, uid: str) -> Document | None:
        """The project with that uid."""
        document = self._tables.projects.get(uid, self._version)
        return None if document is None else _given(self._whole_project(document))

    def group(self, uid: str) -> Document | None:
        """The group with that uid."""
        document = self._tables.groups.get(uid, self._version)
        return None if document is None else _given(self._whole_group(document))

    def trial(self, id: bytes) -> Document | None:
        """The trial with that internal id."""
        document = self._tables.trials.get(id, self._version)
        return None if document is None else _given(self._whole_trial(document))

    def trial_fields(self, id: bytes) -> Document | None:
        """The trial without its ``metrics`` and ``chronos``."""
        document = self._tables.trials.get(id, self._version)
        return None if document is None else _given(document)

    def has_project(self, uid: str) -> bool:
        """Whether there is a project with that uid."""
        return self._tables.projects.get(uid, self._version) is not None

    def has_group(self, uid: str) -> bool:
        """Whether there is a group with that uid."""
        return self._tables.groups.get(uid, self._version) is not None

    def has_trial(self, id: bytes) -> bool:
        """Whether there is a trial with that internal id."""
        return self._tables.trials.get(id, self._version) is not None

    def trial_id(self, uid: str) -> bytes | None:
        """The internal id of the trial with that uid."""
        return self._tables.by_uid.get(uid, self._version)

    def revisions(self, hash: str) -> list[bytes]:
        """Internal ids of all trials with that hash, lowest revision first."""
        ids = self._tables.by_hash.get(hash, self._version) or ()
        return sorted(ids, key=lambda id: self._trial(id)["revision"])

    def projects(self, query: Query, limit: int | None = None) -> list[Document]:
        """Projects that match, at most `limit`."""
        return _matching(query, self._tables.projects.values(self._version), self._whole_project, limit)

    def groups(self, query: Query, limit: int | None = None) -> list[Document]:
        """Groups that match, at most `limit`."""
        return _matching(query, self._tables.groups.values(self._version), self._whole_group, limit)

    def trials(self, query: Query, limit: int | None = None) -> list[Document]:
        """Trials that match, at most `limit`."""
        return _matching(query, self._tables.trials.values(self._version), self._whole_trial, limit)

    def find(
        self, query: Query, order: Sequence[Order] = (), start: int = 0, limit: int | None = None
    ) -> list[Any]:
        """Keys of what matches, in that order."""
        documents = {"trial": self.trials, "group": self.groups, "project": self.projects}[query.kind](query)
        stop = None if limit is None else start + limit
        key = "id" if query.kind == "trial" else "uid"
        return [documents[position][key] for position in in_order(documents, order)[start:stop]]

    def documents(
        self, kind: Kind, keys: Sequence[Any], fields: Collection[str] | None = None
    ) -> list[Document]:
        """What keys name, in their order and without what is gone; some of the fields, or all."""
        read: Callable[[Any], Document | None] = self.trial
        if kind != "trial":
            read = self.group if kind == "group" else self.project
        found = map(read, keys)
        return [
            {name: value for name, value in document.items() if fields is None or name in fields}
            for document in found
            if document is not None
        ]

    def points(self, trial: bytes, kind: str, name: str, start: int, limit: int) -> Points | None:
        """Up to `limit` points of a series from ordinal `start`; None if there is no such series."""
        series = self._tables.series.get((trial, kind, name), self._version)
        return None if series is None else series.slice(start, limit)

    def series_names(self, trial: bytes, kind: str) -> list[str]:
        """The names of a trial's series of one kind, in order of creation."""
        return list(self._tables.names.get((trial, kind), self._version) or ())

    def summary(self, trial: bytes, kind: str, name: str) -> Document:
        """What is known of a series that there is."""
        series = self._tables.series.get((trial, kind, name), self._version)
        assert series is not None
        return series.document()

    def blob(self, digest: str) -> Blob | None:
        """What is known of a blob."""
        kept = self._tables.blobs.get(digest, self._version)
        return None if kept is None else kept.known

    def blob_data(self, digest: str, offset: int, limit: int) -> bytes:
        """Up to `limit` of the bytes of a blob that are here, from `offset` on."""
        kept = self._tables.blobs.get(digest, self._version)
        return b"" if kept is None else kept.data(offset, limit)

    def blobs(self) -> list[Blob]:
        """What is known of every blob, in order of their first bytes."""
        return [kept.known for kept in self._tables.blobs.values(self._version)]

    def blob_uses(self) -> list[tuple[str, bytes]]:
        """Which blob which trial refers to."""
        return list(self._tables.blob_uses.values(self._version))

    def unused_blobs(self, before: float, limit: int) -> list[str]:
        """Digests of blobs that no trial uses and that were last touched before a time, at most `limit`."""
        old = [blob.digest for blob in self.blobs() if blob.time < before]
        used = {digest for digest, _ in self.blob_uses()} if old else set()
        return [digest for digest in old if digest not in used][:limit]

    def session(self, sid: bytes) -> SessionState | None:
        """What is known of a session."""
        return self._tables.sessions.get(sid, self._version)

    def sessions(self) -> list[SessionState]:
        """What is known of every session, in order of their first record."""
        return list(self._tables.sessions.values(self._version))

    def rejected(self, trial: bytes | None, start: int, limit: int) -> list[Rejected]:
        """What was set aside, all of it or what is about a trial: up to `limit` from ordinal `start`."""
        tables, version = self._tables, self._version
        found: Iterable[Rejected]
        if trial is None:
            found = tables.rejected.values(version)
        else:
            found = self._rejected(tables.trial_rejected.get(trial, version) or ())
        return list(islice(found, start, min(start + limit, sys.maxsize)))

    def rejected_of(self, sid: bytes, first: int, last: int) -> list[Rejected]:
        """What of a session was set aside with any record from `first` to `last`."""
        found = self._rejected(self._tables.session_rejected.get(sid, self._version) or ())
        return [record for record in found if record.first <= last and record.last >= first]

    def _rejected(self, numbers: Iterable[int]) -> Iterator[Rejected]:
        for number in numbers:
            record = self._tables.rejected.get(number, self._version)
            assert record is not None, "an index names what is there"
            yield record

    def leases(self, trial: bytes) -> list[Lease]:
        """All leases of a trial, in any order."""
        return list(self._tables.leases.get(trial, self._version) or ())

    def leases_of(self, sid: bytes) -> list[Lease]:
        """All leases of a session, in any order."""
        trials = self._tables.leased.get(sid, self._version) or ()
        return [lease for trial in trials for lease in self.leases(trial) if lease.sid == sid]

    def leases_by_status(self, lowest: int, highest: int) -> list[Lease]:
        """Those not superseded, of all trials whose status has a value from `lowest` to `highest`."""
        return [
            lease
            for lease in self.all_leases()
            if not lease.superseded and lowest <= self._trial(lease.trial)["status"]["value"] <= highest
        ]

    def all_leases(self) -> list[Lease]:
        """Every lease there is."""
        return [lease for leases in self._tables.leases.values(self._version) for lease in leases]

    def _trial(self, id: bytes) -> Document:
        # As it is kept: not to be changed, nor given away.
        document = self._tables.trials.get(id, self._version)
        if document is None:
            raise ItemNotFound(f"no trial has the id {id.hex()}: add it first")
        return document

    def _uids(self, ids: Iterable[bytes]) -> list[str]:
        return [self._trial(id)["uid"] for id in ids]

    def _whole_project(self, document: Document) -> Document:
        uid = document["uid"]
        groups = list(self._tables.project_groups.get(uid, self._version) or ())
        ids = self._tables.project_trials.get(uid, self._version) or ()
        trials = self._uids(sorted(ids, key=self._tables.ordinals.__getitem__))
        return {**document, "groups": groups, "trials": trials}

    def _whole_group(self, document: Document) -> Document:
        ids = self._tables.group_trials.get(document["uid"], self._version) or ()
        return {**document, "trials": self._uids(ids)}

    def _whole_trial(self, document: Document) -> Document:
        id = document["id"]
        summaries = {field: self._summaries(id, kind) for field, kind in _SERIES_FIELDS.items()}
        return {**document, **summaries, "media": self._media(id)}

    def _media(self, trial: bytes) -> Document:
        found: Document = {}
        for kind in MEDIA_KINDS:
            names = self.series_names(trial, kind)
            if names:
                found[kind] = {name: self._media_summary(trial, kind, name) for name in names}
        return found

    def _media_summary(self, trial: bytes, kind: str, name: str) -> Document:
        whole = self.summary(trial, kind, name)
        return {field: whole[field] for field in ("count", "first_step", "last_step", "last_time")}

    def _summaries(self, trial: bytes, kind: str) -> Document:
        return {name: self.summary(trial, kind, name) for name in self.series_names(trial, kind)}


def _given(document: Document) -> Document:
    own: Document = copied(document)
    return own


def _matching(
    query: Query, documents: Iterable[Document], whole: Callable[[Document], Document], limit: int | None
) -> list[Document]:
    # A summary costs more than everything else in a document, so it is made only when it is asked for.
    computed = COMPUTED[query.kind]
    comparisons = (
        leaf for leaf in leaves(query.condition) if isinstance(leaf, (Among, Contains, Ordered, Present))
    )
    needs_whole = any(leaf.path[0] in computed for leaf in comparisons)
    found: list[Document] = []
    for document in documents:
        if limit is not None and len(found) >= limit:
            break
        if query.matches(whole(document) if needs_whole else document):
            found.append(_given(whole(document)))
    return found
