"""Reads: documents, points and what was rejected."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from track_protocol.errors import BadArguments, ItemNotFound, TrackError
from track_protocol.model.rejected import Rejected, rejected_to_document
from track_protocol.query.order import parse_fields, parse_order
from track_protocol.query.parse import Kind, parse_query
from track_protocol.wire.batch import SUPERSEDED
from track_server.methods import lookup
from track_server.methods.trial_metadata import as_read
from track_server.storage.contract import Document, Snapshot, View

__all__ = [
    "Listing",
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
_SUMMARIES: Final = frozenset({"metrics", "chronos", "media"})
_REJECTED_PAGE: Final = 256
_REJECTED_READ: Final = 16
_REJECTED_BYTES: Final = 256 * 1024
"""Limits of a page of rejected records: bytes, and records read at once."""


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


@dataclass(frozen=True, slots=True)
class Listing:
    """Documents that a call found and that are read page by page, as far as the peer reads.

    What is found is decided at one moment.  Each page shows its documents as they are when it is made,
    without those that were deleted meanwhile: a peer that reads slowly keeps no snapshot open.

    Attributes:
        keys: what was found, in order.
        read: the documents of some of the keys; a `TrackError` in the place of one that cannot be read, and
            becomes ``{"error": text}``.
        most: how many keys are given to it at once.
    """

    keys: Sequence[Any]
    read: Callable[[Snapshot, Sequence[Any]], Sequence[Document | TrackError | None]]
    most: int = 256


def get_trial(view: Snapshot, trial: Document) -> Listing:
    """By id, else by uid, else all revisions of a hash."""
    ids: list[bytes] = []
    if id := _given(trial, "id", bytes):
        ids = [id]
    elif uid := _given(trial, "uid", str):
        found = view.trial_id(uid)
        ids = [found] if found is not None else []
    elif hash := _given(trial, "hash", str):
        ids = view.revisions(hash)
    return Listing(ids, _trials_by_id)


def _trials_by_id(view: Snapshot, ids: Sequence[bytes]) -> list[Document]:
    documents = [view.trial(id) for id in ids]
    return [as_read(document) for document in documents if document is not None]


def fetch_projects(view: Snapshot, **arguments: Any) -> Listing:
    """The projects that match."""
    return _listing(view, "project", **arguments)


def fetch_groups(view: Snapshot, **arguments: Any) -> Listing:
    """The groups that match."""
    return _listing(view, "group", **arguments)


def fetch_trials(view: Snapshot, **arguments: Any) -> Listing:
    """The trials that match."""
    return _listing(view, "trial", **arguments)


def _listing(
    view: Snapshot,
    kind: Kind,
    query: Document,
    start: int,
    limit: int | None,
    order: Sequence[str] | None,
    fields: Collection[str] | None,
) -> Listing:
    wanted = parse_fields(fields, kind)
    keys = view.find(parse_query(query, kind), parse_order(order or (), kind), start, limit)

    def read(view: Snapshot, keys: Sequence[Any]) -> list[Document]:
        if kind != "trial":
            return view.documents(kind, keys, wanted)
        # The times of the newest points belong to the metadata as it is answered.
        read = wanted if wanted is None or "metadata" not in wanted else wanted | _SUMMARIES
        documents = view.documents(kind, keys, read)
        if read is None or "metadata" in read:
            documents = [as_read(document) for document in documents]
        if wanted != read and wanted is not None:
            documents = [{name: each[name] for name in each if name in wanted} for each in documents]
        return documents

    return Listing(keys, read)


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
