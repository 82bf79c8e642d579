"""Compiles a query to a SQL expression that selects exactly what `Query.matches` selects.

And, or and not become SQL's own.  A comparison becomes SQL where SQL has the same meaning, and
otherwise a call of ``track_match(value, leaf)``, a function that `register_functions` installs and
that evaluates the comparison by the protocol's own rules.  No expression is ever NULL, so that NOT
is an exact negation.

JSON columns hold what `track_server.storage.exactjson` writes.  Three facts about it carry this module:

- A scalar has one text only (a number two or three: ``1``, ``1.0``), so equality with a scalar is
  equality of the text that ``->`` gives back verbatim, without a number ever being parsed.
- SQLite reads a decimal fraction to within some units in the last place (exactly only since 3.53),
  so a number close to the operand of an ordering is left to ``track_match``.
- Inside a dict written as ``{"$dict":...}`` a JSON path finds nothing.  A column that has such text
  anywhere is left to ``track_match``, as are keys that a path could not spell verbatim.

Everything that comes from a query is a bound parameter, JSON paths included.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final, Literal

import apsw

from track_protocol.query.order import CREATED
from track_protocol.query.tree import (
    MISSING,
    All,
    Among,
    AnyOf,
    Condition,
    Contains,
    Kind,
    Leaf,
    Not,
    Ordered,
    Path,
    Present,
    Query,
    is_number,
    named,
)
from track_server.storage import exactjson
from track_server.storage.sql.operands import margin_around, texts_of

__all__ = ["compile_cell", "compile_query", "compile_value", "register_functions"]

Fragment = tuple[str, list[Any]]
Sort = Literal["text", "blob", "number", "json"]

_SPELLABLE: Final = re.compile(r'(?!\$)[^"\\\x00-\x1f]*')
_BOUND_EACH: Final = 8
"""Values up to this many are bound one by one; more go as one JSON array."""
_MAX_KEYS: Final = 8
"""Parts of a name up to which it is looked for without parsing JSON."""
_CONTAINS: Final = "~"
_VALUE: Final = "value"
"""The root of what `track_match` is given."""
_TABLES: Final[dict[Kind, str]] = {"trial": "trial", "group": "trial_group", "project": "project"}
_SERIES: Final = {"metrics": "metric", "chronos": "chrono"}


@dataclass(frozen=True, slots=True)
class _Column:
    """Where a value is: SQL for it, and the sort it has when it is not NULL."""

    sql: str
    sort: Sort


_COLUMNS: Final[dict[Path, _Column]] = {
    ("id",): _Column("key", "blob"),
    ("uid",): _Column("uid", "text"),
    ("hash",): _Column("hash", "text"),
    ("revision",): _Column("revision", "number"),
    ("name",): _Column("name", "text"),
    ("description",): _Column("description", "text"),
    ("version",): _Column("version", "text"),
    ("project_id",): _Column("project_id", "text"),
    ("group_id",): _Column("group_id", "text"),
    ("created",): _Column("created", "number"),
    ("started",): _Column("started", "number"),
    ("ended",): _Column("ended", "number"),
    ("duration",): _Column("duration", "number"),
    ("status", "value"): _Column("status_value", "number"),
    ("status", "name"): _Column("status_name", "text"),
}

_COMPUTED: Final = {"duration": "({0}.ended - {0}.started)"}
"""SQL for columns that no table has."""

_TREES: Final = frozenset({"parameters", "tags", "metadata"})

_LOOKED_UP: Final = {
    "project": (
        "coalesce((SELECT coalesce(name, uid) FROM project WHERE uid = trial.project_id), trial.project_id)"
    ),
    "group": (
        "coalesce((SELECT coalesce(name, uid) FROM trial_group WHERE uid = trial.group_id), trial.group_id)"
    ),
    "seen": (
        "nullif(max(coalesce((SELECT max(last_time) FROM series WHERE series.trial = trial.id "
        "AND series.kind <> 'superseded'), -9e999), CASE WHEN json_type(trial.metadata, '$.heartbeat') = "
        "'real' THEN trial.metadata ->> '$.heartbeat' ELSE -9e999 END), -9e999)"
    ),
}
"""SQL for columns of tables of trials that no query knows."""

_STATISTICS: Final[dict[str, _Column]] = {
    "count": _Column("track_series.count", "number"),
    "first_step": _Column("track_series.first_step", "json"),
    "last_step": _Column("track_series.last_step", "json"),
    "last": _Column("track_series.last", "json"),
    "min": _Column("track_series.min", "number"),
    "max": _Column("track_series.max", "number"),
    "mean": _Column("track_series.mean", "number"),
    # m2 is about finite numbers only, and there need not be any.
    "sd": _Column(
        "CASE WHEN track_series.finite > 0 THEN sqrt(track_series.m2 / track_series.finite) END", "number"
    ),
}


def compile_query(query: Query, table: str | None = None) -> Fragment:
    """The SQL expression (1 or 0, never NULL) and its parameters for a query.

    Args:
        query: what to select.
        table: name or alias under which the statement knows the table of the query's kind; by
            default ``trial``, ``trial_group`` or ``project``.

    The connection needs `register_functions`.
    """
    return _condition(query.condition, table or _TABLES[query.kind])


def compile_value(paths: Sequence[Path], kind: Kind) -> Fragment:
    """The SQL expression for the first value at some paths, NULL without any, and its parameters."""
    values = [_value(path, _TABLES[kind]) for path in paths]
    params = [param for _, some in values for param in some]
    return (values[0][0] if len(values) == 1 else f"coalesce({', '.join(sql for sql, _ in values)})"), params


def compile_cell(path: Path) -> tuple[str, list[Any], bool]:
    """The SQL expression for the value of a trial at a path, NULL if there is none, and its parameters.

    The last of the three is whether the value is JSON text, from which every number can be had exactly.
    """
    if path == CREATED:
        return "trial.created", [], False
    if len(path) == 1 and path[0] in _TREES:
        return f"trial.{path[0]}", [], True
    if path[0] in _TREES:
        root, name = path
        value = f"trial.{root}"
        slow: Fragment = f"track_json({value}, ?)", [name]
        sql, params = _placed(value, name, slow, lambda place: (f"({value} -> ?)", [place]))
        return sql, params, True
    if path[0] in _SERIES:
        root, name, statistic = path
        column = _STATISTICS[statistic]
        return *_of_series(column.sql, "trial", root, name), column.sort == "json"
    sql, params = _value(path, "trial")
    return sql, params, False


def _of_series(value: str, table: str, root: str, name: str) -> Fragment:
    found = (
        f"SELECT {value} FROM series AS track_series WHERE track_series.trial = {table}.id "  # noqa: S608 # all ours
        "AND track_series.kind = ? AND track_series.name = ?"
    )
    return f"({found})", [_SERIES[root], name]


def _value(path: Path, table: str) -> Fragment:
    if path == CREATED:
        return f"{table}.id", []
    if path[0] in _LOOKED_UP:
        return _LOOKED_UP[path[0]], []
    if path[0] in _SERIES:
        root, name, statistic = path
        column = _STATISTICS[statistic]
        value = f"({column.sql} ->> '$')" if column.sort == "json" else column.sql
        return _of_series(value, table, root, name)
    if path in _COLUMNS:
        return _column_sql(_COLUMNS[path], table), []
    root, name = path
    value = f"{table}.{root}"
    slow: Fragment = f"track_value({value}, ?)", [name]
    return _placed(value, name, slow, lambda place: (f"({value} ->> ?)", [place]))


def register_functions(connection: apsw.Connection) -> None:
    """Install the functions that compiled queries call."""
    connection.create_scalar_function("track_match", _track_match, 2, deterministic=True)
    connection.create_scalar_function("track_contains", _track_contains, 2, deterministic=True)
    connection.create_scalar_function("track_value", _track_value, 2, deterministic=True)
    connection.create_scalar_function("track_json", _track_json, 2, deterministic=True)


def _condition(condition: Condition, table: str) -> Fragment:
    if isinstance(condition, Not):
        sql, params = _condition(condition.condition, table)
        return f"(NOT {sql})", params
    if isinstance(condition, (All, AnyOf)):
        word, empty = ("AND", "1") if isinstance(condition, All) else ("OR", "0")
        return _joined([_condition(part, table) for part in condition.conditions], word) or (empty, [])
    assert isinstance(condition, (Among, Contains, Ordered, Present))
    return _leaf(condition, table)


def _joined(parts: Sequence[Fragment], word: str) -> Fragment | None:
    """The parts in one expression, halved again and again: SQLite limits its depth, not its size."""
    if len(parts) <= 1:
        return parts[0] if parts else None
    middle = len(parts) // 2
    left, right = _joined(parts[:middle], word), _joined(parts[middle:], word)
    assert left is not None
    assert right is not None
    return f"({left[0]} {word} {right[0]})", left[1] + right[1]


def _leaf(leaf: Leaf, table: str) -> Fragment:
    if isinstance(leaf, Among) and not leaf.operands:
        return "0", []
    if leaf.path[0] in _SERIES:
        return _series(leaf, table)
    column = _COLUMNS.get(leaf.path)
    if column is not None:
        return _native(leaf, _column_sql(column, table), column.sort)
    root, *names = leaf.path
    return _json(leaf, f"{table}.{root}", names[0] if names else None)


def _column_sql(column: _Column, table: str) -> str:
    return _COMPUTED.get(column.sql, "{0}." + column.sql).format(table)


def _series(leaf: Leaf, table: str) -> Fragment:
    root, name, statistic = leaf.path
    sql, params = _statistic(leaf, _STATISTICS[statistic])
    without = int(leaf.holds({}))
    found = (
        f"SELECT {sql} FROM series AS track_series WHERE track_series.trial = {table}.id "  # noqa: S608 # all ours
        "AND track_series.kind = ? AND track_series.name = ?"
    )
    return f"coalesce(({found}), {without})", [*params, _SERIES[root], name]


def _statistic(leaf: Leaf, column: _Column) -> Fragment:
    if isinstance(leaf, Present):
        return "1", []
    return _json(leaf, column.sql, None) if column.sort == "json" else _native(leaf, column.sql, column.sort)


def _native(leaf: Leaf, value: str, sort: Sort) -> Fragment:
    """Comparison with a column, of which SQLite would convert an operand of another sort."""
    if isinstance(leaf, Present):
        return "1", []
    if isinstance(leaf, Contains):
        return (f"track_contains({value}, ?)", [leaf.text]) if sort == "text" else ("0", [])
    if isinstance(leaf, Ordered):
        if _sort_of(leaf.operand) != sort:
            return "0", []
        return f"({value} IS NOT NULL AND {value} {leaf.ordering} ?)", [leaf.operand]
    operands = [operand for operand in leaf.operands if _sort_of(operand) == sort]
    if None in leaf.operands:
        sql, params = _listed(value, operands, sort)
        return f"({value} IS NULL OR {sql})", params
    if len(operands) == 1:
        return f"({value} IS ?)", operands
    sql, params = _listed(value, operands, sort)
    return f"({value} IS NOT NULL AND {sql})", params


def _sort_of(operand: Any) -> Sort | None:
    if is_number(operand):
        return "number"
    return "text" if isinstance(operand, str) else "blob" if isinstance(operand, bytes) else None


def _listed(value: str, operands: Sequence[Any], sort: Sort) -> Fragment:
    if len(operands) <= _BOUND_EACH:
        return f"{value} IN ({','.join('?' * len(operands))})", list(operands)
    if sort == "text":
        return f"{value} IN (SELECT value FROM json_each(?))", [exactjson.dumps(operands)]  # noqa: S608 # all ours
    if sort == "blob":
        texts = [operand.hex() for operand in operands]
        return f"{value} IN (SELECT unhex(value) FROM json_each(?))", [exactjson.dumps(texts)]  # noqa: S608 # all ours
    return _matched(Among.of((), operands), value, None)


def _json(leaf: Leaf, column: str, name: str | None) -> Fragment:
    """Comparison with what a dotted name leads to inside a column of JSON text."""
    if isinstance(leaf, Contains) or _has_composite(leaf):
        return _matched(leaf, column, name)
    if name is None:
        return _json_plain(leaf, column, None, "$")
    slow = _matched(leaf, column, name)
    return _placed(column, name, slow, lambda place: _json_plain(leaf, column, name, place))


def _placed(column: str, name: str, slow: Fragment, plain: Callable[[str], Fragment]) -> Fragment:
    """What a dotted name leads to: by a JSON path where one surely finds it, else by a function.

    The longest key comes first, which is the entire name.  When no two of its parts are joined in a key,
    each part is a key; to be sure of that, the text must not hold them joined anywhere.
    """
    keys = name.split(".")
    if len(keys) > _MAX_KEYS or not all(map(_SPELLABLE.fullmatch, keys)):
        return slow
    nested, nested_params = plain("$" + "".join(f'."{key}"' for key in keys))
    if len(keys) == 1:
        sql = f"CASE WHEN instr({column}, '\"$dict\"') THEN {slow[0]} ELSE {nested} END"
        return sql, [*slow[1], *nested_params]
    entire, entire_params = plain(f'$."{name}"')
    joined = [exactjson.dumps(f"{one}.{other}")[1:-1] for one, other in pairwise(keys)]
    anywhere = " OR ".join([f"instr({column}, ?)"] * len(joined))
    sql = (
        f"CASE WHEN instr({column}, '\"$dict\"') THEN {slow[0]} WHEN NOT ({anywhere}) THEN {nested} "
        f"WHEN json_type({column}, ?) IS NOT NULL THEN {entire} ELSE {slow[0]} END"
    )
    return sql, [*slow[1], *joined, *nested_params, f'$."{name}"', *entire_params, *slow[1]]


def _has_composite(leaf: Leaf) -> bool:
    composites = (list, tuple, dict)
    return isinstance(leaf, Among) and any(isinstance(each, composites) for each in leaf.operands)


def _json_plain(leaf: Among | Ordered | Present, column: str, name: str | None, path: str) -> Fragment:
    if isinstance(leaf, Present):
        return f"(json_type({column}, ?) IS NOT NULL)", [path]
    if isinstance(leaf, Ordered):
        ordered = _json_text_ordered if isinstance(leaf.operand, str) else _json_number_ordered
        return ordered(leaf, column, name, path)
    texts = [text for operand in leaf.operands for text in texts_of(operand)]
    sql, params = _listed(f"({column} -> ?)", texts, "text")
    return f"coalesce({sql}, {int(None in leaf.operands)})", [path, *params]


def _json_text_ordered(leaf: Ordered, column: str, name: str | None, path: str) -> Fragment:
    sql = f"CASE WHEN json_type({column}, ?) = 'text' THEN ({column} ->> ?) {leaf.ordering} ? ELSE 0 END"
    return sql, [path, path, leaf.operand]


def _json_number_ordered(leaf: Ordered, column: str, name: str | None, path: str) -> Fragment:
    operand = float(leaf.operand)
    margin = margin_around(operand)
    below = int(leaf.ordering in ("<", "<="))
    near, near_params = _matched(leaf, column, name)
    sql = (
        f"CASE WHEN coalesce(json_type({column}, ?), '') NOT IN ('integer', 'real') THEN 0 "
        f"WHEN ({column} ->> ?) < ? THEN {below} WHEN ({column} ->> ?) > ? THEN {1 - below} ELSE {near} END"
    )
    return sql, [path, path, operand - margin, path, operand + margin, *near_params]


def _matched(leaf: Leaf, value: str, name: str | None) -> Fragment:
    return f"track_match({value}, ?)", [_written(leaf, name)]


def _written(leaf: Leaf, name: str | None) -> str:
    if isinstance(leaf, Present):
        return exactjson.dumps([name])
    if isinstance(leaf, Among):
        return exactjson.dumps([name, leaf.operands])
    if isinstance(leaf, Contains):
        return exactjson.dumps([name, _CONTAINS, leaf.text])
    return exactjson.dumps([name, leaf.ordering, leaf.operand])


@lru_cache(maxsize=256)
def _read(text: str) -> Leaf:
    name, *rest = exactjson.loads(text)
    path = () if name is None else (_VALUE, name)
    if not rest:
        return Present(path)
    if len(rest) == 1:
        return Among.of(path, rest[0])
    return Contains(path, rest[1]) if rest[0] == _CONTAINS else Ordered(path, *rest)


def _track_match(*arguments: apsw.SQLiteValue) -> bool:
    """Whether a comparison (the second argument) holds for JSON text, or for a number as it is."""
    text, leaf = arguments
    value = exactjson.loads(text) if isinstance(text, str) else text
    condition = _read(str(leaf))
    return condition.holds({_VALUE: value} if condition.path else value)


def _track_contains(*arguments: apsw.SQLiteValue) -> bool:
    """Whether a string holds a text (the second argument), which is folded already."""
    value, text = arguments
    return isinstance(value, str) and str(text) in value.casefold()


def _track_value(*arguments: apsw.SQLiteValue) -> apsw.SQLiteValue:
    """What a dotted name (the second argument) leads to inside JSON text, as ``->>`` gives it."""
    text, name = arguments
    value = named(exactjson.loads(str(text)), str(name))
    if value is MISSING:
        return None
    plain = value is None or isinstance(value, (str, int)) or (isinstance(value, float) and value == value)
    return value if plain else exactjson.dumps(value)


def _track_json(*arguments: apsw.SQLiteValue) -> apsw.SQLiteValue:
    """What a dotted name (the second argument) leads to inside JSON text, as ``->`` gives it."""
    text, name = arguments
    value = named(exactjson.loads(str(text)), str(name))
    return None if value is MISSING else exactjson.dumps(value)
