"""Tables, groups and summaries of trials that are at hand as documents.

What a store does in its own way, here it is in plain Python: for backends that hold their trials in memory,
and to compare the others with.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from track_protocol.query.order import CREATED, Order
from track_protocol.query.tree import MISSING, Path, freeze, reached

__all__ = [
    "MAX_FIELDS",
    "FieldSummary",
    "Group",
    "cell",
    "group_rows",
    "in_order",
    "seen",
    "series_summary",
    "summarise_fields",
]

MAX_FIELDS: Final = 4_000
"""Fields, and series, that one answer describes."""

_VALUES: Final = 20
_VALUE_CHARS: Final = 100
"""Distinct values of a field that are listed, and letters of one that is."""

_HASHED: Final = frozenset({int, float, str, type(None)})
"""Types whose values are equal in a query when they are equal in Python."""

_SERIES: Final = ("metrics", "chronos")

FieldSummary = dict[str, Any]
Group = dict[str, Any]


def cell(document: Mapping[str, Any], paths: Sequence[Path]) -> Any:
    """The first value at some paths of a document; None without any."""
    for path in paths:
        value = seen(document) if path == ("seen",) else reached(document, path)
        if value is not MISSING and value is not None:
            return value
    return None


def seen(document: Mapping[str, Any]) -> float | None:
    """When a trial last gave a sign of life, in seconds since the epoch; None if it never did."""
    summaries = [*(document[kind] for kind in _SERIES), *document["media"].values()]
    times = [each.get("last_time") for summary in summaries for each in summary.values()]
    times.append(document["metadata"].get("heartbeat"))
    return max((at for at in times if type(at) is float), default=None)


def in_order(documents: Sequence[Mapping[str, Any]], order: Sequence[Order]) -> list[int]:
    """The positions of documents, given in the order of their making, in another order."""
    positions = list(range(len(documents)))
    for each in reversed(order):
        if each.paths == (CREATED,):
            positions.sort(reverse=each.descending)
            continue
        ranks: tuple[list[tuple[Any, int]], ...] = ([], [], [], [])
        for position in positions:
            value = cell(documents[position], each.paths)
            ranks[_rank(value)].append((value if _rank(value) == 0 else str(value), position))
        for pairs in ranks[::2]:
            pairs.sort(key=lambda pair: pair[0], reverse=each.descending)
        positions = [position for pairs in ranks for _, position in pairs]
    return positions


def _rank(value: Any) -> int:
    if value is None:
        return 3
    if not isinstance(value, (int, float)):
        return 2
    return 0 if value == value else 1


# -- summaries of fields ---------------------------------------------------------------------------------


def summarise_fields(trees: Mapping[str, Iterable[Mapping[Any, Any]]], total: int) -> list[FieldSummary]:
    """What the values of some trials are, by their dotted names.

    Args:
        trees: for each of ``parameters``, ``tags`` and ``metadata`` the dicts of the trials.
        total: how many trials there are.
    """
    found: list[FieldSummary] = []
    for root, documents in trees.items():
        columns: dict[tuple[Any, ...], list[Any]] = {}
        _flatten(documents, (), columns)
        # Keys with dots may give two columns one name.
        named: dict[str, list[Any]] = {}
        for path, values in columns.items():
            named.setdefault(".".join(map(str, path)), []).extend(values)
        found += [_field(f"{root}.{name}", values, total) for name, values in named.items()]
    return found


def _flatten(
    documents: Iterable[Mapping[Any, Any]], before: tuple[Any, ...], columns: dict[tuple[Any, ...], list[Any]]
) -> None:
    """Collect the values of each key; those of dicts inside come after the others."""
    inside: dict[Any, list[Mapping[Any, Any]]] = {}
    mine: dict[Any, list[Any]] = {}
    for document in documents:
        for key, value in document.items():
            if type(value) is dict and value:
                inside.setdefault(key, []).append(value)
            elif key in mine:
                mine[key].append(value)
            else:
                mine[key] = [value]
    columns.update({(*before, key): values for key, values in mine.items()})
    for key, nested in inside.items():
        _flatten(nested, (*before, key), columns)


def _field(name: str, values: list[Any], total: int) -> FieldSummary:
    # Most fields have values of one type, of which nothing has to be picked out one by one.
    types = set(map(type, values))
    sorts = {next(iter(types)): len(values)} if len(types) == 1 else Counter(map(type, values))
    count = sorts.get(int, 0) + sorts.get(float, 0)
    numbers = values if count == len(values) else [each for each in values if type(each) in (int, float)]
    finite = numbers
    if float in types and not all(map(math.isfinite, numbers)):
        finite = [each for each in numbers if math.isfinite(each)]
    if types <= _HASHED and len(finite) == len(numbers):
        distinct: Collection[Any] = dict.fromkeys(values)
    else:
        by_key: dict[Hashable, Any] = {}
        for value in values:
            by_key.setdefault(_key(value), value)
        distinct = by_key.values()
    texts, booleans = sorts.get(str, 0), sorts.get(bool, 0)
    return {
        "name": name,
        "count": len(values),
        "numbers": count,
        "texts": texts,
        "booleans": booleans,
        "others": len(values) - count - texts - booleans,
        "nonfinite": count - len(finite),
        "min": min(finite, default=None),
        "max": max(finite, default=None),
        "values": _listed(distinct),
        "differs": len(distinct) > 1 or len(values) < total,
    }


def _key(value: Any) -> Hashable:
    """Equal for equal values, and for two NaN."""
    return ("NaN",) if type(value) is float and value != value else freeze(value)


def _listed(distinct: Collection[Any]) -> list[Any]:
    listed: list[Any] = []
    for value in distinct:
        is_short = type(value) in (int, float, bool) or (type(value) is str and len(value) <= _VALUE_CHARS)
        if is_short:
            listed.append(value)
            if len(listed) == _VALUES:
                break
    return listed


def series_summary(documents: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Which series trials have, and how many of them have each."""
    trials: Counter[tuple[str, str]] = Counter()
    for document in documents:
        for kind, field in (("metric", "metrics"), ("chrono", "chronos")):
            trials.update((kind, name) for name in document[field])
        trials.update((kind, name) for kind, names in document["media"].items() for name in names)
    return [{"kind": kind, "name": name, "trials": count} for (kind, name), count in trials.items()]


