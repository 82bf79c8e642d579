"""The query language as a person types it, and its translation to a query.

::

    status = running and lr < 0.1
    (params.optimizer.name in (adam, sgd) or tags.team = "vision") and not name ~ debug
    metrics.loss.min <= 1e-3 and loss{phase="train"} > 0.5 and chronos.runtime > 2h

A filter is comparisons, joined by ``and``, ``or``, ``not`` and parentheses.  ``and`` binds closer than
``or``; these words may be written in capital letters, and no filter at all selects everything.

**Names.**  ``name uid id hash revision description version status project group`` are the trial's own; so are
``created``, ``started``, ``ended`` and ``duration``, and what a run notes of itself: ``user host pid command
directory python git.commit``.
``params.NAME`` (or ``parameters.NAME``), ``tags.NAME`` and ``metadata.NAME`` are values that it was given;
``metrics.NAME`` is the last value of a series and ``chronos.NAME`` the mean of a timer, and a final
``.min .max .mean .sd .count .last .first_step .last_step`` another statistic, unless a series has the entire
name.  A name with labels, ``loss{phase="train"}``, is a metric, in whatever order the labels are written.
Any other plain name is a parameter, or else the metric, tag, metadata or timer that the store has under it
(in a filter of projects or groups: metadata).  A name with spaces or special characters is quoted:
``params."weight decay"``.

A name that nothing in the store has is an error: see `track_protocol.query.names`.

**Comparisons.**  ``= != < <= > >=``; ``~`` (or ``contains``) for a text that contains another, capital and
small letters alike, and ``!~``; ``in (a, b)`` and ``not in (a, b)``; ``NAME exists``.  What holds when a
value is missing, or is of another sort, is written in `track_protocol.query.parse`.

**Values.**  Numbers, ``true``, ``false``, ``null``, ``inf``; durations as ``90s 15m 2h 3d``, which are
seconds; anything else is a text, which needs no quotes when it is one word.  A status goes by its
name in capital or small letters, a project or group by its name or uid, a trial by its uid or the beginning
of it.  Moments are compared with dates, ``created > 2026-11-30``, in the local time zone, and with durations,
which are then that long ago: ``created > 1h`` selects what was created in the last hour.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from track_protocol.errors import BadQuery
from track_protocol.model.entities import STATUS_NAMES
from track_protocol.query.names import MOMENTS, NUMBERS, TEXTS, TREES, Store, candidates, own_attribute
from track_protocol.query.parse import Kind, parse_query
from track_protocol.query.tree import ORDERINGS, is_number

__all__ = [
    "KEYWORDS",
    "Comparison",
    "Conjunction",
    "Disjunction",
    "Duration",
    "Existence",
    "Filter",
    "Membership",
    "Negation",
    "Value",
    "filter_query",
]

Value = str | int | float | bool | None


class Duration(float):
    """Seconds that were written as a duration, such as ``2h``."""

    __slots__ = ()


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
_OWNERS: Final[Mapping[str, Kind]] = {
    "project": "project",
    "project_id": "project",
    "group": "group",
    "group_id": "group",
}
_STATUS: Final = ("status", "status.name")
_STATUS_NUMBERS: Final = ("status", "status.value")
_KNOWN_SORTS: Final = NUMBERS | TEXTS | {"id", "status", "status.value"}
"""Attributes of which no store needs to be asked what sort of values they have."""

_NEVER_NULL: Final = frozenset({"uid", "id", "hash", "revision", "created", *_STATUS, "status.value"})
"""Attributes that every object has."""

_FIRST_MOMENT: Final = 1e8
_LAST_MOMENT: Final = 1e11
"""Seconds since the epoch between 1973 and 5138: a year, a date in digits and milliseconds are outside."""

_NO_MOMENT: Final = (
    "{!r} is not a moment: give a date (2026-11-30 or '2026-11-30 08:15'), how long ago it was (90s, 15m, "
    "2h, 3d), or seconds since 1970"
)
_MAPPINGS: Final = frozenset({"parameters", "tags", "metadata"})
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


def filter_query(filter: Filter, kind: Kind = "trial", store: Store | None = None) -> dict[str, Any]:
    """The query of a filter.

    Args:
        filter: the parsed filter.
        kind: the kind of object to select.
        store: what the store has.  Without it, a bare name is a parameter, projects, groups and trials go by
            their uid, and nothing is known of the time.

    Raises:
        BadQuery: a name, an operator or a value does not fit the others or the store; the message gives the
            column.
    """
    if isinstance(filter, Negation):
        return {"$not": filter_query(filter.part, kind, store)}
    if isinstance(filter, (Conjunction, Disjunction)):
        word = "$and" if isinstance(filter, Conjunction) else "$or"
        return {word: [filter_query(part, kind, store) for part in filter.parts]}
    try:
        query = _leaf(filter, kind, store)
        parse_query(query, kind)
    except BadQuery as error:
        raise BadQuery(f"column {filter.column}: {error}") from None
    return query


def _leaf(leaf: Comparison | Membership | Existence, kind: Kind, store: Store | None) -> dict[str, Any]:
    owner = _OWNERS.get(leaf.name)
    if owner is not None and not (kind == "project" or kind == owner == "group"):
        return _owner(leaf, owner, store)
    path = _path(leaf.name, kind, store)
    if store is not None:
        _check_own(path, leaf, store)
    if isinstance(leaf, Existence):
        # Every document has its own fields, perhaps with nothing in them.
        return {path: {"$exists": True} if path.partition(".")[0] in TREES else {"$ne": None}}
    if path == "uid" and store is not None and _names_items(leaf):
        return {"uid": _among(leaf, [uid for each in _values(leaf) for uid in _uids_of(each, kind, store)])}
    if path in _STATUS and store is not None and _names_items(leaf):
        return {path: _among(leaf, [name for each in _values(leaf) for name in _statuses_of(each, store)])}
    if path in _MAPPINGS and getattr(leaf, "operator", "=") not in ORDERINGS:
        raise BadQuery(f"{path!r} is many values: name one of them, as in '{path}.NAME'")
    if isinstance(leaf, Membership):
        operands = [_operand(path, each, "=", store) for each in leaf.values]
        _check_sorts(path, operands, kind, store)
        return {path: {"$nin" if leaf.negated else "$in": operands}}
    if leaf.operator in ("~", "!~"):
        _check_sorts(path, [str(leaf.value)], kind, store)
        return {path: _contained(path, leaf, store)}
    value = _operand(path, leaf.value, leaf.operator, store)
    if leaf.operator in ORDERINGS and not isinstance(value, (str, bytes)) and not is_number(value):
        raise BadQuery(f"there is no order with {_value_text(value)}: compare {leaf.name!r} with = or !=")
    _check_sorts(path, [value], kind, store)
    return {path: {_OPERATORS[leaf.operator]: value}}


def _check_own(path: str, leaf: Comparison | Membership | Existence, store: Store) -> None:
    """Refuse values that an attribute which means the same in every store can never have."""
    if isinstance(leaf, Existence) or getattr(leaf, "operator", "=") in ("~", "!~"):
        return
    for value in _values(leaf):
        if value is None and path in _NEVER_NULL and _names_items(leaf):
            raise BadQuery(f"{path!r} is never null: leave the comparison out")
        if path in TEXTS and isinstance(value, (bool, int, float)) and not _is_prefix(path, leaf, value):
            raise BadQuery(f"{path!r} is a text, and {_value_text(value)} is none: put quotes around a text")
        if value is None or isinstance(value, (str, bool)):
            continue
        if path in _STATUS_NUMBERS and _names_items(leaf):
            store.check_status(value)
        elif path in NUMBERS and math.isinf(value):
            raise BadQuery(f"{path!r} is never infinite: leave the comparison out")
        elif path == "revision" and _names_items(leaf) and not value >= 0 == value % 1:
            raise BadQuery(f"{path!r} is a whole number from 0, and {_value_text(value)} is none")


def _is_prefix(path: str, leaf: Comparison | Membership, value: Value) -> bool:
    """Whether a value may be the beginning of a uid whose digits look like a number."""
    return path == "uid" and _names_items(leaf) and type(value) is int


def _check_sorts(path: str, operands: Sequence[Any], kind: Kind, store: Store | None) -> None:
    """Refuse operands that no value in the store can equal, contain, precede or follow."""
    if store is None or path in _KNOWN_SORTS:
        return
    for operand in operands:
        if isinstance(operand, (str, bool)) or is_number(operand):
            store.check_sort(path, operand, kind)


def _path(name: str, kind: Kind, store: Store | None) -> str:
    """The attribute of a name."""
    if store is not None:
        return store.attribute(name, kind)
    return own_attribute(name, kind) or candidates(name, kind)[0]


def _operand(path: str, value: Value, operator: str, store: Store | None) -> Any:
    """The value as a query has it, if it is of the sort that the attribute has."""
    if path in MOMENTS and (isinstance(value, (str, Duration))):
        return _moment(path, value, operator, store)
    if (path in NUMBERS or path == "status.value") and isinstance(value, (str, bool)):
        raise BadQuery(f"{path!r} is a number, and {value!r:.80} is none")
    if path in MOMENTS and is_number(value) and not _FIRST_MOMENT <= float(value or 0) < _LAST_MOMENT:
        raise BadQuery(_NO_MOMENT.format(value))
    if path == "id" and value is not None:
        text = str(value)
        if not _ID.fullmatch(text):
            raise BadQuery(f"{text[:80]!r} is not an id, which has 32 digits of 0-9 and a-f")
        return bytes.fromhex(text)
    if path in _STATUS and isinstance(value, str):
        if operator in ORDERINGS:
            raise BadQuery(f"names of statuses have no order: compare with = != in, not {operator}")
        return STATUS_NAMES.get(value.lower(), value)
    return float(value) if isinstance(value, Duration) else value


def _moment(path: str, value: str | Duration, operator: str, store: Store | None) -> float:
    """Seconds since the epoch, of a date or of a duration that is as long ago."""
    if operator not in ORDERINGS:
        raise BadQuery(f"{path!r} is a moment: compare it with < <= > >=, not {operator}")
    if isinstance(value, Duration):
        if store is None:
            raise BadQuery(f"{path!r} is compared with how long ago something was, and no time is known here")
        return store.now - value
    try:
        return datetime.fromisoformat(value).timestamp()
    except (ValueError, OverflowError, OSError):
        raise BadQuery(_NO_MOMENT.format(value[:80])) from None


def _contained(path: str, leaf: Comparison, store: Store | None) -> dict[str, Any]:
    """A condition on a part of a text."""
    if path in NUMBERS:
        raise BadQuery(f"{path!r} is a number, which contains no text: compare it with = != < <= > >=")
    if path == "id":
        raise BadQuery("an id contains no text: compare it with = != in, or the uid with ~")
    part = str(leaf.value)
    if not part and store is not None:
        raise BadQuery(f"an empty text matches everything: give a part of {path!r}")
    if path in _STATUS and not any(part.casefold() in name for name in STATUS_NAMES):
        part = part if store is None else store.statuses(part)[0]
    return {"$contains": part} if leaf.operator == "~" else {"$not": {"$contains": part}}


def _values(leaf: Comparison | Membership) -> tuple[Value, ...]:
    return leaf.values if isinstance(leaf, Membership) else (leaf.value,)


def _among(leaf: Comparison | Membership, known: Sequence[Any]) -> dict[str, Any]:
    negated = leaf.negated if isinstance(leaf, Membership) else leaf.operator == "!="
    return {"$nin" if negated else "$in": known}


def _names_items(leaf: Comparison | Membership) -> bool:
    return isinstance(leaf, Membership) or leaf.operator in ("=", "!=")


def _statuses_of(value: Value, store: Store) -> Sequence[Any]:
    return store.statuses(value) if isinstance(value, str) else [value]


def _uids_of(value: Value, kind: Kind, store: Store | None) -> Sequence[Any]:
    """The uids that a value names; a value that is no text is returned as it is."""
    if store is None or value is None:
        return [value]
    return store.uids(kind, str(value))


def _owner(leaf: Comparison | Membership | Existence, kind: Kind, store: Store | None) -> dict[str, Any]:
    """A condition on the project or the group, by name or uid."""
    path = f"{kind}_id"
    if isinstance(leaf, Existence):
        return {path: {"$ne": None}}
    if isinstance(leaf, Comparison) and leaf.operator not in ("=", "!="):
        raise BadQuery(f"a {kind} is compared by its name, with = != in, not {leaf.operator}")
    return {path: _among(leaf, [uid for each in _values(leaf) for uid in _uids_of(each, kind, store)])}


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
    if isinstance(value, Duration):
        return f"{Decimal(float.__repr__(value)):f}s"
    return ("-" if value < 0 else "") + "inf" if math.isinf(value) else repr(value)


def _quoted(text: str) -> str:
    return "'" + "".join(_ESCAPES.get(letter, letter) for letter in text) + "'"
