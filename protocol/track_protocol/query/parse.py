"""The query language, which selects trials, groups or projects.

A query is a dict of attributes to conditions; all of them must hold::

    {'status': 'Completed', 'parameters.lr': {'$gte': 1e-4, '$lt': 1e-2}, 'metrics.loss.min': {'$lt': 0.1}}

An attribute's value is a plain value (equality) or a dict of operators, all of which must hold:
``$eq $ne $in $nin $lt $lte $gt $gte $contains $exists $not``.  A query may also have ``$and`` and ``$or``
(non-empty lists of queries) and ``$not`` (a query).  The empty query matches everything.

**Attributes.**  Scalars go by name; ``created``, ``started`` and ``ended`` are seconds since the epoch, and
``duration`` is the seconds between the last two.  ``parameters``, ``tags`` and ``metadata`` are dicts: alone
they compare as one value, by equality or ``$exists`` only; with ``.``-separated keys the dicts inside are
walked.  A key may itself hold dots: the longest key that leads to a value is taken.  Lists are not indexed.
``status`` is its number; it may be compared with a number, a status, a ``{'value', 'name'}`` dict or, then
meaning ``status.name``, a string, in which the names of known statuses may have small letters.
``metrics.NAME`` is the last value logged and ``chronos.NAME`` the mean duration in seconds; the name may hold
dots.  A final ``.count``, ``.last``, ``.first_step``, ``.last_step``, ``.min``, ``.max``, ``.mean`` (or
``.avg``) or ``.sd`` names that statistic instead, unless a series of the trial has the entire name.
``_uid`` is another name of ``uid``.  When groups or projects are selected, any other name is one of their
metadata; when trials are, it is an error.

**Comparison.**

- A missing attribute reads as None, so equality with None matches missing and None alike;
  ``$exists`` distinguishes them: it is about the path, whatever the value.
- ``$ne``, ``$nin`` and ``$not`` are exact negations.
- A bool is a type of its own: True never equals 1.  Integers and floats compare by numeric value,
  exactly, also where neighbours are equal as floats.  Strings compare by code point.
- ``$lt $lte $gt $gte`` match a number with a number or a string with a string, nothing else.
- ``$contains`` takes a string and matches strings that contain it, capital and small letters alike.
- NaN equals nothing, itself included, and is neither before nor after anything, so ``{'$ne': nan}``
  matches everything.  Infinities order as numbers.
- Lists and dicts are equal when all they hold is equal by these rules; a tuple equals a list.
- A dict without operators is a plain value.  To mean a dict whose keys start with ``$``, write
  ``{'$eq': {...}}``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from track_protocol.errors import BadQuery, BadValue
from track_protocol.model.entities import STATUS_NAMES
from track_protocol.model.values import normalise
from track_protocol.query.names import suggestion
from track_protocol.query.tree import (
    All,
    Among,
    AnyOf,
    Condition,
    Contains,
    Kind,
    Not,
    Ordered,
    Path,
    Present,
    Query,
    is_number,
    leaves,
)

__all__ = [
    "MAX_CONDITIONS",
    "Kind",
    "Query",
    "attribute_names",
    "attribute_paths",
    "matches",
    "normalise_query",
    "parse_query",
]

MAX_CONDITIONS: Final = 1_000
"""Comparisons in one query; the values listed in ``$in`` are not limited."""

_NOT_A_QUERY: Final = "{!r:.80} is not a query: give a dict of attributes to values or operators"
_STATUS_NAME: Final = ("status", "name")
_MAX_DOTS: Final = 64
_STATISTICS: Final = {
    **{name: name for name in ("count", "last", "first_step", "last_step", "min", "max", "mean", "sd")},
    "avg": "mean",
}


def normalise_query(query: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None) -> dict[str, Any]:
    """The same query in plain values: it can be sent, and parses to the same tree.

    A list of queries becomes one that selects what all of them select, and None one that selects everything.

    An operand takes the form in which the same object would be logged: an enum member becomes its
    value, a path text, a NumPy scalar a number.

    Raises:
        BadQuery: not a mapping, nested too deep, or an operand that no stored value can equal.
    """
    if query is None or isinstance(query, (list, tuple)):
        query = {"$and": list(query)} if query else {}
    if not isinstance(query, Mapping):
        raise BadQuery(_NOT_A_QUERY.format(query))
    try:
        return dict(normalise(dict(query), "query"))
    except BadValue as error:
        raise BadQuery(str(error)) from error


def parse_query(query: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None, kind: Kind = "trial") -> Query:
    """Check a query and make it ready to match.

    Args:
        query: attribute paths to values or operators, as the module describes.
        kind: the kind of object to select; decides which attributes there are.

    Raises:
        BadQuery: an unknown attribute or operator, an operand that the operator cannot take, dicts
            and lists nested over 32 levels, or more than `MAX_CONDITIONS` comparisons.
    """
    condition = _conjunction(normalise_query(query), kind)
    if next(islice(leaves(condition), MAX_CONDITIONS, None), None) is not None:
        raise BadQuery(f"a query has over {MAX_CONDITIONS} comparisons: list the values in one $in")
    return Query(kind, condition)


def attribute_names(kind: Kind) -> tuple[str, ...]:
    """The attributes of a kind, without the names inside them."""
    return tuple(_ATTRIBUTES[kind])


def attribute_paths(name: str, kind: Kind) -> tuple[Path, ...]:
    """Where the values of an attribute that has an order may be in a document, the preferred place first.

    Raises:
        BadQuery: there is no such attribute, or its values have no order.
    """
    attribute = _attribute(name, kind)
    if not attribute.ordered:
        raise BadQuery(f"{name!r} as one value has no order: name a key, as in '{name}.key'")
    return (attribute.path,) if attribute.exact is None else (attribute.exact.path, attribute.path)


def matches(
    document: dict[str, Any],
    query: Mapping[str, Any] | Sequence[Mapping[str, Any]] | Query | None,
    kind: Kind = "trial",
) -> bool:
    """Whether one document is selected by a query; to match many, parse the query once.

    Raises:
        BadQuery: as `parse_query`.
    """
    parsed = query if isinstance(query, Query) else parse_query(query, kind)
    return parsed.matches(document)


@dataclass(frozen=True, slots=True)
class _Attribute:
    """An attribute as written, and where in a document it is.

    Attributes:
        name: as written in the query.
        path: where values are compared.
        text_path: where strings are compared.
        ordered: whether there is an order among its values.
        exact: the attribute that it is in documents that have one of the entire name.
    """

    name: str
    path: Path
    text_path: Path
    ordered: bool = True
    exact: _Attribute | None = None

    def path_for(self, operand: Any) -> Path:
        return self.text_path if isinstance(operand, str) else self.path

    def among(self, operands: Iterable[Any]) -> Condition:
        by_path: dict[Path, list[Any]] = {}
        for operand in self._all_comparable(operands):
            by_path.setdefault(self.path_for(operand), []).append(operand)
        parts = [Among.of(path, some) for path, some in by_path.items()] or [Among.of(self.path, ())]
        return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))

    def compared(self, ordering: str, operand: Any) -> Condition:
        if not self.ordered:
            raise BadQuery(f"{self.name!r} as one value has no order: name a key, as in '{self.name}.key'")
        operand = self._comparable(operand)
        path = self.path_for(operand)
        orderable = isinstance(operand, str) or (is_number(operand) and operand == operand)
        return Ordered(path, ordering, operand) if orderable else Among.of(path, ())

    def _all_comparable(self, operands: Iterable[Any]) -> Iterator[Any]:
        """The operands; beside a status in small letters also its name as it is stored."""
        for operand in map(self._comparable, operands):
            yield operand
            if self.text_path == _STATUS_NAME and isinstance(operand, str):
                known = STATUS_NAMES.get(operand.lower(), operand)
                if known != operand:
                    yield known

    def _comparable(self, operand: Any) -> Any:
        if self.text_path == self.path:  # only a status has a name beside its value
            return operand
        if isinstance(operand, dict) and operand.keys() == {"value", "name"}:
            operand = operand["value"]
        if operand is None or is_number(operand) or isinstance(operand, str):
            return operand
        raise BadQuery(f"'status' cannot be compared with {operand!r:.80}: use a status, its number or name")


def _conjunction(query: Any, kind: Kind) -> Condition:
    if not isinstance(query, dict):
        raise BadQuery(_NOT_A_QUERY.format(query))
    return _all([_clause(key, operand, kind) for key, operand in query.items()])


def _all(parts: list[Condition]) -> Condition:
    return parts[0] if len(parts) == 1 else All(tuple(parts))


def _clause(key: Any, operand: Any, kind: Kind) -> Condition:
    if not isinstance(key, str):
        raise BadQuery(f"{key!r} is not an attribute: write attributes as strings")
    if not key.startswith("$"):
        return _whole_name_first(_attribute(key, kind), operand)
    if key == "$not":
        return Not(_conjunction(operand, kind))
    if key not in ("$and", "$or"):
        raise BadQuery(
            f"{key!r} is not allowed at the top level of a query: use $and, $or, $not or an attribute"
        )
    if not isinstance(operand, (list, tuple)) or not operand:
        raise BadQuery(f"{key} needs a list of one or more queries, not {operand!r:.80}")
    parts = [_conjunction(part, kind) for part in operand]
    return _all(parts) if key == "$and" else AnyOf(tuple(parts))


def _whole_name_first(attribute: _Attribute, operand: Any) -> Condition:
    constraint = _constraint(attribute, operand)
    if attribute.exact is None:
        return constraint
    there = Present(attribute.exact.path)
    return AnyOf((All((there, _constraint(attribute.exact, operand))), All((Not(there), constraint))))


def _constraint(attribute: _Attribute, operand: Any) -> Condition:
    if not isinstance(operand, dict):
        return attribute.among([operand])
    operators = [key for key in operand if isinstance(key, str) and key.startswith("$")]
    if not operators:
        return attribute.among([operand])
    if len(operators) < len(operand):
        raise BadQuery(
            f"{attribute.name!r} mixes operators and plain keys ({', '.join(map(repr, operand))}): "
            "for equality with a dict write {'$eq': {...}}"
        )
    return _all([_operation(attribute, key, operand[key]) for key in operators])


def _operation(attribute: _Attribute, name: str, operand: Any) -> Condition:
    build = _OPERATORS.get(name)
    if build is None:
        known = " ".join(_OPERATORS)
        raise BadQuery(f"{name!r} on {attribute.name!r} is not an operator: use one of {known}")
    return build(attribute, operand)


def _in(attribute: _Attribute, operand: Any) -> Condition:
    if not isinstance(operand, (list, tuple)):
        raise BadQuery(f"$in and $nin on {attribute.name!r} need a list of values, not {operand!r:.80}")
    return attribute.among(operand)


def _exists(attribute: _Attribute, operand: Any) -> Condition:
    if not isinstance(operand, bool):
        raise BadQuery(f"$exists on {attribute.name!r} needs True or False, not {operand!r:.80}")
    return Present(attribute.path) if operand else Not(Present(attribute.path))


def _contains(attribute: _Attribute, operand: Any) -> Condition:
    if not isinstance(operand, str):
        raise BadQuery(f"$contains on {attribute.name!r} needs a string, not {operand!r:.80}")
    return Contains(attribute.text_path, operand.casefold())


_OPERATORS: Final[dict[str, Callable[[_Attribute, Any], Condition]]] = {
    "$eq": lambda attribute, operand: attribute.among([operand]),
    "$ne": lambda attribute, operand: Not(attribute.among([operand])),
    "$in": _in,
    "$nin": lambda attribute, operand: Not(_in(attribute, operand)),
    "$lt": lambda attribute, operand: attribute.compared("<", operand),
    "$lte": lambda attribute, operand: attribute.compared("<=", operand),
    "$gt": lambda attribute, operand: attribute.compared(">", operand),
    "$gte": lambda attribute, operand: attribute.compared(">=", operand),
    "$contains": _contains,
    "$exists": _exists,
    "$not": lambda attribute, operand: Not(_constraint(attribute, operand)),
}


def _attribute(name: str, kind: Kind) -> _Attribute:
    root, dot, rest = name.partition(".")
    root = "uid" if root == "_uid" else root
    locate = _ATTRIBUTES[kind].get(root)
    if locate is None and kind != "trial":
        return _tree(name, "metadata", name)
    if locate is None:
        known = tuple(_ATTRIBUTES[kind])
        raise BadQuery(f"a {kind} has no attribute {name!r:.80}: {suggestion(name, known, len(known))}")
    return locate(name, root, rest if dot else None)


def _scalar(name: str, root: str, rest: str | None) -> _Attribute:
    if rest is not None:
        raise BadQuery(f"{name!r} does not exist because {root!r} is a plain value: write {root!r}")
    return _Attribute(name, (root,), (root,))


def _tree(name: str, root: str, rest: str | None) -> _Attribute:
    if name.count(".") > _MAX_DOTS:
        raise BadQuery(f"{name[:80]!r} has over {_MAX_DOTS} dots: name a value that is nested less deep")
    path = (root,) if rest is None else (root, rest)
    return _Attribute(name, path, path, ordered=rest is not None)


def _status(name: str, root: str, rest: str | None) -> _Attribute:
    if rest not in (None, "value", "name"):
        raise BadQuery(f"{name!r} does not exist: write 'status', 'status.value' or 'status.name'")
    path = (root, rest or "value")
    return _Attribute(name, path, (root, "name") if rest is None else path)


def _series(name: str, root: str, rest: str | None) -> _Attribute:
    series, dot, statistic = (rest or "").rpartition(".")
    is_statistic = bool(dot) and statistic in _STATISTICS
    if not rest or (is_statistic and not series):
        raise BadQuery(f"{name!r} is not a series: write '{root}.NAME' or '{root}.NAME.min'")
    path: Path = (root, rest, "last" if root == "metrics" else "mean")
    whole = _Attribute(name, path, path)
    if not is_statistic:
        return whole
    path = (root, series, _STATISTICS[statistic])
    return _Attribute(name, path, path, exact=whole)


_Locate = Callable[[str, str, str | None], _Attribute]

_PROJECT: Final[dict[str, _Locate]] = {
    "uid": _scalar,
    "name": _scalar,
    "description": _scalar,
    "metadata": _tree,
}
_TRIAL: Final[dict[str, _Locate]] = {
    "id": _scalar,
    "uid": _scalar,
    "hash": _scalar,
    "revision": _scalar,
    "name": _scalar,
    "description": _scalar,
    "version": _scalar,
    "tags": _tree,
    "parameters": _tree,
    "metadata": _tree,
    "project_id": _scalar,
    "group_id": _scalar,
    "created": _scalar,
    "started": _scalar,
    "ended": _scalar,
    "duration": _scalar,
    "status": _status,
    "metrics": _series,
    "chronos": _series,
}
_ATTRIBUTES: Final[dict[Kind, dict[str, _Locate]]] = {
    "trial": _TRIAL,
    "group": {**_PROJECT, "project_id": _scalar},
    "project": _PROJECT,
}
