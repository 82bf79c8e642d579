"""Scripts that Oríon, a hyper-parameter optimiser, starts: where their trials belong, and which they are.

| variable | what it says |
| --- | --- |
| ``ORION_PROJECT`` | the project of a script that sets none |
| ``ORION_EXPERIMENT`` or ``ORION_EXPERIMENT_NAME`` | the group of a script that sets none |
| ``ORION_TRIAL_ID`` | the trial: uid or id of a stored one, else Oríon's own id, the tag ``orion_trial`` |
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from track.resuming import definition
from track_protocol.errors import ServerUnreachable, UsageError
from track_protocol.model import Trial
from track_protocol.protocol import Protocol

__all__ = ["ORION_TAG", "Orion", "orion_in", "trial_of_orion"]

_log: Final = logging.getLogger("track")

ORION_TAG: Final = "orion_trial"
"""The tag that has Oríon's own id of a trial."""


@dataclass(frozen=True, slots=True)
class Orion:
    """What the environment says; None where it says nothing.

    Attributes:
        project: name of the project.
        experiment: name of the group.
        trial: which trial this is.
    """

    project: str | None
    experiment: str | None
    trial: str | None


def orion_in(environment: Mapping[str, str]) -> Orion:
    """What an environment says; an empty variable says nothing."""
    experiment = environment.get("ORION_EXPERIMENT") or environment.get("ORION_EXPERIMENT_NAME")
    return Orion(
        environment.get("ORION_PROJECT") or None,
        experiment or None,
        environment.get("ORION_TRIAL_ID") or None,
    )


def trial_of_orion(protocol: Protocol, trial_id: str, project: str) -> Trial | None:
    """The stored trial that an id of the environment means.

    Args:
        protocol: the store.
        trial_id: a uid, an id in 32 hexadecimal digits, or one of Oríon's own.
        project: uid of the project in which Oríon's ids are looked for.

    Returns:
        None when there is none yet; also while the store is away: a second revision is better than no run.
    """
    try:
        # Oríon's ids are of 32 hexadecimal digits, too: what is not stored under it is one of those.
        try:
            found = protocol.current_trial(definition(trial_id, None, 0))
        except UsageError:
            found = None
        if found is not None:
            return found
        tagged = protocol.fetch_trials({f"tags.{ORION_TAG}": trial_id, "project_id": project})
    except ServerUnreachable as error:
        _log.warning("whether Oríon's trial %.80s ran before is not known, so it is new: %s", trial_id, error)
        return None
    return max(tagged, key=lambda trial: trial.revision, default=None)
