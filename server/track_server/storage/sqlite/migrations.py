"""The tables of a SQLite store, as the steps that lead from one version of them to the next.

A new store takes all steps, an old one those that it lacks, so there is one description of each table.
A new table or column before the next release changes the last step; after a release, a step
is added.
"""

from __future__ import annotations

from typing import Final

__all__ = ["MIGRATIONS", "current_version"]

_TABLES: Final = (
    """
    CREATE TABLE meta(
        key TEXT PRIMARY KEY,
        value
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE project(
        id INTEGER PRIMARY KEY,
        uid TEXT NOT NULL UNIQUE,
        name TEXT,
        description TEXT,
        metadata TEXT NOT NULL           -- JSON
    )
    """,
    """
    CREATE TABLE trial_group(
        id INTEGER PRIMARY KEY,
        uid TEXT NOT NULL UNIQUE,
        name TEXT,
        description TEXT,
        metadata TEXT NOT NULL,          -- JSON
        project_id TEXT                  -- project.uid
    )
    """,
    "CREATE INDEX trial_group_project ON trial_group(project_id)",
    """
    CREATE TABLE trial(
        id INTEGER PRIMARY KEY,
        key BLOB NOT NULL UNIQUE,        -- the 16-byte id that its client made
        uid TEXT NOT NULL UNIQUE,        -- hash_revision
        hash TEXT NOT NULL,
        revision INTEGER NOT NULL,
        name TEXT,
        description TEXT,
        version TEXT,
        tags TEXT NOT NULL,              -- JSON, as are the next three
        parameters TEXT NOT NULL,
        metadata TEXT NOT NULL,
        errors TEXT NOT NULL,
        project_id TEXT,                 -- project.uid
        group_id TEXT,                   -- trial_group.uid
        status_value INTEGER NOT NULL,
        status_name TEXT NOT NULL,
        created REAL NOT NULL,           -- seconds since the epoch, by the store's clock
        started REAL,                    -- first start and last end, by the clock of who says so
        ended REAL
    )
    """,
    "CREATE INDEX trial_hash ON trial(hash, revision)",
    "CREATE INDEX trial_status ON trial(status_value)",
    "CREATE INDEX trial_project ON trial(project_id)",
    "CREATE INDEX trial_in_group ON trial(group_id)",
    """
    CREATE TABLE group_trial(
        id INTEGER PRIMARY KEY,
        "group" INTEGER NOT NULL,        -- trial_group.id
        trial INTEGER NOT NULL,          -- trial.id
        UNIQUE("group", trial)
    )
    """,
    """
    CREATE TABLE session(
        sid BLOB PRIMARY KEY,
        user TEXT NOT NULL,
        epoch INTEGER NOT NULL,
        last_seq INTEGER NOT NULL,
        last_reply_seq INTEGER,
        last_reply BLOB,
        partial INTEGER NOT NULL,        -- series of the record behind last_seq that are stored
        ended REAL                       -- when its process was last alive, if what it has left was sent
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE series(
        id INTEGER PRIMARY KEY,
        trial INTEGER NOT NULL,          -- trial.id
        kind TEXT NOT NULL,              -- 'metric' or 'chrono'
        name TEXT NOT NULL,
        aggregator TEXT,                 -- JSON
        count INTEGER NOT NULL,          -- of all points
        first_step TEXT,                 -- JSON, as are the next two
        last_step TEXT,
        last TEXT,
        last_time REAL,                  -- seconds since the epoch
        stepped INTEGER NOT NULL,        -- 1 when any point has a step
        finite INTEGER NOT NULL,         -- of the values: finite numbers, which the next four are about
        nonfinite INTEGER NOT NULL,      -- NaN and infinities
        min REAL,
        max REAL,
        mean REAL,
        m2 REAL,                         -- sum of squared distances from the mean
        UNIQUE(trial, kind, name)
    )
    """,
    """
    CREATE TABLE chunk(
        id INTEGER PRIMARY KEY,
        series INTEGER NOT NULL,         -- series.id
        seq INTEGER NOT NULL,            -- ordinal of its first point in the series, from 0
        count INTEGER NOT NULL,
        level INTEGER NOT NULL,          -- 0 as it arrived, 1 to 8 merged so often, 9 full
        size INTEGER NOT NULL,           -- bytes when it is decoded, about
        step_min, step_max,              -- of those steps that are numbers
        time_min REAL, time_max REAL,
        value_min REAL, value_max REAL,  -- of the finite numbers
        data BLOB NOT NULL
    )
    """,
    "CREATE INDEX chunk_at ON chunk(series, seq, count, level)",
    """
    CREATE TABLE outline(                -- of merged chunks with enough points, see storage/outlines.py
        chunk INTEGER PRIMARY KEY,       -- chunk.id
        data BLOB NOT NULL
    )
    """,
    # Whatever removes or changes a chunk, its outline goes in the same transaction.
    "CREATE TRIGGER chunk_deleted AFTER DELETE ON chunk BEGIN DELETE FROM outline WHERE chunk = old.id; END",
    """
    CREATE TRIGGER chunk_rewritten AFTER UPDATE OF data ON chunk
    BEGIN DELETE FROM outline WHERE chunk = old.id; END
    """,
    """
    CREATE TABLE rejected(
        id INTEGER PRIMARY KEY,
        sid BLOB NOT NULL,               -- session.sid
        user TEXT NOT NULL,
        first_seq INTEGER NOT NULL,      -- of its records
        last_seq INTEGER NOT NULL,
        runs TEXT NOT NULL,              -- JSON: [first, last] of consecutive records
        method TEXT NOT NULL,            -- 'points' or the call's
        trial BLOB,                      -- trial.key that was named, if any was
        names TEXT NOT NULL,             -- JSON: of the series
        points INTEGER NOT NULL,         -- values that are lost
        code TEXT NOT NULL,              -- of the error
        reason TEXT NOT NULL,
        time REAL NOT NULL,              -- seconds since the epoch, by the store's clock
        content BLOB NOT NULL,           -- the operation as it travelled, or its head
        size INTEGER NOT NULL            -- bytes of all of it
    )
    """,
    "CREATE INDEX rejected_of_session ON rejected(sid, last_seq)",
    "CREATE INDEX rejected_of_trial ON rejected(trial)",
    """
    CREATE TABLE thinned(
        sid BLOB NOT NULL,               -- session.sid
        first_seq INTEGER NOT NULL,      -- of consecutive records that were rejected
        last_seq INTEGER NOT NULL,       -- and are not in the table above any more
        code TEXT NOT NULL,              -- of the error
        PRIMARY KEY(sid, first_seq)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE lease(
        trial INTEGER NOT NULL,          -- trial.id
        sid BLOB NOT NULL,               -- of the session that runs it
        rank INTEGER,
        superseded INTEGER NOT NULL,     -- 1 when another one decided about the trial after it was lost
        PRIMARY KEY(trial, sid)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX lease_of ON lease(sid)",
    """
    CREATE TABLE blob(
        id INTEGER PRIMARY KEY,
        digest TEXT NOT NULL UNIQUE,     -- SHA-256 of all its bytes, in hexadecimal digits
        size INTEGER NOT NULL,           -- bytes when it is complete
        stored INTEGER NOT NULL,         -- bytes that are here, from the first on
        time REAL NOT NULL               -- of the last that came, in seconds since the epoch
    )
    """,
    """
    CREATE TABLE blob_part(
        id INTEGER PRIMARY KEY,
        blob INTEGER NOT NULL,           -- blob.id
        start INTEGER NOT NULL,          -- offset of its first byte
        data BLOB NOT NULL,
        UNIQUE(blob, start)
    )
    """,
    """
    CREATE TABLE blob_use(
        blob INTEGER NOT NULL,           -- blob.id
        trial INTEGER NOT NULL,          -- trial.id
        PRIMARY KEY(blob, trial)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX blob_use_of ON blob_use(trial)",
    """
    CREATE TABLE change_log(             -- a row for each of the last commits that changed something
        number INTEGER PRIMARY KEY,
        trials BLOB NOT NULL,            -- the 16-byte ids of those that it changed, one behind the other
        uids TEXT                        -- JSON: [groups, projects]
    )
    """,
)

MIGRATIONS: Final[dict[int, tuple[str, ...]]] = {0: _TABLES}
"""What brings the tables from a version to the next one; version 0 has none."""


def current_version() -> int:
    """Of the tables that this software uses, stored in the file as ``user_version``."""
    return len(MIGRATIONS)
