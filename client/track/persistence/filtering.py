"""Filters that people type, as queries of one store."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from track.persistence.protocol import Protocol
from track_protocol.query.filter_parser import query_of
from track_protocol.query.parse import Kind
from track_protocol.query.store_names import NamesInStore

__all__ = ["StoreNames", "filter_query_of"]


def filter_query_of(protocol: Protocol, text: str, kind: Kind = "trial") -> dict[str, Any]:
    """The query that a filter means in a store.

    Args:
        protocol: the store.
        text: the filter; a blank one selects everything.
        kind: what to select.

    Raises:
        BadQuery: it cannot be parsed, or is about something that the store does not have; the message gives
            the column and suggests what may be meant.
    """
    return query_of(text, kind, StoreNames(protocol))


class StoreNames(NamesInStore):
    """What a store has under the names that people use; see `NamesInStore`.

    Args:
        protocol: the store.
    """

    def __init__(self, protocol: Protocol) -> None:
        fetches: dict[Kind, Callable[..., Sequence[Any]]] = {
            "project": protocol.fetch_projects,
            "group": protocol.fetch_groups,
            "trial": protocol.fetch_trials,
        }

        def fetch(
            kind: Kind, query: Mapping[str, Any], page: Mapping[str, Any]
        ) -> Sequence[Mapping[str, Any]]:
            return [_document(each, page["fields"]) for each in fetches[kind](query, **page)]

        super().__init__(fetch, protocol.fetch_fields, time.time())


def _document(item: Any, fields: Sequence[str]) -> dict[str, Any]:
    document = {field: getattr(item, field) for field in fields}
    if (status := document.get("status")) is not None:
        document["status"] = {"name": status.name}
    return document
