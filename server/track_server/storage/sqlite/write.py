"""The write transaction of a SQLite store: sets of rows in and out of its tables."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any, Final

import apsw

from track_protocol.errors import StoreError, TooBusy
from track_protocol.query.parse import Query
from track_protocol.wire.batch import METRIC
from track_server.storage import exactjson
from track_server.storage.chunks import decode_chunk
from track_server.storage.contract import (
    FIRST_REJECTED,
    MAX_REJECTED,
    MAX_THINNED,
    BlobChange,
    Changes,
    Loaded,
    Points,
    Series,
    StoredChunk,
    Wanted,
)
from track_server.storage.sql.chunk_rows import read_chunk
from track_server.storage.sql.rows import (
    chunk_row,
    common_row,
    identity_row,
    lease_row,
    loaded_series,
    rejected_row,
    session_row,
    statistics_row,
    trial_columns,
)
from track_server.storage.sql.view import REJECTED_COLUMNS, SqlView
from track_server.storage.sqlite.compact import tombstone, write_outline
from track_server.storage.sqlite.query import compile_query
from track_server.storage.sqlite.read import SqliteSource
from track_server.storage.sqlite.schema import translated

__all__ = ["SqliteTransaction"]

_STEPS_BETWEEN_LOOKS: Final = 1_000
"""Steps of SQLite's machine after which a search looks at the clock."""

_STEPS_BETWEEN_CHECKS: Final = 20_000
"""The same for what is called by whoever watches all that is read."""

_KEY_COLUMNS: Final = {
    "trial": ("trial", "key"),
    "group": ("trial_group", "uid"),
    "project": ("project", "uid"),
}

_LOAD_TRIAL: Final = """
SELECT CASE WHEN instr(metadata, '"rewinds"') THEN metadata ELSE '{}' END FROM trial WHERE key = ?
"""
"""Only metadata that may tell of rewinds is read."""

_SERIES_COLUMNS: Final = (
    "id, count, first_step, last_step, last, last_time, stepped, finite, nonfinite, min, max, mean, m2"
)
_LOAD_SERIES: Final = f"""
SELECT {_SERIES_COLUMNS} FROM series
WHERE trial = (SELECT id FROM trial WHERE key = ?) AND kind = ? AND name = ?
"""  # noqa: S608 # all ours
_LATER_SERIES: Final = f"""
SELECT name, {_SERIES_COLUMNS} FROM series
WHERE trial = (SELECT id FROM trial WHERE key = ?) AND kind = ?
AND EXISTS (SELECT 1 FROM chunk WHERE chunk.series = series.id AND chunk.step_max > ?) ORDER BY id
"""  # noqa: S608 # all ours
_SERIES_COUNT: Final = "SELECT count(*) FROM series WHERE trial = (SELECT id FROM trial WHERE key = ?)"
_CHUNKS: Final = "SELECT id, seq, coalesce(step_max > ?, 0) FROM chunk WHERE series = ? ORDER BY seq"

