"""Which points a rewind takes out of a series; the same on every store."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from track_protocol.query.tree import is_number
from track_protocol.wire.columns import Column, unpack
from track_server.storage.contract import Points

__all__ = ["divided", "later_rows", "parted"]


def divided(points: Points, step: float, before: float | None = None) -> tuple[Points | None, Points | None]:
    """The points that stay and those of later steps, in order; None for none.

    Args:
        points: one or more.
        step: the last one that stays.  A step that is no finite number is neither before nor behind any.
        before: with it, only points of an earlier time are taken.
    """
    return parted(points, later_rows(points.steps, points.times, step, before))


def later_rows(steps: Column, times: Column, step: float, before: float | None) -> list[int]:
    """Which points are taken, as `divided` says."""
    rows = _behind(steps, step)
    if before is None or not rows:
        return rows
    logged = unpack(times)
    return [row for row in rows if logged[row] < before]


def _behind(steps: Column, step: float) -> list[int]:
    if steps.code == "n":
        return []
    numbers = enumerate(unpack(steps))
    if steps.code == "o":
        return [i for i, each in numbers if is_number(each) and each > step and math.isfinite(each)]
    return [i for i, each in numbers if each > step and math.isfinite(each)]


def parted(points: Points, rows: Collection[int]) -> tuple[Points | None, Points | None]:
    """The points that are not at `rows`, which ascend, and those that are; None for none."""
    if not rows:
        return points, None
    if len(rows) == len(points):
        return None, points
    taken = set(rows)
    return _at(points, [i for i in range(len(points)) if i not in taken]), _at(points, list(rows))


def _at(points: Points, rows: Sequence[int]) -> Points:
    return Points(points.steps.take(rows), points.times.take(rows), points.values.take(rows))
