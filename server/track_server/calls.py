"""What each call of the method table means, on any store.

A handler checks everything before it changes anything, so a call that raises has left the
transaction as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from track_protocol.aggregators import aggregator_from_spec
from track_protocol.batch import METRIC, SUPERSEDED, CallOp, PointsOp
from track_protocol.columns import Column, pack
from track_protocol.errors import BadArguments, ItemNotFound
from track_protocol.methods import METHODS, Access, method_named
from track_protocol.query import parse_query
from track_protocol.rejected import Rejected, rejected_to_document
from track_protocol.schema import CHECKS
from track_protocol.values import check_name, normalise
from track_server import leases
from track_server.bookkeeping import HEARTBEAT, as_read, change
from track_server.losses import add_losses
from track_server.rewinds import rewind, supersede_late
from track_server.store import Document, Points, Transaction, View

__all__ = ["LOGS", "READS", "WRITES", "apply_op"]

_PAGE: Final = 65_536
_REJECTED_PAGE: Final = 256
_REJECTED_READ: Final = 16
_REJECTED_BYTES: Final = 4 * 1024 * 1024
"""A page of rejected records ends behind so many bytes, and so many records of it are read at once."""

_STATUS_CREATED: Final = {"value": 0, "name": "CreatedGroup"}
_LAST_REVISION: Final = 2**31 - 1


# -- finding -------------------------------------------------------------------------------------


def _trial_id(view: View, trial: bytes | str) -> bytes:
    """The id of an existing trial, from its id or uid."""
    if isinstance(trial, str):
        found = view.trial_id(trial)
        if found is None:
            raise ItemNotFound(f"no trial has the uid {trial[:80]!r}: create it with new_trial first")
        return found
    return trial


def _trial(view: View, trial: bytes | str) -> Document:
    document = view.trial(_trial_id(view, trial))
    if document is None:
        raise ItemNotFound(f"no trial has the id {_shown(trial)}: create it with new_trial first")
    return document


def _group(view: View, uid: str) -> Document:
    document = view.group(uid)
    if document is None:
        raise ItemNotFound(f"no group has the uid {uid[:80]!r}: create it with new_trial_group first")
    return document


def _project(view: View, uid: str) -> Document:
    document = view.project(uid)
    if document is None:
        raise ItemNotFound(f"no project has the uid {uid[:80]!r}: create it with new_project first")
    return document


def _shown(trial: bytes | str) -> str:
    return trial.hex() if isinstance(trial, bytes) else repr(trial[:80])


# -- documents a client sends --------------------------------------------------------------------

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
_IGNORED: Final = frozenset({"uid", "groups", "trials", "metrics", "chronos"})


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


# -- reads ---------------------------------------------------------------------------------------


def _given(document: Document, field: str, kind: type) -> Any:
    """A field by which something is looked up; None when it is not given."""
    value = document.get(field)
    if value is not None and type(value) is not kind:
        raise BadArguments(f"field {field!r} must be {kind.__name__}, not {type(value).__name__}")
    return value


def _get_project(view: View, project: Document) -> Document | None:
    return view.project(_given(project, "uid", str) or "")


def _get_trial_group(view: View, group: Document) -> Document | None:
    return view.group(_given(group, "uid", str) or "")


def _get_trial(view: View, trial: Document) -> list[Document]:
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


def _fetch_metrics(
    view: View, trial: bytes | str, name: str, kind: str, start: int, limit: int
) -> dict[str, list[Any]]:
    id = _trial_id(view, trial)
    points = view.points(id, kind, name, start, min(limit, _PAGE))
    if points is None:
        what = "superseded points of a metric" if kind == SUPERSEDED else kind
        raise ItemNotFound(f"trial {_shown(trial)} has no {what} called {name[:80]!r}")
    return {"steps": list(points.steps), "times": list(points.times), "values": list(points.values)}


def _fetch_rejected(view: View, trial: bytes | str | None, start: int, limit: int) -> list[Document]:
    id = None if trial is None else _trial_id(view, trial)
    found: list[Rejected] = []
    nbytes, most = 0, min(limit, _REJECTED_PAGE)
    while len(found) < most and nbytes < _REJECTED_BYTES:
        some = view.rejected(id, start + len(found), min(_REJECTED_READ, most - len(found)))
        if not some:
            break
        found += some
        nbytes += sum(len(each.content) + sum(map(len, each.names)) for each in some)
    return [rejected_to_document(each) for each in found]


READS: Final[Mapping[str, Callable[..., Any]]] = {
    "get_project": _get_project,
    "get_trial_group": _get_trial_group,
    "get_trial": _get_trial,
    "fetch_projects": lambda view, query: view.projects(parse_query(query, "project")),
    "fetch_groups": lambda view, query: view.groups(parse_query(query, "group")),
    "fetch_trials": lambda view, query: list(map(as_read, view.trials(parse_query(query, "trial")))),
    "fetch_metrics": _fetch_metrics,
    "fetch_rejected": _fetch_rejected,
}


# -- making projects, groups and trials ----------------------------------------------------------


def _new_project(tx: Transaction, project: Document) -> Document:
    document = _checked("project", project)
    existing = tx.project(document["uid"])
    if existing is None:
        tx.put_project(document)
    return existing or _project(tx, document["uid"])


def _new_trial_group(tx: Transaction, group: Document) -> Document:
    document = _checked("group", group)
    existing = tx.group(document["uid"])
    if existing is None:
        if document["project_id"] is not None:
            _project(tx, document["project_id"])
        tx.put_group(document)
    return existing or _group(tx, document["uid"])


def _new_trial(tx: Transaction, by: bytes, trial: Document, auto_increment: bool) -> Document | None:
    document = _checked("trial", {"status": _STATUS_CREATED, **trial})
    if len(document["id"]) != 16:
        raise BadArguments("field 'id' of a trial must have 16 bytes")
    fits, wanted = CHECKS["status"]
    if not fits(document["status"]):
        raise BadArguments(f"field 'status' of a trial must be {wanted}")
    known = tx.trial(document["id"])
    if known is not None:
        return known
    revisions = tx.revisions(document["hash"])
    if revisions and auto_increment:
        following = 1 + max(_trial(tx, id)["revision"] for id in revisions[-1:])
        document["revision"] = max(document["revision"], following)
    if not 0 <= document["revision"] <= _LAST_REVISION:
        raise BadArguments(f"revision {document['revision']} of a trial is not in 0 to {_LAST_REVISION}")
    document["uid"] = f"{document['hash']}_{document['revision']}"
    if tx.trial_id(document["uid"]) is not None:
        return None
    if document["project_id"] is not None:
        _project(tx, document["project_id"])
    if document["group_id"] is not None:
        _group(tx, document["group_id"])
    tx.add_trial(document)
    leases.settle(tx, by, document, document["status"])
    if document["group_id"] is not None:
        tx.link(document["group_id"], document["id"])
    return _trial(tx, document["id"])


# -- writes without an answer --------------------------------------------------------------------


def _add_project_trial(tx: Transaction, project: str, trial: bytes | str) -> None:
    uid, document = _project(tx, project)["uid"], _trial(tx, trial)
    if document["project_id"] != uid:
        change(tx, document, {"project_id": uid})


def _add_group_trial(tx: Transaction, group: str, trial: bytes | str) -> None:
    uid, document = _group(tx, group)["uid"], _trial(tx, trial)
    tx.link(uid, document["id"])
    if document["group_id"] != uid:
        change(tx, document, {"group_id": uid})


def _set_group_metadata(tx: Transaction, group: str, metadata: Document) -> None:
    document = _group(tx, group)
    tx.put_group(document | {"metadata": document["metadata"] | normalise(metadata)})


def _merge(field: str) -> Callable[..., None]:
    def merge(tx: Transaction, trial: bytes | str, **given: Document) -> None:
        document = _trial(tx, trial)
        (values,) = given.values()
        change(tx, document, {field: document[field] | normalise(values)})

    return merge


def _log_trial_metadata(
    tx: Transaction, trial: bytes | str, metadata: Document, aggregator: list[Any] | None
) -> None:
    document = _trial(tx, trial)
    values = normalise(metadata)
    if aggregator is not None and aggregator[:1] != ["value"]:
        values = {
            name: _appended(document["metadata"].get(name), value, aggregator)
            for name, value in values.items()
        }
    change(tx, document, {"metadata": document["metadata"] | values})


def _appended(before: Any, value: Any, aggregator: list[Any]) -> list[Any]:
    """A metadata list with `value` behind it, as a series or ring aggregator keeps it."""
    kept = [*(before if isinstance(before, list) else []), value]
    if aggregator[:1] == ["series"]:
        return kept
    if aggregator[:1] == ["ring"] and len(aggregator) == 3:
        size = aggregator[1]
        if type(size) is int and size > 0:
            return kept[-size:]
    raise BadArguments(f"metadata cannot be kept by {aggregator!r}: use the value, series or ring aggregator")


def _status_changes(document: Document, status: Document, error: str | None) -> Document:
    changes: Document = {"status": status}
    if error is not None:
        changes["errors"] = [*document["errors"], normalise(error)]
    return changes


def _set_trial_status(
    tx: Transaction, by: bytes, trial: bytes | str, status: Document, error: str | None
) -> None:
    document = _trial(tx, trial)
    settled = leases.settle(tx, by, document, status)
    change(tx, document, _status_changes(document, settled, error))


def _log_trial_start(tx: Transaction, by: bytes, trial: bytes | str, time: float, rank: int | None) -> None:
    document = _trial(tx, trial)
    metadata = document["metadata"] | {HEARTBEAT: float(time)}
    if rank is not None:
        metadata["ranks"] = leases.with_rank(metadata.get("ranks"), rank)
    status = leases.start(tx, by, document, rank)
    change(tx, document, {"status": status, "metadata": metadata})


def _log_trial_finish(
    tx: Transaction,
    by: bytes,
    trial: bytes | str,
    time: float,
    status: Document,
    error: str | None,
    rank: int | None,
) -> None:
    document = _trial(tx, trial)
    metadata = document["metadata"] | {HEARTBEAT: float(time)}
    changes = _status_changes(document, leases.finish(tx, by, document, status, rank), error)
    change(tx, document, changes | {"metadata": metadata})


def _rewind_trial(tx: Transaction, by: bytes, trial: bytes | str, step: float, time: float) -> None:
    if step != step:
        raise BadArguments("rewind_trial: argument 'step' must be a number, not NaN")
    rewind(tx, by, _trial(tx, trial), step, float(time))


def _log_trial_losses(tx: Transaction, trial: bytes | str, points: int, reason: str) -> None:
    add_losses(tx, _trial(tx, trial), points, reason)


def _by_anybody(handler: Callable[..., Any]) -> Callable[..., Any]:
    """A handler to which it is all the same which session it works for."""
    return lambda tx, _by, **arguments: handler(tx, **arguments)


LOGS: Final[Mapping[str, Callable[..., object]]] = {
    "create_project": _by_anybody(_new_project),
    "create_group": _by_anybody(_new_trial_group),
    "create_trial": lambda tx, by, trial: _new_trial(tx, by, trial, auto_increment=True),
    "add_project_trial": _by_anybody(_add_project_trial),
    "add_group_trial": _by_anybody(_add_group_trial),
    "set_group_metadata": _by_anybody(_set_group_metadata),
    "log_trial_start": _log_trial_start,
    "log_trial_finish": _log_trial_finish,
    "log_trial_arguments": _by_anybody(_merge("parameters")),
    "log_trial_metadata": _by_anybody(_log_trial_metadata),
    "log_trial_losses": _by_anybody(_log_trial_losses),
    "add_trial_tags": _by_anybody(_merge("tags")),
    "set_trial_status": _set_trial_status,
    "rewind_trial": _rewind_trial,
}
"""Each is called with the transaction, the id of the session it works for, and the arguments by name."""


# -- writes with an answer -----------------------------------------------------------------------


def _updater(kind: str, update: Document) -> tuple[Callable[..., object], Callable[[Any], dict[str, Any]]]:
    """The log handler an update names, and how its arguments look once the item is known."""
    method = method_named(update["method"], within=(Access.LOG,))
    if method.updates != kind:
        known = ", ".join(sorted(m.name for m in METHODS.values() if m.updates == kind))
        raise BadArguments(f"{method.name} does not update a {kind}; these do: {known}")
    item = method.parameters[0].name
    if item in update["arguments"]:
        raise BadArguments(f"{method.name}: {item!r} is the item that was fetched and cannot be given")
    return LOGS[method.name], lambda key: method.check({item: key, **update["arguments"]})


def _fetch_and_update_trial(tx: Transaction, by: bytes, query: Document, update: Document) -> Document | None:
    apply, arguments = _updater("trial", update)
    arguments(b"\0" * 16)
    for document in tx.trials(parse_query(query, "trial"), limit=1):
        apply(tx, by, **arguments(document["id"]))
        return as_read(_trial(tx, document["id"]))
    return None


def _fetch_and_update_group(tx: Transaction, by: bytes, query: Document, update: Document) -> Document | None:
    apply, arguments = _updater("group", update)
    arguments("any")
    for document in tx.groups(parse_query(query, "group"), limit=1):
        apply(tx, by, **arguments(document["uid"]))
        return _group(tx, document["uid"])
    return None


WRITES: Final[Mapping[str, Callable[..., Any]]] = {
    "new_project": _by_anybody(_new_project),
    "new_trial_group": _by_anybody(_new_trial_group),
    "new_trial": _new_trial,
    "fetch_and_update_trial": _fetch_and_update_trial,
    "fetch_and_update_group": _fetch_and_update_group,
    "commit": lambda _tx, _by: None,
}
"""Each is called as those of `LOGS` are."""


# -- operations of a batch -----------------------------------------------------------------------


def _checked_column(column: Column) -> Column:
    """A column whose arbitrary values are ones that can be kept."""
    return pack([normalise(value) for value in column.payload]) if column.code == "o" else column


def _append(tx: Transaction, by: bytes, op: PointsOp) -> None:
    if not tx.has_trial(op.trial):
        raise ItemNotFound(f"no trial has the id {op.trial.hex()}: create it with new_trial first")
    aggregators = op.aggregators or [None] * len(op.names)
    for name, aggregator in zip(op.names, aggregators, strict=True):
        check_name(name)
        if aggregator is not None:
            aggregator_from_spec(aggregator)
    steps = _checked_column(op.steps)
    new = [Points(steps, op.times, _checked_column(column)) for column in op.values]
    if op.kind == METRIC and (rewinds := tx.rewinds(op.trial)):
        new = supersede_late(tx, by, op.trial, rewinds, op.names, new)
        if not new:
            return
    for name, aggregator, points in zip(op.names, aggregators, new, strict=True):
        tx.append_points(op.trial, op.kind, name, aggregator, points)


def apply_op(tx: Transaction, by: bytes, op: PointsOp | CallOp) -> None:
    """Apply one operation of a batch of the session whose id is `by`.

    Raises:
        BadArguments, ItemNotFound, UnknownMethod: it can never be stored; nothing was changed.
    """
    if isinstance(op, PointsOp):
        _append(tx, by, op)
        return
    method = method_named(op.method, within=(Access.LOG,))
    LOGS[op.method](tx, by, **method.check(op.arguments))