# -- groups ----------------------------------------------------------------------------------------------


def group_rows(rows: Iterable[Sequence[Any]], by: int, limit: int) -> list[Group]:
    """Groups of rows that have the same values, the largest first.

    Args:
        rows: of each trial the values to group by, then those to measure.
        by: how many are to group by.
        limit: most groups.
    """
    members: dict[tuple[Hashable, ...], list[Sequence[Any]]] = {}
    for row in rows:
        members.setdefault(tuple(map(_key, row[:by])), []).append(row)
    largest = sorted(members.values(), key=len, reverse=True)[:limit]
    return [
        {
            "by": list(some[0][:by]),
            "count": len(some),
            "measures": [_measured(row[at] for row in some) for at in range(by, len(some[0]))],
        }
        for some in largest
    ]


def _measured(values: Iterator[Any]) -> dict[str, Any]:
    """Statistics of those values that are finite numbers."""
    numbers = [float(each) for each in values if type(each) in (int, float) and math.isfinite(each)]
    if not numbers:
        return {"count": 0, "min": None, "max": None, "mean": None, "sd": None}
    mean = _sum(numbers) / len(numbers)
    sd = math.sqrt(_sum([(each - mean) * (each - mean) for each in numbers]) / len(numbers))
    return {"count": len(numbers), "min": min(numbers), "max": max(numbers), "mean": mean, "sd": sd}


def _sum(numbers: Sequence[float]) -> float:
    try:
        return math.fsum(numbers)
    except OverflowError:  # the sum is beyond what a float holds
        return sum(numbers)
