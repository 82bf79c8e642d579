"""Claims: the first item that matches a query, updated by a log call in the same transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, Final

from track_protocol.errors import BadArguments, BadQuery
from track_protocol.query.parse import parse_query
from track_protocol.query.tree import Contains, Query, leaves
from track_protocol.wire.methods import METHODS, Access, method_named
from track_server.methods import lookup
from track_server.methods.trial_metadata import as_read
from track_server.storage.contract import Document
from track_server.storage.unit_of_work import UnitOfWork

__all__ = [
    "MAX_CONDITIONS",
    "MAX_PATTERNS",
    "SEARCH_SECONDS",
    "Handlers",
    "fetch_and_update_group",
    "fetch_and_update_trial",
]

MAX_CONDITIONS: Final = 64
MAX_PATTERNS: Final = 8
"""Comparisons, and ``$contains`` among them, in a fetch and update: all writers wait for it."""

SEARCH_SECONDS: Final = 0.25
"""Seconds that such a query may take."""

Handlers = Mapping[str, Callable[..., object]]
"""Log calls by name, as `track_server.methods.dispatch.LOGS` has them."""


def _updater(
    logs: Handlers, kind: str, update: Document
) -> tuple[Callable[..., object], Callable[[Any], dict[str, Any]]]:
    """The log handler an update names, and how its arguments look once the item is known."""
    method = method_named(update["method"], within=(Access.LOG,))
    if method.updates != kind:
        known = ", ".join(sorted(m.name for m in METHODS.values() if m.updates == kind))
        raise BadArguments(f"{method.name} does not update a {kind}; these do: {known}")
    item = method.parameters[0].name
    if item in update["arguments"]:
        raise BadArguments(f"{method.name}: {item!r} is the item that was fetched and cannot be given")
    return logs[method.name], lambda key: method.check({item: key, **update["arguments"]})


def fetch_and_update_trial(
    logs: Handlers, tx: UnitOfWork, by: bytes, query: Document, update: Document
) -> Document | None:
    """The first trial that matches, as it is after the update; None if none does."""
    apply, arguments = _updater(logs, "trial", update)
    arguments(b"\0" * 16)
    for id in _first(tx, parse_query(query, "trial")):
        apply(tx, by, **arguments(id))
        return as_read(lookup.trial(tx, id))
    return None


def fetch_and_update_group(
    logs: Handlers, tx: UnitOfWork, by: bytes, query: Document, update: Document
) -> Document | None:
    """The first group that matches, as it is after the update; None if none does."""
    apply, arguments = _updater(logs, "group", update)
    arguments("any")
    for uid in _first(tx, parse_query(query, "group")):
        apply(tx, by, **arguments(uid))
        return lookup.group(tx, uid)
    return None


def _first(tx: UnitOfWork, query: Query) -> list[Any]:
    """The key of the first item that matches, if any does.

    Raises:
        BadQuery: the query has more conditions than everybody else can wait for.
        TooBusy: the search took too long.
    """
    conditions = list(islice(leaves(query.condition), MAX_CONDITIONS + 1))
    patterns = sum(isinstance(each, Contains) for each in conditions)
    if len(conditions) > MAX_CONDITIONS or patterns > MAX_PATTERNS:
        raise BadQuery(
            f"fetch and update takes at most {MAX_CONDITIONS} comparisons, {MAX_PATTERNS} of them $contains, "
            "since all writers wait for it: fetch the candidates first, and update them by id"
        )
    return tx.select(query, 1, SEARCH_SECONDS)
