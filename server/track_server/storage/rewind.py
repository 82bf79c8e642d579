"""Which points a rewind takes out of a series, and what a trial's metadata records of its rewinds."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

from track_protocol.errors import SeriesDamaged, StoreCorrupt
from track_protocol.query.tree import is_number
from track_protocol.wire.columns import Column, unpack
from track_server.storage.contract import Changes, Document, Points, Rewind, Series, StoredChunk
from track_server.storage.series import add_statistics, packed_chunk

__all__ = ["REWINDS", "later_rows", "rewind_series", "rewinds_in", "split_rows"]

REWINDS: Final = "rewinds"
"""The key of a trial's metadata that lists its rewinds."""


def rewinds_in(metadata: Document) -> tuple[Rewind, ...]:
    """The rewinds that a trial's metadata lists.

    A client may have put anything there: what says no step, time and session is left out.
    """
    listed = metadata.get(REWINDS)
    if type(listed) is not list:
        return ()
    found = [_rewind(number, entry) for number, entry in enumerate(listed)]
    return tuple([each for each in found if each is not None])


def _rewind(number: int, entry: Any) -> Rewind | None:
    if type(entry) is not dict:
        return None
    step: Any = entry.get("step")
    time: Any = entry.get("time")
    session: Any = entry.get("session")
    if not (is_number(step) and is_number(time) and type(session) is str):
        return None
    try:
        return Rewind(number, step, time, bytes.fromhex(session))
    except ValueError:
        return None


def rewind_series(
    series: Series, chunks: Iterable[StoredChunk], step: float, before: float | None, changes: Changes
) -> tuple[Series, list[Points]]:
    """What a rewind makes of a series.

    The bounds of its steps show whether a chunk has later points, and only such chunks are written again.
    The others are read too: mean and deviation of what is left cannot be had exactly from those of the
    entirely (a loss of 1e20 is just what is rewound).

    Args:
        series: as it is stored.
        chunks: all of its chunks, in order.
        step: the last one that stays.
        before: with it, only points of an earlier time (seconds since the epoch) are taken.
        changes: gets what becomes of the chunks.

    Returns:
        the series as it is then, and the points that were taken, in order.

    Raises:
        SeriesDamaged: it cannot be read.
    """
    left = Series(series.trial, series.kind, series.name, series.aggregator, series.handle)
    taken: list[Points] = []
    try:
        for chunk in chunks:
            remaining, later = (
                _split_at_step(chunk.points, step, before) if chunk.is_later else (chunk.points, None)
            )
            if remaining is None:
                changes.removed.append(chunk.handle)
            elif later is not None:
                changes.rewritten.append((chunk.handle, packed_chunk(left.count, remaining)))
            elif chunk.first != left.count:
                changes.moved.append((chunk.handle, left.count))
            if later is not None:
                taken.append(later)
            if remaining is not None:
                add_statistics(left, remaining)
    except StoreCorrupt as error:
        raise SeriesDamaged(str(error)) from error
    return left, taken


def _split_at_step(
    points: Points, step: float, before: float | None = None
) -> tuple[Points | None, Points | None]:
    """The points that stay and those of later steps, in order; None for none.

    Args:
        points: one or more.
        step: the last one that stays.  A step that is no finite number is neither before nor behind any.
        before: with it, only points of an earlier time are taken.
    """
    return split_rows(points, later_rows(points.steps, points.times, step, before))


def later_rows(steps: Column, times: Column, step: float, before: float | None) -> list[int]:
    """Which points are taken, as `_split_at_step` says."""
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


def split_rows(points: Points, rows: Collection[int]) -> tuple[Points | None, Points | None]:
    """The points that are not at `rows`, which ascend, and those that are; None for none."""
    if not rows:
        return points, None
    if len(rows) == len(points):
        return None, points
    taken = set(rows)
    return _at(points, [i for i in range(len(points)) if i not in taken]), _at(points, list(rows))


def _at(points: Points, rows: Sequence[int]) -> Points:
    return Points(points.steps.take(rows), points.times.take(rows), points.values.take(rows))
