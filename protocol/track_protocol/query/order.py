"""In which order documents are answered, and which of their fields.

An order is a list of attribute names as in queries, each with ``-`` before it for descending:
``['-metrics.loss.min', 'parameters.lr', '-created']``.  ``created`` is the order of making, by which
ties are broken too.  Numbers come first, then NaN, then text, and whatever lacks the attribute comes
last, in either direction.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from track_protocol.errors import BadArguments, BadQuery
from track_protocol.query.names import suggestion
from track_protocol.query.parse import Kind, attribute_names, attribute_paths
from track_protocol.query.tree import Path

__all__ = ["CREATED", "FIELDS", "Order", "parse_fields", "parse_order"]

CREATED: Final[Path] = ("created",)
"""Path of the order in which documents were made."""

_MOST: Final = 8

_COMMON: Final = ("uid", "name", "description", "metadata")
FIELDS: Final[Mapping[Kind, tuple[str, ...]]] = {
    "project": (*_COMMON, "groups", "trials"),
    "group": (*_COMMON, "project_id", "trials"),
    "trial": (
        *("id", *_COMMON, "hash", "revision", "version", "tags", "parameters", "errors"),
        *("project_id", "group_id", "status", "metrics", "chronos", "media"),
        *("created", "started", "ended"),
    ),
}
"""The fields of each kind of document."""

_ALWAYS: Final[Mapping[Kind, tuple[str, ...]]] = {
    "project": ("uid",),
    "group": ("uid",),
    "trial": ("id", "uid", "hash", "revision", "status"),
}
"""Fields without which a document makes no object."""


@dataclass(frozen=True, slots=True)
class Order:
    """One attribute to order by.

    Attributes:
        paths: where its values are in a document, the preferred place first; `CREATED` alone for the order
            of making.
        descending: greatest first.
    """

    paths: tuple[Path, ...]
    descending: bool = False


def parse_order(names: Sequence[str], kind: Kind) -> tuple[Order, ...]:
    """Check an order and make it ready to use.

    Args:
        names: attributes, most significant first, ``-`` before those that descend.
        kind: the kind of the ordered objects.

    Raises:
        BadArguments: a name is no attribute of the kind or has no order, or there are too many names.
    """
    if len(names) > _MOST:
        raise BadArguments(f"order has {len(names)} names: give at most {_MOST}")
    return tuple(Order(_paths(name.removeprefix("-"), kind), name.startswith("-")) for name in names)


def _paths(name: str, kind: Kind) -> tuple[Path, ...]:
    if name == CREATED[0]:
        return (CREATED,)
    known = tuple(dict.fromkeys((*CREATED, *attribute_names(kind))))
    if name.partition(".")[0] not in known:
        raise BadArguments(
            f"order: a {kind} has no attribute {name[:80]!r}: {suggestion(name, known, len(known))}"
        )
    try:
        return attribute_paths(name, kind)
    except BadQuery as error:
        raise BadArguments(f"order: {error}") from None


def parse_fields(names: Collection[str] | None, kind: Kind) -> frozenset[str] | None:
    """The named fields and those that make an object; None means all of them.

    Raises:
        BadArguments: a name is no field of the kind; the message suggests one.
    """
    if names is None:
        return None
    known = FIELDS[kind]
    for name in names:
        if name not in known:
            raise BadArguments(
                f"fields: a {kind} has no field {name[:80]!r}: {suggestion(name, known, len(known))}"
            )
    return frozenset({*names, *_ALWAYS[kind]})
