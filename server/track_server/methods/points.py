"""Points of a batch: checked, split by the rewinds of their trial, appended; and rewinding.

A trial's metadata ``rewinds`` lists its rewinds: ``[{"step": …, "time": seconds since the epoch,
"points": taken, "session": hex of its id}]``, in order of arrival.  A process that was killed may have left
points on its machine's disk, which are sent when the next one has rewound the trial already.  They are
superseded as if they had come in time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from track_protocol.errors import BadValue, ItemNotFound
from track_protocol.model.aggregators import aggregator_from_spec
from track_protocol.model.seriesname import check_series_name
from track_protocol.model.steps import as_step
from track_protocol.model.values import normalise
from track_protocol.wire.batch import METRIC, SUPERSEDED, PointsOp
from track_protocol.wire.columns import Column, pack, unpack
from track_server.methods.trial_metadata import touch_trial
from track_server.storage.contract import Document, Points, Rewind
from track_server.storage.rewind import REWINDS, later_rows, split_rows
from track_server.storage.unit_of_work import UnitOfWork

__all__ = ["append", "check_points", "rewind"]


def _checked_column(column: Column, as_what: Callable[[Any], Any] = lambda value: value) -> Column:
    """A column whose arbitrary values can be stored."""
    if column.code != "o":
        return column
    return pack([as_what(normalise(value)) for value in column.payload])


def check_points(tx: UnitOfWork, op: PointsOp) -> tuple[Column, list[Column]]:
    """Raise if an operation cannot be appended; its steps and values as they are stored.

    Raises:
        BadArguments: a name, an aggregator, a step or a value can never be stored, or the trial would have
            too many series.
        ItemNotFound: there is no such trial.
    """
    if not tx.has_trial(op.trial):
        raise ItemNotFound(f"no trial has the id {op.trial.hex()}: create it with new_trial first")
    for name in op.names:
        check_series_name(name)
    tx.check_series(op.trial, op.kind, op.names)
    for aggregator in op.aggregators or ():
        if aggregator is not None:
            aggregator_from_spec(aggregator)
    return _checked_column(op.steps, as_step), [_checked_column(column) for column in op.values]


def append(tx: UnitOfWork, by: bytes, op: PointsOp) -> None:
    """Append rows of points to series of one trial.

    Args:
        tx: the open transaction.
        by: id of the session that logged them.
        op: the points.

    Raises:
        BadArguments, ItemNotFound: as `check_points`.
    """
    steps, values = check_points(tx, op)
    new = [Points(steps, op.times, column) for column in values]
    if op.kind == METRIC and (rewinds := tx.rewinds(op.trial)):
        new = _supersede_late(tx, by, op.trial, rewinds, op.names, new)
        if not new:
            return
    aggregators = op.aggregators or [None] * len(op.names)
    for name, aggregator, points in zip(op.names, aggregators, new, strict=True):
        tx.append_points(op.trial, op.kind, name, aggregator, points)


def rewind(tx: UnitOfWork, by: bytes, trial: Document, step: float, time: float) -> None:
    """Move the points of later steps to a trial's superseded series, and record it.

    When another session has rewound the trial after `time`, this comes too late itself, and takes only
    points that were logged before `time`: what that session logged since is behind both.

    Args:
        tx: the open transaction.
        by: id of the session that rewinds it.
        trial: the own fields of an existing trial.
        step: the last one that stays.
        time: of the rewind, in seconds since the epoch, by its process's clock.

    Raises:
        BadValue: it would take too long, or there were very many; nothing was changed.
        SeriesDamaged: a series cannot be read; nothing was changed.
    """
    metadata = trial["metadata"]
    reported = metadata.get(REWINDS)
    if type(reported) is list and len(reported) >= (most := tx.limits.rewinds_per_trial):
        raise BadValue(
            f"the trial was rewound {most:,} times, the most there can be: continue in a new trial"
        )
    is_late = any(known.time > time and known.session != by for known in tx.rewinds(trial["id"]))
    points = tx.rewind(trial["id"], step, time if is_late else None)
    entry = {"step": step, "time": time, "points": points, "session": by.hex()}
    rewinds = [*(reported if type(reported) is list else []), entry]
    touch_trial(tx, trial, {"metadata": metadata | {REWINDS: rewinds}})


def _supersede_late(
    tx: UnitOfWork,
    by: bytes,
    trial: bytes,
    rewinds: Sequence[Rewind],
    names: Sequence[str],
    new: list[Points],
) -> list[Points]:
    """Move new points that were logged before a rewind to the trial's superseded series.

    Late is a point of a step behind the rewind's, logged before it by another session.  A session's own
    points come in their order, whatever its clock says.

    Args:
        tx: the open transaction.
        by: id of the session that logged the points.
        trial: id of an existing trial.
        rewinds: of that trial.
        names: of the metrics.
        new: the points of each of them, of equal steps and times.

    Returns:
        what is left for each metric; nothing at all if every point is late.
    """
    others = [each for each in rewinds if each.session != by]
    taken = _late_rows(tx, new[0].steps, new[0].times, others) if others else {}
    if not taken:
        return new
    _count(tx, trial, Counter(taken.values()), len(names))
    left = []
    for name, points in zip(names, new, strict=True):
        current, late = split_rows(points, sorted(taken))
        assert late is not None
        tx.append_points(trial, SUPERSEDED, name, None, late)
        left += [] if current is None else [current]
    return left


def _late_rows(tx: UnitOfWork, steps: Column, times: Column, rewinds: Sequence[Rewind]) -> dict[int, int]:
    """Number of the first rewind that each late row, by its place, is late for."""
    taken: dict[int, int] = {}
    earliest = min(unpack(times))
    for each in rewinds:
        tx.check_time()
        if not earliest >= each.time:  # unlike <, also when it is not a number
            for row in later_rows(steps, times, each.step, each.time):
                taken.setdefault(row, each.number)
    return taken


def _count(tx: UnitOfWork, trial: bytes, rows: Counter[int], width: int) -> None:
    """Add to the counts of the rewinds: this many rows each, of `width` points."""
    document = tx.trial_fields(trial)
    assert document is not None
    metadata = document["metadata"]
    reported = list(metadata[REWINDS])
    for number, count in rows.items():
        points = reported[number].get("points")
        reported[number] = reported[number] | {
            "points": (points if type(points) is int else 0) + count * width
        }
    touch_trial(tx, document, {"metadata": metadata | {REWINDS: reported}})
