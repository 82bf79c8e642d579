"""How much was logged: points, and other log calls."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Counts"]


@dataclass(frozen=True, slots=True)
class Counts:
    """Points and other log calls, counted apart; the text is for people.

    Attributes:
        points: values of series.
        calls: other log calls: creations, tags, status changes and the like.
    """

    points: int = 0
    calls: int = 0

    @property
    def total(self) -> int:
        """Both together, which is how drops are counted."""
        return self.points + self.calls

    def __bool__(self) -> bool:
        return self.total > 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.points + other.points, self.calls + other.calls)

    def __sub__(self, other: Counts) -> Counts:
        """The difference of each, at least zero."""
        return Counts(max(0, self.points - other.points), max(0, self.calls - other.calls))

    def __str__(self) -> str:
        points = _counted(self.points, "point")
        if not self.calls:
            return points
        if not self.points:
            return _counted(self.calls, "log call")
        return f"{points} and {_counted(self.calls, 'other log call')}"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
