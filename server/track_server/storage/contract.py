"""What a backend offers: sets of rows in and out, one round trip each.

The engine's jobs work on a `track_server.storage.unit_of_work.UnitOfWork`, which is written once.  It keeps
what they read and change in memory, and call a backend for few large operations: load these rows, find what
matches, write all of this.  So a backend knows tables, and nothing about what a call means; and one that is
reached over a network costs a handful of round trips for each transaction, however many records are in it.

Everything is plain documents (see `track_protocol.model.documents`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields
from typing import Any, Final, NamedTuple, Protocol

from track_protocol.errors import TrackError
from track_protocol.model.rejected import Rejected
from track_protocol.model.stat import Summary
from track_protocol.query.columns import Column as TableColumn
from track_protocol.query.order import Order
from track_protocol.query.parse import Kind, Query
from track_protocol.wire.columns import Column
from track_server.storage.chart_columns import Grid
from track_server.storage.chunk_columns import Encoded
from track_server.storage.chunks import assemble

__all__ = [
    "EMBEDDED_USER",
    "FIRST_REJECTED",
    "MAX_REJECTED",
    "MAX_THINNED",
    "Blob",
    "BlobChange",
    "Changed",
    "Changes",
    "ChartMeans",
    "ChartWindow",
    "Chunk",
    "Document",
    "Lease",
    "Loaded",
    "LocalSessions",
    "Points",
    "Rewind",
    "Series",
    "SeriesKey",
    "SessionState",
    "Snapshot",
    "Store",
    "StoredChunk",
    "Table",
    "Thinned",
    "Transaction",
    "View",
    "Wanted",
]

MAX_REJECTED: Final = 3_000
"""Maximum rejected operations stored of one session: a program that logs invalid values for days must not
fill the disk.  Beyond it the oldest ones are deleted, except the first `FIRST_REJECTED`."""

MAX_THINNED: Final = 65_536
"""Runs of numbers of rejected records whose content was deleted, of one session; of more the oldest go."""

FIRST_REJECTED: Final = 1_000
"""The first rejected operations of a session, which are never deleted: they show how it began."""


EMBEDDED_USER: Final = "(embedded)"
"""Whose the sessions of processes are that have the store open themselves: a name that no user can have."""

Document = dict[str, Any]

SeriesKey = tuple[bytes, str, str]
"""Trial, kind and name of a series."""


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
    """What the store records of one writing session, in the same transaction as its data.

    Attributes:
        sid: the session's 16-byte id, made by the client.
        user: who owns it.
        epoch: how many times it was attached; a holder with a lower one is fenced off.
        last_seq: its last record that is stored.
        last_reply: (sequence number, encoded answer) of its last record, if that is a write with an
            answer.
        partial: how many series of the record behind `last_seq` are stored already: a record of very many
            is stored in several transactions.
        ended: when its process was last alive, in seconds since the epoch, if somebody else has sent what the
            process has left; None when it is connected itself, or was last.
    """

    sid: bytes
    user: str
    epoch: int = 0
    last_seq: int = 0
    last_reply: tuple[int, bytes] | None = None
    partial: int = 0
    ended: float | None = None


class Thinned(NamedTuple):
    """Consecutive records of a session that were rejected, and of which nothing else is stored.

    Attributes:
        first, last: their sequence numbers.
        code: of the error's class.
    """

    first: int
    last: int
    code: str


@dataclass(frozen=True, slots=True)
class Lease:
    """That a session runs a trial, from its start of it to the trial's end.

    Attributes:
        trial: the trial's internal id.
        sid: the session's id.
        rank: of the session's process among those that share the trial, None if not given.
        superseded: the session was lost and another one decided about the trial, so that what it
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
        size: how many bytes it has when it is complete.
        stored: how many of them are here, from the first on.
        time: when the last of them came or were offered again, in seconds since the epoch.
    """

    digest: str
    size: int
    stored: int
    time: float

    @property
    def is_complete(self) -> bool:
        """Whether all of it is stored."""
        return self.stored == self.size


@dataclass(frozen=True, slots=True)
class Rewind:
    """A rewind of a trial, as its metadata ``rewinds`` record it.

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


