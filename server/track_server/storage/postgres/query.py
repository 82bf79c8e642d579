"""Compiles a query to an SQL expression that is true, false, or NULL where only Python can tell.

SQL knows three values, so that AND, OR and NOT of what cannot be told are as they should be.  Whoever
evaluates the expression looks at the rows for which it is NULL with `Query.matches`, which is exact; there
are few of them:

- rows whose JSON holds an escape that PostgreSQL refuses (``\\u0000``), or a dict with keys that are no
  strings, inside which a key is not found;
- numbers very close to the operand of an ordering, and texts beyond ASCII where capital letters do not
  count;
- values compared with a list or a dict, which are equal in more than one form.

JSON columns are of the type json, which keeps the text as it was written: ``->`` gives the text of a value
back verbatim, and `track_server.storage.exactjson` has one text for a scalar (a number two or three).

Everything that comes from a query is a bound parameter.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from itertools import pairwise
from typing import Any, Final, Literal

from track_protocol.model.values import INT_MAX, INT_MIN
from track_protocol.query.order import CREATED
from track_protocol.query.parse import Kind, Query
from track_protocol.query.tree import (
    MISSING,
    All,
    Among,
    AnyOf,
    Condition,
    Contains,
    Leaf,
    Not,
    Ordered,
    Path,
    Present,
    is_number,
    named,
)
from track_server.storage import exactjson
from track_server.storage.sql.operands import margin_around, texts_of
from track_server.storage.sql.source import TABLES, Cell, Fragment
from track_server.storage.sql.tables import json_values

__all__ = ["Compiled", "compile_cell", "compile_query"]

Sort = Literal["text", "blob", "int", "float", "json"]

_SPELLABLE: Final = re.compile(r'(?!\$)[^"\\\x00-\x1f]*')
_MAX_KEYS: Final = 8
"""Parts of a name up to which it is looked for without parsing JSON in Python."""

_SERIES: Final = {"metrics": "metric", "chronos": "chrono"}
_TREES: Final = frozenset({"parameters", "tags", "metadata"})
_WHOLE: Final = "#"
"""Before the text of a whole column, in which Python looks for the value; no JSON begins with it."""


@dataclass(frozen=True, slots=True)
class _Column:
    """Where a value is: SQL for it, and the sort it has when it is not NULL."""

    sql: str
    sort: Sort


@dataclass(frozen=True, slots=True)
class Compiled:
    """A query in SQL.

    Attributes:
        sql, params: the expression.
        is_exact: whether it is never NULL.
    """

    sql: str
    params: list[Any]
    is_exact: bool


_COLUMNS: Final[dict[Path, _Column]] = {
    ("id",): _Column("{0}.key", "blob"),
    ("uid",): _Column("{0}.uid", "text"),
    ("hash",): _Column("{0}.hash", "text"),
    ("revision",): _Column("{0}.revision", "int"),
    ("name",): _Column("{0}.name", "text"),
    ("description",): _Column("{0}.description", "text"),
    ("version",): _Column("{0}.version", "text"),
    ("project_id",): _Column("{0}.project_id", "text"),
    ("group_id",): _Column("{0}.group_id", "text"),
    ("created",): _Column("{0}.created", "float"),
    ("started",): _Column("{0}.started", "float"),
    ("ended",): _Column("{0}.ended", "float"),
    ("duration",): _Column("({0}.ended - {0}.started)", "float"),
    ("status", "value"): _Column("{0}.status_value", "int"),
    ("status", "name"): _Column("{0}.status_name", "text"),
}

_LOOKED_UP: Final = {
    "project": (
        "coalesce((SELECT coalesce(name, uid) FROM project WHERE uid = trial.project_id), trial.project_id)"
    ),
    "group": (
        "coalesce((SELECT coalesce(name, uid) FROM trial_group WHERE uid = trial.group_id), trial.group_id)"
    ),
    "seen": (
        "greatest((SELECT max(last_time) FROM series WHERE series.trial = trial.id "
        "AND series.kind <> 'superseded'), CASE WHEN strpos(trial.metadata::text, '\\u') > 0 THEN NULL "
        "WHEN (trial.metadata -> 'heartbeat')::text ~ '^-{0,1}[0-9]+[.e]' "
        "THEN (trial.metadata -> 'heartbeat')::text::double precision END)"
    ),
}
"""SQL for columns of tables of trials that no query knows."""

_STATISTICS: Final[dict[str, _Column]] = {
    "count": _Column("track_series.count", "int"),
    "first_step": _Column("track_series.first_step", "json"),
    "last_step": _Column("track_series.last_step", "json"),
    "last": _Column("track_series.last", "json"),
    "min": _Column("track_series.min", "float"),
    "max": _Column("track_series.max", "float"),
    "mean": _Column("track_series.mean", "float"),
    "sd": _Column(
        "CASE WHEN track_series.finite > 0 THEN sqrt(track_series.m2 / track_series.finite) END", "float"
    ),
}
_OF_SERIES: Final = (
    "SELECT {value} FROM series AS track_series WHERE track_series.trial = {table}.id "
    "AND track_series.kind = ? AND track_series.name = ?"
)


def compile_query(query: Query) -> Compiled:
    """The SQL expression for a query, over the table of its kind."""
    sql, params = _condition(query.condition, TABLES[query.kind])
    return Compiled(sql, params, _is_exact(query.condition))


def compile_cell(path: Path, kind: Kind = "trial") -> Cell:
    """The SQL expression for the value at a path, NULL if there is none, and how to read it."""
    table = TABLES[kind]
    if path == CREATED:
        return Cell(f"{table}.created" if kind == "trial" else f"{table}.id", [], None)
    if path[0] in _LOOKED_UP:
        return Cell(_LOOKED_UP[path[0]], [], None)
    if path[0] in _TREES:
        root, *names = path
        value = f"{table}.{root}"
        if not names:
            return Cell(value, [], json_values)
        sql, params = _placed(
            value,
            names[0],
            (f"'{_WHOLE}' || {value}::text", []),
            lambda found, keys: (f"({found})::text", keys),
        )
        return Cell(sql, params, partial(_named_values, names[0]))
    if path[0] in _SERIES:
        root, name, statistic = path
        column = _STATISTICS[statistic]
        sql = f"({_OF_SERIES.format(value=column.sql, table=table)})"
        return Cell(sql, [_SERIES[root], name], json_values if column.sort == "json" else None)
    return Cell(_COLUMNS[path].sql.format(table), [], None)


def _named_values(name: str, texts: Sequence[str | None]) -> list[Any]:
    """What JSON texts say, of which some are of the whole column."""
    plain = json_values([text if text is None or text[0] != _WHOLE else None for text in texts])
    found = []
    for text, value in zip(texts, plain, strict=True):
        if text is not None and text[0] == _WHOLE:
            looked_up = named(exactjson.loads(text[1:]), name)
            found.append(None if looked_up is MISSING else looked_up)
        else:
            found.append(value)
    return found


def _is_exact(condition: Condition) -> bool:
    if isinstance(condition, Not):
        return _is_exact(condition.condition)
    if isinstance(condition, (All, AnyOf)):
        return all(map(_is_exact, condition.conditions))
    assert isinstance(condition, (Among, Contains, Ordered, Present))
    if condition.path[0] in _SERIES:
        return isinstance(condition, Present) or _STATISTICS[condition.path[2]].sort != "json"
    return condition.path in _COLUMNS and not isinstance(condition, Contains)


def _condition(condition: Condition, table: str) -> Fragment:
    if isinstance(condition, Not):
        sql, params = _condition(condition.condition, table)
        return f"(NOT {sql})", params
    if isinstance(condition, (All, AnyOf)):
        word, empty = ("AND", "TRUE") if isinstance(condition, All) else ("OR", "FALSE")
        parts = [_condition(part, table) for part in condition.conditions]
        joined = f" {word} ".join([sql for sql, _ in parts])
        return f"({joined})" if parts else empty, [param for _, params in parts for param in params]
    assert isinstance(condition, (Among, Contains, Ordered, Present))
    return _leaf(condition, table)


def _leaf(leaf: Leaf, table: str) -> Fragment:
    if isinstance(leaf, Among) and not leaf.operands:
        return "FALSE", []
    if leaf.path[0] in _SERIES:
        return _series(leaf, table)
    column = _COLUMNS.get(leaf.path)
    if column is not None:
        return _native(leaf, column.sql.format(table), column.sort)
    root, *names = leaf.path
    value = f"{table}.{root}"
    if not names:
        return _json(leaf, value, [])
    return _placed(value, names[0], ("NULL::boolean", []), partial(_json, leaf))


def _series(leaf: Leaf, table: str) -> Fragment:
    root, name, statistic = leaf.path
    column = _STATISTICS[statistic]
    without = "TRUE" if leaf.holds({}) else "FALSE"
    keys = [_SERIES[root], name]
    if isinstance(leaf, Present):
        return f"EXISTS ({_OF_SERIES.format(value='1', table=table)})", keys
    if column.sort != "json":
        sql, params = _native(leaf, column.sql, column.sort)
        return f"coalesce(({_OF_SERIES.format(value=sql, table=table)}), {without})", [*params, *keys]
    # Of a series that is not there it is known; NULL of one that is there has to stay what it is.
    sql, params = _json(leaf, column.sql, [])
    told = f"coalesce(({sql})::text, '')"
    found = f"coalesce(({_OF_SERIES.format(value=told, table=table)}), '{without.lower()}')"
    return f"(nullif({found}, '')::boolean)", [*params, *keys]


def _native(leaf: Leaf, value: str, sort: Sort) -> Fragment:
    """Comparison with a column; never NULL but for texts in which capital letters do not count."""
    if isinstance(leaf, Present):
        return "TRUE", []
    if isinstance(leaf, Contains):
        return _contains(value, leaf.text) if sort == "text" else ("FALSE", [])
    if isinstance(leaf, Ordered):
        compared = _ordered(leaf, sort)
        return (
            ("FALSE", [])
            if compared is None
            else (f"coalesce({value} {compared[0]} {_bound(sort)}, FALSE)", [compared[1]])
        )
    operands = [each for operand in leaf.operands for each in _as_sort(operand, sort)]
    sql, params = (f"{value} = ANY(?::{_TYPES[sort]}[])", [operands]) if operands else ("FALSE", [])
    if len(operands) == 1:
        sql, params = f"{value} = {_bound(sort)}", operands
    if None in leaf.operands:
        return f"({value} IS NULL OR {sql})", params
    return f"coalesce({sql}, FALSE)", params


_TYPES: Final[dict[Sort, str]] = {
    "text": "text",
    "blob": "bytea",
    "int": "bigint",
    "float": "double precision",
}


def _bound(sort: Sort) -> str:
    return f"?::{_TYPES[sort]}" + (' COLLATE "C"' if sort == "text" else "")


def _as_sort(operand: Any, sort: Sort) -> list[Any]:
    """The operand as a value of a column, none if it has no such value."""
    if sort == "text":
        return [operand] if isinstance(operand, str) else []
    if sort == "blob":
        return [operand] if isinstance(operand, bytes) else []
    if not is_number(operand):
        return []
    if sort == "int":
        whole = isinstance(operand, int) or operand.is_integer()
        return [int(operand)] if whole and INT_MIN <= operand <= INT_MAX else []
    return [float(operand)] if float(operand) == operand else []


def _ordered(leaf: Ordered, sort: Sort) -> tuple[str, Any] | None:
    """Ordering and operand for a column of a sort; None if nothing is ordered so."""
    ordering, operand = leaf.ordering, leaf.operand
    if isinstance(operand, str):
        return (ordering, operand) if sort == "text" else None
    if sort == "float":
        near = float(operand)
        if near == operand:
            return ordering, near
        # Between two floats that follow each other.
        if ordering[0] == "<":
            return ("<" if near > operand else "<="), near
        return (">=" if near > operand else ">"), near
    if sort != "int":
        return None
    below = ordering[0] == "<"
    if operand > INT_MAX or operand < INT_MIN:
        return (">=", INT_MIN) if below == (operand > 0) else ("<", INT_MIN)
    if isinstance(operand, float) and not operand.is_integer():
        return ("<=", math.floor(operand)) if below else (">=", math.ceil(operand))
    return ordering, int(operand)


def _contains(text: str, sought: str) -> Fragment:
    """Whether a text holds another, which is folded; NULL for texts beyond ASCII."""
    return (
        f"(CASE WHEN {text} IS NULL THEN FALSE WHEN octet_length({text}) = char_length({text}) "
        f'THEN strpos(lower({text} COLLATE "C"), ?::text) > 0 END)',
        [sought],
    )


def _json(leaf: Leaf, value: str, keys: list[Any]) -> Fragment:
    """Comparison with a value of the type json, NULL where there is none."""
    text = f"({value})::text"
    if isinstance(leaf, Present):
        return f"(({value}) IS NOT NULL)", keys
    if isinstance(leaf, Among):
        texts = [each for operand in leaf.operands for each in texts_of(operand)]
        none = "TRUE" if None in leaf.operands else "FALSE"
        sql = f"coalesce({text} = ANY(?::text[]), {none})"
        if not any(isinstance(operand, (list, tuple, dict)) for operand in leaf.operands):
            return sql, [*keys, texts]
        return f"(CASE WHEN json_typeof({value}) IN ('object', 'array') THEN NULL ELSE {sql} END)", [
            *keys,
            *keys,
            texts,
        ]
    if isinstance(leaf, Ordered) and not isinstance(leaf.operand, str):
        return _json_number(leaf.ordering, leaf.operand, value, keys)
    # Between the quotes, which a text without a backslash holds as it is.
    inner = f'substr({text}, 2, length({text}) - 2) COLLATE "C"'
    if isinstance(leaf, Ordered):
        compared, params = f"{inner} {leaf.ordering} ?::text", [*keys, *keys, leaf.operand]
    else:
        compared, sought = _contains(f"({inner})", leaf.text)
        params = [*keys * compared.count(value), *sought]
    return (
        f"(CASE WHEN json_typeof({value}) = 'string' THEN "
        f"CASE WHEN strpos({text}, '\\') > 0 THEN NULL ELSE {compared} END ELSE FALSE END)",
        [*keys, *keys, *params],
    )


def _json_number(ordering: str, operand: int | float, value: str, keys: list[Any]) -> Fragment:
    below, equal = ordering[0] == "<", len(ordering) == 2
    limit = float(operand)
    margin = margin_around(limit)
    low, high = (Decimal(repr(end)) for end in (limit - margin, limit + margin))
    number = f"({value})::text::numeric"
    sql = (
        f"(CASE WHEN coalesce(json_typeof({value}), '') <> 'number' THEN FALSE "
        f"WHEN ({value})::text = ANY(?::text[]) THEN {'TRUE' if equal else 'FALSE'} "
        f"WHEN {number} < ?::numeric THEN {'TRUE' if below else 'FALSE'} "
        f"WHEN {number} > ?::numeric THEN {'FALSE' if below else 'TRUE'} END)"
    )
    return sql, [*keys, *keys, texts_of(operand), *keys, low, *keys, high]


def _placed(
    column: str, name: str, otherwise: Fragment, plain: Callable[[str, list[Any]], Fragment]
) -> Fragment:
    """What a dotted name leads to: by ``->`` where that surely finds it, otherwise something else.

    The longest key comes first, which is the entire name.  When no two of its parts are joined in a key,
    each part is a key; to be sure of that, the text must not hold them joined anywhere.

    Args:
        column: of JSON. name: the dotted name. otherwise: what stands for the value where ``->`` does not
        find it. plain: makes an expression of one for the value, with its parameters.
    """
    keys = name.split(".")
    if len(keys) > _MAX_KEYS or not all(map(_SPELLABLE.fullmatch, keys)):
        return otherwise
    text = f"{column}::text"
    nested, nested_params = plain(column + " -> ?::text" * len(keys), [*keys])
    refused = f"strpos({text}, '\"$dict\"') > 0 OR strpos({text}, '\\u') > 0"
    if len(keys) == 1:
        return f"(CASE WHEN {refused} THEN {otherwise[0]} ELSE {nested} END)", [*otherwise[1], *nested_params]
    entire, entire_params = plain(f"{column} -> ?::text", [name])
    joined = [exactjson.dumps(f"{one}.{other}")[1:-1] for one, other in pairwise(keys)]
    anywhere = " OR ".join([f"strpos({text}, ?) > 0"] * len(joined))
    sql = (
        f"(CASE WHEN {refused} THEN {otherwise[0]} WHEN NOT ({anywhere}) THEN {nested} "
        f"WHEN ({column} -> ?::text) IS NOT NULL THEN {entire} ELSE {otherwise[0]} END)"
    )
    return sql, [*otherwise[1], *joined, *nested_params, name, *entire_params, *otherwise[1]]
