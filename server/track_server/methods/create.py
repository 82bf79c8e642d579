"""Making projects, groups and trials from the documents that clients send."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from track_protocol.errors import BadArguments
from track_protocol.model.values import normalise
from track_protocol.wire.schema import CHECKS
from track_server.methods import leases, lookup
from track_server.storage.contract import Document
from track_server.storage.unit_of_work import UnitOfWork

__all__ = ["new_project", "new_trial", "new_trial_group"]

_STATUS_CREATED: Final = {"value": 0, "name": "CreatedGroup"}
_LAST_REVISION: Final = 2**31 - 1

_COMMON: Final = {"name": (str, type(None)), "description": (str, type(None)), "metadata": (dict,)}
_FIELDS: Final[Mapping[str, Mapping[str, tuple[type, ...]]]] = {
    "project": {"uid": (str,), **_COMMON},
    "group": {"uid": (str,), "project_id": (str, type(None)), **_COMMON},
    "trial": {
        "id": (bytes,),
        "hash": (str,),
        "revision": (int,),
        "version": (str, type(None)),
        "tags": (dict,),
        "parameters": (dict,),
        "errors": (list,),
        "project_id": (str, type(None)),
        "group_id": (str, type(None)),
        "status": (dict,),
        **_COMMON,
    },
}
_EMPTY: Final[Mapping[type, Callable[[], Any]]] = {dict: dict, list: list}
_IGNORED: Final = frozenset(
    {"uid", "groups", "trials", "metrics", "chronos", "media", "created", "started", "ended"}
)
"""Fields of documents that the store itself fills in."""


def _checked(kind: str, document: Mapping[str, Any]) -> Document:
    """The document with every known field present and of its type; unknown fields are refused."""
    fields = _FIELDS[kind]
    unknown = set(document) - set(fields) - _IGNORED
    if unknown:
        raise BadArguments(f"a {kind} has no field {min(unknown)!r}; its fields are {', '.join(fields)}")
    checked: Document = {}
    for name, types in fields.items():
        value = document.get(name, _EMPTY.get(types[0], lambda: None)())
        if type(value) not in types:
            raise BadArguments(
                f"field {name!r} of a {kind} must be {types[0].__name__}, not {type(value).__name__}"
            )
        checked[name] = normalise(value)
    return checked


def new_project(tx: UnitOfWork, project: Document) -> Document:
    """The own fields of the project with that uid, which is made if there is none."""
    document = _checked("project", project)
    existing = tx.project_fields(document["uid"])
    if existing is None:
        tx.put_project(document)
    return existing or document


def new_trial_group(tx: UnitOfWork, group: Document) -> Document:
    """The own fields of the group with that uid, which is made if there is none."""
    document = _checked("group", group)
    existing = tx.group_fields(document["uid"])
    if existing is None:
        if document["project_id"] is not None:
            lookup.check_project(tx, document["project_id"])
        tx.put_group(document)
    return existing or document


def new_trial(tx: UnitOfWork, by: bytes, trial: Document, auto_increment: bool) -> Document | None:
    """The trial with that id, made if there is none; None if its uid is another trial's."""
    document = _checked("trial", {"status": _STATUS_CREATED, **trial})
    if len(document["id"]) != 16:
        raise BadArguments("field 'id' of a trial must have 16 bytes")
    fits, wanted = CHECKS["status"]
    if not fits(document["status"]):
        raise BadArguments(f"field 'status' of a trial must be {wanted}")
    if tx.has_trial(document["id"]):
        return lookup.trial(tx, document["id"])
    newest = tx.newest_revision(document["hash"]) if auto_increment else None
    if newest is not None:
        document["revision"] = max(document["revision"], newest + 1)
    if not 0 <= document["revision"] <= _LAST_REVISION:
        raise BadArguments(f"revision {document['revision']} of a trial is not in 0 to {_LAST_REVISION}")
    document["uid"] = f"{document['hash']}_{document['revision']}"
    if tx.trial_id(document["uid"]) is not None:
        return None
    if document["project_id"] is not None:
        lookup.check_project(tx, document["project_id"])
    if document["group_id"] is not None:
        lookup.check_group(tx, document["group_id"])
    tx.add_trial(document)
    leases.settle(tx, by, document, document["status"])
    if document["group_id"] is not None:
        tx.link(document["group_id"], document["id"])
    # It has no series yet: there is nothing to read for its summaries.
    return lookup.trial_fields(tx, document["id"]) | {"metrics": {}, "chronos": {}, "media": {}}