_PUT_PROJECT: Final = """
INSERT INTO project(uid, name, description, metadata) VALUES(?, ?, ?, ?) ON CONFLICT(uid) DO UPDATE
SET name = excluded.name, description = excluded.description, metadata = excluded.metadata
"""
_PUT_GROUP: Final = """
INSERT INTO trial_group(uid, name, description, metadata, project_id) VALUES(?, ?, ?, ?, ?)
ON CONFLICT(uid) DO UPDATE SET name = excluded.name, description = excluded.description,
metadata = excluded.metadata, project_id = excluded.project_id
"""
_CREATE_SERIES: Final = """
INSERT INTO series(count, first_step, last_step, last, last_time, stepped,
finite, nonfinite, min, max, mean, m2, trial, kind, name, aggregator)
VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, (SELECT id FROM trial WHERE key = ?), ?, ?, ?) RETURNING id
"""
_UPDATE_SERIES: Final = """
UPDATE series SET count = ?, first_step = ?, last_step = ?, last = ?, last_time = ?, stepped = ?,
finite = ?, nonfinite = ?, min = ?, max = ?, mean = ?, m2 = ? WHERE id = ?
"""
_INSERT_CHUNK: Final = """
INSERT INTO chunk(series, seq, count, level, size, step_min, step_max, time_min, time_max,
value_min, value_max, data) VALUES(?, ?, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_REWRITE_CHUNK: Final = """
UPDATE chunk SET seq = ?, level = min(level, 8), count = ?, size = ?, step_min = ?, step_max = ?,
time_min = ?, time_max = ?, value_min = ?, value_max = ?, data = ? WHERE id = ?
"""
"""A chunk that was full is not any more."""

_LINK: Final = """
INSERT OR IGNORE INTO group_trial("group", trial)
VALUES((SELECT id FROM trial_group WHERE uid = ?), (SELECT id FROM trial WHERE key = ?))
"""
_PUT_SESSION: Final = """
INSERT OR REPLACE INTO session(sid, "user", epoch, last_seq, last_reply_seq, last_reply, partial, ended)
VALUES(?, ?, ?, ?, ?, ?, ?, ?)
"""
_PUT_REJECTED: Final = f"INSERT INTO rejected({REJECTED_COLUMNS}) VALUES({', '.join('?' * 14)})"
_THIN_REJECTED: Final = """
DELETE FROM rejected WHERE id IN (
    SELECT id FROM rejected WHERE sid = ?1 ORDER BY last_seq
    LIMIT max(0, (SELECT count(*) FROM rejected WHERE sid = ?1) - ?2) OFFSET ?3
) RETURNING runs, code
"""
_EXTEND_THINNED: Final = """
UPDATE thinned SET last_seq = ?3 WHERE sid = ?1 AND last_seq = ?2 - 1 AND code = ?4
AND first_seq = (SELECT max(first_seq) FROM thinned WHERE sid = ?1 AND first_seq < ?2)
"""
_ADD_THINNED: Final = "INSERT OR REPLACE INTO thinned(sid, first_seq, last_seq, code) VALUES(?, ?, ?, ?)"
_PRUNE_THINNED: Final = """
DELETE FROM thinned WHERE sid = ?1 AND first_seq IN (
    SELECT first_seq FROM thinned WHERE sid = ?1 ORDER BY first_seq
    LIMIT max(0, (SELECT count(*) FROM thinned WHERE sid = ?1) - ?2)
)
"""
_PUT_LEASE: Final = """
INSERT OR REPLACE INTO lease(trial, sid, rank, superseded) SELECT id, ?2, ?3, ?4 FROM trial WHERE key = ?1
"""
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
_DROP_BLOB: Final = (
    "DELETE FROM blob_part WHERE blob = (SELECT id FROM blob WHERE digest = ?1)",
    "DELETE FROM blob_use WHERE blob = (SELECT id FROM blob WHERE digest = ?1)",
    "DELETE FROM blob WHERE digest = ?1",
)
_USE_BLOB: Final = """
INSERT OR IGNORE INTO blob_use(blob, trial)
VALUES((SELECT id FROM blob WHERE digest = ?), (SELECT id FROM trial WHERE key = ?))
"""
_LOG_CHANGES: Final = "INSERT INTO change_log(trials, uids) VALUES(?, ?)"
_MAX_CHANGES: Final = 10_000
_CHANGES_PRUNED: Final = 500
"""Commits that the change log keeps, and how many go at once."""


class SqliteTransaction(SqlView):
    """An open transaction on the connection that writes; it ends once, by a commit or `rollback`.

    Args:
        db: the connection, on which the transaction was begun.
        path: of the store, for messages.
        version: another one when another connection may have committed.
        ended: called when it ends, with the (chunks, points) that each series got, by their handles.
    """

    def __init__(
        self,
        db: apsw.Connection,
        path: str,
        version: Hashable,
        ended: Callable[[Mapping[int, tuple[int, int]]], None],
    ) -> None:
        super().__init__(SqliteSource(db, path))
        self._db = db
        self._path = path
        self._version = version
        self._ended = ended
        self._open = True
        self._check: Callable[[], None] = _nothing
        self._written: dict[int, tuple[int, int]] = {}
        self._written_before: dict[int, tuple[int, int]] = {}
        self._changed_trials: set[bytes] = set()
        self._changed_groups: set[str] = set()
        self._changed_projects: set[str] = set()

    @property
    def version(self) -> Hashable:
        """Another one when another connection may have committed."""
        return self._version

    # -- reading -----------------------------------------------------------------------------------------

    def watch(self, check: Callable[[], None]) -> None:
        """Have `check` called often while something is read, which what it raises ends."""
        self._check = check
        self._db.set_progress_handler(self._look, _STEPS_BETWEEN_CHECKS)

    def _look(self) -> bool:
        self._check()
        return False

    def series_count(self, trial: bytes) -> int:
        """How many series a trial has, of any kind."""
        ((count,),) = self._rows(_SERIES_COUNT, [trial])
        return int(count)

    def load(self, wanted: Wanted) -> Loaded:
        """Load rows by their keys."""
        found = Loaded()
        with translated(self._path):
            found.sessions += [state for sid in wanted.sessions if (state := self.session(sid))]
            for id in wanted.trials:
                for (metadata,) in self._db.execute(_LOAD_TRIAL, (id,)):
                    found.trials[id] = exactjson.loads(metadata)
            found.fields += [document for id in wanted.fields if (document := self.trial_fields(id))]
            for key in wanted.series:
                for row in self._db.execute(_LOAD_SERIES, key):
                    found.series.append(loaded_series(*key, *row))
            found.blobs += [blob for digest in wanted.blobs if (blob := self.blob(digest))]
        return found

    def select(self, query: Query, limit: int, seconds: float) -> list[Any]:
        """Keys of what matches, in order of insertion.

        Raises:
            TooBusy: it took longer than this many seconds; the transaction continues.
        """
        table, key = _KEY_COLUMNS[query.kind]
        where, params = compile_query(query)
        deadline = time.monotonic() + seconds
        self._db.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_BETWEEN_LOOKS)
        try:
            # Only names and operators of this software's own are in the text; values are bound.
            sql = f"SELECT {key} FROM {table} WHERE {where} ORDER BY id LIMIT ?"  # noqa: S608 - as said above
            with translated(self._path):
                return [found for (found,) in self._db.execute(sql, (*params, limit)).fetchall()]
        except StoreError as error:
            if isinstance(error.__cause__, apsw.InterruptError):
                # A search that is interrupted leaves the transaction open; a change would end it.
                raise TooBusy(
                    f"the query took longer than {seconds:g} s, and all other writers wait for it: "
                    "narrow it, first by a status"
                ) from error
            raise
        finally:
            self._db.set_progress_handler(self._look, _STEPS_BETWEEN_CHECKS)

    def later_series(self, trial: bytes, step: float) -> list[Series]:
        """Metrics of a trial that may have points of a finite step above `step`."""
        rows = self._rows(_LATER_SERIES, [trial, METRIC, step])
        return [loaded_series(trial, METRIC, *row) for row in rows]

    def chunks(self, series: Series, step: float) -> Iterator[StoredChunk]:
        """All chunks of a stored series, in order, each marked whether it may have later steps.

        Raises:
            StoreCorrupt: one is damaged.
        """
        for id, first, is_later in self._rows(_CHUNKS, [step, series.handle]):
            ((data,),) = self._rows("SELECT data FROM chunk WHERE id = ?", [id])
            columns = read_chunk(self._path, series.handle, first, data)
            yield StoredChunk(id, first, bool(is_later), Points(*columns))

    # -- writing -----------------------------------------------------------------------------------------

    def flush(self, changes: Changes, *, commit: bool = False) -> None:
        """Write changes; with `commit` make everything durable, and end.

        Raises:
            StoreError: it could not be; roll it back.
        """
        # SQLite rolls the whole transaction back when a write is interrupted.
        self._db.set_progress_handler(None)
        with translated(self._path):
            if changes:
                self._write(changes)
            if commit:
                self._log_changes()
                self._db.execute("COMMIT")
        if not commit:
            self._db.set_progress_handler(self._look, _STEPS_BETWEEN_CHECKS)
        else:
            self._end()
            self._ended(self._written)

    def _end(self) -> None:
        # Nothing refers back to whoever watched: a store goes as soon as it is not used any more.
        self._open, self._check = False, _nothing
        self._db.set_progress_handler(None)

    def savepoint(self) -> None:
        """Set the savepoint."""
        self._written_before = dict(self._written)
        self._run("SAVEPOINT record")

    def release(self) -> None:
        """Release the savepoint and retain what was flushed since."""
        self._run("RELEASE record")

    def undo(self) -> None:
        """Roll back what was flushed since the savepoint, and release it."""
        self._written = self._written_before
        self._run("ROLLBACK TO record")
        self._run("RELEASE record")

    def rollback(self) -> None:
        """Roll back; harmless when it has ended."""
        if not self._open:
            return
        self._end()
        try:
            # Some failures, such as a full disk, have ended it already.
            if self._db.in_transaction:
                self._run("ROLLBACK")
        finally:
            self._ended({})

    def _run(self, sql: str) -> None:
        with translated(self._path):
            self._db.execute(sql)

    def _write(self, changes: Changes) -> None:
        db, many = self._db, self._db.executemany
        for id in changes.deleted:
            tombstone(db, id)
        many(_PUT_PROJECT, [common_row(document) for document in changes.projects.values()])
        groups = changes.groups.values()
        many(_PUT_GROUP, [(*common_row(document), document["project_id"]) for document in groups])
        for document in changes.new_trials.values():
            columns = {"key": document["id"], **trial_columns(document)}
            names, marks = ", ".join(columns), ", ".join("?" * len(columns))
            db.execute(f"INSERT INTO trial({names}) VALUES({marks})", tuple(columns.values()))  # all ours
        for id, document in changes.trials.items():
            if columns := trial_columns(document):
                assigned = ", ".join([f"{name} = ?" for name in columns])
                db.execute(f"UPDATE trial SET {assigned} WHERE key = ?", (*columns.values(), id))  # noqa: S608 # all ours
        self._write_series(changes)
        many(_LINK, changes.links)
        leases = changes.leases.items()
        many(_DROP_LEASE, [key for key, lease in leases if lease is None])
        many(_PUT_LEASE, [lease_row(lease) for _, lease in leases if lease is not None])
        for digest, change in changes.blobs.items():
            self._write_blob(digest, change)
        many(_USE_BLOB, changes.uses)
        if changes.rejected:
            many(_PUT_REJECTED, [rejected_row(record) for record in changes.rejected])
            for sid in {record.session for record in changes.rejected}:
                self._thin_rejected(sid)
        many(_PUT_SESSION, [session_row(state) for state in changes.sessions.values()])

        self._changed_trials.update(changes.deleted, changes.new_trials, changes.trials)
        self._changed_trials.update([series.trial for series in changes.series])
        self._changed_trials.update([series.trial for series in changes.emptied])
        self._changed_trials.update([trial for _, trial in changes.links])
        self._changed_groups.update(changes.groups, [group for group, _ in changes.links])
        self._changed_projects.update(changes.projects)

    def _log_changes(self) -> None:
        """Note which items the transaction has changed; one row, so that a commit of points stays cheap.

        What a savepoint undid may be among them: reading a trial that has not changed does no harm.
        """
        trials, groups, projects = self._changed_trials, self._changed_groups, self._changed_projects
        if not (trials or groups or projects):
            return
        uids = exactjson.dumps([sorted(groups), sorted(projects)]) if groups or projects else None
        self._db.execute(_LOG_CHANGES, (b"".join(trials), uids))
        number = self._db.last_insert_rowid()
        if number % _CHANGES_PRUNED == 0:
            self._db.execute("DELETE FROM change_log WHERE number <= ?", (number - _MAX_CHANGES,))

    def _write_series(self, changes: Changes) -> None:
        many = self._db.executemany
        many("DELETE FROM chunk WHERE id = ?", [(id,) for id in changes.removed])
        many("UPDATE chunk SET seq = ? WHERE id = ?", [(first, id) for id, first in changes.moved])
        many(_REWRITE_CHUNK, ((*chunk_row(chunk), id) for id, chunk in changes.rewritten))
        for id, chunk in changes.rewritten:
            write_outline(self._db, id, decode_chunk(chunk.data))
        many("DELETE FROM series WHERE id = ?", [(series.handle,) for series in changes.emptied])
        known = [series for series in changes.series if series.handle is not None]
        many(_UPDATE_SERIES, [(*statistics_row(series), series.handle) for series in known])
        new = [series for series in changes.series if series.handle is None]
        rows = many(_CREATE_SERIES, [(*statistics_row(series), *identity_row(series)) for series in new])
        for series, (id,) in zip(new, rows.fetchall(), strict=True):
            series.handle = id
        chunks = changes.chunks
        many(_INSERT_CHUNK, ((series.handle, *chunk_row(chunk)) for series, chunk in chunks))
        for series, chunk in chunks:
            chunk_count, points = self._written.get(series.handle, (0, 0))
            self._written[series.handle] = chunk_count + 1, points + chunk.count

    def _thin_rejected(self, sid: bytes) -> None:
        """Of very many rejected records of a session keep some, and the numbers of the others."""
        execute = self._db.execute
        thinned = execute(_THIN_REJECTED, (sid, MAX_REJECTED, FIRST_REJECTED)).fetchall()
        runs = [(*run, code) for listed, code in thinned for run in exactjson.loads(str(listed))]
        for first, last, code in sorted(runs):
            execute(_EXTEND_THINNED, (sid, first, last, code))
            if not self._db.changes():
                execute(_ADD_THINNED, (sid, first, last, code))
        if runs:
            execute(_PRUNE_THINNED, (sid, MAX_THINNED))

    def _write_blob(self, digest: str, change: BlobChange) -> None:
        execute = self._db.execute
        if change.dropped:
            for sql in _DROP_BLOB:
                execute(sql, (digest,))
        if change.cut is not None:
            for sql in _CUT_BLOB:
                execute(sql, (digest, change.cut))
        if change.time is not None:
            for part in change.parts or (b"",):
                execute(_PUT_BLOB, (digest, change.size, len(part), change.time))
                if part:
                    execute(_PUT_PART, (digest, part))


def _nothing() -> None:
    """The check of a transaction that is not watched."""
