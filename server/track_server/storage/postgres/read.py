"""Reading a PostgreSQL store: its connection, and the log of changes that any number of processes write."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from track_protocol.query.order import CREATED, FIELDS, Order
from track_protocol.query.parse import Query
from track_protocol.query.tree import Path, leaves
from track_server.storage import exactjson
from track_server.storage.contract import Changed
from track_server.storage.postgres.connection import PostgresConnection, Result, Statement
from track_server.storage.postgres.query import compile_cell, compile_query
from track_server.storage.sql.charts import SqlSnapshot
from track_server.storage.sql.source import TABLES, Cell, Fragment
from track_server.storage.sql.view import SqlView

__all__ = ["PostgresSnapshot", "PostgresSource"]

_ID_BYTES: Final = 16

_PAGE: Final = 4_096
"""Rows of which it is found out at once whether they match."""

_SNAPSHOT: Final = re.compile(r"(\d{1,18}):(\d{1,18}):((?:\d{1,18}(?:,\d{1,18})*)?)")
_CURSOR: Final = re.compile(r"([0-9a-f]+)/([\d:,]+)(?:/([\d:,]+)/(\d{1,18}))?")
_NOW: Final = (
    "SELECT (SELECT value FROM meta WHERE key = 'change_log'), "
    "(SELECT value FROM meta WHERE key = 'pruned'), pg_current_snapshot()::text"
)
_CHANGES: Final = """
SELECT number, trials, uids FROM change_log WHERE xid >= (?1::text)::xid8
AND NOT pg_visible_in_snapshot(xid, (?2::text)::pg_snapshot)
AND pg_visible_in_snapshot(xid, (?3::text)::pg_snapshot)
AND number > ?4 ORDER BY number LIMIT ?5
"""
"""Which transactions a snapshot sees is exact, whatever order they began, were numbered or ended in."""


class PostgresSource:
    """See `track_server.storage.sql.source.Source`.

    Args:
        db: the connection.
        begin: statements that are run in the round trip of the first one, before it.
        check: called before each read.

    Attributes:
        has_begun: whether anything was run.
    """

    unlimited = None
    listed_names = "json_agg(name)::text"

    def __init__(
        self,
        db: PostgresConnection,
        begin: Sequence[Statement] = (),
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._db = db
        self._pending = list(begin)
        self.check = check
        self.has_begun = False
        self.name = db.name

    def before_next(self, *statements: Statement) -> None:
        """Have statements run in the round trip of the next ones, before them."""
        self._pending += statements

    def run(self, *statements: Statement) -> list[Result]:
        """Run statements in one round trip."""
        self.has_begun = True
        pending, self._pending = self._pending, []
        return self._db.run(*pending, *statements)[len(pending) :]

    def rows(self, sql: str, params: Iterable[Any]) -> list[tuple[Any, ...]]:
        """All rows of a statement."""
        self.check()
        (result,) = self.run((sql, list(params)))
        return result.rows

    def iterate(self, sql: str, params: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
        """The rows of a statement, a few at a time."""
        self.check()
        if self._pending:
            self.run()
        return self._db.iterate(sql, params)

    def among(self, values: Sequence[Any]) -> Fragment:
        """See `Source.among`."""
        return "= ANY(?)", [list(values)]

    def among_keys(self, keys: Sequence[bytes]) -> Fragment:
        """See `Source.among_keys`."""
        return "= ANY(?::bytea[])", [list(keys)]

    def where(self, query: Query) -> Fragment:
        """Which rows a query selects."""
        compiled = compile_query(query)
        if compiled.is_exact:
            return compiled.sql, compiled.params
        return f"{TABLES[query.kind]}.id = ANY(?::bigint[])", [list(self.matching(query))]

    def matching(
        self, query: Query, limit: int | None = None, within: Sequence[int] | None = None
    ) -> list[int]:
        """Row ids of what matches, in the order of the rows, at most `limit`; within some of them, or all."""
        compiled, table = compile_query(query), TABLES[query.kind]
        among, given = ("", []) if within is None else ("AND id = ANY(?::bigint[]) ", [list(within)])
        # What is within OFFSET is evaluated once for a row.
        sql = (
            f"SELECT id, holds FROM (SELECT id, {compiled.sql} AS holds FROM {table} WHERE id > ? {among}"  # noqa: S608 # all ours
            "ORDER BY id OFFSET 0) AS found WHERE holds IS NOT FALSE ORDER BY id LIMIT ?"
        )
        found: list[int] = []
        last = -1
        while limit is None or len(found) < limit:
            size = _PAGE if limit is None else max(limit - len(found), _PAGE // 64)
            page = self.rows(sql, [*compiled.params, last, *given, size])
            unsure = [id for id, holds in page if holds is None]
            matched = self._looked_at(query, unsure) if unsure else set()
            found += [id for id, holds in page if holds or id in matched]
            if len(page) < size:
                break
            last = page[-1][0]
        return found[:limit]

    def _looked_at(self, query: Query, ids: Sequence[int]) -> set[int]:
        """Which rows match, as Python says."""
        roots = {getattr(leaf, "path", ("",))[0] for leaf in leaves(query.condition)}
        if "duration" in roots:
            roots |= {"started", "ended"}
        wanted = [name for name in FIELDS[query.kind] if name in roots]
        view = SqlView(self)
        documents = view.documents(query.kind, ids, wanted)
        if len(documents) == len(ids):
            return {id for id, each in zip(ids, documents, strict=True) if query.matches(each)}
        # Some were deleted meanwhile, and documents do not tell their rows.
        return {id for id in ids for each in view.documents(query.kind, [id], wanted) if query.matches(each)}

    def ordered(
        self, query: Query, order: Sequence[Order], start: int, limit: int | None
    ) -> list[tuple[Any, ...]]:
        """Row ids of what matches in an order by values."""
        where, params = self.where(query)
        table = TABLES[query.kind]
        cells = [
            [
                Cell(f"{table}.id", [], None) if path == CREATED else compile_cell(path, query.kind)
                for path in each.paths
            ]
            for each in order
        ]
        columns = "".join([f", {cell.sql}" for each in cells for cell in each])
        rows = self.rows(
            f"SELECT {table}.id{columns} FROM {table} WHERE {where} ORDER BY {table}.id",  # noqa: S608 # all ours
            [*[param for each in cells for cell in each for param in cell.params], *params],
        )
        if not rows:
            return []
        ids, *given = zip(*rows, strict=True)
        places = iter(given)
        values = [_first_values([(cell, next(places)) for cell in each]) for each in cells]
        found = _sorted(len(ids), values, [each.descending for each in order])
        stop = None if limit is None else start + limit
        return [(ids[place],) for place in found[start:stop]]

    def cell(self, path: Path) -> Cell:
        """The value of a trial at a path."""
        return compile_cell(path)


def _first_values(columns: Sequence[tuple[Cell, Sequence[Any]]]) -> list[Any]:
    """Of each row the first value that there is."""
    read = [list(values if cell.read is None else cell.read(values)) for cell, values in columns]
    return [next((value for value in row if value is not None), None) for row in zip(*read, strict=True)]


def _sorted(count: int, columns: Sequence[list[Any]], descending: Sequence[bool]) -> list[int]:
    """Places of rows in an order: numbers first, then NaN, then text, and last what has no value."""
    found = list(range(count))
    for column, backwards in reversed(list(zip(columns, descending, strict=True))):
        keys = [_comparable(value) for value in column]
        ranks: tuple[list[int], ...] = ([], [], [], [])
        for place in found:
            ranks[keys[place][0]].append(place)
        for some in ranks:
            some.sort(key=lambda place: keys[place][1], reverse=backwards)  # called at once
        found = [place for some in ranks for place in some]
    return found


def _comparable(value: Any) -> tuple[int, Any]:
    """The rank of a value, and what it is compared by with others of that rank."""
    if value is None:
        return 3, 0
    if isinstance(value, (int, float)):
        return (0, value) if value == value else (1, 0)
    return 2, value if isinstance(value, str) else exactjson.dumps(value)


class PostgresSnapshot(SqlSnapshot):
    """What a connection sees within its transaction, charts and the log of changes included."""

    def changes_since(self, cursor: str | None, limit: int) -> Changed:
        """What was committed since a moment, up to about this many names."""
        ((log, pruned, current),) = self._rows(_NOW, ())
        now = f"{log}/{current}"
        since = None if cursor is None else _Moment.parse(cursor, log, current)
        if cursor is None or since is None or int(pruned) >= since.first:
            return Changed(now, known=cursor is None)
        named = _Named()
        moved = since.until is not None
        for stage in since.stages(current):
            most = limit + 1 - named.count
            rows = self._rows(_CHANGES, [str(stage.first), stage.seen, stage.until, stage.number, most])
            last = stage.number
            for number, ids, uids in rows:
                if named.count >= limit:
                    break
                named.add(ids, uids)
                last, moved = number, True
            if len(rows) == most:
                return self._answer(named, replace(stage, number=last).cursor(log), more=True)
        # Where nothing has changed the moment stays as it is called.
        return self._answer(named, now if moved else cursor, more=False)

    def _answer(self, named: _Named, cursor: str, *, more: bool) -> Changed:
        among, params = self._source.among_keys(list(named.trials))
        there = frozenset([key for (key,) in self._rows(f"SELECT key FROM trial WHERE key {among}", params)])  # noqa: S608 # all ours
        return Changed(
            cursor,
            more=more,
            trials=there,
            deleted=frozenset(named.trials - there),
            groups=frozenset(named.groups),
            projects=frozenset(named.projects),
        )


class _Named:
    """What rows of the log of changes name."""

    def __init__(self) -> None:
        self.trials: set[bytes] = set()
        self.groups: set[str] = set()
        self.projects: set[str] = set()

    @property
    def count(self) -> int:
        return len(self.trials) + len(self.groups) + len(self.projects)

    def add(self, ids: bytes, uids: str | None) -> None:
        self.trials.update([ids[at : at + _ID_BYTES] for at in range(0, len(ids), _ID_BYTES)])
        for names, found in zip(
            (self.groups, self.projects), exactjson.loads(uids) if uids else (), strict=False
        ):
            names.update(found)


@dataclass(frozen=True, slots=True)
class _Moment:
    """Where a reader of the log of changes is.

    Attributes:
        seen: the snapshot of which it knows everything.
        first: the first transaction that this snapshot may lack.
        until: the snapshot up to which it is reading now; None for a new one.
        number: of the last row that it has read on the way there.
    """

    seen: str
    first: int
    until: str | None = None
    number: int = 0

    def stages(self, current: str) -> list[_Moment]:
        """What is to be read until the current snapshot."""
        if self.until is None:
            return [replace(self, until=current)]
        ends = _ends(self.until)
        assert ends is not None, "it was checked"
        return [self, _Moment(self.until, ends[0], current)]

    def cursor(self, log: str) -> str:
        """What `parse` gives back as this moment."""
        return f"{log}/{self.seen}/{self.until}/{self.number}"

    @staticmethod
    def parse(cursor: str, log: str, current: str) -> _Moment | None:
        """The moment that a cursor names; None if it is none of this log."""
        found = _CURSOR.fullmatch(cursor)
        if found is None or found[1] != log:
            return None
        first, last = _ends(found[2]), _ends(current)
        if first is None or last is None or first[1] > last[1]:
            return None
        if found[3] is None:
            return _Moment(found[2], first[0])
        until = _ends(found[3])
        if until is None or until[1] > last[1]:
            return None
        return _Moment(found[2], first[0], found[3], int(found[4]))


def _ends(snapshot: str) -> tuple[int, int] | None:
    """The first transaction that a snapshot may lack, and the first that it surely lacks; None for no
    snapshot."""
    found = _SNAPSHOT.fullmatch(snapshot)
    if found is None:
        return None
    first, last = int(found[1]), int(found[2])
    between = [int(each) for each in found[3].split(",")] if found[3] else []
    fits = 0 < first <= last and between == sorted(set(between))
    return (first, last) if fits and all(first <= each < last for each in between) else None
