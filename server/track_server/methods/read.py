"""Reads: documents, points and what was rejected."""

from __future__ import annotations

from typing import Any, Final

from track_protocol.errors import BadArguments, ItemNotFound
from track_protocol.model.rejected import Rejected, rejected_to_document
from track_protocol.query.parse import parse_query
from track_protocol.wire.batch import SUPERSEDED
from track_server.methods import lookup
from track_server.methods.trial_metadata import as_read
from track_server.storage.contract import Document, View

__all__ = [
    "fetch_groups",
    "fetch_metrics",
    "fetch_projects",
    "fetch_rejected",
    "fetch_trials",
    "get_project",
    "get_trial",
    "get_trial_group",
]

_PAGE: Final = 65_536
_REJECTED_PAGE: Final = 256
_REJECTED_READ: Final = 16
_REJECTED_BYTES: Final = 4 * 1024 * 1024
"""A page of rejected records ends behind so many bytes, and so many records of it are read at once."""


def _given(document: Document, field: str, kind: type) -> Any:
    """A field by which something is looked up; None when it is not given."""
    value = document.get(field)
    if value is not None and type(value) is not kind:
        raise BadArguments(f"field {field!r} must be {kind.__name__}, not {type(value).__name__}")
    return value


def get_project(view: View, project: Document) -> Document | None:
    """The project with that uid."""
    return view.project(_given(project, "uid", str) or "")


def get_trial_group(view: View, group: Document) -> Document | None:
    """The group with that uid."""
    return view.group(_given(group, "uid", str) or "")


def get_trial(view: View, trial: Document) -> list[Document]:
    """By id, else by uid, else all revisions of a hash."""
    ids: list[bytes] = []
    if id := _given(trial, "id", bytes):
        ids = [id]
    elif uid := _given(trial, "uid", str):
        found = view.trial_id(uid)
        ids = [found] if found is not None else []
    elif hash := _given(trial, "hash", str):
        ids = view.revisions(hash)
    documents = [view.trial(id) for id in ids]
    return [as_read(document) for document in documents if document is not None]


def fetch_projects(view: View, query: Document) -> list[Document]:
    """All projects that match."""
    return view.projects(parse_query(query, "project"))


def fetch_groups(view: View, query: Document) -> list[Document]:
    """All groups that match."""
    return view.groups(parse_query(query, "group"))


def fetch_trials(view: View, query: Document) -> list[Document]:
    """All trials that match."""
    return [as_read(document) for document in view.trials(parse_query(query, "trial"))]


def fetch_metrics(
    view: View, trial: bytes | str, name: str, kind: str, start: int, limit: int
) -> dict[str, list[Any]]:
    """A page of points of one series."""
    id = lookup.trial_id(view, trial)
    points = view.points(id, kind, name, start, min(limit, _PAGE))
    if points is None:
        what = "superseded points of a metric" if kind == SUPERSEDED else kind
        raise ItemNotFound(f"trial {lookup.shown(trial)} has no {what} called {name[:80]!r}")
    return {"steps": list(points.steps), "times": list(points.times), "values": list(points.values)}


def fetch_rejected(view: View, trial: bytes | str | None, start: int, limit: int) -> list[Document]:
    """A page of what was rejected, all of it or what is about one trial."""
    id = None if trial is None else lookup.trial_id(view, trial)
    found: list[Rejected] = []
    nbytes, most = 0, min(limit, _REJECTED_PAGE)
    while len(found) < most and nbytes < _REJECTED_BYTES:
        some = view.rejected(id, start + len(found), min(_REJECTED_READ, most - len(found)))
        if not some:
            break
        found += some
        nbytes += sum(len(each.content) + sum(map(len, each.names)) for each in some)
    return [rejected_to_document(each) for each in found]
