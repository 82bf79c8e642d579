"""How much was logged: points, and log calls that are none, which are counted apart and told together."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Amount"]


@dataclass(frozen=True, slots=True)
class Amount:
    """So many points, and so many log calls that are none; its text is for people.

    Attributes:
        points: values of series.
        calls: log calls that are no points: what is created, tags, states, and the like.
    """

    points: int = 0
    calls: int = 0

    @property
    def total(self) -> int:
        """Both together, which is how losses are counted."""
        return self.points + self.calls

    def __bool__(self) -> bool:
        return self.total > 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.points + other.points, self.calls + other.calls)

    def __sub__(self, other: Amount) -> Amount:
        """What remains of it, of each kind at least nothing."""
        return Amount(max(0, self.points - other.points), max(0, self.calls - other.calls))

    def __str__(self) -> str:
        points = _counted(self.points, "point")
        if not self.calls:
            return points
        if not self.points:
            return _counted(self.calls, "log call")
        return f"{points} and {_counted(self.calls, 'other log call')}"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
