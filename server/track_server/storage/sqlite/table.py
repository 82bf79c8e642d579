"""Tables, groups and summaries of the trials of a SQLite store."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from track_protocol.query.columns import Column
from track_protocol.query.parse import Query
from track_protocol.query.tables import MAX_FIELDS, group_rows, summarise_fields
from track_server.storage import exactjson
from track_server.storage.contract import Document
from track_server.storage.sqlite.query import compile_cell, compile_query

__all__ = ["TrialTables"]

_Rows = Callable[[str, Iterable[Any]], list[tuple[Any, ...]]]

_TREES: Final = ("parameters", "tags", "metadata")
_SEPARATOR: Final = "\x1f"
_CHUNK: Final = 256
"""Documents that are parsed at once: faster than one by one, and other threads need not wait for long."""

_EXAMPLES: Final = 32
"""Trials by whose series the names of series are ordered."""

_JSON_CACHED: Final = 4_096
"""Different texts of a column that are parsed once."""


class TrialTables:
    """Reads columns of trials.

    Args:
        rows: runs a statement.
    """

    def __init__(self, rows: _Rows) -> None:
        self._rows = rows

    def count(self, query: Query) -> int:
        """How many trials match."""
        where, params = compile_query(query)
        ((total,),) = self._rows(f"SELECT count(*) FROM trial WHERE {where}", params)  # noqa: S608 # all ours
        return int(total)

    def columns(self, keys: Sequence[int], columns: Sequence[Column]) -> tuple[list[bytes], list[list[Any]]]:
        """Ids and columns of the trials in some rows, in their order and without those that are not there."""
        cells = _Cells(columns)
        rows = self._rows(
            f"SELECT trial.id, trial.key{cells.sql} FROM trial "  # noqa: S608 # all ours
            "WHERE trial.id IN (SELECT value FROM json_each(?))",
            [*cells.params, exactjson.dumps(list(keys))],
        )
        by_key = {row[0]: row for row in rows}
        found = [by_key[key] for key in keys if key in by_key]
        return [row[1] for row in found], cells.read([row[2:] for row in found])

    def keys_of(self, ids: Sequence[bytes]) -> list[int]:
        """The rows of trials, in the order of their ids and without those that are not there."""
        rows = self._rows(
            "SELECT key, id FROM trial WHERE key IN (SELECT unhex(value) FROM json_each(?))",
            [exactjson.dumps([id.hex() for id in ids])],
        )
        by_id: dict[bytes, int] = dict(rows)
        return [by_id[id] for id in ids if id in by_id]

    def groups(
        self, query: Query, by: Sequence[Column], measures: Sequence[Column], limit: int
    ) -> list[Document]:
        """See `Snapshot.trial_groups`."""
        cells = _Cells([*by, *measures])
        where, params = compile_query(query)
        rows = self._rows(
            f"SELECT trial.id{cells.sql} FROM trial WHERE {where} ORDER BY trial.id",  # noqa: S608 # all ours
            [*cells.params, *params],
        )
        columns = cells.read([row[1:] for row in rows])
        return group_rows(zip(*columns, strict=True) if columns else ((),) * len(rows), len(by), limit)

    def fields(self, query: Query) -> Document:
        """See `Snapshot.fields`."""
        where, params = compile_query(query)
        rows = self._rows(
            f"SELECT id, status_name, {', '.join(_TREES)} FROM trial WHERE {where} ORDER BY id",  # noqa: S608 # all ours
            params,
        )
        trees = {root: _parsed([row[at] for row in rows]) for at, root in enumerate(_TREES, 2)}
        fields = summarise_fields(trees, len(rows))
        series = self._series(where, params)
        return {
            "total": len(rows),
            "fields": fields[:MAX_FIELDS],
            "series": series[:MAX_FIELDS],
            "statuses": dict(Counter(row[1] for row in rows)),
            "more": len(fields) > MAX_FIELDS or len(series) > MAX_FIELDS,
        }

    def _series(self, where: str, params: Sequence[Any]) -> list[Document]:
        # Most trials have the same series, so few lists are to be looked at, and nothing is sorted.
        lists = self._rows(
            f"SELECT trial, json_group_array(kind || '{_SEPARATOR}' || name) FROM series "  # noqa: S608 # all ours
            f"WHERE trial IN (SELECT id FROM trial WHERE {where}) AND kind <> 'superseded' GROUP BY trial",
            params,
        )
        examples = {text: trial for trial, text in reversed(lists)}
        first = list(reversed(examples.values()))[:_EXAMPLES]
        trials = {f"{kind}{_SEPARATOR}{name}": 0 for kind, name in self._series_of(first)}
        for text, count in Counter(text for _, text in lists).items():
            for each in exactjson.loads(text):
                trials[each] = trials.get(each, 0) + count
        parts = ((each.partition(_SEPARATOR), count) for each, count in trials.items())
        return [{"kind": kind, "name": name, "trials": count} for (kind, _, name), count in parts]

    def _series_of(self, trials: Sequence[int]) -> list[tuple[Any, ...]]:
        """Kinds and names of the series of some trials, in order of insertion."""
        return self._rows(
            "SELECT kind, name FROM series WHERE trial IN (SELECT value FROM json_each(?)) "
            "AND kind <> 'superseded' ORDER BY id",
            [exactjson.dumps(list(trials))],
        )


def _parsed(texts: Sequence[str]) -> Iterator[dict[Any, Any]]:
    for start in range(0, len(texts), _CHUNK):
        text = f"[{','.join(texts[start : start + _CHUNK])}]"
        # Without a form of its own, it is JSON as any other.
        yield from exactjson.loads(text) if '"$' in text else json.loads(text)


class _Cells:
    """What is selected for some columns, and how it is read.

    Attributes:
        sql: behind the first column of a statement.
        params: of it.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self.sql = ""
        self.params: list[Any] = []
        self._json: list[list[bool]] = []
        for column in columns:
            self._json.append([])
            for path in column.paths:
                sql, params, is_json = compile_cell(path)
                self.sql += f", {sql}"
                self.params += params
                self._json[-1].append(is_json)

    def read(self, rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
        """The columns of rows that were selected."""
        given = list(zip(*rows, strict=True)) if rows else [()] * sum(map(len, self._json))
        places = iter(given)
        columns: list[list[Any]] = []
        for kinds in self._json:
            column: list[Any] | None = None
            for is_json in kinds:
                values = list(_values(next(places)) if is_json else next(places))
                column = (
                    values
                    if column is None
                    else [
                        first if first is not None else second
                        for first, second in zip(column, values, strict=True)
                    ]
                )
            columns.append(column or [])
        return columns


def _values(texts: Sequence[str | None]) -> Iterator[Any]:
    """What JSON texts say, exactly: SQLite's own numbers may differ in the last digit."""
    known: dict[str | None, Any] = {None: None}
    for text in texts:
        if text in known:
            yield known[text]
            continue
        assert text is not None
        value = _number(text) if text[0] in "-0123456789" else exactjson.loads(text)
        if len(known) < _JSON_CACHED and not isinstance(value, (dict, list)):
            known[text] = value
        yield value


def _number(text: str) -> int | float:
    return int(text) if text.isdecimal() or text[1:].isdecimal() else float(text)
