"""The losses of a trial, told in the trial itself: its metadata ``losses``.

``{"points": total, "reasons": {reason: count}}``; every rank and the server itself add to it.
"""

from __future__ import annotations

from typing import Any, Final

from track_server.methods.trial_metadata import change
from track_server.storage.contract import Document, Transaction

__all__ = ["LOSSES", "OTHER", "add_losses"]

LOSSES: Final = "losses"
"""The key of the metadata."""

OTHER: Final = "other"
"""The reason that stands for those which found no room."""

_MOST_REASONS: Final = 20
_REASON: Final = 300
_MOST: Final = 2**63 - 1


def add_losses(tx: Transaction, trial: Document, points: int, reason: str) -> None:
    """Count points that will never be stored.

    Args:
        tx: the open transaction.
        trial: the own fields of an existing trial.
        points: how many.
        reason: why; its first 300 characters are kept.
    """
    metadata = trial["metadata"]
    change(tx, trial, {"metadata": metadata | {LOSSES: _more(metadata.get(LOSSES), points, reason)}})


def _more(known: Any, points: int, reason: str) -> Document:
    """`known` may be anything that a client put there."""
    known = known if type(known) is dict else {}
    given = known.get("reasons")
    reasons = {
        name: count
        for name, count in (given if type(given) is dict else {}).items()
        if type(name) is str and type(count) is int
    }
    key = reason[:_REASON]
    if key not in reasons and len(reasons.keys() - {OTHER}) >= _MOST_REASONS:
        key = OTHER
    reasons[key] = min(_MOST, reasons.get(key, 0) + points)
    total = known.get("points")
    return {"points": min(_MOST, (total if type(total) is int else 0) + points), "reasons": reasons}
