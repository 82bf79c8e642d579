"""The one item that a call names, or why there is none."""

from __future__ import annotations

from track_protocol.errors import ItemNotFound
from track_server.store import Document, View

__all__ = ["group", "project", "shown", "trial", "trial_fields", "trial_id"]


def trial_id(view: View, trial: bytes | str) -> bytes:
    """The id of a trial, from its id, which is taken as it is, or its uid."""
    if isinstance(trial, str):
        found = view.trial_id(trial)
        if found is None:
            raise ItemNotFound(f"no trial has the uid {trial[:80]!r}: create it with new_trial first")
        return found
    return trial


def trial(view: View, trial: bytes | str) -> Document:
    """The trial with that id or uid, with a summary of each of its series."""
    return _existing(view.trial(trial_id(view, trial)), trial)


def trial_fields(view: View, trial: bytes | str) -> Document:
    """The trial with that id or uid, without its series: what a change of the trial needs."""
    return _existing(view.trial_fields(trial_id(view, trial)), trial)


def _existing(document: Document | None, trial: bytes | str) -> Document:
    if document is None:
        raise ItemNotFound(f"no trial has the id {shown(trial)}: create it with new_trial first")
    return document


def group(view: View, uid: str) -> Document:
    """The group with that uid."""
    document = view.group(uid)
    if document is None:
        raise ItemNotFound(f"no group has the uid {uid[:80]!r}: create it with new_trial_group first")
    return document


def project(view: View, uid: str) -> Document:
    """The project with that uid."""
    document = view.project(uid)
    if document is None:
        raise ItemNotFound(f"no project has the uid {uid[:80]!r}: create it with new_project first")
    return document


def shown(trial: bytes | str) -> str:
    """How messages name a trial."""
    return trial.hex() if isinstance(trial, bytes) else repr(trial[:80])
