"""Resuming a stored trial: which one it is, and how this process joins it.

Oríon, a hyper-parameter optimiser, sets variables that say where the trials of its scripts belong:

| variable | meaning |
| --- | --- |
| ``ORION_PROJECT`` | the project of a script that sets none |
| ``ORION_EXPERIMENT`` or ``ORION_EXPERIMENT_NAME`` | the group of a script that sets none |
| ``ORION_TRIAL_ID`` | the trial: uid or id of a stored one, else Oríon's own id, the tag ``orion_trial`` |
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from track.configuration import switched_on
from track.persistence.protocol import Protocol
from track.structure import CONTINUED, set_current_trial
from track_protocol.errors import ItemNotFound, ServerUnreachable, UsageError
from track_protocol.model.entities import CustomStatus, Project, Status, Trial

__all__ = [
    "ORION_TAG",
    "Orion",
    "claimed",
    "definition",
    "joined",
    "joined_or_created",
    "orion_in",
    "rank_in",
    "resumes_in",
]

_log: Final = logging.getLogger("track")

ORION_TAG: Final = "orion_trial"
"""The tag that has Oríon's own id of a trial."""

_ID: Final = re.compile("[0-9a-fA-F]{32}")
_LOST: Final = "lost"
_RANKS: Final = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK")
"""Variables of torchrun (and launchers that imitate it), Slurm, Open MPI and MPICH."""

_STOPPED: Final = frozenset(
    {Status.CreatedGroup, Status.Interrupted, Status.Exception, Status.Broken, Status.Suspended}
)


def rank_in(environment: Mapping[str, str]) -> int | None:
    """The rank of this process, None when nothing says one."""
    # Tasks of one Slurm step may as well have a trial each, unless the job says which trial it is.
    names = _RANKS if environment.get(CONTINUED) else _RANKS[:1]
    ranks = [environment[name] for name in names if environment.get(name, "").isdecimal()]
    return int(ranks[0]) if ranks else None


def resumes_in(environment: Mapping[str, str]) -> bool:
    """Whether new trials continue stopped ones of the same parameters.

    Raises:
        UsageError: the variable is neither 1 nor 0.
    """
    return switched_on(environment, "TRACK_RESUME")


def definition(uid: str | None, hash: str | None, revision: int) -> Trial:
    """The trial of a uid or an id in 32 hexadecimal digits, or else of a hash and revision.

    Raises:
        UsageError: no argument names one.
    """
    if uid is not None and _ID.fullmatch(uid):
        return Trial(id=bytes.fromhex(uid))
    if uid is not None:
        hash, _, number = uid.rpartition("_")
        if not hash or not number.isdecimal():
            raise UsageError(
                f"{uid!r} is not the uid of a trial: give HASH_REVISION, or the 32 digits of an id"
            )
        revision = int(number)
    if hash is None:
        raise UsageError("set_trial needs a trial, its uid, or its hash and revision")
    return Trial(_hash=hash, revision=revision)


def claimed(protocol: Protocol, wanted: Trial) -> Trial | None:
    """The newest stopped trial of the same hash, project and group, which runs from now on.

    The claim is atomic: of jobs that start at once, each gets another trial or none.  One that is said to
    run is never taken, since its process may be alive.

    Args:
        protocol: the store.
        wanted: the definition; without a group, a trial of any group will do.

    Returns:
        the trial, or None if there is none.
    """
    same = {"hash": wanted.hash, "project_id": wanted.project_id}
    if wanted.group_id is not None:
        same["group_id"] = wanted.group_id
    known = sorted(protocol.fetch_trials(same), key=lambda trial: trial.revision, reverse=True)
    for trial in known:
        if _has_stopped(trial.status):
            same_status = {"uid": trial.uid, "status": _query(trial.status)}
            # Unless another job was faster.
            with suppress(ItemNotFound):
                return protocol.fetch_and_update_trial(same_status, "log_trial_start")
    for trial in known:
        if trial.status is Status.Running:
            _log.warning(
                "trial %s of the same parameters is running, so another revision is created; "
                "if its process is dead, resume it with %s=%s",
                *(trial.uid, CONTINUED, trial.uid),
            )
            break
    return None


def joined(protocol: Protocol, found: Trial, wanted: Trial) -> Trial:
    """A stored trial with what was said of the one that it turned out to be; it is the current one now."""
    if wanted.parameters and wanted.parameters != found.parameters:
        protocol.log_trial_arguments(found, **wanted.parameters)
    if wanted.metadata:
        protocol.log_trial_metadata(found, **wanted.metadata)
    if wanted.tags:
        protocol.add_trial_tags(found, **wanted.tags)
    set_current_trial(found)
    return found


def _has_stopped(status: Status | CustomStatus | None) -> bool:
    return status in _STOPPED or (isinstance(status, CustomStatus) and status.name == _LOST)


def _query(status: Status | CustomStatus | None) -> Any:
    return None if status is None else status.name


@dataclass(frozen=True, slots=True)
class Orion:
    """The settings of the environment; None where a variable is not set.

    Attributes:
        project: name of the project.
        experiment: name of the group.
        trial: which trial this is.
    """

    project: str | None
    experiment: str | None
    trial: str | None


def orion_in(environment: Mapping[str, str]) -> Orion:
    """The set variables of an environment; an empty one counts as unset."""
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
        trial: what is known of it; stored when there is none of that id, or the store is unreachable: a
            second revision is better than no run.
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
        _log.warning(
            "the store cannot say whether Oríon's trial %.80s ran before, so a new one is created: %s",
            trial_id,
            error,
        )
        return None
    return max(tagged, key=lambda trial: trial.revision, default=None)
