"""Making projects, groups and trials from the documents that clients send."""

from __future__ import annotations

from time import time as now
from typing import Any, Final

from track_protocol.errors import BadArguments
from track_protocol.model.documents import check_document
from track_server.methods import leases, lookup
from track_server.storage.contract import Document
from track_server.storage.unit_of_work import UnitOfWork

__all__ = ["new_project", "new_trial", "new_trial_group"]

_LAST_REVISION: Final = 2**31 - 1


def new_project(tx: UnitOfWork, project: Document) -> Document:
    """The own fields of the project with that uid, which is made if there is none."""
    document = check_document("project", project)
    existing = tx.project_fields(document["uid"])
    if existing is None:
        tx.put_project(document)
    return existing or document


def new_trial_group(tx: UnitOfWork, group: Document, or_get: bool = True) -> Document | None:
    """The own fields of the group with that uid, which is made if there is none; else None unless `or_get`.

    Whoever asks without `or_get` learns in the same transaction whether it was made now, so that of several
    exactly one learns that it was.
    """
    document = check_document("group", group)
    existing = tx.group_fields(document["uid"])
    if existing is None:
        if document["project_id"] is not None:
            lookup.check_project(tx, document["project_id"])
        tx.put_group(document)
        return document
    return existing if or_get else None


def new_trial(tx: UnitOfWork, by: bytes, trial: Document, auto_increment: bool) -> Document | None:
    """The trial with that id, made if there is none; None if its uid is another trial's."""
    document = check_document("trial", trial)
    if tx.has_trial(document["id"]):
        return lookup.trial(tx, document["id"])
    newest = tx.newest_revision(document["hash"]) if auto_increment else None
    if newest is not None:
        document["revision"] = max(document["revision"], newest + 1)
    if document["revision"] > _LAST_REVISION:
        raise BadArguments(f"hash {document['hash'][:80]!r} has its last revision, {_LAST_REVISION}, already")
    document["uid"] = f"{document['hash']}_{document['revision']}"
    if tx.trial_id(document["uid"]) is not None:
        return None
    if document["project_id"] is not None:
        lookup.check_project(tx, document["project_id"])
        document["tags"] = document["tags"] | lookup.inherited_tags(tx, document["project_id"])
    if document["group_id"] is not None:
        lookup.check_group(tx, document["group_id"])
    created: dict[str, Any] = {"created": now(), "started": None, "ended": None}
    tx.add_trial(document | created | leases.times(created, document["status"], created["created"]))
    leases.settle(tx, by, document, document["status"])
    if document["group_id"] is not None:
        tx.link(document["group_id"], document["id"])
    # It has no series yet: there is nothing to read for its summaries.
    return lookup.trial_fields(tx, document["id"]) | {"metrics": {}, "chronos": {}, "media": {}}
