"""Whether recorded calls could have happened one at a time, each between its beginning and its end.

The search of Wing and Gong, "Testing and verifying concurrent objects" (1993), for one register at a time:
a set of registers is linearizable exactly when each of them is (Herlihy and Wing, 1990).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = ["Call", "linearizable"]


@dataclass(frozen=True, slots=True)
class Call:
    """A call on a register that is free until a call takes it, and taken from then on.

    Attributes:
        begun, ended: when, on one clock for all processes.
        takes: whether it took the register, or else read it.
        taken: what a read found.
    """

    begun: int
    ended: int
    takes: bool = False
    taken: bool = False

    def on(self, taken: bool) -> bool | None:
        """Return the register's state after this call; None if the call contradicts the state before it."""
        if self.takes:
            return None if taken else True
        return taken if taken == self.taken else None


def linearizable(calls: Sequence[Call]) -> bool:
    """Whether some order of the calls that respects their times explains all their results."""
    everything = frozenset(range(len(calls)))
    open_, seen = [(everything, False)], set[tuple[frozenset[int], bool]]()
    while open_:
        left, taken = open_.pop()
        if not left:
            return True
        if (left, taken) in seen:
            continue
        seen.add((left, taken))
        open_.extend(_next(calls, left, taken))
    return False


def _next(calls: Sequence[Call], left: frozenset[int], taken: bool) -> Iterator[tuple[frozenset[int], bool]]:
    """Return the calls that may come next: those that began before any remaining call ended."""
    first_end = min(calls[index].ended for index in left)
    for index in left:
        behind = calls[index].on(taken)
        if calls[index].begun <= first_end and behind is not None:
            yield left - {index}, behind
            if behind == taken:
                return  # a read changes nothing, so taking it first excludes no order
