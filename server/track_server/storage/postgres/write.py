"""The write transaction of a PostgreSQL store: rows are loaded and locked in one round trip, and written in
another.

Any number of transactions write at once, of this process and of others.  Each locks what it is about:
sessions, then trials, then blobs, each in the order of their keys, so that two that are about the same
things do not wait for each other in a circle.  Whoever writes anything of a trial holds its row, and with
it its series, leases and uses of blobs. What is not there cannot be locked: it is inserted as new, and of
two that do so one fails with a `StoreConflict`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from track_protocol.errors import StoreError, TooBusy
from track_protocol.query.parse import Query
from track_protocol.wire.batch import METRIC
from track_server.storage import exactjson
from track_server.storage.chunks import decode_chunk
from track_server.storage.contract import (
    FIRST_REJECTED,
    MAX_REJECTED,
    MAX_THINNED,
    Blob,
    BlobChange,
    Changes,
    Chunk,
    Document,
    Loaded,
    Points,
    Series,
    SessionState,
    StoredChunk,
    Wanted,
)
from track_server.storage.outlines import outline_of
from track_server.storage.postgres.connection import PostgresConnection, Statement
from track_server.storage.postgres.failures import QUERY_CANCELED
from track_server.storage.postgres.query import compile_query
from track_server.storage.postgres.read import PostgresSource
from track_server.storage.postgres.types import decimals
from track_server.storage.sql.chunk_rows import read_chunk
from track_server.storage.sql.rows import (
    chunk_row,
    common_row,
    identity_row,
    loaded_series,
    rejected_row,
    session_row,
    statistics_row,
    trial_columns,
)
from track_server.storage.sql.source import TABLES
from track_server.storage.sql.view import REJECTED_COLUMNS, TRIAL_COLUMNS, SqlView, trial_documents

__all__ = ["PostgresTransaction"]

_KEYS: Final = {"trial": "key", "group": "uid", "project": "uid"}

_LOAD_SESSIONS: Final = """
SELECT sid, "user", epoch, last_seq, partial, ended, last_reply_seq, last_reply FROM session
WHERE sid = ANY(?::bytea[]) ORDER BY sid FOR NO KEY UPDATE
"""
_LOAD_TRIALS: Final = """
SELECT key, CASE WHEN strpos(metadata::text, '"rewinds"') > 0 THEN metadata ELSE '{}' END FROM trial
WHERE key = ANY(?::bytea[]) ORDER BY key FOR NO KEY UPDATE
"""
"""Only metadata that may tell of rewinds is read."""
_LOAD_FIELDS: Final = f"SELECT {TRIAL_COLUMNS} FROM trial WHERE key = ANY(?::bytea[])"  # noqa: S608 # all ours
_LOAD_BLOBS: Final = """
SELECT digest, size, stored, time FROM blob WHERE digest = ANY(?::text[]) ORDER BY digest FOR NO KEY UPDATE
"""
_SERIES_COLUMNS: Final = (
    "series.id, count, first_step, last_step, last, last_time, stepped, finite, nonfinite, min, max, mean, m2"
)
_LOAD_SERIES: Final = f"""
SELECT wanted.key, wanted.kind, wanted.name, {_SERIES_COLUMNS}
FROM unnest(?::bytea[], ?::text[], ?::text[]) AS wanted(key, kind, name)
JOIN trial ON trial.key = wanted.key
JOIN series ON series.trial = trial.id AND series.kind = wanted.kind AND series.name = wanted.name
"""  # noqa: S608 # all ours
_LATER_SERIES: Final = f"""
SELECT name, {_SERIES_COLUMNS} FROM series
WHERE trial = (SELECT id FROM trial WHERE key = ?) AND kind = ?
AND EXISTS (SELECT 1 FROM chunk WHERE chunk.series = series.id AND chunk.step_max > ?) ORDER BY id
FOR NO KEY UPDATE
"""  # noqa: S608 # all ours
_SERIES_COUNT: Final = "SELECT count(*) FROM series WHERE trial = (SELECT id FROM trial WHERE key = ?)"
_CHUNKS: Final = """
SELECT id, seq, coalesce(step_max > ?, FALSE), data FROM chunk
WHERE series = ? AND seq > ? ORDER BY seq LIMIT ?
"""
_CHUNKS_AT_ONCE: Final = 16
_CANDIDATES: Final = 32
"""Rows beyond those that are sought, of which others may hold some."""

_UNUSED_BLOBS: Final = """
SELECT digest FROM blob WHERE time < ? AND NOT EXISTS (SELECT 1 FROM blob_use WHERE blob = blob.id)
ORDER BY digest LIMIT ? FOR NO KEY UPDATE SKIP LOCKED
"""
_STILL_UNUSED: Final = """
SELECT digest FROM blob WHERE digest = ANY(?::text[])
AND NOT EXISTS (SELECT 1 FROM blob_use WHERE blob_use.blob = blob.id)
"""
"""With what was committed before they were locked."""

_TOMBSTONES: Final = (
    "DELETE FROM group_trial WHERE trial IN (SELECT id FROM trial WHERE key = ANY(?::bytea[]))",
    "DELETE FROM lease WHERE trial IN (SELECT id FROM trial WHERE key = ANY(?::bytea[]))",
    "DELETE FROM blob_use WHERE trial IN (SELECT id FROM trial WHERE key = ANY(?::bytea[]))",
    "UPDATE series SET trial = -trial WHERE trial IN (SELECT id FROM trial WHERE key = ANY(?::bytea[]))",
    "DELETE FROM trial WHERE key = ANY(?::bytea[])",
)
"""No trial has a negative number: such series are deleted later."""

_PUT: Final = {
    "project": (
        "INSERT INTO project(uid, name, description, metadata) VALUES(?, ?, ?, ?)",
        " ON CONFLICT(uid) DO UPDATE SET name = excluded.name, description = excluded.description, "
        "metadata = excluded.metadata",
    ),
    "group": (
        "INSERT INTO trial_group(uid, name, description, metadata, project_id) VALUES(?, ?, ?, ?, ?)",
        " ON CONFLICT(uid) DO UPDATE SET name = excluded.name, description = excluded.description, "
        "metadata = excluded.metadata, project_id = excluded.project_id",
    ),
    "blob": (
        "INSERT INTO blob(digest, size, stored, time) VALUES(?, ?, ?, ?)",
        " ON CONFLICT(digest) DO UPDATE SET stored = blob.stored + excluded.stored, time = excluded.time",
    ),
    "session": (
        'INSERT INTO session(sid, "user", epoch, last_seq, last_reply_seq, last_reply, partial, ended) '
        "VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
        ' ON CONFLICT(sid) DO UPDATE SET "user" = excluded."user", epoch = excluded.epoch, '
        "last_seq = excluded.last_seq, last_reply_seq = excluded.last_reply_seq, "
        "last_reply = excluded.last_reply, partial = excluded.partial, ended = excluded.ended",
    ),
}
"""What inserts a row, and what makes it replace one that is there."""

_STATISTICS: Final = (
    ("count", "bigint"),
    ("first_step", "json"),
    ("last_step", "json"),
    ("last", "json"),
    ("last_time", "double precision"),
    ("stepped", "boolean"),
    ("finite", "bigint"),
    ("nonfinite", "bigint"),
    ("min", "double precision"),
    ("max", "double precision"),
    ("mean", "double precision"),
    ("m2", "double precision"),
)
_CHUNK: Final = (
    ("seq", "bigint"),
    ("count", "bigint"),
    ("size", "bigint"),
    ("step_min", "numeric"),
    ("step_max", "numeric"),
    ("time_min", "double precision"),
    ("time_max", "double precision"),
    ("value_min", "double precision"),
    ("value_max", "double precision"),
    ("data", "bytea"),
)
_STEPS: Final = (3, 4)
"""Places of the bounds of steps among them."""
_IDENTITY: Final = (("key", "bytea"), ("kind", "text"), ("name", "text"))
_REJECTED_TYPES: Final = (
    *("bigint", "bigint", "bytea", "text", "json", "text", "bytea", "json", "bigint", "text", "text"),
    *("double precision", "bytea", "bigint"),
)

_Columns = Sequence[tuple[str, str]]


def _names(columns: _Columns, table: str = "") -> str:
    return ", ".join([f"{table}{name}" for name, _ in columns])


def _unnested(columns: _Columns) -> str:
    """Rows that are given as one array for each column."""
    return f"unnest({', '.join([f'?::{kind}[]' for _, kind in columns])}) AS v({_names(columns)})"


_UPDATE_SERIES: Final = f"""
UPDATE series SET {", ".join([f"{name} = v.{name}" for name, _ in _STATISTICS])}
FROM {_unnested((("id", "bigint"), *_STATISTICS))} WHERE series.id = v.id
"""  # noqa: S608 # all ours
_CREATE_SERIES: Final = f"""
WITH created AS (
    INSERT INTO series(trial, kind, name, aggregator, {_names(_STATISTICS)})
    SELECT trial.id, v.kind, v.name, v.aggregator, {_names(_STATISTICS, "v.")}
    FROM {_unnested((("place", "bigint"), *_IDENTITY, ("aggregator", "json"), *_STATISTICS))}
    JOIN trial ON trial.key = v.key ORDER BY v.place
    RETURNING id, trial, kind, name
) SELECT trial.key, created.kind, created.name, created.id FROM created JOIN trial ON trial.id = created.trial
"""  # noqa: S608 # all ours
_INSERT_CHUNKS: Final = f"""
INSERT INTO chunk(series, level, {_names(_CHUNK)}) SELECT v.series, 0, {_names(_CHUNK, "v.")}
FROM {_unnested((("series", "bigint"), *_CHUNK))}
"""  # noqa: S608 # all ours
_INSERT_FIRST_CHUNKS: Final = f"""
INSERT INTO chunk(series, level, {_names(_CHUNK)}) SELECT series.id, 0, {_names(_CHUNK, "v.")}
FROM {_unnested((*_IDENTITY, *_CHUNK))} JOIN trial ON trial.key = v.key
JOIN series ON series.trial = trial.id AND series.kind = v.kind AND series.name = v.name
"""  # noqa: S608 # all ours
_MOVE_CHUNKS: Final = f"""
UPDATE chunk SET seq = v.seq FROM {_unnested((("id", "bigint"), ("seq", "bigint")))} WHERE chunk.id = v.id
"""  # noqa: S608 # all ours
_REWRITE_CHUNKS: Final = f"""
UPDATE chunk SET level = least(level, 8), {", ".join([f"{name} = v.{name}" for name, _ in _CHUNK])}
FROM {_unnested((("id", "bigint"), *_CHUNK))} WHERE chunk.id = v.id
"""  # noqa: S608 # all ours
"""A chunk that was full is not any more."""
_PUT_OUTLINES: Final = f"""
INSERT INTO outline(chunk, data) SELECT v.chunk, v.data
FROM {_unnested((("chunk", "bigint"), ("data", "bytea")))}
"""  # noqa: S608 # all ours

_LINK: Final = f"""
INSERT INTO group_trial("group", trial) SELECT trial_group.id, trial.id
FROM {_unnested((("place", "bigint"), ("uid", "text"), ("key", "bytea")))}
JOIN trial_group ON trial_group.uid = v.uid JOIN trial ON trial.key = v.key ORDER BY v.place
ON CONFLICT("group", trial) DO NOTHING
"""  # noqa: S608 # all ours
_DROP_LEASES: Final = f"""
DELETE FROM lease USING {_unnested((("key", "bytea"), ("sid", "bytea")))}, trial
WHERE trial.key = v.key AND lease.trial = trial.id AND lease.sid = v.sid
"""  # noqa: S608 # all ours
_PUT_LEASES: Final = f"""
INSERT INTO lease(trial, sid, rank, superseded) SELECT trial.id, v.sid, v.rank, v.superseded
FROM {_unnested((("key", "bytea"), ("sid", "bytea"), ("rank", "bigint"), ("superseded", "boolean")))}
JOIN trial ON trial.key = v.key
ON CONFLICT(trial, sid) DO UPDATE SET rank = excluded.rank, superseded = excluded.superseded
"""  # noqa: S608 # all ours
_USE_BLOBS: Final = f"""
INSERT INTO blob_use(blob, trial) SELECT blob.id, trial.id
FROM {_unnested((("digest", "text"), ("key", "bytea")))}
JOIN blob ON blob.digest = v.digest JOIN trial ON trial.key = v.key
ON CONFLICT(blob, trial) DO NOTHING
"""  # noqa: S608 # all ours

_DROP_BLOB: Final = (
    "DELETE FROM blob_part WHERE blob = (SELECT id FROM blob WHERE digest = ?)",
    "DELETE FROM blob_use WHERE blob = (SELECT id FROM blob WHERE digest = ?)",
    "DELETE FROM blob WHERE digest = ?",
)
_CUT_BLOB: Final = (
    "DELETE FROM blob_part WHERE blob = (SELECT id FROM blob WHERE digest = ?1) AND start >= ?2::bigint",
    """
    UPDATE blob_part SET data = substr(data, 1, (?2::bigint - start)::int)
    WHERE blob = (SELECT id FROM blob WHERE digest = ?1)
    AND start = (SELECT max(start) FROM blob_part WHERE blob = (SELECT id FROM blob WHERE digest = ?1))
    """,
    "UPDATE blob SET stored = ?2::bigint WHERE digest = ?1",
)
_PUT_PART: Final = """
INSERT INTO blob_part(blob, start, data)
SELECT id, stored - length(?2::bytea), ?2::bytea FROM blob WHERE digest = ?1
"""

_PUT_REJECTED: Final = (
    f"INSERT INTO rejected({REJECTED_COLUMNS}) "  # noqa: S608 # all ours
    f"SELECT * FROM unnest({', '.join([f'?::{kind}[]' for kind in _REJECTED_TYPES])})"
)
_THIN_REJECTED: Final = """
DELETE FROM rejected WHERE id IN (
    SELECT id FROM rejected WHERE sid = ?1::bytea ORDER BY last_seq
    LIMIT greatest(0, (SELECT count(*) FROM rejected WHERE sid = ?1::bytea) - ?2::bigint) OFFSET ?3::bigint
) RETURNING runs, code
"""
_EXTEND_THINNED: Final = """
UPDATE thinned SET last_seq = ?3 WHERE sid = ?1::bytea AND last_seq = ?2::bigint - 1 AND code = ?4
AND first_seq = (SELECT max(first_seq) FROM thinned WHERE sid = ?1::bytea AND first_seq < ?2::bigint)
"""
_ADD_THINNED: Final = """
INSERT INTO thinned(sid, first_seq, last_seq, code) VALUES(?, ?, ?, ?)
ON CONFLICT(sid, first_seq) DO UPDATE SET last_seq = excluded.last_seq, code = excluded.code
"""
_PRUNE_THINNED: Final = """
DELETE FROM thinned WHERE sid = ?1::bytea AND first_seq IN (
    SELECT first_seq FROM thinned WHERE sid = ?1::bytea ORDER BY first_seq
    LIMIT greatest(0, (SELECT count(*) FROM thinned WHERE sid = ?1::bytea) - ?2::bigint)
)
"""
_LOG_CHANGES: Final = "INSERT INTO change_log(trials, uids) VALUES(?, ?)"

_BEGIN: Final[Statement] = ("BEGIN", ())
_TIMEOUT: Final = "SELECT set_config('statement_timeout', ?, true)"


class PostgresTransaction(SqlView):
    """An open transaction; it ends once, by a commit or `rollback`.

    Args:
        db: the connection, outside of any transaction.
        ended: called when it ends, with the connection and the (chunks, points) that each series got.
    """

    def __init__(
        self,
        db: PostgresConnection,
        ended: Callable[[PostgresConnection, Mapping[int, tuple[int, int]]], None],
    ) -> None:
        self._pg = PostgresSource(db, [_BEGIN])
        super().__init__(self._pg)
        self._db = db
        self._ended = ended
        self._open = True
        self._version = object()
        self._check: Callable[[], None] = _nothing
        # What was looked for and not found, so that it is inserted as new.
        self._absent: set[tuple[str, Hashable]] = set()
        self._written: dict[int, tuple[int, int]] = {}
        self._before: tuple[set[tuple[str, Hashable]], dict[int, tuple[int, int]]] = set(), {}
        self._changed_trials: set[bytes] = set()
        self._changed_groups: set[str] = set()
        self._changed_projects: set[str] = set()

    @property
    def version(self) -> Hashable:
        """Another one for each transaction: others may have committed before it began."""
        return self._version

    # -- reading -----------------------------------------------------------------------------------------

    def watch(self, check: Callable[[], None]) -> None:
        """Have `check` called before whatever is read, which what it raises ends."""
        self._check = self._pg.check = check

    def load(self, wanted: Wanted) -> Loaded:
        """Load rows by their keys, and lock them."""
        self._check()
        found = Loaded()
        trials = sorted({*wanted.trials, *wanted.fields, *[key[0] for key in wanted.series]})
        # Statements with what takes their rows; the trials are locked before anything of them is read.
        asked: list[tuple[Statement, Callable[[list[tuple[Any, ...]]], None]]] = []
        if wanted.sessions:
            asked.append(
                ((_LOAD_SESSIONS, [sorted(wanted.sessions)]), lambda rows: _take_sessions(found, rows))
            )
        if trials:
            asked.append(((_LOAD_TRIALS, [trials]), lambda rows: _take_trials(found, rows)))
        if wanted.fields:
            fields = (_LOAD_FIELDS, [list(wanted.fields)])
            asked.append((fields, lambda rows: found.fields.extend(trial_documents(rows).values())))
        if wanted.series:
            series = (_LOAD_SERIES, [list(column) for column in zip(*wanted.series, strict=True)])
            asked.append((series, lambda rows: found.series.extend([loaded_series(*row) for row in rows])))
        if wanted.blobs:
            blobs = (_LOAD_BLOBS, [sorted(wanted.blobs)])
            asked.append((blobs, lambda rows: found.blobs.extend([Blob(*row) for row in rows])))
        results = self._pg.run(*[statement for statement, _ in asked])
        for (_, take), result in zip(asked, results, strict=True):
            take(result.rows)
        self._note_absent("session", wanted.sessions, [state.sid for state in found.sessions])
        self._note_absent("blob", wanted.blobs, [blob.digest for blob in found.blobs])
        return found

    def _note_absent(self, table: str, wanted: Iterable[Hashable], found: Iterable[Hashable]) -> None:
        keys = set(found)
        self._absent |= {(table, key) for key in wanted if key not in keys}
        self._absent -= {(table, key) for key in keys}

    def project_fields(self, uid: str) -> Document | None:
        """The project without its ``groups`` and ``trials``; it is locked."""
        self._rows("SELECT 1 FROM project WHERE uid = ? FOR NO KEY UPDATE", [uid])
        found = super().project_fields(uid)
        self._note_absent("project", [uid], [uid] if found is not None else [])
        return found

    def group_fields(self, uid: str) -> Document | None:
        """The group without its ``trials``; it is locked."""
        self._rows("SELECT 1 FROM trial_group WHERE uid = ? FOR NO KEY UPDATE", [uid])
        found = super().group_fields(uid)
        self._note_absent("group", [uid], [uid] if found is not None else [])
        return found

    def series_count(self, trial: bytes) -> int:
        """How many series a trial has, of any kind."""
        ((count,),) = self._rows(_SERIES_COUNT, [trial])
        return int(count)

    def unused_blobs(self, before: float, limit: int) -> list[str]:
        """Digests of blobs that no trial uses and that were last touched before a time; they are locked."""
        locked = [digest for (digest,) in self._rows(_UNUSED_BLOBS, [before, limit])]
        return [digest for (digest,) in self._rows(_STILL_UNUSED, [locked])] if locked else []

    def select(self, query: Query, limit: int, seconds: float) -> list[Any]:
        """Keys of what matches, in order of insertion; they are locked.

        What another transaction holds is passed over, as long as anything else matches.

        Raises:
            TooBusy: it took longer than this many seconds; the transaction continues.
        """
        late = TooBusy(
            f"the query took longer than {seconds:g} s, and other writers wait for it: "
            "narrow it, first by a status"
        )
        deadline = time.monotonic() + seconds

        def check() -> None:
            self._check()
            if time.monotonic() > deadline:
                raise late

        self._pg.before_next(
            ("SAVEPOINT search", ()),
            (_TIMEOUT, [str(max(1, int(1e3 * seconds)))]),
        )
        self._pg.check = check
        try:
            found = self._selected(query, limit)
        except TooBusy:
            self._pg.before_next(("ROLLBACK TO search", ()), ("RELEASE search", ()))
            raise
        except StoreError as error:
            if getattr(error.__cause__, "sqlstate", None) != QUERY_CANCELED:
                raise
            self._pg.before_next(("ROLLBACK TO search", ()), ("RELEASE search", ()))
            raise late from error
        finally:
            self._pg.check = self._check
        self._pg.before_next((_TIMEOUT, ["0"]), ("RELEASE search", ()))
        return found

    def _selected(self, query: Query, limit: int) -> list[Any]:
        table, key = TABLES[query.kind], _KEYS[query.kind]
        compiled = compile_query(query)
        skipping = " SKIP LOCKED"
        while True:
            if compiled.is_exact:
                where, params = compiled.sql, compiled.params
            else:
                found = self._pg.matching(query, limit + _CANDIDATES)
                if not found:
                    return []
                where, params = "id = ANY(?::bigint[])", [found]
            rows = self._rows(
                f"SELECT id, {key} FROM {table} WHERE {where} "  # noqa: S608 # all ours
                f"ORDER BY id LIMIT ? FOR NO KEY UPDATE{skipping}",
                [*params, limit],
            )
            if not compiled.is_exact and rows:
                # They may have changed before they were locked.
                still = set(self._pg.matching(query, within=[id for id, _ in rows]))
                rows = [row for row in rows if row[0] in still]
            if rows:
                return [found_key for _, found_key in rows]
            if not skipping and compiled.is_exact and not self._matches_any(query):
                return []
            skipping = ""  # whatever matches is another's, and may match again when that has ended

    def _matches_any(self, query: Query) -> bool:
        return bool(self._pg.matching(query, 1))

    def later_series(self, trial: bytes, step: float) -> list[Series]:
        """Metrics of a trial that may have points of a finite step above `step`; they are locked."""
        rows = self._rows(_LATER_SERIES, [trial, METRIC, *decimals([step])])
        return [loaded_series(trial, METRIC, *row) for row in rows]

    def chunks(self, series: Series, step: float) -> Iterator[StoredChunk]:
        """All chunks of a stored series, in order, each marked whether it may have later steps.

        Raises:
            StoreCorrupt: one is damaged.
        """
        last = -1
        limits = decimals([step])
        while page := self._rows(_CHUNKS, [*limits, series.handle, last, _CHUNKS_AT_ONCE]):
            for id, first, is_later, data in page:
                columns = read_chunk(self._name, series.handle, first, data)
                yield StoredChunk(id, first, bool(is_later), Points(*columns))
                last = first

    # -- writing -----------------------------------------------------------------------------------------

    def flush(self, changes: Changes, *, commit: bool = False) -> None:
        """Write changes in one round trip; with `commit` make everything durable, and end.

        Raises:
            StoreError: it could not be; roll it back.
        """
        statements = self._statements(changes) if changes else []
        created = [series for series in changes.series if series.handle is None]
        if changes.rejected:
            self._run(statements, created)
            statements, created = [], []
            for sid in {record.session for record in changes.rejected}:
                self._thin_rejected(sid)
        if commit:
            if self._pg.has_begun or statements:
                self._run([*statements, *self._log_statements(), ("COMMIT", ())], created)
            self._count_written(changes)
            self._end()
            self._ended(self._db, self._written)
        else:
            self._run(statements, created)
            self._count_written(changes)

    def _run(self, statements: Sequence[Statement], created: Sequence[Series]) -> None:
        """Run statements, and give series that are created their handles."""
        if not statements:
            return
        results = self._pg.run(*statements)
        if created:
            by_key = {series.key: series for series in created}
            for statement, result in zip(statements, results, strict=True):
                if statement[0] is _CREATE_SERIES:
                    for key, kind, name, id in result.rows:
                        by_key[key, kind, name].handle = id

    def _count_written(self, changes: Changes) -> None:
        for series, chunk in changes.chunks:
            chunk_count, points = self._written.get(series.handle, (0, 0))
            self._written[series.handle] = chunk_count + 1, points + chunk.count

    def _end(self) -> None:
        # Nothing refers back to whoever watched: a store goes as soon as it is not used any more.
        self._open, self._check = False, _nothing
        self._pg.check = _nothing

    def savepoint(self) -> None:
        """Set the savepoint."""
        self._before = set(self._absent), dict(self._written)
        self._pg.before_next(("SAVEPOINT record", ()))

    def release(self) -> None:
        """Release the savepoint and retain what was flushed since."""
        self._pg.before_next(("RELEASE record", ()))

    def undo(self) -> None:
        """Roll back what was flushed since the savepoint, and release it."""
        self._absent, self._written = self._before
        self._pg.before_next(("ROLLBACK TO record", ()), ("RELEASE record", ()))

    def rollback(self) -> None:
        """Roll back; harmless when it has ended."""
        if not self._open:
            return
        self._end()
        try:
            if self._pg.has_begun and not self._db.usable:
                self._db.roll_back()
        finally:
            self._ended(self._db, {})

    def _statements(self, changes: Changes) -> list[Statement]:
        """What writes everything, in the order of the tables."""
        found: list[Statement] = []
        if changes.deleted:
            found += [(text, [changes.deleted]) for text in _TOMBSTONES]
        for document in changes.projects.values():
            found.append(self._put("project", document["uid"], common_row(document)))
        for document in changes.groups.values():
            row = (*common_row(document), document["project_id"])
            found.append(self._put("group", document["uid"], row))
        found += [_new_trial(document) for document in changes.new_trials.values()]
        found += [
            _changed_trial(id, columns)
            for id, document in changes.trials.items()
            if (columns := trial_columns(document))
        ]
        found += _series_statements(changes)
        found += _many(_LINK, [(place, *link) for place, link in enumerate(changes.links)])
        leases = changes.leases.items()
        found += _many(_DROP_LEASES, [key for key, lease in leases if lease is None])
        kept = [lease for _, lease in leases if lease is not None]
        found += _many(_PUT_LEASES, [(each.trial, each.sid, each.rank, each.superseded) for each in kept])
        for digest, change in changes.blobs.items():
            found += self._blob_statements(digest, change)
        found += _many(_USE_BLOBS, changes.uses)
        found += _many(_PUT_REJECTED, [rejected_row(record) for record in changes.rejected])
        found += [self._put("session", sid, session_row(state)) for sid, state in changes.sessions.items()]
        self._changed_trials.update(changes.deleted, changes.new_trials, changes.trials)
        self._changed_trials.update([series.trial for series in (*changes.series, *changes.emptied)])
        self._changed_trials.update([trial for _, trial in changes.links])
        self._changed_groups.update(changes.groups, [group for group, _ in changes.links])
        self._changed_projects.update(changes.projects)
        return found

    def _put(self, table: str, key: Hashable, row: Sequence[Any]) -> Statement:
        """What writes a row; one that was looked for and not found must not have come meanwhile."""
        insert, replace = _PUT[table]
        is_new = (table, key) in self._absent
        self._absent.discard((table, key))
        return (insert if is_new else insert + replace), row

    def _blob_statements(self, digest: str, change: BlobChange) -> list[Statement]:
        found: list[Statement] = []
        if change.dropped:
            found += [(text, [digest]) for text in _DROP_BLOB]
            self._absent.add(("blob", digest))
        if change.cut is not None:
            found += [(text, [digest, change.cut]) for text in _CUT_BLOB]
        if change.time is not None:
            for part in change.parts or (b"",):
                found.append(self._put("blob", digest, (digest, change.size, len(part), change.time)))
                if part:
                    found.append((_PUT_PART, [digest, part]))
        return found

    def _thin_rejected(self, sid: bytes) -> None:
        """Of very many rejected records of a session keep some, and the numbers of the others."""
        (thinned,) = self._pg.run((_THIN_REJECTED, [sid, MAX_REJECTED, FIRST_REJECTED]))
        runs = sorted((*run, code) for listed, code in thinned.rows for run in exactjson.loads(listed))
        for first, last, code in _joined(runs):
            (extended,) = self._pg.run((_EXTEND_THINNED, [sid, first, last, code]))
            if not extended.changed:
                self._pg.before_next((_ADD_THINNED, [sid, first, last, code]))
        if runs:
            self._pg.before_next((_PRUNE_THINNED, [sid, MAX_THINNED]))

    def _log_statements(self) -> list[Statement]:
        """Notes which items the transaction has changed.

        What a savepoint undid may be among them: reading a trial that has not changed does no harm.
        """
        trials, groups, projects = self._changed_trials, self._changed_groups, self._changed_projects
        if not (trials or groups or projects):
            return []
        uids = exactjson.dumps([sorted(groups), sorted(projects)]) if groups or projects else None
        return [(_LOG_CHANGES, [b"".join(trials), uids])]


def _nothing() -> None:
    """The check of a transaction that is not watched."""


def _take_sessions(found: Loaded, rows: list[tuple[Any, ...]]) -> None:
    for sid, user, epoch, last_seq, partial, ended, reply_seq, reply in rows:
        last_reply = None if reply_seq is None else (reply_seq, reply)
        found.sessions.append(SessionState(sid, user, epoch, last_seq, last_reply, partial, ended))


def _take_trials(found: Loaded, rows: list[tuple[Any, ...]]) -> None:
    found.trials.update({key: exactjson.loads(metadata) for key, metadata in rows})


def _many(text: str, rows: Sequence[Sequence[Any]]) -> list[Statement]:
    """The statement for some rows, one array for each column; none for no rows."""
    return [(text, [_array(column) for column in zip(*rows, strict=True)])] if rows else []


def _array(values: Sequence[Any]) -> list[Any]:
    """Values as an array has them: all of one type."""
    mixed = {type(value) for value in values} >= {int, float}
    return [float(value) if type(value) is int else value for value in values] if mixed else list(values)


def _new_trial(document: Document) -> Statement:
    columns = {"key": document["id"], **trial_columns(document)}
    marks = ", ".join("?" * len(columns))
    return f"INSERT INTO trial({', '.join(columns)}) VALUES({marks})", list(columns.values())  # all ours


def _changed_trial(id: bytes, columns: Mapping[str, Any]) -> Statement:
    assigned = ", ".join([f"{name} = ?" for name in columns])
    return f"UPDATE trial SET {assigned} WHERE key = ?", [*columns.values(), id]  # noqa: S608 # all ours


def _series_statements(changes: Changes) -> list[Statement]:
    found: list[Statement] = []
    if changes.removed:
        found.append(("DELETE FROM chunk WHERE id = ANY(?::bigint[])", [changes.removed]))
    found += _many(_MOVE_CHUNKS, changes.moved)
    if changes.rewritten:
        found += _many(_REWRITE_CHUNKS, [(id, *_chunk_values(chunk)) for id, chunk in changes.rewritten])
        found.append(
            ("DELETE FROM outline WHERE chunk = ANY(?::bigint[])", [[id for id, _ in changes.rewritten]])
        )
        outlines = [(id, outline_of(*decode_chunk(chunk.data))) for id, chunk in changes.rewritten]
        found += _many(_PUT_OUTLINES, [row for row in outlines if row[1] is not None])
    if changes.emptied:
        found.append(
            ("DELETE FROM series WHERE id = ANY(?::bigint[])", [[each.handle for each in changes.emptied]])
        )
    known = [series for series in changes.series if series.handle is not None]
    found += _many(_UPDATE_SERIES, [(series.handle, *_statistics(series)) for series in known])
    new = [series for series in changes.series if series.handle is None]
    found += _many(
        _CREATE_SERIES,
        [(place, *identity_row(series), *_statistics(series)) for place, series in enumerate(new)],
    )
    chunks = [(series, _chunk_values(chunk)) for series, chunk in changes.chunks]
    found += _many(_INSERT_CHUNKS, [(each.handle, *row) for each, row in chunks if each.handle is not None])
    found += _many(_INSERT_FIRST_CHUNKS, [(*each.key, *row) for each, row in chunks if each.handle is None])
    return found


def _statistics(series: Series) -> list[Any]:
    return [None if value != value else value for value in statistics_row(series)]


def _chunk_values(chunk: Chunk) -> list[Any]:
    """A chunk, with its bounds of steps as decimals."""
    row = list(chunk_row(chunk))
    row[_STEPS[0] : _STEPS[1] + 1] = decimals(row[_STEPS[0] : _STEPS[1] + 1])
    return row


def _joined(runs: Sequence[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    """Sorted runs, those that follow each other with the same code as one."""
    joined: list[tuple[int, int, str]] = []
    for first, last, code in runs:
        if joined and joined[-1][1] == first - 1 and joined[-1][2] == code:
            joined[-1] = joined[-1][0], last, code
        else:
            joined.append((first, last, code))
    return joined
