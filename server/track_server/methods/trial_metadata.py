"""What a store notes of each change of a trial, in the trial's own metadata.

``_update_count`` counts the calls that changed the trial, ``_last_change`` is when the last of them did so,
and ``heartbeat`` when a process that runs the trial was last heard of, both in seconds since the epoch.
They are written in the transaction of the change, so that of many processes that change one trial none is
left out.

Points and media are no changes of the trial's document, and cost nothing here: the times they bring along are
looked at when a trial is read.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from track_server.storage.contract import Document, Transaction

__all__ = ["HEARTBEAT", "LAST_CHANGE", "UPDATE_COUNT", "as_read", "change"]

UPDATE_COUNT: Final = "_update_count"
LAST_CHANGE: Final = "_last_change"
HEARTBEAT: Final = "heartbeat"

_SERIES: Final = ("metrics", "chronos")


def change(tx: Transaction, trial: Document, changes: Mapping[str, Any]) -> None:
    """Replace some fields of a trial, and note that.

    Args:
        tx: the open transaction.
        trial: the trial's document as it is.
        changes: the fields, as for `Transaction.update_trial`.
    """
    count = trial["metadata"].get(UPDATE_COUNT)
    noted = {UPDATE_COUNT: 1 + (count if type(count) is int else 0), LAST_CHANGE: time.time()}
    tx.update_trial(trial["id"], {**changes, "metadata": changes.get("metadata", trial["metadata"]) | noted})


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
