"""Claims: the first item that matches a query, updated by a log call in the same transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from track_protocol.errors import BadArguments
from track_protocol.query.parse import parse_query
from track_protocol.wire.methods import METHODS, Access, method_named
from track_server.methods import lookup
from track_server.methods.trial_metadata import as_read
from track_server.storage.contract import Document, Transaction

__all__ = ["Handlers", "fetch_and_update_group", "fetch_and_update_trial"]

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
    logs: Handlers, tx: Transaction, by: bytes, query: Document, update: Document
) -> Document | None:
    """The first trial that matches, as it is after the update; None if none does."""
    apply, arguments = _updater(logs, "trial", update)
    arguments(b"\0" * 16)
    for document in tx.trials(parse_query(query, "trial"), limit=1):
        apply(tx, by, **arguments(document["id"]))
        return as_read(lookup.trial(tx, document["id"]))
    return None


def fetch_and_update_group(
    logs: Handlers, tx: Transaction, by: bytes, query: Document, update: Document
) -> Document | None:
    """The first group that matches, as it is after the update; None if none does."""
    apply, arguments = _updater(logs, "group", update)
    arguments("any")
    for document in tx.groups(parse_query(query, "group"), limit=1):
        apply(tx, by, **arguments(document["uid"]))
        return lookup.group(tx, document["uid"])
    return None
