"""Log calls that change an item that exists."""

from __future__ import annotations

from collections.abc import Callable
from time import time as now
from typing import Any, Final

from track_protocol.errors import BadArguments
from track_protocol.model.values import MAX_DEPTH, normalise
from track_server.methods import leases, lookup
from track_server.methods.points import rewind
from track_server.methods.trial_metadata import (
    HEARTBEAT,
    RESUMES,
    add_dropped_points,
    add_error,
    touch_trial,
)
from track_server.storage.contract import Document
from track_server.storage.unit_of_work import UnitOfWork

__all__ = [
    "add_group_trial",
    "add_project_trial",
    "append_values",
    "log_trial_dropped_points",
    "log_trial_finish",
    "log_trial_metadata",
    "log_trial_start",
    "merge",
    "put_values",
    "remove_trial_tags",
    "rename_trial",
    "rewind_trial",
    "set_group_metadata",
    "set_project_metadata",
    "set_trial_status",
]


_FIELDS: Final = ("parameters", "metadata", "tags")

_MOST_RESUMES: Final = 100
"""The newest resumes that a trial lists, at most."""


def add_project_trial(tx: UnitOfWork, project: str, trial: bytes | str) -> None:
    """Put a trial into a project."""
    lookup.check_project(tx, project)
    document = lookup.trial_fields(tx, trial)
    if document["project_id"] != project:
        tags = tx.merged(document["id"], "tags", document["tags"], lookup.inherited_tags(tx, project))
        touch_trial(tx, document, {"project_id": project, "tags": tags})


def add_group_trial(tx: UnitOfWork, group: str, trial: bytes | str) -> None:
    """Put a trial into a group."""
    lookup.check_group(tx, group)
    document = lookup.trial_fields(tx, trial)
    tx.link(group, document["id"])
    if document["group_id"] != group:
        touch_trial(tx, document, {"group_id": group})


def set_group_metadata(tx: UnitOfWork, group: str, metadata: Document) -> None:
    """Merge values into a group's metadata."""
    document = lookup.group_fields(tx, group)
    tx.put_group(
        document | {"metadata": tx.merged(group, "metadata", document["metadata"], normalise(metadata))}
    )


def set_project_metadata(tx: UnitOfWork, project: str, metadata: Document) -> None:
    """Merge values into a project's metadata."""
    lookup.check_project(tx, project)
    document = tx.project_fields(project)
    assert document is not None
    merged = tx.merged(project, "metadata", document["metadata"], normalise(metadata))
    tx.put_project(document | {"metadata": merged})


def rename_trial(tx: UnitOfWork, trial: bytes | str, name: str | None, description: str | None) -> None:
    """Change what a trial is called and how it is described; what identifies it stays."""
    document = lookup.trial_fields(tx, trial)
    given = {"name": name, "description": description}
    changes = {field: normalise(text) or None for field, text in given.items() if text is not None}
    if any(document[field] != text for field, text in changes.items()):
        touch_trial(tx, document, changes)


def remove_trial_tags(tx: UnitOfWork, trial: bytes | str, names: list[str]) -> None:
    """Remove tags of a trial, except those that all trials of its project have."""
    document = lookup.trial_fields(tx, trial)
    removed = set(names) - lookup.inherited_tags(tx, document["project_id"]).keys()
    if removed & document["tags"].keys():
        touch_trial(
            tx,
            document,
            {"tags": {name: value for name, value in document["tags"].items() if name not in removed}},
        )


def merge(field: str) -> Callable[..., None]:
    """A handler that merges the one dict it is given into a field of a trial."""

    def merge_into(tx: UnitOfWork, trial: bytes | str, **given: Document) -> None:
        document = lookup.trial_fields(tx, trial)
        (values,) = given.values()
        if field == "tags":
            values = values | lookup.inherited_tags(tx, document["project_id"])
        merged = tx.merged(document["id"], field, document[field], normalise(values))
        touch_trial(tx, document, {field: merged})

    return merge_into


def put_values(tx: UnitOfWork, trial: bytes | str, field: str, path: list[str], values: Document) -> None:
    """Merge values into a map inside a field of a trial; what is missing on the way there is made."""
    _check_place("put_values", field, path)
    _merge_at(tx, lookup.trial_fields(tx, trial), field, path, normalise(values))


def append_values(tx: UnitOfWork, trial: bytes | str, field: str, path: list[str], values: list[Any]) -> None:
    """Append to a list inside a field of a trial; what is no list there, or is missing, becomes one."""
    _check_place("append_values", field, path)
    if not path:
        raise BadArguments("append_values: argument 'path' must have a name")
    document = lookup.trial_fields(tx, trial)
    before = _value_at(document[field], path)
    appended = [*(before if isinstance(before, list) else []), *normalise(values)]
    _merge_at(tx, document, field, path[:-1], {path[-1]: appended})


def _check_place(method: str, field: str, path: list[str]) -> None:
    if field not in _FIELDS:
        raise BadArguments(f"{method}: argument 'field' must be one of {', '.join(_FIELDS)}")
    if len(path) > MAX_DEPTH:
        raise BadArguments(f"{method}: argument 'path' has more than {MAX_DEPTH} names")


