"""The one item that a call names, or why there is none."""

from __future__ import annotations

from track_protocol.errors import ItemNotFound
from track_server.storage.contract import Document, View
from track_server.storage.unit_of_work import UnitOfWork

__all__ = [
    "check_group",
    "check_project",
    "group",
    "group_fields",
    "inherited_tags",
    "shown",
    "trial",
    "trial_fields",
    "trial_id",
]


def trial_id(view: View | UnitOfWork, trial: bytes | str) -> bytes:
    """The id of a trial, from its id, which is taken as it is, or its uid."""
    if isinstance(trial, str):
        found = view.trial_id(trial)
        if found is None:
            raise ItemNotFound(f"no trial has the uid {trial[:80]!r}: create it with new_trial first")
        return found
    return trial


def trial(view: View | UnitOfWork, trial: bytes | str) -> Document:
    """The trial with that id or uid, with a summary of each of its series."""
    return _existing(view.trial(trial_id(view, trial)), trial)


def trial_fields(view: View | UnitOfWork, trial: bytes | str) -> Document:
    """The trial with that id or uid, without its series: what a change of the trial needs."""
    return _existing(view.trial_fields(trial_id(view, trial)), trial)


def inherited_tags(tx: UnitOfWork, project: str | None) -> Document:
    """The tags that all trials of a project have."""
    document = None if project is None else tx.project_fields(project)
    tags = {} if document is None else document["metadata"].get("tags")
    return tags if isinstance(tags, dict) else {}


def _existing(document: Document | None, trial: bytes | str) -> Document:
    if document is None:
        raise ItemNotFound(f"no trial has the id {shown(trial)}: create it with new_trial first")
    return document


def group(view: View | UnitOfWork, uid: str) -> Document:
    """The group with that uid, and the uids of its trials."""
    document = view.group(uid)
    if document is None:
        raise _no_group(uid)
    return document


def group_fields(view: View | UnitOfWork, uid: str) -> Document:
    """The group without its trials; costs the same however many it has."""
    document = view.group_fields(uid)
    if document is None:
        raise _no_group(uid)
    return document


def check_group(view: View | UnitOfWork, uid: str) -> None:
    """Raise if there is no such group; costs the same however many trials it has."""
    if view.group_fields(uid) is None:
        raise _no_group(uid)


def _no_group(uid: str) -> ItemNotFound:
    return ItemNotFound(f"no group has the uid {uid[:80]!r}: create it with new_trial_group first")


def check_project(view: View | UnitOfWork, uid: str) -> None:
    """Raise if there is no such project; costs the same however many trials it has."""
    if view.project_fields(uid) is None:
        raise _no_project(uid)


def _no_project(uid: str) -> ItemNotFound:
    return ItemNotFound(f"no project has the uid {uid[:80]!r}: create it with new_project first")


def shown(trial: bytes | str) -> str:
    """How messages name a trial."""
    return trial.hex() if isinstance(trial, bytes) else repr(trial[:80])
