"""Tables, groups and summaries of the trials of a SQL store."""

from __future__ import annotations

import json
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import islice
from typing import Any, Final

from track_protocol.errors import BadArguments
from track_protocol.query.columns import Column
from track_protocol.query.parse import Query
from track_protocol.query.tables import MAX_FIELDS, FieldSummaries, group_rows
from track_server.storage import exactjson
from track_server.storage.contract import Document, SeriesKey
from track_server.storage.sql.source import Cell, Source

__all__ = ["KnownSummaries", "TrialTables", "json_values"]

_TREES: Final = ("parameters", "tags", "metadata")
_CHUNK: Final = 512
"""Rows that are taken at once: faster than one by one, and other threads need not wait for long."""

_CHUNK_CHARS: Final = 1024 * 1024
_ROWS: Final = 32
"""Letters at which a chunk ends, and rows after which they are counted."""

_KNOWN_FIELDS: Final = 8_192
"""Summaries of single fields, of a chunk of rows each, that are retained; one takes 1 to 3 KB."""

_DIGEST_BYTES: Final = 16

_MAX_CHARS: Final = 16 * 1024 * 1024
"""Letters of all values of one table."""

_EXAMPLES: Final = 32
"""Trials by whose series the names of series are ordered."""

_JSON_CACHED: Final = 4_096
"""Different texts of a column that are parsed once."""


class TrialTables:
    """Reads columns of trials.

    Args:
        source: the connection; a transaction is open on it.
        known: summaries that were made before.
    """

    def __init__(self, source: Source, known: KnownSummaries) -> None:
        self._source = source
        self._rows = source.rows
        self._known = known

    def count(self, query: Query) -> int:
        """How many trials match."""
        where, params = self._source.where(query)
        ((total,),) = self._rows(f"SELECT count(*) FROM trial WHERE {where}", params)  # noqa: S608 # all ours
        return int(total)

    def columns(self, keys: Sequence[int], columns: Sequence[Column]) -> tuple[list[bytes], list[list[Any]]]:
        """Ids and columns of the trials in some rows, in their order and without those that are not there."""
        cells = _Cells(self._source, columns)
        among, params = self._source.among(keys)
        rows = self._bounded(
            f"SELECT trial.id, trial.key{cells.sql} FROM trial WHERE trial.id {among}",  # noqa: S608 # all ours
            [*cells.params, *params],
        )
        by_key = {row[0]: row for row in rows}
        found = [by_key[key] for key in keys if key in by_key]
        return [row[1] for row in found], cells.read([row[2:] for row in found])

    def keys_of(self, ids: Sequence[bytes]) -> list[int]:
        """The rows of trials, in the order of their ids and without those that are not there."""
        among, params = self._source.among_keys(ids)
        rows = self._rows(f"SELECT key, id FROM trial WHERE key {among}", params)  # noqa: S608 # all ours
        by_id: dict[bytes, int] = dict(rows)
        return [by_id[id] for id in ids if id in by_id]

    def groups(
        self, query: Query, by: Sequence[Column], measures: Sequence[Column], limit: int
    ) -> list[Document]:
        """See `Snapshot.trial_groups`."""
        cells = _Cells(self._source, [*by, *measures])
        where, params = self._source.where(query)
        rows = self._bounded(
            f"SELECT trial.id{cells.sql} FROM trial WHERE {where} ORDER BY trial.id",  # noqa: S608 # all ours
            [*cells.params, *params],
        )
        columns = cells.read([row[1:] for row in rows])
        return group_rows(zip(*columns, strict=True) if columns else ((),) * len(rows), len(by), limit)

    def series_of(
        self, query: Query, kind: str, name: str, by: Sequence[Column]
    ) -> tuple[list[SeriesKey], list[list[Any]]]:
        """See `Snapshot.series_of`."""
        cells = _Cells(self._source, by)
        where, params = self._source.where(query)
        rows = self._bounded(
            f"SELECT trial.key{cells.sql} FROM trial WHERE {where} AND EXISTS (SELECT 1 FROM series "  # noqa: S608 # all ours
            "WHERE series.trial = trial.id AND series.kind = ? AND series.name = ?) ORDER BY trial.id",
            [*cells.params, *params, kind, name],
        )
        return [(row[0], kind, name) for row in rows], cells.read([row[1:] for row in rows])

    def fields(self, query: Query) -> Document:
        """See `Snapshot.fields`."""
        where, params = self._source.where(query)
        statuses: Counter[str] = Counter()
        summaries = FieldSummaries()
        for rows, _ in self._chunks(
            f"SELECT status_name, {', '.join(_TREES)} FROM trial WHERE {where} ORDER BY id",  # noqa: S608 # all ours
            params,
        ):
            names, *trees = zip(*rows, strict=True)
            statuses.update(names)
            for root, texts in zip(_TREES, trees, strict=True):
                summaries.merge(self._known.summaries(root, f"[{','.join(texts)}]"))
        total = statuses.total()
        fields, series = summaries.documents(total), self._series(where, params)
        return {
            "total": total,
            "fields": fields[:MAX_FIELDS],
            "series": series[:MAX_FIELDS],
            "statuses": dict(statuses),
            "more": len(fields) > MAX_FIELDS or len(series) > MAX_FIELDS,
        }

    def _chunks(self, sql: str, params: Iterable[Any]) -> Iterator[tuple[list[tuple[Any, ...]], int]]:
        """Rows of a statement, some at a time, and how many letters their texts have."""
        rows = self._source.iterate(sql, params)
        chunk: list[tuple[Any, ...]] = []
        chars = 0
        while some := list(islice(rows, _ROWS)):
            chunk += some
            chars += sum([len(value) for row in some for value in row if type(value) is str])
            if len(chunk) >= _CHUNK or chars > _CHUNK_CHARS:
                yield chunk, chars
                chunk, chars = [], 0
        if chunk:
            yield chunk, chars

    def _bounded(self, sql: str, params: Iterable[Any]) -> list[tuple[Any, ...]]:
        """All rows of a statement.

        Raises:
            BadArguments: they are very large.
        """
        found: list[tuple[Any, ...]] = []
        total = 0
        for rows, chars in self._chunks(sql, params):
            found += rows
            total += chars
            if total > _MAX_CHARS:
                raise BadArguments(
                    f"the values have more than {_MAX_CHARS:,} letters: ask for fewer rows or columns at once"
                )
        return found

    def _series(self, where: str, params: Sequence[Any]) -> list[Document]:
        # Most trials have the same series, so few lists are to be looked at, and nothing is sorted.
        lists = self._rows(
            f"SELECT trial, kind, {self._source.listed_names} FROM series "  # noqa: S608 # all ours
            f"WHERE trial IN (SELECT id FROM trial WHERE {where}) AND kind <> 'superseded' "
            "GROUP BY trial, kind",
            params,
        )
        examples = {(kind, names): trial for trial, kind, names in reversed(lists)}
        first = list(reversed(examples.values()))[:_EXAMPLES]
        trials = dict.fromkeys(self._series_of(first), 0)
        for (kind, names), count in Counter((kind, names) for _, kind, names in lists).items():
            for name in exactjson.loads(names):
                trials[kind, name] = trials.get((kind, name), 0) + count
        return [{"kind": kind, "name": name, "trials": count} for (kind, name), count in trials.items()]

    def _series_of(self, trials: Sequence[int]) -> list[tuple[str, str]]:
        """Kinds and names of the series of some trials, in order of insertion."""
        among, params = self._source.among(trials)
        rows = self._rows(
            f"SELECT kind, name FROM series WHERE trial {among} AND kind <> 'superseded' ORDER BY id",  # noqa: S608 # all ours
            params,
        )
        return [(kind, name) for kind, name in rows]


