"""What a store has under the names that people use in filters, asked with its own queries.

A name means what the store has under it, so that the same filter selects the same trials everywhere, and a
name, status, project or uid that the store does not have is an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from track_protocol.errors import BadQuery
from track_protocol.model.entities import LOST, PRUNED, STATUS_NAMES, Status
from track_protocol.query.names import TREES, candidates, own_attribute, own_names, suggestion
from track_protocol.query.tree import Kind

__all__ = ["Fetch", "Fields", "NamesInStore", "uid_conditions"]

Fetch = Callable[[Kind, Mapping[str, Any], Mapping[str, Any]], Sequence[Mapping[str, Any]]]
"""Finds documents: of a kind, by a query, and by the arguments of a page (`fields` always among them)."""

Fields = Callable[[], Mapping[str, Any]]
"""Which values and series all trials have, as `fetch_fields` answers it."""

_ID: Final = re.compile("[0-9a-fA-F]{32}")
_PREFIX: Final = re.compile(r"[0-9a-f]{4,64}")
_WITH_REVISION: Final = re.compile(r"([0-9a-f]{4,63})_([0-9]{1,9})")
_NEWEST: Final = 1_000
"""Projects or groups whose names are looked at for a suggestion."""

_SERIES: Final = {"metric": "metrics", "chrono": "chronos"}
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


class NamesInStore:
    """What a store has under the names that people use; see `track_protocol.query.names.Store`.

    Args:
        fetch: finds documents.
        fields: called for the names that are suggested.
        now: when this is made, in seconds since the epoch.
    """

    def __init__(self, fetch: Fetch, fields: Fields, now: float) -> None:
        self.now = now
        self._find = fetch
        self._fields = fields
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
        found = [each["uid"] for each in self._fetch(kind, {"$or": ways})]
        if found or self._is_empty(kind):
            return found
        if kind == "trial":
            raise BadQuery(
                f"no trial's uid is or begins with {name[:80]!r}: give at least 4 of its first digits, as "
                "'track ls' shows them"
            )
        known = [str(each["name"] or each["uid"]) for each in self._fetch(kind, {}, fields=("uid", "name"))]
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
        return sorted({each["status"]["name"] for each in trials if each["status"] is not None})

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
        """The names for which filters have a meaning."""
        if kind != "trial":
            items = self._fetch(kind, {}, limit=_NEWEST, fields=("uid", "metadata"))
            names = dict.fromkeys(name for each in items for name in _dotted(each["metadata"]))
            return [*names, *own_names(kind)]
        fields = self._fields()
        found: dict[str, list[str]] = {root: [] for root in TREES}
        for each in fields["fields"]:
            root, _, name = each["name"].partition(".")
            found[root].append(name)
        for each in fields["series"]:
            if each["kind"] in _SERIES:
                found[_SERIES[each["kind"]]].append(each["name"])
        bare = {**found, "metadata": [name for name in found["metadata"] if name.startswith(_RUN)]}
        rooted = [f"{_SHORT.get(root, root)}.{name}" for root, names in found.items() for name in names]
        known = [name.removeprefix(_RUN) for names in bare.values() for name in names]
        return list(dict.fromkeys([*known, *own_names(kind), *rooted]))

    def series_names(self) -> list[str]:
        """The names of metrics and timers, with and without labels."""
        names = [each["name"] for each in self._fields()["series"] if each["kind"] in _SERIES]
        return list(dict.fromkeys(each for name in names for each in (name, name.partition("{")[0])))

    def _is_there(self, attribute: str, kind: Kind) -> bool:
        return bool(self._fetch(kind, {attribute: {"$exists": True}}, limit=1))

    def _is_empty(self, kind: Kind) -> bool:
        return not self._fetch(kind, {}, limit=1)

    def _fetch(self, kind: Kind, query: Mapping[str, Any], **page: Any) -> Sequence[Mapping[str, Any]]:
        return self._find(kind, query, {"fields": ("uid",), **page})


def _is_number(attribute: str) -> dict[str, Any]:
    return {"$or": [{attribute: {"$gte": 0}}, {attribute: {"$lt": 0}}]}


def _dotted(values: Mapping[Any, Any], before: str = "") -> Iterable[str]:
    for key, value in values.items():
        yield f"{before}{key}"
        if isinstance(value, Mapping):
            yield from _dotted(value, f"{before}{key}.")


def _and(attributes: Sequence[str], text: Any, between: str = " and ") -> str:
    return between.join(text(each.partition(".")[0]) for each in attributes)


def uid_conditions(text: str) -> list[dict[str, Any]]:
    """Queries for the trials with that uid or id, and for those whose uid begins so."""
    ways: list[dict[str, Any]] = [{"uid": text}]
    if _ID.fullmatch(text):
        ways.append({"id": bytes.fromhex(text)})
    if _PREFIX.fullmatch(text):
        ways.append({"uid": _beginning(text)})
    if found := _WITH_REVISION.fullmatch(text):
        ways.append({"hash": _beginning(found[1]), "revision": int(found[2])})
    return ways


def _beginning(text: str) -> dict[str, str]:
    """The condition on hexadecimal digits that they begin so; `g` comes behind all of them."""
    return {"$gte": text, "$lt": f"{text}g"}
