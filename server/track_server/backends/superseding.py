"""Which points a rewind takes out of a series; the same on every store."""

from __future__ import annotations

import math

from track_protocol.columns import Column, unpack
from track_protocol.query_ast import is_number
from track_server.store import Points

__all__ = ["divided"]


def divided(points: Points, step: float) -> tuple[Points | None, Points | None]:
    """The points that stay and those of later steps, in order; None for none.

    A point whose step is no finite number is neither before nor behind any, and stays.
    """
    later = _later(points.steps, step)
    if not later:
        return points, None
    if len(later) == len(points):
        return None, points
    taken = set(later)
    return _at(points, [i for i in range(len(points)) if i not in taken]), _at(points, later)


def _later(steps: Column, step: float) -> list[int]:
    if steps.code == "n":
        return []
    numbers = enumerate(unpack(steps))
    if steps.code == "o":
        return [i for i, each in numbers if is_number(each) and each > step and math.isfinite(each)]
    return [i for i, each in numbers if each > step and math.isfinite(each)]


def _at(points: Points, indices: list[int]) -> Points:
    return Points(points.steps.take(indices), points.times.take(indices), points.values.take(indices))
