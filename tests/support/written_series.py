"""Compares the series that writers logged, each into a trial of its own, with the store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from itertools import pairwise
from typing import Final

from track.persistence import get_protocol

__all__ = ["SERIES", "Verdict", "stored_series", "verdict"]

SERIES: Final = "number"
"""The metric that every writer logs: 0, 1, 2 and so on."""


def stored_series(store: str) -> dict[str, list[int]]:
    """Return the numbers in each trial of a closed store, by the trial's name."""
    protocol = get_protocol(store)
    try:
        trials = protocol.fetch_trials({})
        return {
            str(trial.name): [int(number) for number in protocol.fetch_metrics(trial, SERIES).values]
            if SERIES in trial.metrics
            else []
            for trial in trials
        }
    finally:
        protocol.close()


@dataclass(frozen=True)
class Verdict:
    """Counts of lost, doubled and misplaced numbers.

    Attributes:
        acknowledged: how many were acknowledged.
        lost: of these, how many are not stored.
        doubled: how many are stored more than once, counting each copy but one.
        misplaced: how many are stored after a greater one, doubles aside.
        foreign: how many trials there are that no writer knows of.
    """

    acknowledged: int
    lost: int = 0
    doubled: int = 0
    misplaced: int = 0
    foreign: int = 0

    def __add__(self, other: Verdict) -> Verdict:
        return Verdict(*map(sum, zip(astuple(self), astuple(other), strict=True)))

    @property
    def clean(self) -> bool:
        """Whether nothing did."""
        return not (self.lost or self.doubled or self.misplaced or self.foreign)


def verdict(acknowledged: Mapping[str, int], stored: Mapping[str, list[int]]) -> Verdict:
    """Compare the acknowledged numbers of each writer with the stored ones."""
    lost = doubled = misplaced = 0
    for writer, count in acknowledged.items():
        numbers = stored.get(writer, [])
        copies = Counter(numbers)
        lost += sum(number not in copies for number in range(count))
        doubled += len(numbers) - len(copies)
        firsts = list(copies)
        misplaced += sum(later < earlier for earlier, later in pairwise(firsts))
    foreign = len(stored.keys() - acknowledged.keys())
    return Verdict(sum(acknowledged.values()), lost, doubled, misplaced, foreign)
