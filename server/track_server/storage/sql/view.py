"""Reading a SQL store: documents from its tables, points from its chunks."""

from __future__ import annotations

import math
from array import array
from collections.abc import Collection, Sequence
from typing import Any, Final

from track_protocol.errors import StoreCorrupt
from track_protocol.model.media import MEDIA_KINDS
from track_protocol.model.rejected import Rejected
from track_protocol.query.columns import Column as TableColumn
from track_protocol.query.order import CREATED, FIELDS, Order
from track_protocol.query.parse import Kind, Query
from track_protocol.wire.batch import CHRONO, METRIC
from track_protocol.wire.columns import Column
from track_server.storage import exactjson
from track_server.storage.chunks import join_columns, slice_column
from track_server.storage.contract import (
    Blob,
    Document,
    Lease,
    Points,
    SeriesKey,
    SessionState,
    Table,
    Thinned,
)
from track_server.storage.sql.chunk_rows import read_chunk
from track_server.storage.sql.source import TABLES, Source
from track_server.storage.sql.tables import KnownSummaries, TrialTables

__all__ = ["REJECTED_COLUMNS", "TRIAL_COLUMNS", "TRIAL_JSON", "SqlView", "trial_documents"]

TRIAL_JSON: Final = frozenset({"tags", "parameters", "metadata", "errors"})
"""Fields of a trial that are stored as JSON text."""

REJECTED_COLUMNS: Final = (
    'first_seq, last_seq, sid, "user", runs, method, trial, names, points, code, reason, time, content, size'
)

_TRIAL_FIELDS: Final = (
    *("id", "uid", "hash", "revision", "name", "description", "version"),
    *("tags", "parameters", "metadata", "errors", "project_id", "group_id"),
    *("created", "started", "ended"),
)
_PROJECT_FIELDS: Final = ("uid", "name", "description", "metadata")
TRIAL_COLUMNS: Final = "key, " + ", ".join(_TRIAL_FIELDS[1:]) + ", status_value, status_name, id"
_SERIES_COLUMNS: Final = (
    "trial, kind, name, aggregator, count, first_step, last_step, last, last_time, "
    "min, max, mean, m2, finite, nonfinite, stepped"
)
_FIELD_OF_KIND: Final = {METRIC: "metrics", CHRONO: "chronos"}
_SUMMARIES: Final = ("metrics", "chronos", "media")
_BLOB_DATA: Final = """
SELECT start, data FROM blob_part WHERE blob = ?1 AND start < ?3 AND start >= coalesce(
(SELECT max(start) FROM blob_part WHERE blob = ?1 AND start <= ?2), ?2) ORDER BY start
"""
_COLUMNS_OF_FIELDS: Final = {"id": "key", "status": "status_value, status_name"}
_COMPUTED: Final = frozenset({"metrics", "chronos", "media", "groups", "trials"})
"""Fields that other tables tell."""
_MEMBERS: Final[dict[tuple[Kind, str], str]] = {
    ("group", "trials"): (
        "SELECT trial.uid FROM group_trial AS link JOIN trial ON trial.id = link.trial "
        'WHERE link."group" = ? ORDER BY link.id'
    ),
    ("project", "trials"): (
        "SELECT trial.uid FROM project JOIN trial ON trial.project_id = project.uid "
        "WHERE project.id = ? ORDER BY trial.id"
    ),
    ("project", "groups"): (
        "SELECT trial_group.uid FROM project JOIN trial_group ON trial_group.project_id = project.uid "
        "WHERE project.id = ? ORDER BY trial_group.id"
    ),
}
_LEASES: Final = "SELECT trial.key, sid, rank, superseded FROM "
_DOCUMENTS: Final = 512
"""Trials whose series are read by one statement."""


def _json(text: str | None) -> Any:
    return None if text is None else exactjson.loads(text)


def trial_documents(rows: Sequence[tuple[Any, ...]]) -> dict[int, Document]:
    """The documents of trials without what other tables tell, by their rows, from `TRIAL_COLUMNS`."""
    found: dict[int, Document] = {}
    for *fields, value, name, id in rows:
        document = dict(zip(_TRIAL_FIELDS, fields, strict=True))
        for field in TRIAL_JSON:
            document[field] = _json(document[field])
        found[id] = document | {"status": {"value": value, "name": name}}
    return found


