"""Filters that people type, as queries of one store.

A name means what the store has under it, so that the same filter selects the same trials in every command,
and a name, status, project or uid that the store does not have is an error.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from track.persistence.lookup import uid_conditions
from track.persistence.protocol import Protocol
from track_protocol.errors import BadQuery
from track_protocol.model.entities import LOST, PRUNED, STATUS_NAMES, Status, Trial
from track_protocol.query.filter_parser import query_of
from track_protocol.query.names import TREES, candidates, own_attribute, own_names, suggestion
from track_protocol.query.parse import Kind

__all__ = ["StoreNames", "filter_query_of"]

_NEWEST: Final = 1_000
"""Trials whose names are looked at for a suggestion."""

_SERIES: Final = ("metrics", "chronos")
_SHORT: Final = {"parameters": "params"}
_WORDS: Final = {
    "parameters": "parameter",
    "metrics": "metric",
    "tags": "tag",
    "metadata": "metadata entry",
    "chronos": "timer",
}
_RUN: Final = "run."
_SHOWN: Final = 100


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


class StoreNames:
    """What a store has under the names that people use; see `track_protocol.query.names.Store`.

    Args:
        protocol: the store.

    Attributes:
        now: when this was made, in seconds since the epoch.
    """

    def __init__(self, protocol: Protocol) -> None:
        self.now = time.time()
        self._protocol = protocol
        self._attributes: dict[tuple[Kind, str], str] = {}

    def attribute(self, name: str, kind: Kind = "trial") -> str:
        """See `Store.attribute`."""
        known = self._attributes.get((kind, name))
        if known is None:
            known = self._attributes[kind, name] = self._attribute(name, kind)
        return known

    def _attribute(self, name: str, kind: Kind) -> str:
        own = own_attribute(name, kind)
        if own is not None and own.partition(".")[0] not in TREES:
            return own
        possible = candidates(name, kind) if own is None else (own,)
        if self._is_there(possible[0], kind):
            return possible[0]
        found = [each for each in possible[1:] if self._is_there(each, kind)]
        if not found:
            if self._is_empty(kind):
                return possible[0]
            noted = f"metadata.{_RUN}{name.partition('.')[0]}"
            if own == f"metadata.{_RUN}{name}" and not self._is_there(noted, kind):
                raise BadQuery(
                    f"no trial has {name[:80]!r}, which a run notes of itself unless TRACK_CAPTURE is 0: a "
                    f"parameter of that name is 'params.{name[:80]}'"
                )
            raise BadQuery(f"no {kind} has {name[:80]!r}: {suggestion(name, self.known_names(kind))}")
        if len(found) > 1:
            raise BadQuery(
                f"{name[:80]!r} is {_and(found, lambda root: f'a {_WORDS[root]}')}: write "
                f"{_and(found, lambda root: f'{root}.{name}', ' or ')}"
            )
        return found[0]

    def uids(self, kind: Kind, name: str) -> Sequence[str]:
        """See `Store.uids`."""
        ways = uid_conditions(name) if kind == "trial" else [{"uid": name}, {"name": name}]
        found = [each.uid for each in self._fetch(kind, {"$or": ways})]
        if found or self._is_empty(kind):
            return found
        if kind == "trial":
            raise BadQuery(
                f"no trial's uid is or begins with {name[:80]!r}: give at least 4 of its first digits, as "
                "'track ls' shows them"
            )
        known = [str(each.name or each.uid) for each in self._fetch(kind, {}, fields=("uid", "name"))]
        raise BadQuery(f"no {kind} is called {name[:80]!r}: {suggestion(name, known)}")

    def statuses(self, name: str) -> Sequence[str]:
        """See `Store.statuses`."""
        known = [STATUS_NAMES[name.lower()]] if name.lower() in STATUS_NAMES else []
        own = [each for each in self._own_statuses(name) if each.casefold() == name.casefold()]
        if not known and not own:
            meant = suggestion(name, [*STATUS_NAMES, *self._own_statuses("")])
            raise BadQuery(f"no status is called {name[:80]!r}: {meant}")
        return [*known, *own]

    def check_status(self, value: float) -> None:
        """See `Store.check_status`."""
        known = sorted({each.value: each.name for each in (*Status, LOST, PRUNED)}.items())
        if value in dict(known) or self._fetch("trial", {"status.value": value}, limit=1):
            return
        listed = ", ".join(f"{number} {name}" for number, name in known)
        raise BadQuery(f"no status has the number {value:g}: use a name or number of {listed}")

    def _own_statuses(self, part: str) -> list[str]:
        """The names of unknown statuses that contain a text."""
        condition = {"$contains": part, "$nin": list(STATUS_NAMES.values())}
        trials = self._fetch("trial", {"status.name": condition}, limit=_SHOWN, fields=("status",))
        return sorted({each.status.name for each in trials if each.status is not None})

    def check_sort(self, attribute: str, operand: float | str | bool, kind: Kind = "trial") -> None:
        """See `Store.check_sort`."""
        sort = "text" if isinstance(operand, str) else "boolean" if isinstance(operand, bool) else "number"
        sorts = {
            "text": {attribute: {"$gte": ""}},
            "number": _is_number(attribute),
            "boolean": {attribute: {"$in": [True, False]}},
        }
        if self._fetch(kind, sorts[sort], limit=1):
            return
        found = next((each for each, query in sorts.items() if self._fetch(kind, query, limit=1)), None)
        if found is not None:
            remedy = "put quotes around a text" if found == "text" else f"give a {found}"
            raise BadQuery(
                f"{attribute!r} is a {found} in each {kind}, and {operand!r:.80} is none: {remedy}"
            )
        if sort != "number" and self._fetch(
            kind, {attribute: {"$exists": True, "$nin": [None, []]}}, limit=1
        ):
            raise BadQuery(f"{attribute!r} is many values: name one of them, as in '{attribute}.NAME'")

    def known_names(self, kind: Kind = "trial") -> list[str]:
        """The names for which filters have a meaning, those of the newest objects first."""
        found: dict[str, None] = {}
        if kind != "trial":
            for each in self._fetch(kind, {}, limit=_NEWEST, fields=("uid", "metadata")):
                found |= dict.fromkeys(_dotted(each.metadata))
            return [*found, *own_names(kind)]
        trials = self._fetch(kind, {}, limit=_NEWEST, order=("-created",), fields=TREES)
        rooted: dict[str, None] = {}
        for trial in trials:
            for field in TREES:
                names = list(_names_in(trial, field))
                bare = [
                    name.removeprefix(_RUN) for name in names if field != "metadata" or name.startswith(_RUN)
                ]
                found |= dict.fromkeys(bare)
                rooted |= dict.fromkeys(f"{_SHORT.get(field, field)}.{name}" for name in names)
        return [*found, *own_names(kind), *rooted]

    def series_names(self) -> list[str]:
        """The names of metrics and timers of the newest trials, with and without labels."""
        trials = self._fetch("trial", {}, limit=_NEWEST, order=("-created",), fields=_SERIES)
        names = [str(name) for trial in trials for field in _SERIES for name in getattr(trial, field)]
        return list(dict.fromkeys(each for name in names for each in (name, name.partition("{")[0])))

    def _is_there(self, attribute: str, kind: Kind) -> bool:
        return bool(self._fetch(kind, {attribute: {"$exists": True}}, limit=1))

    def _is_empty(self, kind: Kind) -> bool:
        return not self._fetch(kind, {}, limit=1)

    def _fetch(self, kind: Kind, query: Mapping[str, Any], **page: Any) -> Sequence[Any]:
        fetches: dict[Kind, Callable[..., Any]] = {
            "project": self._protocol.fetch_projects,
            "group": self._protocol.fetch_groups,
            "trial": self._protocol.fetch_trials,
        }
        found: Sequence[Any] = fetches[kind](query, **{"fields": ("uid",), **page})
        return found


def _is_number(attribute: str) -> dict[str, Any]:
    return {"$or": [{attribute: {"$gte": 0}}, {attribute: {"$lt": 0}}]}


def _names_in(trial: Trial, field: str) -> Iterable[str]:
    values = getattr(trial, field)
    return map(str, values) if field in _SERIES else _dotted(values)


def _dotted(values: Mapping[Any, Any], before: str = "") -> Iterable[str]:
    for key, value in values.items():
        yield f"{before}{key}"
        if isinstance(value, Mapping):
            yield from _dotted(value, f"{before}{key}.")


def _and(attributes: Sequence[str], text: Any, between: str = " and ") -> str:
    return between.join(text(each.partition(".")[0]) for each in attributes)
