"""What reads of a SQL store need of its database."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple, Protocol

from track_protocol.query.order import Order
from track_protocol.query.parse import Kind, Query
from track_protocol.query.tree import Path

__all__ = ["TABLES", "Cell", "Fragment", "Source"]

TABLES: Final[dict[Kind, str]] = {"trial": "trial", "group": "trial_group", "project": "project"}

Fragment = tuple[str, list[Any]]
"""An SQL expression, with a ``?`` for each of its parameters, and these."""


class Cell(NamedTuple):
    """The value of a trial at a path, NULL if there is none.

    Attributes:
        sql, params: the expression.
        read: makes values of what it selects; None when it selects them as they are.
    """

    sql: str
    params: list[Any]
    read: Callable[[Sequence[Any]], Iterable[Any]] | None


class Source(Protocol):
    """A connection in a transaction, and what its database calls things.

    Statements have ``?`` for their parameters, or ``?1``, ``?2`` and so on, for those used more than once.
    """

    @property
    def name(self) -> str:
        """Of the store, for messages."""

    @property
    def unlimited(self) -> int | None:
        """As the number of rows behind LIMIT: all of them."""

    @property
    def listed_names(self) -> str:
        """The aggregate that makes a JSON list of the names of series."""

    def rows(self, sql: str, params: Iterable[Any]) -> list[tuple[Any, ...]]:
        """All rows of a statement."""

    def iterate(self, sql: str, params: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
        """The rows of a statement, one by one."""

    def among(self, values: Sequence[Any]) -> Fragment:
        """What follows an expression that is one of some numbers, or of some strings."""

    def among_keys(self, keys: Sequence[bytes]) -> Fragment:
        """What follows an expression that is one of some byte strings."""

    def where(self, query: Query) -> Fragment:
        """Which rows a query selects, of the table of its kind: true or false, never NULL."""

    def ordered(
        self, query: Query, order: Sequence[Order], start: int, limit: int | None
    ) -> list[tuple[Any, ...]]:
        """Row ids of what matches in an order by values, each the only column of its row."""

    def cell(self, path: Path) -> Cell:
        """The value of a trial at a path."""
