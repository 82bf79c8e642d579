"""Scripts that Oríon, a hyper-parameter optimiser, starts: where their trials belong, and which they are.

| variable | what it says |
| --- | --- |
| ``ORION_PROJECT`` | the project of a script that sets none |
| ``ORION_EXPERIMENT`` or ``ORION_EXPERIMENT_NAME`` | the group of a script that sets none |
| ``ORION_TRIAL_ID`` | the trial: uid or id of a stored one, else Oríon's own id, the tag ``orion_trial`` |
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from track.persistence.protocol import Protocol
from track.run.resume import definition, joined
from track_protocol.errors import ServerUnreachable, UsageError
from track_protocol.model.entities import Project, Trial

__all__ = ["ORION_TAG", "Orion", "joined_or_created", "orion_in"]

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


def joined_or_created(
    protocol: Protocol,
    trial_id: str,
    in_project: Callable[[], Project],
    create: Callable[[Trial], Trial],
    trial: Trial,
) -> Trial:
    """The trial that an id of the environment means.

    Args:
        protocol: the store.
        trial_id: a uid, an id in 32 hexadecimal digits, or one of Oríon's own.
        in_project: gives the project in which Oríon's ids are looked for.
        create: stores a trial.
        trial: what is known of it; stored when there is none of that id, and also while the store is away,
            since a second revision is better than no run.
    """
    found = _found(protocol, trial_id, in_project().uid)
    if found is not None:
        return joined(protocol, found, trial)
    trial.tags[ORION_TAG] = trial_id
    return create(trial)


def _found(protocol: Protocol, trial_id: str, project: str) -> Trial | None:
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
