"""The write transaction of a SQLite store."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import apsw

from track_protocol.errors import ItemNotFound, StoreError
from track_protocol.model.rejected import FIRST_KEPT, MOST_KEPT, Rejected
from track_protocol.query.parse import Query
from track_server.storage import exactjson
from track_server.storage.contract import Document, Lease, Points, Rewind, SessionState
from track_server.storage.sqlite.append import Appender
from track_server.storage.sqlite.delete import give_up
from track_server.storage.sqlite.errors import store_error, translated
from track_server.storage.sqlite.read import REJECTED_COLUMNS, TRIAL_JSON, SqliteView
from track_server.storage.sqlite.rewind import Rewinding

__all__ = ["SqliteTransaction"]

_PUT_PROJECT: Final = """
INSERT INTO project(uid, name, description, metadata) VALUES(?, ?, ?, ?) ON CONFLICT(uid) DO UPDATE
SET name = excluded.name, description = excluded.description, metadata = excluded.metadata
"""
_PUT_GROUP: Final = """
INSERT INTO trial_group(uid, name, description, metadata, project_id) VALUES(?, ?, ?, ?, ?)
ON CONFLICT(uid) DO UPDATE SET name = excluded.name, description = excluded.description,
metadata = excluded.metadata, project_id = excluded.project_id
"""
_PUT_SESSION: Final = """
INSERT OR REPLACE INTO session(sid, user, epoch, last_seq, last_reply_seq, last_reply)
VALUES(?, ?, ?, ?, ?, ?)
"""
_PUT_REJECTED: Final = f"INSERT INTO rejected({REJECTED_COLUMNS}) VALUES({', '.join('?' * 14)})"
_THIN_REJECTED: Final = """
DELETE FROM rejected WHERE id = (
    SELECT id FROM rejected WHERE sid = ?1 AND (SELECT count(*) FROM rejected WHERE sid = ?1) > ?2
    ORDER BY last_seq LIMIT 1 OFFSET ?3
)
"""
_PUT_LEASE: Final = "INSERT OR REPLACE INTO lease(trial, sid, rank, superseded) VALUES(?, ?, ?, ?)"
_DROP_LEASE: Final = "DELETE FROM lease WHERE trial = (SELECT id FROM trial WHERE key = ?) AND sid = ?"
_PUT_BLOB: Final = """
INSERT INTO blob(digest, size, stored, time) VALUES(?1, ?2, ?3, ?4) ON CONFLICT(digest) DO UPDATE
SET stored = stored + excluded.stored, time = excluded.time
"""
_PUT_PART: Final = """
INSERT INTO blob_part(blob, start, data) SELECT id, stored - length(?2), ?2 FROM blob WHERE digest = ?1
"""
_CUT_BLOB: Final = (
    "DELETE FROM blob_part WHERE blob = (SELECT id FROM blob WHERE digest = ?1) AND start >= ?2",
    """
    UPDATE blob_part SET data = substr(data, 1, ?2 - start)
    WHERE blob = (SELECT id FROM blob WHERE digest = ?1)
    AND start = (SELECT max(start) FROM blob_part WHERE blob = (SELECT id FROM blob WHERE digest = ?1))
    """,
    "UPDATE blob SET stored = ?2 WHERE digest = ?1",
)
_USE_BLOB: Final = "INSERT OR IGNORE INTO blob_use(blob, trial) SELECT id, ?2 FROM blob WHERE digest = ?1"
_PLAIN: Final = frozenset(
    {"uid", "hash", "revision", "name", "description", "version", "project_id", "group_id"}
)
_COMPUTED: Final = frozenset({"id", "metrics", "chronos", "media"})


class SqliteTransaction(SqliteView):
    """An open transaction on the connection that writes; it ends once, by `commit` or `rollback`.

    Args:
        db: the connection, on which the transaction was begun.
        path: of the store, for messages.
        appender: keeps points until they are written.
        ended: called when it ends, with the (chunks, points) that each series got.
    """

    def __init__(
        self,
        db: apsw.Connection,
        path: str,
        appender: Appender,
        ended: Callable[[Mapping[int, tuple[int, int]]], None],
    ) -> None:
        super().__init__(db, path)
        self._appender = appender
        self._ended = ended
        self._open = True

    def has_trial(self, id: bytes) -> bool:
        """Whether there is a trial with that internal id."""
        with translated(self._path):
            return self._appender.trial(id) is not None

    def trial(self, id: bytes) -> Document | None:
        """The trial with that internal id."""
        self._flush()
        return super().trial(id)

    def trials(self, query: Query, limit: int | None = None) -> list[Document]:
        """Trials that match, at most `limit`."""
        self._flush()
        return super().trials(query, limit)

    def points(self, trial: bytes, kind: str, name: str, start: int, limit: int) -> Points | None:
        """Up to `limit` points of a series from ordinal `start`; None if there is no such series."""
        self._flush()
        return super().points(trial, kind, name, start, limit)

    def put_project(self, document: Document) -> None:
        """Insert or replace by ``uid``; ``groups`` and ``trials`` are ignored."""
        self._execute(_PUT_PROJECT, _common(document))

    def put_group(self, document: Document) -> None:
        """Insert or replace by ``uid``; ``trials`` is ignored."""
        self._execute(_PUT_GROUP, [*_common(document), document["project_id"]])

    def add_trial(self, document: Document) -> None:
        """Insert a trial; its ``id`` and ``uid`` are new. ``metrics`` and ``chronos`` are ignored."""
        columns = {"key": document["id"], "created": time.time(), **_columns(document)}
        names, marks = ", ".join(columns), ", ".join("?" * len(columns))
        self._execute(f"INSERT INTO trial({names}) VALUES({marks})", columns.values())

    def update_trial(self, id: bytes, changes: Mapping[str, Any]) -> None:
        """Replace some top-level fields (any but id, metrics, chronos) of an existing trial.

        Raises:
            ItemNotFound: there is no such trial.
        """
        row, columns = self._trial_row(id), _columns(changes)
        if columns:
            assigned = ", ".join([f"{name} = ?" for name in columns])
            sql = f"UPDATE trial SET {assigned} WHERE id = ?"  # noqa: S608 # names of our own
            self._execute(sql, [*columns.values(), row])
        if "metadata" in columns:
            self._appender.forget_trial(id)

    def delete_trial(self, id: bytes) -> None:
        """Delete a trial, its links and its leases; its series, which nobody sees any more, go by and by.

        Raises:
            ItemNotFound: there is no such trial.
        """
        row = self._trial_row(id)
        self._flush()
        with translated(self._path):
            give_up(self._db, row)
        self._appender.forget_deleted(id)

    def link(self, group_uid: str, trial: bytes) -> None:
        """Put a trial into a group; harmless when it is in already.

        Raises:
            ItemNotFound: there is no such group or trial.
        """
        row = self._trial_row(trial)
        found = self._rows("SELECT id FROM trial_group WHERE uid = ?", [group_uid])
        if not found:
            raise ItemNotFound(f"no group has the uid {group_uid!r}: create it with new_trial_group first")
        self._execute('INSERT OR IGNORE INTO group_trial("group", trial) VALUES(?, ?)', [found[0][0], row])

    def append_points(
        self, trial: bytes, kind: str, name: str, aggregator: list[Any] | None, points: Points
    ) -> None:
        """Append to a series of an existing trial, which the first points create.

        Raises:
            ItemNotFound: there is no such trial.
        """
        # Called for every few points, where a context manager would cost more than the append itself.
        try:
            self._appender.append(trial, kind, name, aggregator, points)
        except apsw.Error as error:
            raise store_error(self._path, error) from error

    def rewinds(self, trial: bytes) -> tuple[Rewind, ...]:
        """What the metadata of an existing trial tells of its rewinds.

        Raises:
            ItemNotFound: there is no such trial.
        """
        # Called for every few points, as `append_points` is.
        try:
            known = self._appender.known_trial(trial)
        except apsw.Error as error:
            raise store_error(self._path, error) from error
        if known is None:
            raise _no_trial(trial)
        return known.rewinds

    def rewind(self, trial: bytes, step: float, before: float | None = None) -> int:
        """Move the points of later steps from a trial's metrics to its superseded series.

        Raises:
            ItemNotFound: there is no such trial.
            SeriesDamaged: a chunk is damaged; nothing was changed.
        """
        row = self._trial_row(trial)
        with translated(self._path):
            return Rewinding(self._db, self._path, self._appender, trial, step, before).run(row)

    def add_blob_data(self, digest: str, size: int, data: bytes, time: float) -> None:
        """Append bytes to a blob, which the first ones (or none) create, and note when."""
        self._execute(_PUT_BLOB, [digest, size, len(data), time])
        if data:
            self._execute(_PUT_PART, [digest, data])

    def cut_blob(self, digest: str, stored: int) -> None:
        """Forget the bytes of a blob from an offset on, of which there are some."""
        for sql in _CUT_BLOB:
            self._execute(sql, [digest, stored])

    def drop_blob(self, digest: str) -> None:
        """Forget a blob; harmless when there is none."""
        for (id,) in self._rows("SELECT id FROM blob WHERE digest = ?", [digest]):
            for sql in ("blob_part WHERE blob = ?", "blob_use WHERE blob = ?", "blob WHERE id = ?"):
                self._execute(f"DELETE FROM {sql}", [id])  # noqa: S608 # all ours

    def use_blob(self, digest: str, trial: bytes) -> None:
        """Note that an existing trial refers to an existing blob; harmless when repeated."""
        self._execute(_USE_BLOB, [digest, self._trial_row(trial)])

    def release_blobs(self, trial: bytes) -> None:
        """Note that a trial refers to no blob any more."""
        self._execute("DELETE FROM blob_use WHERE trial = ?", [self._trial_row(trial)])

    def put_session(self, state: SessionState) -> None:
        """Insert or replace by ``sid``."""
        reply = state.last_reply or (None, None)
        self._execute(_PUT_SESSION, [state.sid, state.user, state.epoch, state.last_seq, *reply])

    def put_rejected(self, record: Rejected) -> None:
        """Keep what can never be stored, behind what was kept before."""
        runs, names = exactjson.dumps([list(run) for run in record.runs]), exactjson.dumps(list(record.names))
        where = (record.first, record.last, record.session, record.user, runs, record.method, record.trial)
        why = (record.points, record.code, record.reason, record.time, record.content, record.size)
        self._execute(_PUT_REJECTED, [*where, names, *why])
        self._execute(_THIN_REJECTED, [record.session, MOST_KEPT, FIRST_KEPT])

    def put_lease(self, lease: Lease) -> None:
        """Insert or replace by ``trial``, which exists, and ``sid``.

        Raises:
            ItemNotFound: there is no such trial.
        """
        row = self._trial_row(lease.trial)
        self._execute(_PUT_LEASE, [row, lease.sid, lease.rank, lease.superseded])

    def drop_lease(self, trial: bytes, sid: bytes) -> None:
        """Remove a lease; harmless when there is none."""
        self._execute(_DROP_LEASE, [trial, sid])

    def commit(self) -> None:
        """Make it durable; when this returns, a power cut does not lose it.

        Raises:
            StoreError: it could not be; roll it back.
        """
        if not self._open:
            raise StoreError("this transaction has ended: begin another one")
        self._flush()
        self._execute("COMMIT")
        self._open = False
        self._ended(self._appender.committed())

    def rollback(self) -> None:
        """Forget it all; harmless when it has ended."""
        if not self._open:
            return
        self._open = False
        self._appender.rolled_back()
        try:
            # Some failures, such as a full disk, have ended it already.
            if self._db.in_transaction:
                self._execute("ROLLBACK")
        finally:
            self._ended({})

    def _flush(self) -> None:
        with translated(self._path):
            self._appender.flush()

    def _execute(self, sql: str, params: Iterable[Any] = ()) -> None:
        with translated(self._path):
            self._db.execute(sql, tuple(params))

    def _trial_row(self, id: bytes) -> int:
        with translated(self._path):
            row = self._appender.trial(id)
        if row is None:
            raise _no_trial(id)
        return row


def _no_trial(id: bytes) -> ItemNotFound:
    return ItemNotFound(f"no trial has the id {id.hex()}: create it with new_trial first")


def _common(document: Document) -> list[Any]:
    metadata = exactjson.dumps(document["metadata"])
    return [document["uid"], document["name"], document["description"], metadata]


def _columns(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a trial document as columns of its table.

    Raises:
        KeyError: a field that a trial does not have.
    """
    columns: dict[str, Any] = {}
    for name, value in fields.items():
        if name in _PLAIN:
            columns[name] = value
        elif name in TRIAL_JSON:
            columns[name] = exactjson.dumps(value)
        elif name == "status":
            columns["status_value"], columns["status_name"] = value["value"], value["name"]
        elif name not in _COMPUTED:
            raise KeyError(f"a trial has no field {name!r}")
    return columns