@dataclass(slots=True, eq=False)
class Series:
    """A series: what is known of it without reading its points, and those that are not written yet.

    Attributes:
        trial, kind, name: what it is.
        aggregator: how it reads back, as it travels; None for the default.
        handle: the backend's own name for its row; None until it has one.
        count: of all points, but those in `pending`; so are the following.
        first_step, last_step, last: as JSON; None without points.
        last_time: of the last point, in seconds since the epoch.
        stepped: whether any point has a step.
        numbers: statistics of those values that are numbers.
        pending: points that will be chunks.
    """

    trial: bytes
    kind: str
    name: str
    aggregator: list[Any] | None = None
    handle: Any = None
    count: int = 0
    first_step: str | None = None
    last_step: str | None = None
    last: str | None = None
    last_time: float | None = None
    stepped: bool = False
    numbers: Summary = field(default_factory=Summary)
    pending: list[Points] = field(default_factory=list)

    @property
    def key(self) -> SeriesKey:
        """What it is found by."""
        return self.trial, self.kind, self.name


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive points as they are stored.

    Attributes:
        first: ordinal of its first point in its series.
        count: of its points.
        size: bytes when it is decoded, about.
        bounds: smallest and largest step, time and value, in this order, of those that are finite numbers.
        columns: steps, times and values; mostly the bytes that came, of which `data` makes a copy.
    """

    first: int
    count: int
    size: int
    bounds: tuple[float | None, ...]
    columns: tuple[Encoded, Encoded, Encoded]

    @property
    def data(self) -> bytes:
        """What is stored, see `track_server.storage.chunks`; made anew each time: few are in memory."""
        return assemble(self.count, *self.columns)


class StoredChunk(NamedTuple):
    """A chunk of a series that is rewound.

    Attributes:
        handle: the backend's own name for it.
        first: ordinal of its first point.
        is_later: whether some of its points may be of a later step.
        points: its points.
    """

    handle: Any
    first: int
    is_later: bool
    points: Points


@dataclass(frozen=True, slots=True)
class BlobChange:
    """What becomes of a blob, in this order.

    Attributes:
        dropped: it is deleted.
        cut: its bytes from this offset on are deleted, of which there are some; None for none.
        size: of the complete blob; of no meaning when it is there already.
        time: when bytes came or were offered again; None if none were, and nothing is appended.
        parts: bytes that are appended; what is appended to a blob that is not there creates it.
    """

    dropped: bool = False
    cut: int | None = None
    size: int = 0
    time: float | None = None
    parts: tuple[bytes, ...] = ()


@dataclass(slots=True)
class Wanted:
    """Keys of what a transaction will need."""

    sessions: set[bytes] = field(default_factory=set)
    trials: set[bytes] = field(default_factory=set)
    """Whether they exist, and their rewinds."""
    fields: set[bytes] = field(default_factory=set)
    """Their own fields."""
    series: set[SeriesKey] = field(default_factory=set)
    blobs: set[str] = field(default_factory=set)

    def add(self, other: Wanted) -> None:
        """Add what another one names."""
        for each in fields(self):
            getattr(self, each.name).update(getattr(other, each.name))

    def __bool__(self) -> bool:
        return any(getattr(self, each.name) for each in fields(self))


@dataclass(slots=True)
class Loaded:
    """What was found of what was wanted; the rest does not exist."""

    sessions: list[SessionState] = field(default_factory=list)
    trials: dict[bytes, Document] = field(default_factory=dict)
    """The metadata of each trial, as far as they may record rewinds."""
    fields: list[Document] = field(default_factory=list)
    series: list[Series] = field(default_factory=list)
    blobs: list[Blob] = field(default_factory=list)


@dataclass(slots=True)
class Changes:
    """What a transaction changes, table by table; a backend writes the tables in this order.

    Attributes:
        deleted: ids of trials that go with their series, links, leases and uses of blobs.  A view sees
            nothing of them from then on, also if a trial with the same id is added; what they hold may be
            removed by `Store.maintain`, also after a restart.
        projects, groups: own fields of those that are inserted or replaced, by uid.
        new_trials: own fields, by id.
        trials: those fields of existing trials that change, by id.
        emptied: series that have no point left.
        removed: handles of chunks that go.
        moved: handles of chunks, with the ordinal that their first point gets.
        rewritten: handles of chunks, with what they become.
        series: those that are new or whose statistics changed; the backend gives the new ones a handle.
        chunks: those that are appended.
        links: uids of groups and ids of the trials that are put into them; harmless when repeated.
        leases: by trial and session; None for those that go.
        blobs: by digest.
        uses: digests of blobs and ids of the trials that refer to them; harmless when repeated.
        rejected: what is appended to the stored ones; of one session `MAX_REJECTED` at most, and of the
            others the numbers.
        sessions: by id.
    """

    deleted: list[bytes] = field(default_factory=list)
    projects: dict[str, Document] = field(default_factory=dict)
    groups: dict[str, Document] = field(default_factory=dict)
    new_trials: dict[bytes, Document] = field(default_factory=dict)
    trials: dict[bytes, Document] = field(default_factory=dict)
    emptied: list[Series] = field(default_factory=list)
    removed: list[Any] = field(default_factory=list)
    moved: list[tuple[Any, int]] = field(default_factory=list)
    rewritten: list[tuple[Any, Chunk]] = field(default_factory=list)
    series: list[Series] = field(default_factory=list)
    chunks: list[tuple[Series, Chunk]] = field(default_factory=list)
    links: list[tuple[str, bytes]] = field(default_factory=list)
    leases: dict[tuple[bytes, bytes], Lease | None] = field(default_factory=dict)
    blobs: dict[str, BlobChange] = field(default_factory=dict)
    uses: list[tuple[str, bytes]] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    sessions: dict[bytes, SessionState] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return any(getattr(self, each.name) for each in fields(self))


@dataclass(frozen=True, slots=True)
class Changed:
    """What has changed since a moment.

    Attributes:
        cursor: the moment up to which this reports; the argument of the next call.
        known: whether all changes are named; if not, the requested moment is too long ago or
            of another history of the store, and everything has to be read again.
        more: whether more has changed up to now.
        trials: ids of trials that are there and whose fields, groups, points or media changed.
        deleted: ids of trials that are not there any more.
        groups, projects: uids of those that were made or whose fields changed, and of groups that got trials.
    """

    cursor: str
    known: bool = True
    more: bool = False
    trials: frozenset[bytes] = frozenset()
    deleted: frozenset[bytes] = frozenset()
    groups: frozenset[str] = frozenset()
    projects: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of some trials.

    Attributes:
        total: how many trials match, on whatever page they are.
        ids: of the trials that are the rows, in order.
        columns: one list for each column, as long as `ids`; None where a trial has no such value.
    """

    total: int
    ids: list[bytes]
    columns: list[list[Any]]


