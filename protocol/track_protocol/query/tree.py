"""A parsed query: a tree of conditions, and how to match one against a document.

The rules of comparison are here, once: every backend either evaluates these nodes or is tested to
agree with them.  `track_protocol.query.parse` documents the language.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, cast

__all__ = [
    "MISSING",
    "ORDERINGS",
    "All",
    "Among",
    "AnyOf",
    "Condition",
    "Contains",
    "Kind",
    "Leaf",
    "Not",
    "Ordered",
    "Path",
    "Present",
    "Query",
    "freeze",
    "is_number",
    "leaves",
    "named",
    "reached",
]

Kind = Literal["trial", "group", "project"]
Path = tuple[str, ...]

ORDERINGS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

MISSING: Final = object()
"""The value at a path that leads nowhere."""
_ATOMS: Final = frozenset({type(None), int, float, str})


def is_number(value: Any) -> bool:
    """Whether a value is an int or a float; a bool is neither."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def freeze(value: Any) -> Hashable:
    """A hashable stand-in: two values are equal in a query exactly when their stand-ins are equal.

    Python alone would say that True equals 1 and that a tuple differs from a list; the tags undo
    both.  A NaN inside makes a stand-in that equals no other because operands never hold one.
    """
    if type(value) in _ATOMS:
        return cast(Hashable, value)
    if isinstance(value, bool):
        return (bool, bool(value))
    if isinstance(value, (list, tuple)):
        return (list, tuple([freeze(item) for item in value]))
    if isinstance(value, dict):
        return (dict, frozenset([(freeze(key), freeze(item)) for key, item in value.items()]))
    if isinstance(value, bytes):
        return (bytes, value)
    return value if isinstance(value, (int, float, str)) else object()


def _holds_nan(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_holds_nan(key) or _holds_nan(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return any(map(_holds_nan, value))
    return isinstance(value, float) and math.isnan(value)


def reached(document: Any, path: Path) -> Any:
    """The value at a path of a document; `MISSING` if there is none.

    A path is a root alone, a root and a dotted name below it, or a root, a series and a statistic.
    """
    root, *names = path or ("",)
    if not path or not isinstance(document, dict):
        return MISSING if path else document
    if root in _COMPUTED:
        return _COMPUTED[root](document)
    value = document.get(root, MISSING)
    if len(names) == 1:
        return named(value, names[0])
    for name in names:
        value = value[name] if isinstance(value, dict) and name in value else MISSING
    return value


def named(value: Any, name: str) -> Any:
    """The value of a dotted name in nested dicts, whose keys may themselves have dots.

    The longest key comes first: in ``{"a.b": 1, "a": {"b": 2}}`` the name ``a.b`` is 1.
    """
    if not isinstance(value, dict):
        return MISSING
    if name in value:
        return value[name]
    end = name.rfind(".")
    while end >= 0:
        if name[:end] in value:
            found = named(value[name[:end]], name[end + 1 :])
            if found is not MISSING:
                return found
        end = name.rfind(".", 0, end)
    return MISSING


def _duration(document: Mapping[str, Any]) -> Any:
    times = document.get("started"), document.get("ended")
    if not all(map(is_number, times)):
        return None
    started, ended = cast(tuple[float, float], times)
    return ended - started


_COMPUTED: Final[Mapping[str, Callable[[Mapping[str, Any]], Any]]] = {"duration": _duration}
"""Attributes that no document has as a field."""


class Condition:
    """A node of the tree."""

    __slots__ = ()

    def holds(self, document: Any) -> bool:
        """Whether the condition is true of a document (plain dicts, lists and scalars)."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Among(Condition):
    """The value at a path equals one of the operands; a missing value counts as None.

    Attributes:
        path: where the value is in a document; see `reached`.
        operands: plain values, none of which holds a NaN; empty when nothing can match.
    """

    path: Path
    operands: tuple[Any, ...] = field(compare=False)
    _frozen: frozenset[Hashable] = field(repr=False)

    @classmethod
    def of(cls, path: Path, operands: Iterable[Any]) -> Among:
        """The condition for these operands, less those that hold a NaN and so equal nothing."""
        usable = {freeze(operand): operand for operand in operands if not _holds_nan(operand)}
        return cls(path, tuple(usable.values()), frozenset(usable))

    def holds(self, document: Any) -> bool:
        value = reached(document, self.path)
        return freeze(None if value is MISSING else value) in self._frozen


@dataclass(frozen=True, slots=True)
class Ordered(Condition):
    """The value at a path is before or after the operand.

    Attributes:
        path: where the value is in a document; see `reached`.
        ordering: a key of `ORDERINGS`.
        operand: a number that is not NaN, or a string.
    """

    path: Path
    ordering: str
    operand: int | float | str

    def holds(self, document: Any) -> bool:
        value = reached(document, self.path)
        same_sort = isinstance(value, str) if isinstance(self.operand, str) else is_number(value)
        return same_sort and ORDERINGS[self.ordering](value, self.operand)


@dataclass(frozen=True, slots=True)
class Contains(Condition):
    """The value at a path is a string in which the text is found, in capital letters or small ones.

    Attributes:
        path: where the value is in a document; see `reached`.
        text: the text to find, as `str.casefold` returns it.
    """

    path: Path
    text: str

    def holds(self, document: Any) -> bool:
        value = reached(document, self.path)
        return isinstance(value, str) and self.text in value.casefold()


@dataclass(frozen=True, slots=True)
class Present(Condition):
    """There is a value at a path, be it None."""

    path: Path

    def holds(self, document: Any) -> bool:
        return reached(document, self.path) is not MISSING


@dataclass(frozen=True, slots=True)
class Not(Condition):
    """The condition does not hold."""

    condition: Condition

    def holds(self, document: Any) -> bool:
        return not self.condition.holds(document)


@dataclass(frozen=True, slots=True)
class All(Condition):
    """Every one of the conditions holds; true when there are none."""

    conditions: tuple[Condition, ...]

    def holds(self, document: Any) -> bool:
        return all(condition.holds(document) for condition in self.conditions)


@dataclass(frozen=True, slots=True)
class AnyOf(Condition):
    """At least one of the conditions holds; false when there are none."""

    conditions: tuple[Condition, ...]

    def holds(self, document: Any) -> bool:
        return any(condition.holds(document) for condition in self.conditions)


Leaf = Among | Contains | Ordered | Present


def leaves(condition: Condition) -> Iterator[Condition]:
    """The comparisons of a tree, in the order in which they were written."""
    if isinstance(condition, (All, AnyOf)):
        for part in condition.conditions:
            yield from leaves(part)
    elif isinstance(condition, Not):
        yield from leaves(condition.condition)
    else:
        yield condition


@dataclass(frozen=True, slots=True)
class Query:
    """A query that has been checked: parse once, match many.

    Attributes:
        kind: the kind of object to select.
        condition: the tree; equal queries have equal trees.
    """

    kind: Kind
    condition: Condition

    def matches(self, document: dict[str, Any]) -> bool:
        """Whether a document of this kind is selected."""
        return self.condition.holds(document)
