"""Databases as the older tracker wrote them, made with nothing but SQLite."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

__all__ = ["MEDIA_TABLES", "SCHEMA", "OlderDatabase"]

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    created_at REAL NOT NULL,
    status TEXT NOT NULL DEFAULT 'running' CHECK(status IN ('running', 'completed', 'failed')),
    config TEXT DEFAULT '{}'
);
CREATE TABLE IF NOT EXISTS metrics (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE
);
CREATE TABLE IF NOT EXISTS records (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id INTEGER NOT NULL,
    metric_id INTEGER NOT NULL,
    step INTEGER NOT NULL,
    value REAL NOT NULL,
    wall_time REAL NOT NULL,
    FOREIGN KEY (run_id) REFERENCES runs(id),
    FOREIGN KEY (metric_id) REFERENCES metrics(id)
);
CREATE INDEX IF NOT EXISTS idx_records_run_step ON records(run_id, step);
CREATE TABLE IF NOT EXISTS graphs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id INTEGER NOT NULL UNIQUE,
    graph_json TEXT NOT NULL,
    created_at REAL NOT NULL,
    FOREIGN KEY (run_id) REFERENCES runs(id)
);
"""
MEDIA_TABLES: Final = """
CREATE TABLE histograms (id INTEGER PRIMARY KEY, run_id INTEGER, name TEXT, step INTEGER,
    bucket_edges TEXT, bucket_counts TEXT, wall_time REAL);
CREATE TABLE images (id INTEGER PRIMARY KEY, run_id INTEGER, name TEXT, step INTEGER,
    width INTEGER, height INTEGER, channels INTEGER, image_data BLOB, wall_time REAL);
CREATE TABLE texts (id INTEGER PRIMARY KEY, run_id INTEGER, name TEXT, step INTEGER,
    content TEXT, wall_time REAL);
"""


class OlderDatabase:
    """A database of one experiment, written as its program did.

    Args:
        path: of the file.
        strict: with the constraints of the older system; without them NULL is a value, too.
        media: also the tables of the newer one.
    """

    def __init__(self, path: Path, *, strict: bool = True, media: bool = False) -> None:
        self.path = path
        schema = SCHEMA if strict else SCHEMA.replace(" NOT NULL", "")
        with closing(sqlite3.connect(path)) as db, db:
            db.executescript(schema + (MEDIA_TABLES if media else ""))

    def add(
        self,
        name: str = "run",
        created_at: Any = 1_600_000_000.25,
        status: str = "completed",
        config: Any = "{}",
        records: Iterable[tuple[str, Any, Any, Any]] = (),
    ) -> int:
        """Add a run and its records, each of metric, step, value and time; the run's number."""
        with closing(sqlite3.connect(self.path)) as db, db:
            stored_config = config if isinstance(config, str | None) else json.dumps(config)
            row = db.execute(
                "INSERT INTO runs (name, created_at, status, config) VALUES (?, ?, ?, ?)",
                (name, created_at, status, stored_config),
            )
            assert row.lastrowid is not None
            self._record(db, row.lastrowid, records)
            return row.lastrowid

    def record(self, run_id: int, records: Iterable[tuple[str, Any, Any, Any]]) -> None:
        """Add records to a run."""
        with closing(sqlite3.connect(self.path)) as db, db:
            self._record(db, run_id, records)

    def execute(self, statement: str, *given: Any) -> None:
        """Run any statement."""
        with closing(sqlite3.connect(self.path)) as db, db:
            db.execute(statement, given)

    @staticmethod
    def _record(db: sqlite3.Connection, run_id: int, records: Iterable[tuple[str, Any, Any, Any]]) -> None:
        numbers: dict[str, int] = {}
        rows = []
        for name, step, value, at in records:
            if name not in numbers:
                db.execute("INSERT OR IGNORE INTO metrics (name) VALUES (?)", (name,))
                (numbers[name],) = db.execute("SELECT id FROM metrics WHERE name = ?", (name,)).fetchone()
            rows.append((run_id, numbers[name], step, value, at))
        db.executemany(
            "INSERT INTO records (run_id, metric_id, step, value, wall_time) VALUES (?, ?, ?, ?, ?)", rows
        )
