"""The rows of a list of trials, of which a store sends no more than is shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from track.commands.fields import MISSING, Names, document, shown
from track.persistence.protocol import Protocol
from track.reading.flatten import flat
from track_protocol.model.entities import Status
from track_protocol.query.columns import MAX_CELLS, MAX_ROWS
from track_protocol.query.tree import named

__all__ = ["Listed", "ListedColumn", "default_rows", "documents_in_order", "listed_rows"]

_OWNERS: Final = ("project", "group")
_RUN: Final = ("metadata.run.user", "metadata.run.host")
_OWN: Final = ("uid", "name", "status")
_BASE: Final = (*_OWN, "created", "duration", "seen", *_OWNERS, *_RUN, "parameters")
_MOST: Final = 4
"""Parameters and metrics that get a column of their own."""


@dataclass(frozen=True, slots=True)
class ListedColumn:
    """A column of the list.

    Attributes:
        name: as it was given.
        attribute: where its values are, as in queries.
    """

    name: str
    attribute: str


@dataclass(frozen=True, slots=True)
class Listed:
    """Rows of a list.

    Attributes:
        ids: of the trials.
        rows: a value for each attribute of a trial; None where it has none.
        total: how many trials match.
    """

    ids: Sequence[bytes]
    rows: Sequence[Sequence[Any]]
    total: int


def listed_rows(
    protocol: Protocol,
    query: Mapping[str, Any],
    attributes: Sequence[str],
    order: Sequence[str],
    limit: int | None,
) -> Listed:
    """The first trials in an order.

    Args:
        protocol: the store.
        query: which trials.
        attributes: the columns.
        order: as `Protocol.fetch_table` takes it.
        limit: most rows; None for all.
    """
    most = min(MAX_ROWS, MAX_CELLS // max(1, len(attributes)))
    ids: list[bytes] = []
    rows: list[Sequence[Any]] = []
    while True:
        wanted = most if limit is None else min(most, limit - len(ids))
        page = protocol.fetch_table(query, attributes, order, len(ids), wanted)
        ids += page["ids"]
        rows += zip(*page["columns"], strict=True)
        if not page["ids"] or len(ids) == limit or len(ids) >= page["total"]:
            return Listed(ids, rows, page["total"])


def documents_in_order(
    protocol: Protocol, query: Mapping[str, Any], order: Sequence[str], limit: int | None, names: Names
) -> Iterator[dict[str, Any]]:
    """Whole documents of the first trials in an order that may be of a computed column."""
    ids = listed_rows(protocol, query, ("uid",), order, limit).ids
    for start in range(0, len(ids), MAX_ROWS):
        some = ids[start : start + MAX_ROWS]
        found = {each.id: each for each in protocol.fetch_trials({"id": {"$in": some}})}
        yield from (document(found[id], names) for id in some if id in found)


def default_rows(
    protocol: Protocol, query: Mapping[str, Any], order: Sequence[str], limit: int | None
) -> tuple[list[ListedColumn], Listed]:
    """The default columns of the first trials in an order, and their rows."""
    base = listed_rows(protocol, query, _BASE, order, limit)
    known = [dict(zip(_BASE, row, strict=True)) for row in base.rows]
    first = [
        ListedColumn(f"params.{name}", f"parameters.{name}")
        for name in _differing([each["parameters"] for each in known])
    ]
    metrics = _metrics(protocol, base.ids)
    for each, statistics in zip(known, _values(protocol, base.ids, metrics), strict=True):
        each.update(statistics)
        each.update({column.attribute: _named(each["parameters"], column.name) for column in first})
    columns = _columns(known, first, [ListedColumn(name, name) for name in metrics])
    rows = [[each[column.attribute] for column in columns] for each in known]
    return columns, Listed(base.ids, rows, base.total)


def _columns(
    known: Sequence[Mapping[str, Any]], first: Sequence[ListedColumn], then: Sequence[ListedColumn]
) -> list[ListedColumn]:
    """Owners and parameters that differ, the first metrics, and when it was."""
    owners = [name for name in _OWNERS if _differs(known, name)]
    runs = [
        ListedColumn(attribute.rpartition(".")[2], attribute)
        for attribute in _RUN
        if _differs(known, attribute)
    ]
    alive = ["seen"] if any(each["status"] == Status.Running.name for each in known) else []
    when = ("created", "duration", *alive, *owners)
    # The last columns do not fit a narrow terminal.
    return [
        *(ListedColumn(name, name) for name in _OWN),
        *(*first[:2], *then[:2]),
        *(ListedColumn(name, name) for name in when),
        *(*runs, *first[2:], *then[2:]),
    ]


def _differs(known: Sequence[Mapping[str, Any]], attribute: str) -> bool:
    return len({str(each[attribute]) for each in known}) > 1


def _differing(parameters: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of the first parameters that differ."""
    values: dict[str, set[str]] = {}
    had: Counter[str] = Counter()
    for each in parameters:
        flattened = flat(each)
        had.update(flattened.keys())
        for name, value in flattened.items():
            values.setdefault(name, set()).add(shown("", value))
    differing = [
        name
        for name, texts in values.items()
        if (len(texts) > 1 or had[name] < len(parameters) or len(parameters) == 1)
        and any(named(each, name) is not MISSING for each in parameters)
    ]
    return differing[:_MOST]


def _named(parameters: Mapping[str, Any], column: str) -> Any:
    value = named(parameters, column.removeprefix("params."))
    return None if value is MISSING else value


def _metrics(protocol: Protocol, ids: Sequence[bytes]) -> list[str]:
    series = protocol.fetch_fields({"id": {"$in": list(ids)}})["series"]
    return [f"metrics.{each['name']}" for each in series if each["kind"] == "metric"][:_MOST]


def _values(protocol: Protocol, ids: Sequence[bytes], attributes: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The values of each trial; those of one that was deleted meanwhile are None."""
    for start in range(0, len(ids), MAX_ROWS):
        some = ids[start : start + MAX_ROWS]
        page = protocol.fetch_rows(some, attributes)
        columns = page["columns"] if attributes else []
        at = {id: number for number, id in enumerate(page["ids"])}
        for id in some:
            yield {
                attribute: column[at[id]] if id in at else None
                for attribute, column in zip(attributes, columns, strict=True)
            }
