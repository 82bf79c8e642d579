"""Trials by what people call them: a uid or its first digits, an id, a name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from track.persistence.protocol import Protocol
from track_protocol.errors import ItemNotFound, UsageError
from track_protocol.model.entities import Trial
from track_protocol.query.store_names import uid_conditions

__all__ = ["find_trial"]

_SHOWN: Final = 5
_NOTHING: Final[Mapping[str, Any]] = {"total": 0, "ids": []}


def find_trial(protocol: Protocol, name: str) -> Trial:
    """The one trial of a uid, of its first digits, of an id of 32 digits, or of a name.

    The digits of a hash may be cut short in front of the revision too, as `track ls` shows them.

    Raises:
        ItemNotFound: there is none.
        UsageError: there are several.
    """
    # A name may be that of thousands, of which no more is wanted than how many there are.
    table = _matching(protocol, {"uid": name}) if name else _NOTHING
    if name and not table["ids"]:
        table = _matching(protocol, {"$or": [{"name": name}, *uid_conditions(name)]})
    if table["total"] == 1 and (found := protocol.fetch_trials({"id": table["ids"][0]})):
        return found[0]
    if table["total"] <= 1:
        raise ItemNotFound(
            f"no trial is called {name!r}: give a uid, at least 4 of its first digits, an id or a name "
            "('track ls' shows them)"
        )
    uids, revisions = table["columns"]
    some = ", ".join(f"{uid[:12]}…_{revision}" for uid, revision in zip(uids, revisions, strict=True))
    raise UsageError(f"{name!r} matches {table['total']} trials ({some}): give more digits of one's uid")


def _matching(protocol: Protocol, query: Mapping[str, Any]) -> Mapping[str, Any]:
    return protocol.fetch_table(query, ("uid", "revision"), limit=_SHOWN)
