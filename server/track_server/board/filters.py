"""Filters that people type, as queries of the store behind a board."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from track_protocol.errors import BadArguments, BadQuery
from track_protocol.query.filter_parser import query_of
from track_protocol.query.parse import Kind
from track_protocol.query.store_names import NamesInStore
from track_protocol.wire.methods import METHODS
from track_server.board.calls import Calls
from track_server.board.threads import in_own_thread

__all__ = ["described", "filter_query"]

_FETCHES: Final[Mapping[Kind, str]] = {
    "project": "fetch_projects",
    "group": "fetch_groups",
    "trial": "fetch_trials",
}
_COLUMN: Final = re.compile(r"column (\d+): ")
_MEANT: Final = re.compile(r"did you mean '([^']*)'")


async def filter_query(calls: Calls, user: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The query of a filter of trials.

    Args:
        calls: the store.
        user: on whose behalf.
        given: ``filter``, a text, and ``project``, the uid of the one whose trials are meant, or None.

    Raises:
        BadQuery: the filter cannot be understood.
        BadArguments: there is something else than these.
    """
    text, project = given.get("filter", ""), given.get("project")
    if (
        not isinstance(text, str)
        or not isinstance(project, str | None)
        or given.keys() - {"filter", "project"}
    ):
        raise BadArguments("give 'filter', a text, and perhaps 'project', a uid")
    loop = asyncio.get_running_loop()

    def ask(method: str, **given: Any) -> Any:
        # The meaning of names is decided in a thread, step by step, each of which is a call.
        asked = calls.call(user, method, METHODS[method].check(given))
        return asyncio.run_coroutine_threadsafe(asked, loop).result()

    def fetch(kind: Kind, query: Mapping[str, Any], page: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        listed = {name: list(value) if isinstance(value, tuple) else value for name, value in page.items()}
        found: Sequence[Mapping[str, Any]] = ask(_FETCHES[kind], query=dict(query), **listed)
        return found

    names = NamesInStore(fetch, lambda: ask("fetch_fields", query={}), time.time())
    # Not in a thread of the pool: its calls need one of those themselves.
    query: dict[str, Any] = await in_own_thread(partial(query_of, text, "trial", names))
    if project is None:
        return query
    return {"$and": [query, {"project_id": project}]} if query else {"project_id": project}


def described(error: BadQuery) -> dict[str, Any]:
    """What a page shows at the filter: the message, the place in the text from 0 on, and a better name."""
    message = str(error)
    at, meant = _COLUMN.match(message), _MEANT.search(message)
    return {
        "at": None if at is None else int(at[1]) - 1,
        "suggestion": None if meant is None else meant[1],
    }
