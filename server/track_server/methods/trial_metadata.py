"""What a store notes of each change of a trial, in the trial's own metadata.

``_update_count`` counts the calls that changed the trial, ``_last_change`` is when the last of them did so,
and ``heartbeat`` when a process that runs the trial was last heard of, both in seconds since the epoch.
They are written in the transaction of the change, so that of many processes that change one trial none is
left out.

Points and media are no changes of the trial's document, and cost nothing here: the times they bring along are
looked at when a trial is read.

``dropped_points`` counts points that will never be stored:
``{"points": total, "reasons": {reason: count}}``; every rank and the server itself add to it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from track_server.storage.contract import Document
from track_server.storage.unit_of_work import UnitOfWork

__all__ = [
    "DROPPED_POINTS",
    "HEARTBEAT",
    "LAST_CHANGE",
    "OTHER",
    "RESUMES",
    "UPDATE_COUNT",
    "add_dropped_points",
    "add_error",
    "as_read",
    "touch_trial",
]

UPDATE_COUNT: Final = "_update_count"
LAST_CHANGE: Final = "_last_change"
HEARTBEAT: Final = "heartbeat"
RESUMES: Final = "resumes"
"""Key of the metadata: when the trial was started again after an end, in seconds since the epoch."""

DROPPED_POINTS: Final = "dropped_points"
"""The key of the metadata."""

OTHER: Final = "other"
"""The reason that replaces those beyond the limit."""

_MAX_REASONS: Final = 20
_REASON_CHARS: Final = 300
_MAX_COUNT: Final = 2**63 - 1

_SERIES: Final = ("metrics", "chronos")


def touch_trial(tx: UnitOfWork, trial: Document, changes: Mapping[str, Any]) -> None:
    """Replace some fields of a trial, and note that.

    Args:
        tx: the open transaction.
        trial: the trial's document as it is.
        changes: the fields, as for `UnitOfWork.update_trial`.
    """
    count = trial["metadata"].get(UPDATE_COUNT)
    noted = {UPDATE_COUNT: 1 + (count if type(count) is int else 0), LAST_CHANGE: time.time()}
    tx.update_trial(trial["id"], {**changes, "metadata": changes.get("metadata", trial["metadata"]) | noted})


def add_error(tx: UnitOfWork, errors: list[str], error: str) -> list[str]:
    """The errors of a trial with one more: of very many, the first half and the newest half."""
    most = tx.limits.errors_per_trial
    first, newest = most - most // 2, most // 2
    return [*errors, error] if len(errors) < most else [*errors[:first], *[*errors, error][-newest:]]


def as_read(trial: Document) -> Document:
    """The document as it is answered: points that came since are signs of life, and changes."""
    metadata = trial["metadata"]
    known = {name: metadata[name] for name in (HEARTBEAT, LAST_CHANGE) if type(metadata.get(name)) is float}
    if known:
        summaries = [*(trial[kind] for kind in _SERIES), *trial["media"].values()]
        times = [each["last_time"] for summary in summaries for each in summary.values()]
        last = max((at for at in times if at is not None), default=0.0)
        trial["metadata"] = metadata | {name: max(at, last) for name, at in known.items()}
    return trial


def add_dropped_points(tx: UnitOfWork, trial: Document, points: int, reason: str) -> None:
    """Count points that will never be stored.

    Args:
        tx: the open transaction.
        trial: the own fields of an existing trial.
        points: how many.
        reason: why; its first 300 characters are stored.
    """
    metadata = trial["metadata"]
    touch_trial(
        tx,
        trial,
        {"metadata": metadata | {DROPPED_POINTS: _counted(metadata.get(DROPPED_POINTS), points, reason)}},
    )


def _counted(known: Any, points: int, reason: str) -> Document:
    """`known` may be anything that a client put there."""
    known = known if type(known) is dict else {}
    given = known.get("reasons")
    reasons = {
        name: count
        for name, count in (given if type(given) is dict else {}).items()
        if type(name) is str and type(count) is int
    }
    key = reason[:_REASON_CHARS]
    if key not in reasons and len(reasons.keys() - {OTHER}) >= _MAX_REASONS:
        key = OTHER
    reasons[key] = min(_MAX_COUNT, reasons.get(key, 0) + points)
    total = known.get("points")
    return {"points": min(_MAX_COUNT, (total if type(total) is int else 0) + points), "reasons": reasons}
