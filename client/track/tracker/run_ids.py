"""Numbers of runs: small, one after the other, and each given once, whatever other processes start runs.

The last number is stored with a group of the experiment's project, and taken by an atomic update of it.  A
trial that came about without it (the store was unreachable, or another API made the trial) is numbered by its
id: such numbers are large, and differ as ids do.
"""

from __future__ import annotations

from typing import Any, Final

from track.persistence.protocol import Protocol
from track_protocol.errors import ItemNotFound, ServerUnreachable, StoreError
from track_protocol.model.entities import Trial, TrialGroup

__all__ = ["LAST_COUNTED", "RUN_ID", "number_of", "reserve", "take_number", "uncounted"]

RUN_ID: Final = "run_id"
"""Metadata of a trial: its number."""

LAST_COUNTED: Final = 2**32 - 1
"""Numbers above this one were not counted but follow from the trial's id."""

_LAST: Final = "last_run_id"
_ID_BYTES: Final = 6
"""So the largest number is below 2**53, and JavaScript can read it."""


def uncounted(trial_id: bytes) -> int:
    """The number of a trial that follows from its id: above `LAST_COUNTED`, below 2**49."""
    return LAST_COUNTED + 1 + int.from_bytes(trial_id[:_ID_BYTES], "big")


def number_of(trial: Trial) -> int:
    """The number of a trial."""
    given = trial.metadata.get(RUN_ID)
    if type(given) is int:
        return given
    return 0 if trial.id is None else uncounted(trial.id)


def take_number(protocol: Protocol, group: TrialGroup) -> int | None:
    """The next number; None when the store cannot be asked, so that the trial's id has to do."""
    return reserve(protocol, group, 0)


def reserve(protocol: Protocol, group: TrialGroup, least: int) -> int | None:
    """Take the next number, and none up to `least` will be taken after it.

    Args:
        protocol: the store.
        group: the one that counts; it exists, or it is on its way there.
        least: a number that is to be taken by this, too.

    Returns:
        The number that was taken, at least `least`; None when the store cannot be asked.
    """
    if protocol.is_unreachable:
        return None
    try:
        known = protocol.get_trial_group(group)
        while known is not None:
            last = known.metadata.get(_LAST)
            taken = max(_counted(last) + 1, least)
            query = {"uid": group.uid, f"metadata.{_LAST}": last}
            try:
                protocol.fetch_and_update_group(query, "set_group_metadata", **{_LAST: taken})
            except ItemNotFound:
                # Another process was faster, and has the number.
                known = protocol.get_trial_group(group)
            else:
                return taken
    except (ServerUnreachable, StoreError):
        pass  # this does not stop a run from starting
    return None


def _counted(last: Any) -> int:
    return last if type(last) is int else 0