_THINNED: Final = """
SELECT first_seq, last_seq, code FROM thinned WHERE sid = ?1 AND last_seq >= ?2 AND first_seq <= ?3
AND first_seq >= coalesce((SELECT max(first_seq) FROM thinned WHERE sid = ?1 AND first_seq <= ?2), 0)
ORDER BY first_seq
"""
"""Runs do not overlap, so that the first one to look at is the last one that begins early enough."""


class SqlView:
    """What a connection sees within its transaction.

    Args:
        source: the connection; a transaction is open on it.
        known: summaries of documents that views of the store share.
    """

    def __init__(self, source: Source, known: KnownSummaries | None = None) -> None:
        self._source = source
        self._name = source.name
        self._rows = source.rows
        self._known = known

    def project(self, uid: str) -> Document | None:
        """The project with that uid."""
        return next(iter(self._projects("uid = ?", [uid])), None)

    def group(self, uid: str) -> Document | None:
        """The group with that uid."""
        return next(iter(self._groups("uid = ?", [uid])), None)

    def trial(self, id: bytes) -> Document | None:
        """The trial with that internal id."""
        return next(iter(self._trials("key = ?", [id])), None)

    def trial_fields(self, id: bytes) -> Document | None:
        """The trial without its ``metrics`` and ``chronos``."""
        return next(iter(self._trials_fields("key = ?", [id]).values()), None)

    def project_fields(self, uid: str) -> Document | None:
        """The project without its ``groups`` and ``trials``."""
        rows = self._rows("SELECT uid, name, description, metadata FROM project WHERE uid = ?", [uid])
        for *plain, metadata in rows:
            return dict(zip(_PROJECT_FIELDS, (*plain, _json(metadata)), strict=True))
        return None

    def group_fields(self, uid: str) -> Document | None:
        """The group without its ``trials``."""
        rows = self._rows(
            "SELECT uid, name, description, metadata, project_id FROM trial_group WHERE uid = ?", [uid]
        )
        for *plain, metadata, project in rows:
            return dict(zip(_PROJECT_FIELDS, (*plain, _json(metadata)), strict=True)) | {
                "project_id": project
            }
        return None

    def trial_id(self, uid: str) -> bytes | None:
        """The internal id of the trial with that uid."""
        return next((row[0] for row in self._rows("SELECT key FROM trial WHERE uid = ?", [uid])), None)

    def revisions(self, hash: str) -> list[bytes]:
        """Internal ids of all trials with that hash, lowest revision first."""
        rows = self._rows("SELECT key FROM trial WHERE hash = ? ORDER BY revision, id", [hash])
        return [row[0] for row in rows]

    def newest_revision(self, hash: str) -> int | None:
        """The highest revision of all trials with that hash; None without any."""
        ((newest,),) = self._rows("SELECT max(revision) FROM trial WHERE hash = ?", [hash])
        return None if newest is None else int(newest)

    def projects(self, query: Query, limit: int | None = None) -> list[Document]:
        """Projects that match, at most `limit`."""
        return self._projects(*self._source.where(query), limit)

    def groups(self, query: Query, limit: int | None = None) -> list[Document]:
        """Groups that match, at most `limit`."""
        return self._groups(*self._source.where(query), limit)

    def trials(self, query: Query, limit: int | None = None) -> list[Document]:
        """Trials that match, at most `limit`."""
        return self._trials(*self._source.where(query), limit)

    def find(
        self, query: Query, order: Sequence[Order] = (), start: int = 0, limit: int | None = None
    ) -> Sequence[int]:
        """Row ids of what matches, in that order."""
        if not all(each.paths == (CREATED,) for each in order):
            return array("q", [id for (id,) in self._source.ordered(query, order, start, limit)])
        # The table has this order already, so that the first few are found without the rest.
        where, params = self._source.where(query)
        direction = "DESC" if order and order[0].descending else "ASC"
        rows = self._rows(
            f"SELECT id FROM {TABLES[query.kind]} WHERE {where} ORDER BY id {direction} LIMIT ? OFFSET ?",  # noqa: S608 # all ours
            [*params, self._source.unlimited if limit is None else limit, start],
        )
        return array("q", [id for (id,) in rows])

    def documents(
        self, kind: Kind, keys: Sequence[int], fields: Collection[str] | None = None
    ) -> list[Document]:
        """The documents of row ids, in their order and without deleted ones; some of the fields, or all."""
        wanted = FIELDS[kind] if fields is None else [name for name in FIELDS[kind] if name in fields]
        columns = [_COLUMNS_OF_FIELDS.get(name, name) for name in wanted if name not in _COMPUTED]
        table = TABLES[kind]
        among, params = self._source.among(keys)
        rows = self._rows(f"SELECT {', '.join(['id', *columns])} FROM {table} WHERE id {among}", params)  # noqa: S608 # all ours
        found: dict[int, Document] = {}
        for id, *values in rows:
            document: Document = {}
            found[id] = document
            for name in wanted:
                if name in _COMPUTED:
                    document[name] = {} if kind == "trial" else []
                elif name == "status":
                    document[name] = {"value": values.pop(0), "name": values.pop(0)}
                else:
                    value = values.pop(0)
                    document[name] = _json(value) if name in TRIAL_JSON else value
        self._add_computed(kind, found, [name for name in wanted if name in _COMPUTED])
        return [found[id] for id in keys if id in found]

    @property
    def _tables(self) -> TrialTables:
        return TrialTables(self._source, self._known or KnownSummaries())

    def table(
        self,
        query: Query,
        columns: Sequence[TableColumn],
        order: Sequence[Order] = (),
        start: int = 0,
        limit: int | None = None,
    ) -> Table:
        """Columns of the trials that match, in that order."""
        tables = self._tables
        keys = self.find(query, order, start, limit)
        # A page that is not full is the last one.
        is_last = keys and (limit is None or len(keys) < limit)
        total = start + len(keys) if is_last else tables.count(query)
        return Table(total, *tables.columns(keys, columns))

    def table_rows(self, ids: Sequence[bytes], columns: Sequence[TableColumn]) -> Table:
        """Columns of trials, in the order of their ids and without those that are not there."""
        tables = self._tables
        found, read = tables.columns(tables.keys_of(ids), columns)
        return Table(len(found), found, read)

    def fields(self, query: Query) -> Document:
        """What the trials that match have."""
        return self._tables.fields(query)

    def trial_groups(
        self, query: Query, by: Sequence[TableColumn], measures: Sequence[TableColumn], limit: int
    ) -> list[Document]:
        """The trials that match by values, with statistics."""
        return self._tables.groups(query, by, measures, limit)

    def series_of(
        self, query: Query, kind: str, name: str, by: Sequence[TableColumn]
    ) -> tuple[list[SeriesKey], list[list[Any]]]:
        """Series of that name of the trials that match, and a list for each column of those trials."""
        return self._tables.series_of(query, kind, name, by)

    def _add_computed(self, kind: Kind, found: dict[int, Document], fields: Sequence[str]) -> None:
        """Fill in what other tables tell."""
        if kind == "trial" and fields and found:
            self._add_summaries(found, list(found), fields)
            return
        for name in fields:
            for id, each in found.items():
                each[name] = self._uids(_MEMBERS[kind, name], id)

    def points(self, trial: bytes, kind: str, name: str, start: int, limit: int) -> Points | None:
        """Up to `limit` points of a series from ordinal `start`; None if there is no such series.

        Raises:
            StoreCorrupt: a chunk is damaged or missing.
        """
        found = self._rows(
            "SELECT series.id, series.count FROM trial JOIN series ON series.trial = trial.id "
            "WHERE trial.key = ? AND series.kind = ? AND series.name = ?",
            [trial, kind, name],
        )
        if not found:
            return None
        series, count = found[0]
        stop = min(max(start, 0) + max(limit, 0), count)
        return self._points(series, max(start, 0), stop)

    def blob(self, digest: str) -> Blob | None:
        """What is known of a blob."""
        rows = self._rows("SELECT size, stored, time FROM blob WHERE digest = ?", [digest])
        return next((Blob(digest, *row) for row in rows), None)

    def blob_data(self, digest: str, offset: int, limit: int) -> bytes:
        """Up to `limit` of the bytes of a blob that are here, from `offset` on.

        Raises:
            StoreCorrupt: some of them are missing.
        """
        found = self._rows("SELECT id, stored FROM blob WHERE digest = ?", [digest])
        if not found:
            return b""
        id, stored = found[0]
        stop = min(offset + limit, stored)
        if offset >= stop:
            return b""
        rows = self._rows(_BLOB_DATA, [id, offset, stop])
        data = b"".join([part for _, part in rows])
        first = offset - rows[0][0] if rows else 0
        wanted = data[first : first + stop - offset]
        if len(wanted) != stop - offset:
            raise StoreCorrupt(f"{self._name}: the blob {digest} lacks some of its bytes: restore a backup")
        return wanted

    def unused_blobs(self, before: float, limit: int) -> list[str]:
        """Digests of blobs that no trial uses and that were last touched before a time, at most `limit`."""
        rows = self._rows(
            "SELECT digest FROM blob WHERE time < ? AND id NOT IN (SELECT blob FROM blob_use) LIMIT ?",
            [before, limit],
        )
        return [digest for (digest,) in rows]

    def session(self, sid: bytes) -> SessionState | None:
        """What is known of a session."""
        rows = self._rows(
            'SELECT "user", epoch, last_seq, partial, ended, last_reply_seq, last_reply FROM session '
            "WHERE sid = ?",
            [sid],
        )
        for user, epoch, last_seq, partial, ended, reply_seq, reply in rows:
            last_reply = None if reply_seq is None else (reply_seq, reply)
            return SessionState(sid, user, epoch, last_seq, last_reply, partial, ended)
        return None

    def rejected(self, trial: bytes | None, start: int, limit: int) -> list[Rejected]:
        """Quarantined records, all or those of a trial: up to `limit` from ordinal `start`."""
        where, params = ("TRUE", []) if trial is None else ("trial = ?", [trial])
        return self._rejected(f"{where} ORDER BY id LIMIT ? OFFSET ?", [*params, limit, start])

    def rejected_of(self, sid: bytes, first: int, last: int) -> list[Rejected]:
        """Quarantined records of a session that overlap `first` to `last`."""
        return self._rejected("sid = ? AND first_seq <= ? AND last_seq >= ? ORDER BY id", [sid, last, first])

    def thinned_of(self, sid: bytes, first: int, last: int) -> list[Thinned]:
        """What overlaps `first` to `last` of the rejected records of a session that are not kept any more."""
        rows = self._rows(_THINNED, [sid, first, last])
        return [Thinned(*row) for row in rows]

    def _rejected(self, condition: str, params: list[Any]) -> list[Rejected]:
        # Only names of this software's own are in the text; values are bound.
        rows = self._rows(f"SELECT {REJECTED_COLUMNS} FROM rejected WHERE {condition}", params)  # noqa: S608 - as said above
        return [
            Rejected(
                *(sid, user, tuple((first, last) for first, last in _json(runs)), method, trial),
                *(tuple(_json(names)), *rest),
            )
            for _, _, sid, user, runs, method, trial, names, *rest in rows
        ]

    def leases(self, trial: bytes) -> list[Lease]:
        """All leases of a trial, in any order."""
        return self._leases("trial JOIN lease ON lease.trial = trial.id WHERE trial.key = ?", [trial])

    def leases_of(self, sid: bytes) -> list[Lease]:
        """All leases of a session, in any order."""
        return self._leases("lease JOIN trial ON trial.id = lease.trial WHERE lease.sid = ?", [sid])

    def leases_by_status(self, lowest: int, highest: int) -> list[Lease]:
        """Those not superseded, of all trials whose status has a value from `lowest` to `highest`."""
        # Crossed, so that the few trials of that status come first and not the leases of all that were lost.
        found = "trial CROSS JOIN lease WHERE lease.trial = trial.id AND status_value BETWEEN ? AND ?"
        return self._leases(f"{found} AND NOT superseded", [lowest, highest])

    def _leases(self, found: str, params: list[Any]) -> list[Lease]:
        rows = self._rows(_LEASES + found, params)
        return [Lease(trial, sid, rank, bool(superseded)) for trial, sid, rank, superseded in rows]

    def _select(
        self, columns: str, table: str, where: str, params: list[Any], limit: int | None = None
    ) -> list[tuple[Any, ...]]:
        # Only names and operators of this software's own are in the text; values are bound.
        sql = f"SELECT {columns} FROM {table} WHERE {where} ORDER BY {table}.id LIMIT ?"  # noqa: S608 - as said above
        return self._rows(sql, [*params, self._source.unlimited if limit is None else limit])

    def _uids(self, sql: str, key: Any) -> list[str]:
        return [row[0] for row in self._rows(sql, [key])]

    def _projects(self, where: str, params: list[Any], limit: int | None = None) -> list[Document]:
        return [
            {
                "uid": uid,
                "name": name,
                "description": description,
                "metadata": _json(metadata),
                "groups": self._uids("SELECT uid FROM trial_group WHERE project_id = ? ORDER BY id", uid),
                "trials": self._uids("SELECT uid FROM trial WHERE project_id = ? ORDER BY id", uid),
            }
            for uid, name, description, metadata in self._select(
                "uid, name, description, metadata", "project", where, params, limit
            )
        ]

    def _groups(self, where: str, params: list[Any], limit: int | None = None) -> list[Document]:
        trials = (
            "SELECT trial.uid FROM group_trial AS link JOIN trial ON trial.id = link.trial "
            'WHERE link."group" = ? ORDER BY link.id'
        )
        return [
            {
                "uid": uid,
                "name": name,
                "description": description,
                "metadata": _json(metadata),
                "project_id": project_id,
                "trials": self._uids(trials, id),
            }
            for id, uid, name, description, metadata, project_id in self._select(
                "id, uid, name, description, metadata, project_id", "trial_group", where, params, limit
            )
        ]

    def _trials_fields(self, where: str, params: list[Any], limit: int | None = None) -> dict[int, Document]:
        """Trials that match, by their rows."""
        return trial_documents(self._select(TRIAL_COLUMNS, "trial", where, params, limit))

    def _trials(self, where: str, params: list[Any], limit: int | None = None) -> list[Document]:
        found = self._trials_fields(where, params, limit)
        for document in found.values():
            document |= {"metrics": {}, "chronos": {}, "media": {}}
        ids = list(found)
        for first in range(0, len(ids), _DOCUMENTS):
            self._add_summaries(found, ids[first : first + _DOCUMENTS])
        return list(found.values())

    def _add_summaries(
        self, documents: dict[int, Document], ids: list[int], fields: Collection[str] = _SUMMARIES
    ) -> None:
        kinds = [kind for kind, field in _FIELD_OF_KIND.items() if field in fields]
        kinds += MEDIA_KINDS if "media" in fields else ()
        of_trials, trials = self._source.among(ids)
        of_kinds, names = self._source.among(kinds)
        rows = self._rows(
            f"SELECT {_SERIES_COLUMNS} FROM series "  # noqa: S608 # all ours
            f"WHERE trial {of_trials} AND kind {of_kinds} ORDER BY id",
            [*trials, *names],
        )
        for trial, kind, name, *fields in rows:
            if kind in _FIELD_OF_KIND:
                documents[trial][_FIELD_OF_KIND[kind]][name] = _summary(*fields)
            else:
                documents[trial]["media"].setdefault(kind, {})[name] = _media_summary(*fields)

    def _points(self, series: int, start: int, stop: int) -> Points:
        if start >= stop:
            return Points(Column("o", []), Column("d", b""), Column("o", []))
        rows = self._rows(
            "SELECT seq, data FROM chunk WHERE series = ?1 AND seq < ?3 AND seq >= coalesce("
            "(SELECT max(seq) FROM chunk WHERE series = ?1 AND seq <= ?2), ?2) ORDER BY seq",
            [series, start, stop],
        )
        parts, expected = [], start
        for seq, data in rows:
            columns = read_chunk(self._name, series, seq, data)
            first, last = expected - seq, min(stop - seq, len(columns[1]))
            if not 0 <= first < last:
                break
            parts.append([slice_column(column, first, last) for column in columns])
            expected = seq + last
        if expected != stop:
            raise StoreCorrupt(
                f"{self._name}: series {series} has no point {expected}, which its summary counts: restore a "
                "backup"
            )
        steps, times, values = (join_columns(columns) for columns in zip(*parts, strict=True))
        return Points(steps, times, values)


def _media_summary(
    _aggregator: str | None, count: int, first: str | None, last: str | None, *rest: Any
) -> Document:
    _, last_time, *_ = rest
    return {"count": count, "first_step": _json(first), "last_step": _json(last), "last_time": last_time}


def _summary(
    aggregator: str | None,
    count: int,
    first_step: str | None,
    last_step: str | None,
    last: str | None,
    last_time: float | None,
    low: float | None,
    high: float | None,
    mean: float | None,
    m2: float | None,
    finite: int,
    nonfinite: int,
    stepped: int,
) -> Document:
    return {
        "count": count,
        "first_step": _json(first_step),
        "last_step": _json(last_step),
        "last": _json(last),
        "last_time": last_time,
        "min": low,
        "max": high,
        "mean": mean,
        "sd": None if m2 is None or not finite else math.sqrt(m2 / finite),
        "nonfinite": nonfinite,
        "stepped": bool(stepped),
        "aggregator": _json(aggregator),
    }
