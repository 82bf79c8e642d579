"""Queries over objects in this process, in the language of stores (`track_protocol.query.parse`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from track_protocol.errors import BadArguments
from track_protocol.model.documents import group_to_document, project_to_document, trial_to_document
from track_protocol.model.entities import Project, Trial, TrialGroup
from track_protocol.model.stat import StatStream
from track_protocol.query.parse import Kind, matches

__all__ = [
    "execute_query",
    "query_eq",
    "query_exists",
    "query_gt",
    "query_gte",
    "query_in",
    "query_lt",
    "query_lte",
    "query_ne",
    "query_nin",
    "query_not",
]

Attributes = str | Sequence[str]

_STATISTICS: Final = frozenset({"avg", "count"})


def execute_query(obj: Any, query: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None) -> bool:
    """Whether an object matches a query.

    Args:
        obj: a project, group or trial, or the document of a trial as a dict.
        query: constraints by attribute, as `track_protocol.query.parse` describes them:
            ``{'status': 'Running', 'parameters.lr': {'$lte': 0.1}}``.  A list of these must match completely;
            None matches everything.

    Raises:
        BadQuery: an unknown attribute or operator.
        BadArguments: the object is something else.
    """
    if isinstance(obj, Trial):
        return matches(_trial_document(obj), query)
    if isinstance(obj, Project):
        return matches(project_to_document(obj), query, "project")
    if isinstance(obj, TrialGroup):
        return matches(group_to_document(obj), query, "group")
    if isinstance(obj, Mapping):
        kind: Kind = "trial"
        return matches(dict(obj), query, kind)
    raise BadArguments(f"a query is about a project, a group or a trial, not about {type(obj).__name__}")


def query_eq(obj: Any, attrs: Attributes, val: Any) -> bool:
    """Whether an attribute equals a value.

    Args:
        obj: see `execute_query`.
        attrs: the attribute: ``'parameters.lr'``, or its parts ``['parameters', 'lr']``.
        val: the value.
    """
    return _operation(obj, attrs, "$eq", val)


def query_ne(obj: Any, attrs: Attributes, val: Any) -> bool:
    """Whether an attribute differs from a value; see `query_eq`."""
    return _operation(obj, attrs, "$ne", val)


def query_lt(obj: Any, attrs: Attributes, val: Any) -> bool:
    """Whether an attribute is less than a value; see `query_eq`."""
    return _operation(obj, attrs, "$lt", val)


def query_lte(obj: Any, attrs: Attributes, val: Any) -> bool:
    """Whether an attribute is at most a value; see `query_eq`."""
    return _operation(obj, attrs, "$lte", val)


def query_gt(obj: Any, attrs: Attributes, val: Any) -> bool:
    """Whether an attribute is more than a value; see `query_eq`."""
    return _operation(obj, attrs, "$gt", val)


def query_gte(obj: Any, attrs: Attributes, val: Any) -> bool:
    """Whether an attribute is at least a value; see `query_eq`."""
    return _operation(obj, attrs, "$gte", val)


def query_in(obj: Any, attrs: Attributes, choices: Iterable[Any]) -> bool:
    """Whether an attribute is one of some values; see `query_eq`."""
    return _operation(obj, attrs, "$in", list(choices))


def query_nin(obj: Any, attrs: Attributes, choices: Iterable[Any]) -> bool:
    """Whether an attribute is none of some values; see `query_eq`."""
    return _operation(obj, attrs, "$nin", list(choices))


def query_exists(obj: Any, attrs: Attributes, there: bool = True) -> bool:
    """Whether an object has an attribute at all; see `query_eq`."""
    return _operation(obj, attrs, "$exists", there)


def query_not(obj: Any, attrs: Attributes, constraint: Any) -> bool:
    """Whether an attribute does not meet a constraint, such as ``{'$lt': 1}``; see `query_eq`."""
    return _operation(obj, attrs, "$not", constraint)


def _operation(obj: Any, attrs: Attributes, operator: str, operand: Any) -> bool:
    name = attrs if isinstance(attrs, str) else ".".join(attrs)
    return execute_query(obj, {name: {operator: operand}})


def _trial_document(trial: Trial) -> dict[str, Any]:
    series = {"metrics": trial.metrics, "chronos": trial.chronos}
    summaries = {field: {name: _summary(values, name) for name in values} for field, values in series.items()}
    return {**trial_to_document(trial), **summaries}


def _summary(series: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """What is known of a series: by the store it came from, or else from its values."""
    summarise = getattr(series, "summary", None)
    if summarise is not None:
        known: Mapping[str, Any] = summarise(name)
        return known
    values = series[name]
    if isinstance(values, Mapping) and values.keys() >= _STATISTICS:
        return {**values, "mean": values["avg"]}
    steps, points = (list(values), list(values.values())) if isinstance(values, Mapping) else ([], values)
    points = list(points) if isinstance(points, (list, tuple)) else [points]
    stat = StatStream(drop_first_obs=0)
    for value in points:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value == value:
            stat.update(value)
    summary = {"count": len(points), "last": points[-1] if points else None}
    if stat.count:
        summary |= {"min": stat.min, "max": stat.max, "mean": stat.avg, "sd": stat.sd}
    return summary | ({"first_step": steps[0], "last_step": steps[-1]} if steps else {})
