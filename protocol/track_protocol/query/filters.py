"""The query language as a person types it, and its translation to a query.

::

    status = running and lr < 0.1
    (params.optimizer.name in (adam, sgd) or tags.team = "vision") and not name ~ debug
    metrics.loss.min <= 1e-3 and loss{phase="train"} > 0.5 and chronos.runtime > 2h

A filter is comparisons, joined by ``and``, ``or``, ``not`` and parentheses.  ``and`` binds closer than
``or``; these words may be written in capital letters, and no filter at all selects everything.

**Names.**  ``name uid id hash revision description version status project group`` are the trial's own;
so are ``created``, ``started`` and ``ended``, in seconds since the epoch.
``params.NAME`` (or ``parameters.NAME``), ``tags.NAME`` and ``metadata.NAME`` are values that it was given;
``metrics.NAME`` is the last value of a series and ``chronos.NAME`` the mean of a timer, and a final
``.min .max .mean .sd .count .last .first_step .last_step`` another statistic.  A name with labels,
``loss{phase="train"}``, is a metric, in whatever order the labels are written; any other plain name is a
parameter (in a filter of projects or groups: metadata).  A name with spaces or special characters is quoted:
``params."weight decay"``.

**Comparisons.**  ``= != < <= > >=``; ``~`` (or ``contains``) for a text that contains another, capital and
small letters alike, and ``!~``; ``in (a, b)`` and ``not in (a, b)``; ``NAME exists``.  What holds when a
value is missing, or is of another sort, is written in `track_protocol.query.parse`.

**Values.**  Numbers, ``true``, ``false``, ``null``, ``inf``; durations as ``90s 15m 2h 3d``, which are
seconds; anything else is a text, which may stand without quotes when it is one word.  A status goes by its
name in capital or small letters, a project or group by its name or uid.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from track_protocol.errors import BadQuery
from track_protocol.model.entities import STATUS_NAMES, Project
from track_protocol.query.parse import Kind, parse_query

__all__ = [
    "KEYWORDS",
    "Comparison",
    "Conjunction",
    "Disjunction",
    "Existence",
    "Filter",
    "FindUids",
    "Membership",
    "Negation",
    "Value",
    "filter_query",
]

Value = str | int | float | bool | None

FindUids = Callable[[str, str], Sequence[str]]
"""Takes ``project`` or ``group`` and a name; returns the uids of those with that name."""

KEYWORDS: Final = frozenset({"and", "or", "not", "in", "contains", "exists"})

_OPERATORS: Final = {
    "=": "$eq",
    "!=": "$ne",
    "<": "$lt",
    "<=": "$lte",
    ">": "$gt",
    ">=": "$gte",
    "~": "$contains",
    "!~": "$contains",
}
_SCALARS: Final = frozenset(
    {"uid", "id", "hash", "revision", "name", "description", "version", "status"}
    | {"created", "started", "ended"}
)
_TREES: Final = {
    "params": "parameters",
    **{name: name for name in ("parameters", "tags", "metadata", "metrics", "chronos")},
}
_OWNERS: Final = {"project": "project", "project_id": "project", "group": "group", "group_id": "group"}
_PLAIN: Final = re.compile(r"[^\W\d][\w.\-/:@]*")
_ID: Final = re.compile(r"[0-9a-fA-F]{32}")
_ESCAPES: Final = {"\\": "\\\\", "'": "\\'", "\n": "\\n", "\t": "\\t"}


@dataclass(frozen=True, slots=True)
class Comparison:
    """A name, an operator and a value.

    Attributes:
        name: as written, without quotes.
        operator: ``= != < <= > >= ~ !~``.
        value: the value to compare with.
        column: its position in the text, from 1.
    """

    name: str
    operator: str
    value: Value
    column: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return f"{_name_text(self.name)} {self.operator} {_value_text(self.value)}"


@dataclass(frozen=True, slots=True)
class Membership:
    """A name, and the values of which it has one, or none."""

    name: str
    values: tuple[Value, ...]
    negated: bool = False
    column: int = field(default=0, compare=False)

    def __str__(self) -> str:
        word = "not in" if self.negated else "in"
        return f"{_name_text(self.name)} {word} ({', '.join(map(_value_text, self.values))})"


@dataclass(frozen=True, slots=True)
class Existence:
    """There is a value of that name, be it null."""

    name: str
    column: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return f"{_name_text(self.name)} exists"


@dataclass(frozen=True, slots=True)
class Negation:
    """A filter does not hold."""

    part: Filter

    def __str__(self) -> str:
        return f"not {_inner(self.part)}"


@dataclass(frozen=True, slots=True)
class Conjunction:
    """All of two or more filters hold."""

    parts: tuple[Filter, ...]

    def __str__(self) -> str:
        return " and ".join(map(_inner, self.parts))


@dataclass(frozen=True, slots=True)
class Disjunction:
    """One of two or more filters holds."""

    parts: tuple[Filter, ...]

    def __str__(self) -> str:
        return " or ".join(map(_inner, self.parts))


Filter = Comparison | Membership | Existence | Negation | Conjunction | Disjunction


def filter_query(filter: Filter, kind: Kind = "trial", uids: FindUids | None = None) -> dict[str, Any]:
    """The query of a filter.

    Args:
        filter: the parsed filter.
        kind: the kind of object to select.
        uids: finds projects and groups by name; without it, groups go by their uid only.

    Raises:
        BadQuery: a name, an operator or a value does not fit the others; the message gives the column.
    """
    if isinstance(filter, Negation):
        return {"$not": filter_query(filter.part, kind, uids)}
    if isinstance(filter, (Conjunction, Disjunction)):
        word = "$and" if isinstance(filter, Conjunction) else "$or"
        return {word: [filter_query(part, kind, uids) for part in filter.parts]}
    try:
        query = _leaf(filter, kind, uids)
        parse_query(query, kind)
    except BadQuery as error:
        raise BadQuery(f"column {filter.column}: {error}") from None
    return query


def _leaf(leaf: Comparison | Membership | Existence, kind: Kind, uids: FindUids | None) -> dict[str, Any]:
    root = leaf.name.partition(".")[0]
    if root in _OWNERS and root == leaf.name and not (kind == "project" or kind == root == "group"):
        return _owner(leaf, _OWNERS[root], uids)
    path = _path(leaf.name, root, kind)
    if isinstance(leaf, Existence):
        return {path: {"$exists": True}}
    if isinstance(leaf, Membership):
        return {path: {"$nin" if leaf.negated else "$in": [_operand(path, each) for each in leaf.values]}}
    value = leaf.value if leaf.operator in ("~", "!~") else _operand(path, leaf.value)
    operation = {_OPERATORS[leaf.operator]: value}
    return {path: {"$not": operation} if leaf.operator == "!~" else operation}


def _path(name: str, root: str, kind: Kind) -> str:
    """The attribute of a name."""
    if root in _SCALARS:
        return name
    if root in _TREES and "{" not in root:
        return _TREES[root] + name[len(root) :]
    if kind != "trial":
        return f"metadata.{name}"
    return f"metrics.{name}" if "{" in name else f"parameters.{name}"


def _operand(path: str, value: Value) -> Any:
    if path == "id" and isinstance(value, str):
        if not _ID.fullmatch(value):
            raise BadQuery(f"{value[:80]!r} is not an id, which has 32 digits of 0-9 and a-f")
        return bytes.fromhex(value)
    if path in ("status", "status.name") and isinstance(value, str):
        return STATUS_NAMES.get(value.lower(), value)
    return value


def _owner(leaf: Comparison | Membership | Existence, kind: str, uids: FindUids | None) -> dict[str, Any]:
    """A condition on the project or the group, by name or uid."""
    path = f"{kind}_id"
    if isinstance(leaf, Existence):
        return {path: {"$ne": None}}
    if isinstance(leaf, Comparison) and leaf.operator not in ("=", "!="):
        raise BadQuery(f"a {kind} is compared by its name, with = != in, not {leaf.operator}")
    values = leaf.values if isinstance(leaf, Membership) else (leaf.value,)
    negated = leaf.negated if isinstance(leaf, Membership) else leaf.operator == "!="
    known: list[Any] = []
    for value in values:
        known.append(value)
        if isinstance(value, str):
            known += [Project(name=value).uid] if kind == "project" else []
            known += uids(kind, value) if uids is not None else []
    return {path: {"$nin" if negated else "$in": known}}


# -- as text -------------------------------------------------------------------------------------


def _inner(part: Filter) -> str:
    return f"({part})" if isinstance(part, (Conjunction, Disjunction)) else str(part)


def _name_text(name: str) -> str:
    return name if _PLAIN.fullmatch(name) and name.lower() not in KEYWORDS else _quoted(name)


def _value_text(value: Value) -> str:
    if isinstance(value, str):
        return _quoted(value)
    words: Mapping[Any, str] = {None: "null", True: "true", False: "false"}
    if value is None or isinstance(value, bool):
        return words[value]
    return ("-" if value < 0 else "") + "inf" if math.isinf(value) else repr(value)


def _quoted(text: str) -> str:
    return "'" + "".join(_ESCAPES.get(letter, letter) for letter in text) + "'"