def _value_at(values: Any, path: list[str]) -> Any:
    for name in path:
        values = values.get(name) if isinstance(values, dict) else None
    return values


def _merge_at(tx: UnitOfWork, document: Document, field: str, path: list[str], values: Document) -> None:
    """Merge values into the map at a place in a field; what is missing on the way there is made."""
    for depth in range(len(path), 0, -1):
        before = _value_at(document[field], path[:depth])
        values = {path[depth - 1]: (before if isinstance(before, dict) else {}) | values}
    merged = tx.merged(document["id"], field, document[field], normalise(values))
    touch_trial(tx, document, {field: merged})


def log_trial_metadata(
    tx: UnitOfWork, trial: bytes | str, metadata: Document, aggregator: list[Any] | None
) -> None:
    """Merge values into a trial's metadata, or append them to lists there."""
    document = lookup.trial_fields(tx, trial)
    values = normalise(metadata)
    if aggregator is not None and aggregator[:1] != ["value"]:
        values = {
            name: _appended(document["metadata"].get(name), value, aggregator)
            for name, value in values.items()
        }
    merged = tx.merged(document["id"], "metadata", document["metadata"], values)
    touch_trial(tx, document, {"metadata": merged})


def _appended(before: Any, value: Any, aggregator: list[Any]) -> list[Any]:
    """A metadata list with `value` appended, as a series or ring aggregator does it."""
    values = [*(before if isinstance(before, list) else []), value]
    if aggregator[:1] == ["series"]:
        return values
    if aggregator[:1] == ["ring"] and len(aggregator) == 3:
        size = aggregator[1]
        if type(size) is int and size > 0:
            return values[-size:]
    raise BadArguments(
        f"metadata cannot use the aggregator {aggregator!r}: use the value, series or ring aggregator"
    )


def _status_changes(
    tx: UnitOfWork,
    document: Document,
    status: Document | None,
    at: float,
    error: str | None,
    errors: list[str],
) -> Document:
    """What a status, None for the one that it has, and an error make of a trial's fields.

    The status comes with `errors` in the place of those that the trial has.
    """
    changes = {} if status is None else {"status": status, **leases.times(document, status, at)}
    errors = document["errors"] if status is None else errors
    if error is not None:
        errors = add_error(tx, errors, normalise(error))
    return changes if errors == document["errors"] else changes | {"errors": errors}


def set_trial_status(
    tx: UnitOfWork, by: bytes, trial: bytes | str, status: Document, error: str | None
) -> None:
    """Give a trial a status, unless others have decided about it."""
    document = lookup.trial_fields(tx, trial)
    errors = leases.errors_if_back(tx, by, document)
    settled = leases.settle(tx, by, document, status)
    touch_trial(tx, document, _status_changes(tx, document, settled, now(), error, errors))


def log_trial_start(tx: UnitOfWork, by: bytes, trial: bytes | str, time: float, rank: int | None) -> None:
    """A process runs a trial from now on."""
    document = lookup.trial_fields(tx, trial)
    metadata = document["metadata"] | {HEARTBEAT: float(time)}
    if rank is not None:
        metadata["ranks"] = leases.with_rank(metadata.get("ranks"), rank)
    errors = leases.errors_if_back(tx, by, document)
    status = leases.start(tx, by, document, rank)
    changes = _status_changes(tx, document, status, float(time), None, errors)
    if document["ended"] is not None and changes.get("ended", document["ended"]) is None:
        resumes = metadata.get(RESUMES)
        listed = resumes if isinstance(resumes, list) else []
        metadata[RESUMES] = [*listed, {"time": float(time)}][-_MOST_RESUMES:]
    touch_trial(tx, document, changes | {"metadata": metadata})


def log_trial_finish(
    tx: UnitOfWork,
    by: bytes,
    trial: bytes | str,
    time: float,
    status: Document,
    error: str | None,
    rank: int | None,
    shared: bool,
) -> None:
    """A process is done with a trial; of a shared one the last to be done says how it ended."""
    document = lookup.trial_fields(tx, trial)
    metadata = document["metadata"] | {HEARTBEAT: float(time)}
    errors = leases.errors_if_back(tx, by, document)
    finished = leases.finish(tx, by, document, status, rank, shared)
    changes = _status_changes(tx, document, finished, float(time), error, errors)
    touch_trial(tx, document, changes | {"metadata": metadata})


def rewind_trial(tx: UnitOfWork, by: bytes, trial: bytes | str, step: float, time: float) -> None:
    """Supersede the points of later steps."""
    if step != step:
        raise BadArguments("rewind_trial: argument 'step' must be a number, not NaN")
    rewind(tx, by, lookup.trial_fields(tx, trial), step, float(time))


def log_trial_dropped_points(tx: UnitOfWork, trial: bytes | str, points: int, reason: str) -> None:
    """Count points that will never be stored."""
    add_dropped_points(tx, lookup.trial_fields(tx, trial), points, reason)
