"""Reading a SQLite store: its connection, and what it writes in its own way."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import apsw

from track_protocol.query.order import Order
from track_protocol.query.parse import Query
from track_protocol.query.tree import Path
from track_server.storage import exactjson
from track_server.storage.contract import Changed
from track_server.storage.sql.charts import SqlSnapshot
from track_server.storage.sql.source import TABLES, Cell, Fragment
from track_server.storage.sql.tables import json_values
from track_server.storage.sqlite.query import compile_cell, compile_query, compile_value
from track_server.storage.sqlite.schema import translated

__all__ = ["SqliteSnapshot", "SqliteSource"]

_RANK: Final = (
    "CASE typeof({0}) WHEN 'integer' THEN 0 WHEN 'real' THEN 0 WHEN 'null' THEN 3 "
    'ELSE CASE {0} WHEN \'{{"$float":"nan"}}\' THEN 1 ELSE 2 END END'
)
"""Numbers, NaN as JSON has it, text, nothing."""
_CHANGE_LOG: Final = (
    "SELECT value, coalesce((SELECT max(number) FROM change_log), 0) FROM meta WHERE key = 'change_log'"
)
_CHANGES: Final = "SELECT number, trials, uids FROM change_log WHERE number > ?"
_ID_BYTES: Final = 16


class SqliteSource:
    """See `track_server.storage.sql.source.Source`.

    Args:
        db: the connection.
        path: of the store.
    """

    unlimited = -1
    listed_names = "json_group_array(name)"

    def __init__(self, db: apsw.Connection, path: str) -> None:
        self._db = db
        self.name = path

    def rows(self, sql: str, params: Iterable[Any]) -> list[tuple[Any, ...]]:
        """All rows of a statement."""
        with translated(self.name):
            return self._db.execute(sql, tuple(params)).fetchall()

    def iterate(self, sql: str, params: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
        """The rows of a statement, one by one."""
        with translated(self.name):
            yield from self._db.execute(sql, tuple(params))

    def among(self, values: Sequence[Any]) -> Fragment:
        """See `Source.among`."""
        return "IN (SELECT value FROM json_each(?))", [exactjson.dumps(list(values))]

    def among_keys(self, keys: Sequence[bytes]) -> Fragment:
        """See `Source.among_keys`."""
        return "IN (SELECT unhex(value) FROM json_each(?))", [json.dumps([key.hex() for key in keys])]

    def where(self, query: Query) -> Fragment:
        """Which rows a query selects."""
        return compile_query(query)

    def ordered(
        self, query: Query, order: Sequence[Order], start: int, limit: int | None
    ) -> list[tuple[Any, ...]]:
        """Row ids of what matches in an order by values."""
        table = TABLES[query.kind]
        where, where_params = compile_query(query)
        values = [compile_value(each.paths, query.kind) for each in order]
        columns = "".join(f", {sql} AS value{at}" for at, (sql, _) in enumerate(values))
        terms = [
            f"{_RANK.format(f'value{at}')}, value{at} {'DESC' if each.descending else 'ASC'}, "
            for at, each in enumerate(order)
        ]
        # Materialized, so that a value is looked up once a row and not once a comparison.
        return self.rows(
            f"WITH found AS MATERIALIZED (SELECT {table}.id AS id{columns} FROM {table} WHERE {where}) "  # noqa: S608 # all ours
            f"SELECT id FROM found ORDER BY {''.join(terms)}id LIMIT ? OFFSET ?",
            [
                *(param for _, params in values for param in params),
                *where_params,
                *(self.unlimited if limit is None else limit, start),
            ],
        )

    def cell(self, path: Path) -> Cell:
        """The value of a trial at a path."""
        sql, params, is_json = compile_cell(path)
        return Cell(sql, params, json_values if is_json else None)


class SqliteSnapshot(SqlSnapshot):
    """What a connection sees within its transaction, charts and the log of changes included."""

    def changes_since(self, cursor: str | None, limit: int) -> Changed:
        """What was committed since a moment, up to this many names."""
        ((log, last),) = self._rows(_CHANGE_LOG, ())
        now = f"{log}:{last}"
        since = _since(cursor, log)
        if since is None or since > last:
            return Changed(now, known=cursor is None)
        trials: set[bytes] = set()
        groups: set[str] = set()
        projects: set[str] = set()
        number = since
        for number, ids, uids in self._source.iterate(_CHANGES, [since]):
            if number != since + 1:
                return Changed(now, known=False)  # what was between them is pruned
            since = number
            trials.update([ids[at : at + _ID_BYTES] for at in range(0, len(ids), _ID_BYTES)])
            for names, found in zip((groups, projects), exactjson.loads(uids) if uids else (), strict=False):
                names.update(found)
            if len(trials) + len(groups) + len(projects) >= limit:
                break
        among, params = self._source.among_keys(list(trials))
        there = frozenset([key for (key,) in self._rows(f"SELECT key FROM trial WHERE key {among}", params)])  # noqa: S608 # all ours
        return Changed(
            f"{log}:{number}",
            more=number < last,
            trials=there,
            deleted=frozenset(trials - there),
            groups=frozenset(groups),
            projects=frozenset(projects),
        )


def _since(cursor: str | None, log: str) -> int | None:
    """The commit that a cursor names; None if it is of no commit of this log."""
    name, _, number = (cursor or "").partition(":")
    return int(number) if name == log and number.isascii() and number.isdecimal() else None
