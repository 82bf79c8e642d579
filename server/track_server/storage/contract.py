"""What the engine needs from a store; each backend implements it.

Everything is plain documents (see `track_protocol.model.documents`): a backend knows how to keep and find
them, and nothing about what a call means.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from track_protocol.model.rejected import Rejected
from track_protocol.query.order import Order
from track_protocol.query.parse import Kind, Query
from track_protocol.wire.columns import Column

__all__ = [
    "Blob",
    "Document",
    "Lease",
    "Points",
    "Rewind",
    "SessionState",
    "Snapshot",
    "Store",
    "Transaction",
    "View",
]

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Points:
    """Consecutive points of one series: equally long columns."""

    steps: Column
    times: Column
    values: Column

    def __len__(self) -> int:
        return len(self.times)


@dataclass(frozen=True, slots=True)
class SessionState:
    """What the store remembers of one writing session, in the same transaction as its data.

    Attributes:
        sid: the session's 16-byte id, made by the client.
        user: who owns it.
        epoch: how many times it was attached; a holder with a lower one is fenced off.
        last_seq: its last record that is stored.
        last_reply: (sequence number, encoded answer) of its last record, if that is a write with an
            answer.
    """

    sid: bytes
    user: str
    epoch: int = 0
    last_seq: int = 0
    last_reply: tuple[int, bytes] | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """That a session runs a trial, from its start of it to the trial's end.

    Attributes:
        trial: the trial's internal id.
        sid: the session's id.
        rank: of the session's process among those that share the trial, None if nobody said.
        superseded: the session was lost and somebody else decided about the trial, so that what it
            still says of the trial's status comes too late.
    """

    trial: bytes
    sid: bytes
    rank: int | None = None
    superseded: bool = False


@dataclass(frozen=True, slots=True)
class Blob:
    """What is known of a blob without reading it.

    Attributes:
        digest: the SHA-256 of all its bytes, in hexadecimal digits.
        size: how many bytes it has when it is whole.
        stored: how many of them are here, from the first on.
        time: when the last of them came or were offered again, in seconds since the epoch.
    """

    digest: str
    size: int
    stored: int
    time: float

    @property
    def whole(self) -> bool:
        """Whether all of it is here."""
        return self.stored == self.size


@dataclass(frozen=True, slots=True)
class Rewind:
    """That a trial was rewound, as its metadata ``rewinds`` tells.

    Attributes:
        number: of the item in that list, from 0.
        step: the last one that stayed.
        time: when, in seconds since the epoch, by the clock of the process that rewound it.
        session: id of the session that rewound it.
    """

    number: int
    step: float
    time: float
    session: bytes


class View(Protocol):
    """A consistent state of the store, for reading.

    Trial documents come whole, with a summary of each series in ``metrics`` and ``chronos``
    (``count, first_step, last_step, last, last_time, min, max, mean, sd, nonfinite, stepped,
    aggregator``) but without points, and in ``media`` by kind and name what is known of each series of media
    (``count, first_step, last_step, last_time``); a group's ``trials`` and a project's ``groups`` and
    ``trials`` are uids.  Lists are in order of insertion.
    """

    def project(self, uid: str) -> Document | None:
        """The project with that uid."""

    def group(self, uid: str) -> Document | None:
        """The group with that uid."""

    def trial(self, id: bytes) -> Document | None:
        """The trial with that internal id."""

    def trial_fields(self, id: bytes) -> Document | None:
        """The trial without its ``metrics`` and ``chronos``; costs the same however many series it has."""

    def has_project(self, uid: str) -> bool:
        """Whether there is a project with that uid; cheap, however many trials it has."""

    def has_group(self, uid: str) -> bool:
        """Whether there is a group with that uid; cheap, however many trials it has."""

    def has_trial(self, id: bytes) -> bool:
        """Whether there is a trial with that internal id; cheap enough to ask for each batch."""

    def trial_id(self, uid: str) -> bytes | None:
        """The internal id of the trial with that uid."""

    def revisions(self, hash: str) -> list[bytes]:
        """Internal ids of all trials with that hash, lowest revision first."""

    def projects(self, query: Query, limit: int | None = None) -> list[Document]:
        """Projects that match, at most `limit`."""

    def groups(self, query: Query, limit: int | None = None) -> list[Document]:
        """Groups that match, at most `limit`."""

    def trials(self, query: Query, limit: int | None = None) -> list[Document]:
        """Trials that match, at most `limit`."""

    def points(self, trial: bytes, kind: str, name: str, start: int, limit: int) -> Points | None:
        """Up to `limit` points of a series from ordinal `start`; None if there is no such series."""

    def blob(self, digest: str) -> Blob | None:
        """What is known of a blob."""

    def blob_data(self, digest: str, offset: int, limit: int) -> bytes:
        """Up to `limit` of the bytes of a blob that are here, from `offset` on; none if it is not known."""

    def unused_blobs(self, before: float, limit: int) -> list[str]:
        """Digests of blobs that no trial uses and that were last touched before a time, at most `limit`."""

    def session(self, sid: bytes) -> SessionState | None:
        """What is known of a session."""

    def rejected(self, trial: bytes | None, start: int, limit: int) -> list[Rejected]:
        """What was set aside, all of it or what is about a trial: up to `limit` from ordinal `start`."""

    def rejected_of(self, sid: bytes, first: int, last: int) -> list[Rejected]:
        """What of a session was set aside with any record from `first` to `last`."""

    def leases(self, trial: bytes) -> list[Lease]:
        """All leases of a trial, in any order."""

    def leases_of(self, sid: bytes) -> list[Lease]:
        """All leases of a session, in any order."""

    def leases_by_status(self, lowest: int, highest: int) -> list[Lease]:
        """Those not superseded, of all trials whose status has a value from `lowest` to `highest`."""


class Snapshot(View, Protocol):
    """A view of what is committed, from which answers of any length are made page by page."""

    def find(
        self, query: Query, order: Sequence[Order] = (), start: int = 0, limit: int | None = None
    ) -> Sequence[Any]:
        """Keys of what matches, in that order: small, opaque, and good for `documents` of a later snapshot.

        Args:
            query: what to find.
            order: most significant first; what is alike is in order of insertion.
            start: how many to leave out first.
            limit: how many at most.
        """

    def documents(
        self, kind: Kind, keys: Sequence[Any], fields: Collection[str] | None = None
    ) -> list[Document]:
        """What keys name, in their order and without what is gone meanwhile.

        Args:
            kind: the kind of the query that found the keys.
            keys: from `find`.
            fields: which fields to read, all by default; those that are left out cost nothing.
        """


class Transaction(View, Protocol):
    """The one open write transaction; it reads its own writes."""

    def put_project(self, document: Document) -> None:
        """Insert or replace by ``uid``; ``groups`` and ``trials`` are ignored."""

    def put_group(self, document: Document) -> None:
        """Insert or replace by ``uid``; ``trials`` is ignored."""

    def add_trial(self, document: Document) -> None:
        """Insert a trial; its ``id`` and ``uid`` are new. ``metrics`` and ``chronos`` are ignored."""

    def update_trial(self, id: bytes, changes: Mapping[str, Any]) -> None:
        """Replace some top-level fields (any but id, metrics, chronos) of an existing trial."""

    def delete_trial(self, id: bytes) -> None:
        """Delete a trial with its series, links and leases.

        No view sees anything of it from then on, also if a trial with the same id is added; what it
        holds may be removed by `Store.maintain`, also after a restart.

        Raises:
            ItemNotFound: there is no such trial.
        """

    def link(self, group_uid: str, trial: bytes) -> None:
        """Put a trial into a group; harmless when it is in already."""

    def append_points(
        self, trial: bytes, kind: str, name: str, aggregator: list[Any] | None, points: Points
    ) -> None:
        """Append to a series of an existing trial, which the first points create.

        `aggregator` is remembered with the series when it is created.
        """

    def rewinds(self, trial: bytes) -> tuple[Rewind, ...]:
        """What the metadata of an existing trial tells of its rewinds; cheap enough to ask for each batch."""

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
            SeriesDamaged: a series cannot be read; nothing was changed.
        """

    def add_blob_data(self, digest: str, size: int, data: bytes, time: float) -> None:
        """Append bytes to a blob, which the first ones (or none) create, and note when.

        Args:
            digest: of the whole blob.
            size: of the whole blob; of no meaning when it is there already.
            data: what follows the bytes that are here.
            time: now, in seconds since the epoch.
        """

    def cut_blob(self, digest: str, stored: int) -> None:
        """Forget the bytes of a blob from an offset on, of which there are some."""

    def drop_blob(self, digest: str) -> None:
        """Forget a blob; harmless when there is none."""

    def use_blob(self, digest: str, trial: bytes) -> None:
        """Note that an existing trial refers to an existing blob; harmless when repeated."""

    def release_blobs(self, trial: bytes) -> None:
        """Note that a trial refers to no blob any more, before it is deleted."""

    def put_session(self, state: SessionState) -> None:
        """Insert or replace by ``sid``."""

    def put_rejected(self, record: Rejected) -> None:
        """Keep what can never be stored, behind what was kept before; of one session `MOST_KEPT` at most."""

    def put_lease(self, lease: Lease) -> None:
        """Insert or replace by ``trial``, which exists, and ``sid``."""

    def drop_lease(self, trial: bytes, sid: bytes) -> None:
        """Remove a lease; harmless when there is none."""

    def commit(self) -> None:
        """Make it durable; when this returns, a power cut does not lose it."""

    def rollback(self) -> None:
        """Forget it all."""


