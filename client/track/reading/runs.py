"""Stored trials in a row, read page by page when they are needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, overload

from track.persistence.filtering import StoreNames, filter_query_of
from track.persistence.protocol import Protocol
from track.reading.columns import Columns
from track.reading.plot import Line, Plot
from track.reading.trials import StoredTrial
from track_protocol.errors import BadArguments
from track_protocol.query.filter_parser import read_names

__all__ = ["Runs"]

_PAGE: Final = 100
"""Trials asked for at once."""

_SHOWN: Final = 30
"""Trials that a notebook shows."""

_FIRST: Final = ("uid", "name", "status", "created", "started", "ended", "duration", "user", "host")
_BRIEF: Final = frozenset({"uid", "name", "status", "created", "duration"})
_DIGITS: Final = 12
_ORDERS: Final = {"status": "status.name"}
"""Attributes that are ordered by another one."""


class Runs(Sequence[StoredTrial]):
    """The trials that match, in order; a page of them is fetched when the first of it is needed.

    Iterating and indexing fetch what they reach.  ``len()`` and negative indices need to know the end, and so
    fetch the rest.  What was fetched stays as it was: ask again to see what was logged since.

    Args:
        protocol: the store.
        filter: which trials: a text as for ``track ls --filter``, or a query.
        order: what to sort by, most significant first, as in filters, ``-`` in front to descend:
            ``"-created"``, ``["metrics.loss.min", "lr"]``.  By default in order of creation.
        limit: how many at most.
        page: how many to fetch at once.

    Raises:
        BadQuery: the filter or the order cannot be understood; the message suggests what may be meant.
        BadArguments: `limit` is negative.
    """

    def __init__(
        self,
        protocol: Protocol,
        filter: str | Mapping[str, Any] = "",
        order: str | Sequence[str] | None = None,
        limit: int | None = None,
        page: int = _PAGE,
    ) -> None:
        if limit is not None and limit < 0:
            raise BadArguments(
                f"limit={limit} is negative: give the maximum number of trials, or None for all"
            )
        self._protocol = protocol
        self._query = _query(protocol, filter)
        self._order = _order(protocol, order)
        self._limit = limit
        self._page = page
        self._found: list[StoredTrial] = []
        self._known: set[str] = set()
        self._asked = 0
        self._is_whole = limit == 0

    @overload
    def __getitem__(self, index: int) -> StoredTrial: ...
    @overload
    def __getitem__(self, index: slice) -> list[StoredTrial]: ...
    def __getitem__(self, index: int | slice) -> StoredTrial | list[StoredTrial]:
        self._reach(_needed(index))
        return self._found[index]

    def __len__(self) -> int:
        self._reach(None)
        return len(self._found)

    def __bool__(self) -> bool:
        self._reach(1)
        return bool(self._found)

    def __iter__(self) -> Iterator[StoredTrial]:
        at = 0
        while self._reach(at + 1):
            yield self._found[at]
            at += 1

    def __repr__(self) -> str:
        if not (self._found or self._is_whole):
            return "<trials, none of them fetched yet>"
        return f"<{len(self._found):,}{'' if self._is_whole else ' or more'} trials>"

    def to_frame(self, library: str | None = None) -> Any:
        """One row a trial: fields, ``params.…``, ``tags.…``, and the last value of each metric.

        Args:
            library: see `Columns.to_frame`.
        """
        return self.columns().to_frame(library)

    def columns(self) -> Columns:
        """The same before it is a frame."""
        return Columns.of_rows([trial.row() for trial in self], _FIRST)

    def plot(self, *names: str, context: Mapping[str, Any] | None = None, x: str = "step") -> Plot:
        """A picture of some metrics of all these trials; see `StoredTrial.plot`.

        Trials that lack a metric are left out.

        Raises:
            MissingExtra: matplotlib is not installed.
        """
        lines: list[Line] = []
        for trial in self:
            present = [name for name in names if trial.has(name)]
            if present or not names:
                shown = trial.name or trial.uid[:_DIGITS]
                drawn = trial.lines(*present, context=context, x=x)
                lines += [Line(f"{shown} {line.name}", line.x, line.y) for line in drawn]
        return Plot(lines, x)

    def _repr_html_(self) -> str:
        self._reach(_SHOWN + 1)
        rows = [_brief(trial.row()) for trial in self._found[:_SHOWN]]
        note = f"the first {_SHOWN} trials" if len(self._found) > _SHOWN else ""
        return Columns.of_rows(rows).html(note)

    def _reach(self, count: int | None) -> bool:
        """Fetch until so many are there, or all; whether so many are there."""
        while not self._is_whole and (count is None or len(self._found) < count):
            self._fetch()
        return count is None or len(self._found) >= count

    def _fetch(self) -> None:
        left = self._page if self._limit is None else min(self._page, self._limit - self._asked)
        found = self._protocol.fetch_trials(self._query, start=self._asked, limit=left, order=self._order)
        self._asked += len(found)
        self._is_whole = len(found) < left or self._asked == self._limit
        for trial in found:
            # A trial that changed its place meanwhile may come again.
            if trial.uid not in self._known:
                self._known.add(trial.uid)
                self._found.append(StoredTrial.of(trial, self._protocol))


def _query(protocol: Protocol, filter: str | Mapping[str, Any]) -> Mapping[str, Any]:
    return filter_query_of(protocol, filter) if isinstance(filter, str) else filter


def _order(protocol: Protocol, order: str | Sequence[str] | None) -> list[str] | None:
    """The attributes that an order means, in which a name is one as in filters."""
    if order is None:
        return None
    store = StoreNames(protocol)
    given = [order] if isinstance(order, str) else list(order)
    names = [(name.startswith("-"), store.attribute(read_names(name.removeprefix("-"))[0])) for name in given]
    return [f"{'-' if descends else ''}{_ORDERS.get(name, name)}" for descends, name in names]


def _needed(index: int | slice) -> int | None:
    """How many trials an index needs; None for all."""
    if isinstance(index, int):
        return index + 1 if index >= 0 else None
    ends = (index.start, index.stop)
    if index.stop is None or any(end is not None and end < 0 for end in ends):
        return None
    return max(end or 0 for end in ends)


def _brief(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a notebook shows of a trial: a short uid, and no fields that few look for."""
    shown = {name: value for name, value in row.items() if name in _BRIEF or "." in name}
    return {**shown, "uid": shown["uid"][:_DIGITS]}