@dataclass(frozen=True, slots=True)
class ChartWindow:
    """What charts of several series have in common, so that their columns are the same.

    Attributes:
        axis: ``step``, ``time`` (seconds since the epoch), ``relative`` (seconds since the trial began, or
            the series, if the trial was never started) or ``ordinal``.
        grid: the columns along that axis.
        ordinals: those of a series of which each point's x is its ordinal, because its steps are not all
            numbers or do not ascend, or its times are not all numbers.
        in_full: whether all points in the window are read; if not, outlines may stand for them.
        is_coarse: whether they may wherever there are some: what is drawn is the mean of many series.
    """

    axis: str
    grid: Grid
    ordinals: Grid
    in_full: bool
    is_coarse: bool = False


class ChartMeans(NamedTuple):
    """The finite values of one series in those columns that have some, and where there are others.

    Attributes:
        axis: the one that was really used, see `ChartWindow`.
        columns: their numbers, ascending.
        x: places of their last points.
        lows, highs, means: least, greatest and mean of their finite values.
        counts: of these values.
        odd: of each column that has other values its number, place and step of its last point, the last of
            those values, and how many they are.
    """

    axis: str
    columns: Sequence[int]
    x: Sequence[float]
    lows: Sequence[float]
    highs: Sequence[float]
    means: Sequence[float]
    counts: Sequence[float]
    odd: Sequence[tuple[int, float, float, float, float]] = ()


