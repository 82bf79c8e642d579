"""Tables, groups and summaries of trials that are at hand as documents.

What a store does in its own way, here it is in plain Python: for backends that hold their trials in memory,
and to compare the others with.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from track_protocol.query.order import CREATED, Order
from track_protocol.query.tree import MISSING, Path, freeze, reached

__all__ = [
    "MAX_FIELDS",
    "FieldSummaries",
    "Group",
    "cell",
    "group_rows",
    "grouped",
    "in_order",
    "seen",
    "series_summary",
]

MAX_FIELDS: Final = 50_000
"""Fields, and series, that one answer describes."""

_VALUES: Final = 20
_VALUE_CHARS: Final = 100
"""Distinct values of a field that are listed, and letters of one that is."""

_UNLISTED: Final = object()
_NUMBERS: Final = frozenset({int, float})
_HASHED: Final = _NUMBERS | {str, type(None)}
"""Types whose values are equal in a query when they are equal in Python."""

_SERIES: Final = ("metrics", "chronos")

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


class FieldSummaries:
    """What the values of trials are, by their dotted names; trials are added some at a time.

    What is retained does not grow with the number of trials, nor with the length of their values.
    """

    def __init__(self) -> None:
        self._fields: dict[str, _Field] = {}

    def add(self, root: str, documents: Iterable[Mapping[Any, Any]]) -> None:
        """Add the dicts that some trials have as parameters, tags or metadata.

        Args:
            root: which of these it is.
            documents: their dicts, one for each trial.
        """
        for name, values in _columns(documents, root).items():
            field = self._fields.get(name)
            if field is None:
                field = self._fields[name] = _Field()
            field.add(values)

    def merge(self, other: FieldSummaries) -> None:
        """Add all trials that were added to others, which stay as they are."""
        for name, field in other._fields.items():
            self._fields.setdefault(name, _Field()).merge(field)

    def __len__(self) -> int:
        return len(self._fields)

    def documents(self, total: int) -> list[dict[str, Any]]:
        """A summary of each field, of so many trials."""
        return [{"name": name, **field.document(total)} for name, field in self._fields.items()]


def _columns(documents: Iterable[Mapping[Any, Any]], before: str) -> dict[str, list[Any]]:
    """The values of each dotted name."""
    # Most trials have the same keys, so that their values are columns already.
    by_keys: dict[tuple[Any, ...], list[Mapping[Any, Any]]] = {}
    for document in documents:
        by_keys.setdefault(tuple(document), []).append(document)
    columns: dict[str, list[Any]] = {}
    for keys, alike in by_keys.items():
        for key, column in zip(keys, zip(*[each.values() for each in alike], strict=True), strict=True):
            columns.setdefault(f"{before}.{key}", []).extend(column)
    found: dict[str, list[Any]] = {}
    for name, values in columns.items():
        nested = [each for each in values if type(each) is dict and each]
        plain = values if not nested else [each for each in values if type(each) is not dict or not each]
        if plain:
            found.setdefault(name, []).extend(plain)
        if nested:
            for inner, more in _columns(nested, name).items():
                found.setdefault(inner, []).extend(more)
    return found


class _Field:
    """A summary of the values of one name."""

    __slots__ = ("_distinct", "_max", "_min", "_nonfinite", "_types")

    def __init__(self) -> None:
        self._types: Counter[type] = Counter()
        self._nonfinite = 0
        self._min: int | float | None = None
        self._max: int | float | None = None
        self._distinct: dict[Hashable, Any] = {}

    def add(self, values: list[Any]) -> None:
        """Add values."""
        # Most fields have values of one type, of which nothing has to be picked out one by one.
        types = set(map(type, values))
        if len(types) == 1:
            self._types[next(iter(types))] += len(values)
        else:
            self._types.update(map(type, values))
        if not types.isdisjoint(_NUMBERS):
            self._add_numbers(values if types <= _NUMBERS else [v for v in values if type(v) in _NUMBERS])
        if len(self._distinct) <= _VALUES:
            self._add_distinct(dict.fromkeys(values) if types <= _HASHED else values)

    def _add_numbers(self, numbers: list[int | float]) -> None:
        if not all(map(math.isfinite, numbers)):
            finite = [each for each in numbers if math.isfinite(each)]
            self._nonfinite += len(numbers) - len(finite)
            numbers = finite
        if numbers:
            self._widen(min(numbers), max(numbers))

    def _widen(self, least: int | float, greatest: int | float) -> None:
        self._min = least if self._min is None else min(self._min, least)
        self._max = greatest if self._max is None else max(self._max, greatest)

    def _add_distinct(self, values: Iterable[Any]) -> None:
        for value in values:
            self._distinct.setdefault(_short_key(value), value if _is_listed(value) else _UNLISTED)
            if len(self._distinct) > _VALUES:
                return

    def merge(self, other: _Field) -> None:
        """Add the values of another one."""
        self._types.update(other._types)
        self._nonfinite += other._nonfinite
        if other._min is not None and other._max is not None:
            self._widen(other._min, other._max)
        for key, value in other._distinct.items():
            if len(self._distinct) > _VALUES:
                return
            self._distinct.setdefault(key, value)

    def document(self, total: int) -> dict[str, Any]:
        """The summary, of a field that so many trials might have."""
        count, types = self._types.total(), self._types
        numbers = types[int] + types[float]
        return {
            "count": count,
            "numbers": numbers,
            "texts": types[str],
            "booleans": types[bool],
            "others": count - numbers - types[str] - types[bool],
            "nonfinite": self._nonfinite,
            "min": self._min,
            "max": self._max,
            "values": [each for each in self._distinct.values() if each is not _UNLISTED][:_VALUES],
            "differs": len(self._distinct) > 1 or count < total,
        }


def _is_listed(value: Any) -> bool:
    return type(value) in (int, float, bool) or (type(value) is str and len(value) <= _VALUE_CHARS)


def _short_key(value: Any) -> Hashable:
    """Equal for equal values, and as good as never for others; small, whatever the value is."""
    if type(value) in (list, tuple, dict, bytes) or (type(value) is str and len(value) > _VALUE_CHARS):
        return "long", hash(freeze(value))
    return _key(value)


def _key(value: Any) -> Hashable:
    """Equal for equal values, and for two NaN."""
    return ("NaN",) if type(value) is float and value != value else freeze(value)


def series_summary(documents: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Which series trials have, and how many of them have each."""
    trials: Counter[tuple[str, str]] = Counter()
    for document in documents:
        for kind, field in (("metric", "metrics"), ("chrono", "chronos")):
            trials.update((kind, name) for name in document[field])
        trials.update((kind, name) for kind, names in document["media"].items() for name in names)
    return [{"kind": kind, "name": name, "trials": count} for (kind, name), count in trials.items()]


# -- groups ----------------------------------------------------------------------------------------------


def grouped(rows: Iterable[Sequence[Any]], by: int, limit: int) -> list[list[Sequence[Any]]]:
    """Rows that have the same values, the largest groups first.

    Args:
        rows: they begin with the values to group by.
        by: how many these are.
        limit: most groups.
    """
    members: dict[tuple[Hashable, ...], list[Sequence[Any]]] = {}
    for row in rows:
        members.setdefault(tuple(map(_key, row[:by])), []).append(row)
    return sorted(members.values(), key=len, reverse=True)[:limit]


def group_rows(rows: Iterable[Sequence[Any]], by: int, limit: int) -> list[Group]:
    """Groups of rows that have the same values, the largest first.

    Args:
        rows: of each trial the values to group by, then those to measure.
        by: how many are to group by.
        limit: most groups.
    """
    return [
        {
            "by": list(some[0][:by]),
            "count": len(some),
            "measures": [_measured(row[at] for row in some) for at in range(by, len(some[0]))],
        }
        for some in grouped(rows, by, limit)
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
