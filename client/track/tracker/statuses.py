"""The three statuses of a run, and the finer ones of a trial."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from track_protocol.errors import BadArguments
from track_protocol.model.entities import CustomStatus, Status

__all__ = ["COMPLETED", "FAILED", "RUNNING", "status_of_run", "status_of_trial"]

RUNNING: Final = "running"
COMPLETED: Final = "completed"
FAILED: Final = "failed"

_OF_TRIALS: Final[Mapping[str, Status]] = {
    RUNNING: Status.Running,
    COMPLETED: Status.Completed,
    FAILED: Status.Broken,
}
_ERROR: Final = Status.ErrorGroup.value // 100
_FINISHED: Final = Status.FinishedGroup.value // 100


def status_of_run(status: Status | CustomStatus | None) -> str:
    """``'running'``, ``'completed'`` or ``'failed'``, as the trial's status is of a group.

    Interrupted, lost and broken trials have failed.  One that was only created, or suspended, has not ended.
    """
    if status is None or status is Status.Suspended:
        return RUNNING
    group = status.value // 100
    return FAILED if group == _ERROR else COMPLETED if group == _FINISHED else RUNNING


def status_of_trial(status: str) -> Status:
    """The status of a trial that means ``'running'``, ``'completed'`` or ``'failed'``.

    Raises:
        BadArguments: it is another word.
    """
    try:
        return _OF_TRIALS[status]
    except (KeyError, TypeError):
        known = ", ".join(map(repr, _OF_TRIALS))
        raise BadArguments(f"{status!r} is not a status of a run: use one of {known}") from None
