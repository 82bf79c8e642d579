"""What the names in filters, columns and orders mean: attributes of queries.

Some names are a trial's own and mean the same in every store.  Any other is a *bare* name, which means what a
store has under it; `Store` says that, and so makes a typo an error instead of a filter that selects nothing
or, negated, everything.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final
from typing import Protocol as Interface

from track_protocol.query.tree import Kind

__all__ = [
    "MOMENTS",
    "NUMBERS",
    "RUN_FIELDS",
    "TEXTS",
    "TREES",
    "Store",
    "candidates",
    "own_attribute",
    "own_names",
    "suggestion",
]

MOMENTS: Final = frozenset({"created", "started", "ended"})
"""Attributes in seconds since the epoch."""

NUMBERS: Final = MOMENTS | {"duration", "revision"}
"""Attributes that are numbers in every store."""

TEXTS: Final = frozenset({"uid", "hash", "name", "description", "version", "status.name"})
"""Attributes that are texts in every store."""

RUN_FIELDS: Final = ("user", "host", "pid", "command", "directory", "python", "git", "slurm")
"""What a run notes of itself, in its metadata under ``run``."""

_SCALARS: Final = ("uid", "id", "hash", "name", "description", "version", "status", *sorted(NUMBERS))
TREES: Final = ("parameters", "metrics", "tags", "metadata", "chronos")
"""Attributes that have names below them, in the order in which a bare name is looked for."""

_ROOTS: Final[Mapping[str, str]] = {"params": "parameters", **{name: name for name in TREES}}


class Store(Interface):
    """What a store has, for the filters that are about it."""

    @property
    def now(self) -> float:
        """The time, in seconds since the epoch."""

    def attribute(self, name: str, kind: Kind) -> str:
        """The attribute that a name means.

        Raises:
            BadQuery: nothing in the store has that name; the message suggests one.
        """

    def uids(self, kind: Kind, name: str) -> Sequence[str]:
        """The uids of the projects or groups of a name or uid, or of the trials whose uid begins so.

        Raises:
            BadQuery: there are none; the message suggests a name.
        """

    def statuses(self, name: str) -> Sequence[str]:
        """The names of statuses as they are stored, of a name in capital or small letters.

        Raises:
            BadQuery: no trial can have that status; the message suggests one.
        """

    def check_status(self, value: float) -> None:
        """Check that a number is that of a known status, or of one that a trial has.

        Raises:
            BadQuery: it is not; the message lists the known ones.
        """

    def check_sort(self, attribute: str, operand: float | str | bool, kind: Kind) -> None:
        """Check that a number is compared with numbers, a text with texts and a boolean with booleans.

        Raises:
            BadQuery: all its values are of another sort.
        """


def own_names(kind: Kind) -> tuple[str, ...]:
    """The names that mean the same in every store."""
    if kind == "trial":
        return (*_SCALARS, "project", "group", *RUN_FIELDS)
    return ("uid", "name", "description", *(("project",) if kind == "group" else ()))


def own_attribute(name: str, kind: Kind) -> str | None:
    """The attribute that a name means in every store, None for a bare name."""
    root, dot, rest = name.partition(".")
    if root in _SCALARS:
        return name
    if root in _ROOTS:
        return f"{_ROOTS[root]}{dot}{rest}"
    if kind == "trial" and "{" in name:
        return f"metrics.{name}"
    return f"metadata.run.{name}" if kind == "trial" and root in RUN_FIELDS else None


def candidates(name: str, kind: Kind) -> tuple[str, ...]:
    """The attributes that a bare name may mean; the first is preferred to all others."""
    return tuple(f"{root}.{name}" for root in (TREES if kind == "trial" else ("metadata",)))


def suggestion(name: str, known: Collection[str], most: int = 12) -> str:
    """The end of a message about an unknown name: the names that may be meant, or the known ones."""
    from difflib import get_close_matches  # rarely needed, and slow to import

    folded = {each.casefold(): each for each in reversed(list(known))}
    wanted = name.casefold()
    close = [each for fold, each in folded.items() if fold.startswith((f"{wanted}{{", f"{wanted}."))][:3]
    close += [folded[each] for each in get_close_matches(wanted, folded, 3) if folded[each] not in close]
    if close:
        return f"did you mean {' or '.join(map(repr, close[:3]))}?"
    some = ", ".join(list(known)[:most])
    return f"use one of {some}{', …' if len(known) > most else ''}" if some else "there are none"
