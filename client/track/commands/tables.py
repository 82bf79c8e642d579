"""A store as tables for SQL: copied into a temporary SQLite database, as far as the statement reads it.

So the same SQL works on every store, wherever it is, and can harm none.  The database is in memory, and on
disk as far as it is large; it goes with the command.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from track.commands.fields import Names, document
from track.commands.printing import json_text
from track.commands.stores import all_pages, series_of
from track.persistence.protocol import Protocol
from track.reading.flatten import flat
from track_protocol.errors import TrackError, UsageError
from track_protocol.model.entities import Trial

__all__ = ["TABLES", "Tables"]

TABLES: Final[Mapping[str, Sequence[str]]] = {
    "projects": ("uid", "name", "description", "metadata"),
    "trial_groups": ("uid", "name", "description", "metadata", "project"),
    "trials": (
        *("uid", "id", "hash", "revision", "name", "status", "project", "trial_group", "version"),
        *("description", "created", "started", "ended", "duration", "seen"),
        *("parameters", "tags", "metadata", "errors"),
    ),
    "params": ("trial", "name", "value"),
    "tags": ("trial", "name", "value"),
    "series": (
        *("trial", "kind", "name", "context", "count", "last", "min", "max", "mean", "sd"),
        *("first_step", "last_step"),
    ),
    "points": ("trial", "kind", "name", "context", "step", "time", "value"),
}
"""Columns by table.  ``trial`` is ``trials.uid``; mappings and lists are JSON, for ``->>``."""

_ALLOWED: Final = frozenset(
    {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
)
_DENIED_FUNCTIONS: Final = frozenset({"load_extension", "fts3_tokenizer", "writefile", "readfile", "edit"})
_STEPS: Final = 10_000
"""Steps of SQLite's machine after which the time is looked at."""


class Tables:
    """Tables for one statement.

    Args:
        sql: the statement; one SELECT.

    Raises:
        UsageError: it is not SQL, changes something, or is about other tables.
    """

    def __init__(self, sql: str) -> None:
        self._sql = sql
        self._used: set[str] = set()
        self._db = sqlite3.connect("")
        for name, columns in TABLES.items():
            self._db.execute(f"CREATE TABLE {name}({', '.join(columns)})")
        self._db.set_authorizer(self._authorize)
        try:
            self._db.execute(f"EXPLAIN {sql}").close()
        except (sqlite3.Error, ValueError) as error:
            self._db.close()
            raise self._refusal(error) from None
        self._db.set_authorizer(None)

    def __enter__(self) -> Tables:
        return self

    def __exit__(self, *_error: object) -> None:
        self._db.close()

    def fill(self, protocol: Protocol, trials: Sequence[Trial], wanted: Sequence[str] = ()) -> None:
        """Copy the tables that the statement reads.

        Args:
            protocol: the store.
            trials: the trials that there are for the statement.
            wanted: names of the series whose points there are; empty for all.
        """
        names = Names(protocol)
        makers: dict[str, Callable[[], Iterable[Sequence[Any]]]] = {
            "projects": lambda: (
                (each.uid, each.name, each.description, _json(each.metadata))
                for each in names.projects.values()
            ),
            "trial_groups": lambda: (
                (each.uid, each.name, each.description, _json(each.metadata), names.project(each.project_id))
                for each in names.groups.values()
            ),
            "trials": lambda: (_trial(document(trial, names)) for trial in trials),
            "params": lambda: _values(trials, "parameters"),
            "tags": lambda: _values(trials, "tags"),
            "series": lambda: _series(trials),
            "points": lambda: _points(protocol, trials, wanted),
        }
        for name in self._used:
            marks = ", ".join("?" * len(TABLES[name]))
            self._db.executemany(f"INSERT INTO {name} VALUES({marks})", makers[name]())
        if "points" in self._used:
            self._db.execute("CREATE INDEX points_of ON points(trial, name)")
        self._db.commit()

    def run(self, seconds: float) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
        """Names of the columns, and the rows.

        Raises:
            TrackError: it takes longer than that, when rows are read too.
            UsageError: SQLite refuses it.
        """
        deadline = time.monotonic() + seconds
        self._db.set_authorizer(self._authorize)
        self._db.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
        try:
            cursor = self._db.execute(self._sql)
        except sqlite3.Error as error:
            raise self._failure(error, seconds) from None
        return [column[0] for column in cursor.description or ()], self._rows(cursor, seconds)

    def _rows(self, cursor: sqlite3.Cursor, seconds: float) -> Iterator[tuple[Any, ...]]:
        try:
            for row in cursor:  # noqa: UP028 # 'yield from' would close the cursor, perhaps after the database
                yield row
        except sqlite3.Error as error:
            raise self._failure(error, seconds) from None

    def _authorize(self, action: int, first: str | None, second: str | None, *_where: str | None) -> int:
        if action == sqlite3.SQLITE_READ and first is not None and first in TABLES:
            self._used.add(first)
        if action == sqlite3.SQLITE_FUNCTION and second in _DENIED_FUNCTIONS:
            return sqlite3.SQLITE_DENY
        return sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY

    def _failure(self, error: sqlite3.Error, seconds: float) -> TrackError:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            return TrackError(
                f"the SQL takes longer than {seconds:g} s: narrow it (--filter, --metric), or raise --timeout"
            )
        return self._refusal(error)

    def _refusal(self, error: Exception) -> UsageError:
        if "not authorized" in str(error) or "prohibited" in str(error):
            return UsageError(f"track query only reads ({error}): give one SELECT; --tables shows the tables")
        return UsageError(f"SQL: {error}; --tables shows the tables and their columns")


def _trial(known: Mapping[str, Any]) -> tuple[Any, ...]:
    renamed = {**known, "trial_group": known["group"]}
    return tuple([_plain(renamed[name]) for name in TABLES["trials"]])


def _values(trials: Sequence[Trial], field: str) -> Iterator[tuple[Any, ...]]:
    for trial in trials:
        for name, value in flat(getattr(trial, field)).items():
            yield trial.uid, name, _plain(value)


def _series(trials: Sequence[Trial]) -> Iterator[tuple[Any, ...]]:
    for trial in trials:
        for series in series_of(trial):
            known = [_plain(series.summary.get(name)) for name in TABLES["series"][4:]]
            yield (trial.uid, series.kind, series.name.name, _json(dict(series.name.context)), *known)


def _points(protocol: Protocol, trials: Sequence[Trial], wanted: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    for trial, series, page in all_pages(protocol, trials, wanted, "points"):
        before = (trial.uid, series.kind, series.name.name, _json(dict(series.name.context)))
        steps, values = map(_plain, page.steps), map(_plain, page.values)
        for step, at, value in zip(steps, page.times, values, strict=True):
            yield (*before, step, at, value)


def _plain(value: Any) -> Any:
    """The value in SQLite, which has no NaN: it becomes NULL."""
    if value is None or isinstance(value, (int, float, str, bytes)):
        return value
    return _json(value)


def _json(value: Any) -> str:
    return json_text(value)