class View(Protocol):
    """A consistent state of the store, for reading.

    Trial documents are complete, with a summary of each series in ``metrics`` and ``chronos``
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

    def project_fields(self, uid: str) -> Document | None:
        """The project without its ``groups`` and ``trials``; costs the same however many it has."""

    def group_fields(self, uid: str) -> Document | None:
        """The group without its ``trials``; costs the same however many it has."""

    def trial_id(self, uid: str) -> bytes | None:
        """The internal id of the trial with that uid."""

    def revisions(self, hash: str) -> list[bytes]:
        """Internal ids of all trials with that hash, lowest revision first."""

    def newest_revision(self, hash: str) -> int | None:
        """The highest revision of all trials with that hash, from an index; None without any."""

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
        """Quarantined records, all or those of a trial: up to `limit` from ordinal `start`."""

    def rejected_of(self, sid: bytes, first: int, last: int) -> list[Rejected]:
        """Quarantined records of a session that overlap `first` to `last`."""

    def thinned_of(self, sid: bytes, first: int, last: int) -> list[Thinned]:
        """What overlaps `first` to `last` of the rejected records of a session that are no longer stored."""

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
        """What keys name, in their order and without what is deleted meanwhile.

        Args:
            kind: the kind of the query that found the keys.
            keys: from `find`.
            fields: which fields to read, all by default; those that are left out cost nothing.
        """

    def table(
        self,
        query: Query,
        columns: Sequence[TableColumn],
        order: Sequence[Order] = (),
        start: int = 0,
        limit: int | None = None,
    ) -> Table:
        """Columns of the trials that match, in that order; arguments as for `find`."""

    def table_rows(self, ids: Sequence[bytes], columns: Sequence[TableColumn]) -> Table:
        """Columns of trials, in the order of their ids and without those that are not there."""

    def fields(self, query: Query) -> Document:
        """What the trials that match have: ``total``, ``fields``, ``series``, ``statuses`` and ``more``.

        As `track_protocol.query.tables` makes them: names of all values in parameters, tags and metadata,
        and of series of all kinds but superseded ones.
        """

    def trial_groups(
        self, query: Query, by: Sequence[TableColumn], measures: Sequence[TableColumn], limit: int
    ) -> list[Document]:
        """The trials that match by values, with statistics, as `track_protocol.query.tables.group_rows`."""

    def chart_window(
        self, series: Sequence[SeriesKey], axis: str, low: float | None, high: float | None, width: int
    ) -> ChartWindow:
        """The window of some series, of which some may not exist.

        Args:
            series: which ones.
            axis: see `ChartWindow`.
            low, high: the ends; None for those of all points of these series.
            width: how many columns.
        """

    def chart_columns(
        self, series: Sequence[SeriesKey], window: ChartWindow
    ) -> list[Document | TrackError | None]:
        """The columns of some series, in their order; None for one that does not exist.

        Returns:
            ``axis`` (the one that was really used), ``low``, ``high``, ``count`` (of points in the window),
            ``total`` (of all its points), ``exact`` (whether each column has one point at most), and an array
            for each of `track_server.storage.chart_columns.ARRAYS`: float64, little-endian.  Instead of
            these a `StoreCorrupt` (a chunk is damaged or missing) or a `TooBusy` (it takes too long).
        """

    def chart_means(
        self, series: Sequence[SeriesKey], window: ChartWindow
    ) -> list[ChartMeans | TrackError | None]:
        """The finite values of some series in columns; the rest is as for `chart_columns`."""

    def series_of(
        self, query: Query, kind: str, name: str, by: Sequence[TableColumn]
    ) -> tuple[list[SeriesKey], list[list[Any]]]:
        """Series of that name of the trials that match, and a list for each column of those trials."""

    def tail(self, series: SeriesKey, start: int, limit: int) -> Document | None:
        """Up to `limit` points of a series from ordinal `start`, as numbers; None if there is no such series.

        Returns:
            ``start``, ``total`` (of all its points; less than `start` if it was rewound), and ``steps``,
            ``times`` and ``values``: float64, little-endian, NaN for what is no number.

        Raises:
            StoreCorrupt: a chunk is damaged or missing.
        """

    def changes_since(self, cursor: str | None, limit: int) -> Changed:
        """What was committed since a moment, by whichever process; some that did not change may be among it.

        Args:
            cursor: the moment, from an earlier answer; None for now.
            limit: the answer ends after the commit with which it names this many things.
        """


class Transaction(View, Protocol):
    """The one open write transaction of a lane; its views see what was flushed."""

    @property
    def version(self) -> Hashable:
        """Changes when another writer than this lane may have committed.

        What was cached of the tables under another version is invalid.
        """

    def watch(self, check: Callable[[], None]) -> None:
        """Have `check` called often while something is read, which what it raises ends.

        It is not called while something is written: a backend may have to undo a transaction in which a
        write was interrupted.
        """

    def series_count(self, trial: bytes) -> int:
        """How many series a trial has, of any kind."""

    def load(self, wanted: Wanted) -> Loaded:
        """Load rows by their keys, in one round trip; locked in the order of their keys where rows are."""

    def select(self, query: Query, limit: int, seconds: float) -> list[Any]:
        """Keys (a trial's id, a group's or project's uid) of what matches, in order of insertion.

        Args:
            query: what to select.
            limit: most keys.
            seconds: how long it may take.

        Raises:
            TooBusy: it took longer; the transaction continues.
        """

    def later_series(self, trial: bytes, step: float) -> list[Series]:
        """Metrics of a trial that may have points of a finite step above `step`."""

    def chunks(self, series: Series, step: float) -> Iterator[StoredChunk]:
        """All chunks of a stored series, in order, each marked whether it may have later steps.

        Raises:
            StoreCorrupt: one is damaged.
        """

    def flush(self, changes: Changes, *, commit: bool = False) -> None:
        """Write changes, in one round trip; with `commit` make everything durable, and end.

        When a commit returns, a power cut does not lose it.

        Raises:
            StoreError: it could not be; roll it back.
        """

    def savepoint(self) -> None:
        """Set a savepoint; there is one at a time."""

    def release(self) -> None:
        """Release the savepoint and retain what was flushed since."""

    def undo(self) -> None:
        """Roll back what was flushed since the savepoint, and release it."""

    def rollback(self) -> None:
        """Roll back, and end; harmless when it has ended."""


class LocalSessions(Protocol):
    """Which sessions belong to a living process of this machine that has the store open itself.

    Each method raises `StoreError` when that cannot be seen or shown.
    """

    def hold(self, sid: bytes) -> bool:
        """Have a session belong to this process, until `release` or its end; again, to show a sign of life.

        Returns:
            whether it did not belong to it, so that others may have taken this process for dead.
        """

    def release(self, sid: bytes) -> None:
        """A session runs no trial any more; harmless when repeated."""

    def ended(self, sids: Collection[bytes]) -> dict[bytes, float]:
        """Those sessions that belong to no living process.

        Returns:
            when each was last alive, in seconds since the epoch; 0 if that is unknown.
        """

    def tidy(self, needed: Collection[bytes]) -> None:
        """Forget processes that have ended, except those that had `needed` sessions."""


class Store(Protocol):
    """An open store.  A lane's transactions belong to its thread; `maintain` and `save` to one."""

    @property
    def uri(self) -> str:
        """The URI it was opened with."""

    @property
    def generation(self) -> str:
        """Identifies the store's history: random at creation, never changed."""

    @property
    def lanes(self) -> int:
        """How many transactions may be open at once, each in a thread of its own."""

    @property
    def local_sessions(self) -> LocalSessions | None:
        """Which sessions of embedded processes are alive; None if the store is not of this machine alone."""

    def begin(self) -> Transaction:
        """Start a write transaction."""

    def snapshot(self, seconds: float | None = None) -> AbstractContextManager[Snapshot]:
        """A consistent view of what is committed; any thread.

        Args:
            seconds: how long its statements may run; None for the store's own limit.
        """

    def maintain(self, seconds: float) -> bool:
        """Do background work (such as merging chunks) for about that long; True if more is left."""

    def save(self, done: Callable[[Exception | None], None]) -> None:
        """Bring what people read of the store up to date with what is committed.

        Args:
            done: called once that is done, at once or later on another thread, with what went wrong.
        """

    def reopen(self) -> None:
        """After the disk has failed: open everything again, from what is durable or can be made so.

        Whatever the system has cached is read from the disk, or written to it again.  No transaction
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
