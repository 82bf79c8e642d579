"""Reads of many trials at once: tables, groups, which values there are, and what has changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from track_protocol.errors import BadArguments
from track_protocol.query.columns import check_size, parse_columns, parse_table_order
from track_protocol.query.parse import parse_query
from track_server.storage.contract import Document, Snapshot, Table

__all__ = [
    "MAX_BY",
    "check_most",
    "fetch_changes",
    "fetch_fields",
    "fetch_groups_of",
    "fetch_rows",
    "fetch_table",
]

MAX_BY: Final = 8
"""Values by which trials are grouped."""

_MAX_MEASURES: Final = 16
_MAX_GROUPS: Final = 1_000
_MAX_CHANGES: Final = 10_000


def fetch_table(
    view: Snapshot,
    query: Document,
    columns: Sequence[str],
    order: Sequence[str] | None,
    start: int,
    limit: int,
) -> Document:
    """Columns of a page of the trials that match, and how many match."""
    wanted = parse_columns(columns)
    check_size(limit, len(wanted), "limit")
    return _answered(view.table(parse_query(query), wanted, parse_table_order(order or ()), start, limit))


def fetch_rows(view: Snapshot, trials: Sequence[bytes], columns: Sequence[str]) -> Document:
    """Columns of some trials."""
    wanted = parse_columns(columns)
    check_size(len(trials), len(wanted), "trials")
    return _answered(view.table_rows(trials, wanted))


def _answered(table: Table) -> Document:
    return {"total": table.total, "ids": table.ids, "columns": table.columns}


def fetch_fields(view: Snapshot, query: Document) -> Document:
    """Which values and series the trials that match have."""
    return view.fields(parse_query(query))


def fetch_groups_of(
    view: Snapshot, query: Document, by: Sequence[str], measures: Sequence[str], limit: int
) -> list[Document]:
    """The trials that match by values, with statistics of others."""
    check_most("limit", limit, _MAX_GROUPS)
    wanted = parse_columns(by, "by", MAX_BY), parse_columns(measures, "measures", _MAX_MEASURES)
    return view.trial_groups(parse_query(query), *wanted, limit)


def fetch_changes(view: Snapshot, cursor: str | None, limit: int) -> dict[str, Any]:
    """What has changed since a moment."""
    check_most("limit", limit, _MAX_CHANGES)
    changed = view.changes_since(cursor, limit)
    return {
        "cursor": changed.cursor,
        "known": changed.known,
        "more": changed.more,
        "trials": sorted(changed.trials),
        "deleted": sorted(changed.deleted),
        "groups": sorted(changed.groups),
        "projects": sorted(changed.projects),
    }


def check_most(name: str, given: int, most: int) -> None:
    """Refuse an argument that is too large.

    Raises:
        BadArguments: it is.
    """
    if given > most:
        raise BadArguments(f"{name} is {given:,}: give at most {most:,}")
