"""The rewinds of a trial, told in its metadata ``rewinds``, and what comes too late for one.

``[{"step": …, "time": seconds since the epoch, "points": taken, "session": hex of its id}]``, in order of
arrival.  A process that was killed may have left points on its machine's disk, which are sent when the next
one has rewound the trial already.  They are superseded as if they had come in time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from track_protocol.query.tree import is_number
from track_protocol.wire.batch import SUPERSEDED
from track_protocol.wire.columns import Column, unpack
from track_server.methods.superseding import later_rows, parted
from track_server.methods.trial_metadata import change
from track_server.storage.contract import Document, Points, Rewind, Transaction

__all__ = ["REWINDS", "rewind", "rewinds_in", "supersede_late"]

REWINDS: Final = "rewinds"
"""The key of the metadata."""


def rewinds_in(metadata: Document) -> tuple[Rewind, ...]:
    """What a trial's metadata tells of its rewinds.

    A client may have put anything there: what says no step, time and session is left out.
    """
    told = metadata.get(REWINDS)
    if type(told) is not list:
        return ()
    found = [_rewind(number, entry) for number, entry in enumerate(told)]
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


def rewind(tx: Transaction, by: bytes, trial: Document, step: float, time: float) -> None:
    """Move the points of later steps to a trial's superseded series, and remember it.

    When another session has rewound the trial after `time`, this comes too late itself, and takes only
    points that were logged before `time`: what that session logged since is behind both.

    Args:
        tx: the open transaction.
        by: id of the session that rewinds it.
        trial: the own fields of an existing trial.
        step: the last one that stays.
        time: of the rewind, in seconds since the epoch, by its process's clock.

    Raises:
        SeriesDamaged: a series cannot be read; nothing was changed.
    """
    is_late = any(known.time > time and known.session != by for known in tx.rewinds(trial["id"]))
    points = tx.rewind(trial["id"], step, time if is_late else None)
    metadata = trial["metadata"]
    told = metadata.get(REWINDS)
    entry = {"step": step, "time": time, "points": points, "session": by.hex()}
    rewinds = [*(told if type(told) is list else []), entry]
    change(tx, trial, {"metadata": metadata | {REWINDS: rewinds}})


def supersede_late(
    tx: Transaction,
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
    taken = _late_rows(new[0].steps, new[0].times, others) if others else {}
    if not taken:
        return new
    _count(tx, trial, Counter(taken.values()), len(names))
    left = []
    for name, points in zip(names, new, strict=True):
        current, late = parted(points, sorted(taken))
        assert late is not None
        tx.append_points(trial, SUPERSEDED, name, None, late)
        left += [] if current is None else [current]
    return left


def _late_rows(steps: Column, times: Column, rewinds: Sequence[Rewind]) -> dict[int, int]:
    """Number of the first rewind that each late row, by its place, is late for."""
    taken: dict[int, int] = {}
    earliest = min(unpack(times))
    for each in rewinds:
        if not earliest >= each.time:  # unlike <, also when it is not a number
            for row in later_rows(steps, times, each.step, each.time):
                taken.setdefault(row, each.number)
    return taken


def _count(tx: Transaction, trial: bytes, rows: Counter[int], width: int) -> None:
    """Add to what the rewinds are said to have taken: so many rows each, of `width` points."""
    document = tx.trial_fields(trial)
    assert document is not None
    metadata = document["metadata"]
    told = list(metadata[REWINDS])
    for number, count in rows.items():
        points = told[number].get("points")
        told[number] = told[number] | {"points": (points if type(points) is int else 0) + count * width}
    change(tx, document, {"metadata": metadata | {REWINDS: told}})