class KnownSummaries:
    """Summaries of documents that were read before, by the text of these documents; for any thread.

    Most trials of a store have ended, so that whoever asks again finds most texts as they were.  Reading and
    comparing them costs a tenth of parsing them.
    """

    def __init__(self) -> None:
        self._by_text: OrderedDict[bytes, FieldSummaries] = OrderedDict()
        self._fields = 0
        self._lock = threading.Lock()

    def summaries(self, root: str, text: str) -> FieldSummaries:
        """The summaries of the documents in a JSON list, which must not be changed.

        Args:
            root: which field of trials these documents are.
            text: the list.
        """
        digest = blake2b(text.encode(), digest_size=_DIGEST_BYTES, person=root.encode()).digest()
        with self._lock:
            found = self._by_text.get(digest)
            if found is not None:
                self._by_text.move_to_end(digest)
                return found
        found = FieldSummaries()
        # Without a form of its own, it is JSON as any other.
        found.add(root, exactjson.loads(text) if '"$' in text else json.loads(text))
        with self._lock:
            self._fields += len(found) - len(self._by_text.get(digest, ()))
            self._by_text[digest] = found
            while self._fields > _KNOWN_FIELDS:
                _, oldest = self._by_text.popitem(last=False)
                self._fields -= len(oldest)
        return found


class _Cells:
    """What is selected for some columns, and how it is read.

    Attributes:
        sql: behind the first column of a statement.
        params: of it.
    """

    def __init__(self, source: Source, columns: Sequence[Column]) -> None:
        self._cells = [[source.cell(path) for path in column.paths] for column in columns]
        cells = [cell for column in self._cells for cell in column]
        self.sql = "".join([f", {cell.sql}" for cell in cells])
        self.params = [param for cell in cells for param in cell.params]

    def read(self, rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
        """The columns of rows that were selected."""
        given = list(zip(*rows, strict=True)) if rows else [()] * sum(map(len, self._cells))
        places = iter(given)
        return [_first_values(cells, places) for cells in self._cells]


def _first_values(cells: Sequence[Cell], places: Iterator[Sequence[Any]]) -> list[Any]:
    """Of each row the first value that there is."""
    column: list[Any] | None = None
    for cell in cells:
        found = next(places)
        values = list(found if cell.read is None else cell.read(found))
        if column is None:
            column = values
        else:
            both = zip(column, values, strict=True)
            column = [first if first is not None else second for first, second in both]
    return column or []


def json_values(texts: Sequence[str | None]) -> Iterator[Any]:
    """What JSON texts say, exactly: a database's own numbers may differ in the last digit."""
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