class Store(Protocol):
    """An open store.  `begin`, the transaction, `maintain` and `save` belong to one thread."""

    @property
    def uri(self) -> str:
        """The URI it was opened with."""

    @property
    def generation(self) -> str:
        """Identifies the store's history: random at creation, kept for life."""

    def begin(self) -> Transaction:
        """Start the write transaction."""

    def snapshot(self) -> AbstractContextManager[Snapshot]:
        """A consistent view of what is committed; any thread."""

    def maintain(self, seconds: float) -> bool:
        """Do background work (such as merging chunks) for about that long; True if more is left."""

    def save(self, done: Callable[[Exception | None], None]) -> None:
        """Bring what people read of the store up to date with what is committed.

        Args:
            done: called once that is done, at once or later on another thread, with what went wrong.
        """

    def reopen(self) -> None:
        """After the disk has failed: open everything again, from what is durable or can be made so.

        Whatever the system remembers is read from the disk, or written to it again.  No transaction
        is open; reads may go on meanwhile.  Raises `StoreError` when it failed; then nothing may be
        written, and it may be tried again.
        """

    def abandon(self) -> None:
        """Release everything and write nothing more; harmless when repeated."""

    def close(self, *, tidy: bool = True) -> None:
        """Release everything; harmless when repeated.

        Args:
            tidy: save and do some background work first; whatever is committed is durable without it.
        """
