"""Tables that keep what their open readers still see.

One writer at a time, any number of readers.  Each write makes a new version of its cell, in front of
the older ones; a reader walks back to the newest version that was committed when it came.  So taking
a snapshot costs nothing, a reader never waits and never holds up the writer, and undoing a
transaction is to take its versions off again.  Versions that nobody can see any more go when their
cell is written again; cells without a value go when they are swept.

Values are never changed in place: what a reader was given stays as it was.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

__all__ = ["Clock", "Grown", "Table"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Clock:
    """Which version is the committed one, and which ones are being read.

    Attributes:
        committed: number of the last committed transaction since the tables were made.
    """

    def __init__(self) -> None:
        self.committed = 0
        self._lock = threading.Lock()
        self._readers: Counter[int] = Counter()

    def enter(self) -> int:
        """Start to read; the number is the version to read, and to give to `leave`."""
        with self._lock:
            self._readers[self.committed] += 1
            return self.committed

    def leave(self, version: int) -> None:
        """Stop reading a version."""
        with self._lock:
            self._readers[version] -= 1
            if not self._readers[version]:
                del self._readers[version]

    def oldest(self) -> int:
        """The oldest version that somebody reads, or can start to read from now on."""
        with self._lock:
            return min(self._readers, default=self.committed)

    def advance(self) -> int:
        """Make the version behind the committed one the committed one.

        Returns:
            the oldest version that somebody reads, or can start to read from now on.
        """
        with self._lock:
            self.committed += 1
            return min(self._readers, default=self.committed)


class _Cell(Generic[V]):
    """One version of a value, and the version before it."""

    __slots__ = ("before", "since", "value")

    def __init__(self, value: V | None, since: int, before: _Cell[V] | None) -> None:
        self.value = value
        self.since = since
        self.before = before


class Table(Generic[K, V]):
    """Values by key, in order of insertion; None stands for no value.

    Args:
        clock: shared by all tables that are committed together.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._cells: dict[K, _Cell[V]] = {}
        self._written: list[K] = []
        self._vacant: set[K] = set()

    def get(self, key: K, version: int) -> V | None:
        """The value at `key` as of `version`."""
        cell = self._cells.get(key)
        while cell is not None and cell.since > version:
            cell = cell.before
        return cell.value if cell is not None else None

    def values(self, version: int) -> Iterator[V]:
        """All values as of `version`, in order of insertion."""
        # A list of the keys is made without the interpreter's lock ever being let go, so a writer
        # that inserts meanwhile does no harm.
        for key in list(self._cells):
            value = self.get(key, version)
            if value is not None:
                yield value

    def put(self, key: K, value: V | None) -> None:
        """Write in the open transaction, which reads as version ``clock.committed + 1``."""
        version = self._clock.committed + 1
        cell = self._cells.get(key)
        if cell is not None and cell.since == version:
            cell.value = value
        else:
            self._cells[key] = _Cell(value, version, cell)
            self._written.append(key)

    def settle(self, oldest: int) -> None:
        """After the clock advanced: drop the versions of what was written that only older readers saw."""
        for key in self._written:
            cell = self._cells[key]
            while cell.since > oldest and cell.before is not None:
                cell = cell.before
            cell.before = None
            if self._cells[key].value is None:
                self._vacant.add(key)
        self._written.clear()

    def sweep(self, oldest: int) -> list[K]:
        """Let go of keys without a value that only readers older than `oldest` saw with one.

        No transaction is open.

        Returns:
            these keys.
        """
        swept = []
        for key in list(self._vacant):
            cell = self._cells.get(key)
            if cell is not None and cell.value is None:
                if cell.since > oldest:
                    continue
                del self._cells[key]
                swept.append(key)
            self._vacant.remove(key)
        return swept

    def undo(self) -> None:
        """Forget what was written since the last commit."""
        for key in self._written:
            before = self._cells[key].before
            if before is None:
                del self._cells[key]
            else:
                self._cells[key] = before
        self._written.clear()


@dataclass(frozen=True, slots=True)
class Grown(Generic[V]):
    """A sequence that grows at its end without being copied: versions share the list.

    Each version sees the first `count` items.  Only the newest version may grow; what stands behind
    its end comes from a transaction that was undone, and is dropped.
    """

    items: list[V]
    count: int

    @staticmethod
    def of(*items: V) -> Grown[V]:
        """A sequence of its own."""
        return Grown(list(items), len(items))

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[V]:
        return islice(self.items, self.count)

    def and_(self, item: V) -> Grown[V]:
        """The sequence with one more item."""
        del self.items[self.count :]
        self.items.append(item)
        return Grown(self.items, self.count + 1)
