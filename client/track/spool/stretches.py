"""Stretches: whole records that lie one behind the other on disk, counted together.

A spool may have millions of records, and what is known of them in memory is bounded: it grows with the bytes
of the spool, and with the damage in it, and not with how many records these bytes are.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from track.spool.writer import Place
from track_protocol.wire.amount import Amount
from track_protocol.wire.batch import Batch

__all__ = ["Gathering", "Stretch"]


@dataclass(slots=True)
class Stretch:
    """Records whose numbers follow each other, as their bytes do.

    Attributes:
        first, last: numbers of their log calls.
        amount: what was logged by them.
        place: from the payload of the first one to the end of the last one.
        records: how many they are.
    """

    first: int
    last: int
    amount: Amount
    place: Place
    records: int = 1


class Gathering:
    """Whole records as they are found, each number once: after a failed flush records are written again."""

    def __init__(self) -> None:
        self._stretches: list[Stretch] = []
        self._numbers = _Numbers()

    def add(self, batch: Batch, place: Place) -> bool:
        """Count a record, if not all of its numbers were found before.

        Args:
            batch: what it holds.
            place: where.

        Returns:
            whether it counts.
        """
        if not self._numbers.add(batch.first, batch.last):
            return False
        behind = self._stretches[-1] if self._stretches else None
        if behind is not None and behind.last + 1 == batch.first:
            joined = behind.place.joined(place, behind.records + 1)
            if joined is not None:
                behind.last, behind.place = batch.last, joined
                behind.amount += batch.amount
                behind.records += 1
                return True
        self._stretches.append(Stretch(batch.first, batch.last, batch.amount, place))
        return True

    @property
    def stretches(self) -> list[Stretch]:
        """What was found, in the order of its numbers."""
        ordered: list[Stretch] = []
        for each in sorted(self._stretches, key=lambda each: (each.first, -each.last)):
            if not ordered or each.last > ordered[-1].last:
                ordered.append(each)
        return ordered

    @property
    def missing(self) -> list[tuple[int, int]]:
        """First and last of the numbers between those that were found."""
        return self._numbers.gaps


class _Numbers:
    """Which numbers there are, as runs without a gap, in order."""

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []

    def add(self, first: int, last: int) -> bool:
        """Whether some from `first` to `last` are new."""
        firsts, lasts = self._firsts, self._lasts
        # Where the run before them stands, if they are not behind all others as mostly.
        at = len(firsts) - 1 if not firsts or first > lasts[-1] else bisect_right(firsts, first) - 1
        if at >= 0 and last <= lasts[at]:
            return False
        if at >= 0 and first <= lasts[at] + 1:
            first = firsts[at]
        else:
            at += 1
        end = at
        while end < len(firsts) and firsts[end] <= last + 1:
            last = max(last, lasts[end])
            end += 1
        firsts[at:end], lasts[at:end] = [first], [last]
        return True

    @property
    def gaps(self) -> list[tuple[int, int]]:
        """First and last of those that are missing between runs."""
        pairs = zip(self._lasts, self._firsts[1:], strict=False)
        return [(last + 1, first - 1) for last, first in pairs]
