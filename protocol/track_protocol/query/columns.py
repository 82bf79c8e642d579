"""The columns of a table of trials: attributes of queries, and a few that are looked up or computed.

Besides the attributes of `track_protocol.query.parse` there are ``project`` and ``group``, the names of the
trial's own (their uids when they have none), and ``seen``, the time of its last sign of life: its newest
point or its heartbeat, whichever came later.  ``status`` is the name of the status.  ``parameters``, ``tags``
and ``metadata`` alone are the whole dicts, which have no order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from track_protocol.errors import BadArguments, BadQuery
from track_protocol.query.names import suggestion
from track_protocol.query.order import CREATED, Order
from track_protocol.query.parse import attribute_names, attribute_paths
from track_protocol.query.tree import Path

__all__ = [
    "COMPUTED",
    "MAX_CELLS",
    "MAX_COLUMNS",
    "MAX_ROWS",
    "Column",
    "check_size",
    "parse_columns",
    "parse_table_order",
]

MAX_COLUMNS: Final = 256
MAX_ROWS: Final = 10_000
MAX_CELLS: Final = 200_000
"""Limits of one table: its columns, its rows, and rows times columns."""

COMPUTED: Final = ("seen", "project", "group")
"""Columns that are no attributes of queries."""

_MAX_ORDER: Final = 8
_TREES: Final = ("parameters", "tags", "metadata")
_STATUS_NAME: Final[Path] = ("status", "name")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        name: as it was given.
        paths: where its values are in a document, the preferred place first.
    """

    name: str
    paths: tuple[Path, ...]


def parse_columns(names: Sequence[str], what: str = "columns", most: int = MAX_COLUMNS) -> tuple[Column, ...]:
    """Check the columns of a table of trials.

    Args:
        names: of the columns.
        what: the argument, for messages.
        most: how many there may be.

    Raises:
        BadArguments: a name is unknown, or there are too many.
    """
    if len(names) > most:
        raise BadArguments(f"{what} has {len(names):,} names: give at most {most}")
    return tuple(Column(name, _paths(name, what)) for name in names)


def parse_table_order(names: Sequence[str]) -> tuple[Order, ...]:
    """Check the order of a table of trials: names of columns, each with ``-`` before it to descend.

    Raises:
        BadArguments: a name is unknown or has no order, or there are too many.
    """
    if len(names) > _MAX_ORDER:
        raise BadArguments(f"order has {len(names)} names: give at most {_MAX_ORDER}")
    order = []
    for given in names:
        name = given.removeprefix("-")
        if name in _TREES:
            raise BadArguments(f"order: {name!r} as one value has no order: name a key, as in '{name}.key'")
        order.append(Order(_paths(name, "order"), given.startswith("-")))
    return tuple(order)


def check_size(rows: int, columns: int, what: str) -> None:
    """Check that a table is not too large for one answer.

    Args:
        rows: how many it may get.
        columns: how many it has.
        what: the argument that limits the rows, for messages.

    Raises:
        BadArguments: it is.
    """
    if rows > MAX_ROWS:
        raise BadArguments(f"{what} of {rows:,} rows: ask for at most {MAX_ROWS:,} at once")
    if rows * columns > MAX_CELLS:
        raise BadArguments(
            f"{what} of {rows:,} rows by {columns} columns: ask for at most {MAX_CELLS:,} values at once"
        )


def _paths(name: str, what: str) -> tuple[Path, ...]:
    if name in COMPUTED or name in _TREES or name == CREATED[0]:
        return ((name,),)
    if name == "status":
        return (_STATUS_NAME,)
    known = (*attribute_names("trial"), *COMPUTED)
    if name.partition(".")[0] not in known:
        raise BadArguments(
            f"{what}: a trial has no attribute {name[:80]!r}: {suggestion(name, known, len(known))}"
        )
    try:
        return attribute_paths(name, "trial")
    except BadQuery as error:
        raise BadArguments(f"{what}: {error}") from None
