"""Plain documents of the model, as they travel on the wire and as stores hold them.

Points never travel in documents: the ``metrics`` and ``chronos`` of a trial document are summaries
that a store fills in, and they are empty in a document made from an object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from track_protocol.errors import BadArguments
from track_protocol.model.entities import CustomStatus, Project, Status, Trial, TrialGroup, status
from track_protocol.model.values import normalise

__all__ = [
    "Document",
    "check_document",
    "group_from_document",
    "group_to_document",
    "project_from_document",
    "project_to_document",
    "status_from_document",
    "status_to_document",
    "trial_from_document",
    "trial_to_document",
]

Document = dict[str, Any]

_LAST_REVISION: Final = 2**31 - 1
_TEXT: Final = (str, type(None))
_PROJECT: Final[Mapping[str, Any]] = {
    "uid": _TEXT,
    "name": _TEXT,
    "description": _TEXT,
    "metadata": dict,
    "groups": list,
    "trials": list,
}
_GROUP: Final[Mapping[str, Any]] = {
    "uid": _TEXT,
    "name": _TEXT,
    "description": _TEXT,
    "metadata": dict,
    "project_id": _TEXT,
    "trials": list,
}
_TRIAL: Final[Mapping[str, Any]] = {
    "id": (bytes, type(None)),
    "hash": _TEXT,
    "revision": int,
    "name": _TEXT,
    "description": _TEXT,
    "version": _TEXT,
    "tags": dict,
    "parameters": dict,
    "metadata": dict,
    "errors": list,
    "project_id": _TEXT,
    "group_id": _TEXT,
}


_TIMES: Final = ("created", "started", "ended")
"""Fields that the store computes."""


@dataclass(frozen=True, slots=True)
class _Field:
    """Check of one field of a document from a client or a file."""

    fits: Callable[[Any], bool]
    wanted: str
    default: Callable[[], Any] | None = None


_TEXT_GIVEN: Final = _Field(lambda value: type(value) is str, "a str")
_TEXT_OR_NONE: Final = _Field(
    lambda value: value is None or type(value) is str, "a str or None", lambda: None
)
_MAP: Final = _Field(lambda value: type(value) is dict, "a dict", dict)
_NAMED: Final = {"name": _TEXT_OR_NONE, "description": _TEXT_OR_NONE, "metadata": _MAP}
_GIVEN: Final[Mapping[str, Mapping[str, _Field]]] = {
    "project": {"uid": _TEXT_GIVEN, **_NAMED},
    "group": {"uid": _TEXT_GIVEN, "project_id": _TEXT_OR_NONE, **_NAMED},
    "trial": {
        "id": _Field(lambda value: type(value) is bytes and len(value) == 16, "bytes, 16 bytes long"),
        "hash": _TEXT_GIVEN,
        "revision": _Field(
            lambda value: type(value) is int and 0 <= value <= _LAST_REVISION,
            f"an int from 0 to {_LAST_REVISION}",
        ),
        "version": _TEXT_OR_NONE,
        "tags": _MAP,
        "parameters": _MAP,
        "errors": _Field(
            lambda value: type(value) is list and all(type(item) is str for item in value),
            "a list of str",
            list,
        ),
        "project_id": _TEXT_OR_NONE,
        "group_id": _TEXT_OR_NONE,
        "status": _Field(
            lambda value: (
                type(value) is dict
                and value.keys() == {"value", "name"}
                and type(value["value"]) is int
                and type(value["name"]) is str
            ),
            "{'value': int, 'name': str}",
            lambda: status_to_document(Status.CreatedGroup),
        ),
        **_NAMED,
    },
}
_COMPUTED: Final = frozenset(
    {"uid", "groups", "trials", "metrics", "chronos", "media", "created", "started", "ended"}
)
"""Fields of documents that the store itself fills in."""


def check_document(kind: str, document: Mapping[str, Any]) -> Document:
    """The fields of a document that its giver decides, every one of them, each of its type.

    One document with a field of another type would make every list that it is in unreadable, so this is
    asked of whatever comes into a store: calls, log records and files that somebody edited.

    Args:
        kind: "project", "group" or "trial".
        document: the given fields; those that the store computes are left out, and missing ones are empty.

    Raises:
        BadArguments: a field is unknown, lacks and must be there, or holds something else; it is named.
    """
    fields = _GIVEN[kind]
    unknown = [name for name in document if name not in fields and name not in _COMPUTED]
    if unknown:
        raise BadArguments(f"a {kind} has no field {unknown[0]!r:.80}; its fields are {', '.join(fields)}")
    checked: Document = {}
    for name, field in fields.items():
        value = document.get(name, field.default() if field.default is not None else None)
        if not field.fits(value):
            raise BadArguments(
                f"field {name!r} of a {kind} must be {field.wanted}, not {type(value).__name__} {value!r:.60}"
            )
        checked[name] = normalise(value, name)
    return checked


def status_to_document(value: Status | CustomStatus) -> Document:
    """``{'value': int, 'name': str}``."""
    return {"value": value.value, "name": value.name}


def status_from_document(document: Mapping[str, Any]) -> Status | CustomStatus:
    """The status of a document.

    Raises:
        BadArguments: the name is no str or the value no int.
    """
    fields = _taken("status", document, {"value": int, "name": str})
    return status(fields["name"], fields["value"])


def project_to_document(project: Project) -> Document:
    """The document of a project; its groups and trials are uids, sorted."""
    return {
        "uid": project.uid,
        "name": project.name,
        "description": project.description,
        "metadata": dict(project.metadata),
        "groups": _uids(project.groups),
        "trials": _uids(project.trials),
    }


def project_from_document(document: Mapping[str, Any]) -> Project:
    """The project of a document; its groups and trials are uids, none when the document does not say.

    Raises:
        BadArguments: a key is missing or of another type.
    """
    fields = _taken("project", {"groups": [], "trials": [], **document}, _PROJECT)
    return Project(
        _uid=fields["uid"],
        name=fields["name"],
        description=fields["description"],
        metadata=dict(fields["metadata"]),
        groups=set(fields["groups"]),
        trials=set(fields["trials"]),
    )


def group_to_document(group: TrialGroup) -> Document:
    """The document of a group; its trials are uids, sorted."""
    return {
        "uid": group.uid,
        "name": group.name,
        "description": group.description,
        "metadata": dict(group.metadata),
        "project_id": group.project_id,
        "trials": _uids(group.trials),
    }


def group_from_document(document: Mapping[str, Any]) -> TrialGroup:
    """The group of a document; its trials are uids, none when the document does not say.

    Raises:
        BadArguments: a key is missing or of another type.
    """
    fields = _taken("group", {"trials": [], **document}, _GROUP)
    return TrialGroup(
        _uid=fields["uid"],
        name=fields["name"],
        description=fields["description"],
        metadata=dict(fields["metadata"]),
        trials=set(fields["trials"]),
        project_id=fields["project_id"],
    )


def trial_to_document(trial: Trial) -> Document:
    """The document of a trial, without points: ``metrics``, ``chronos`` and ``media`` are empty."""
    return {
        "id": trial.id,
        "uid": trial.uid,
        "hash": trial.hash,
        "revision": trial.revision,
        "name": trial.name,
        "description": trial.description,
        "version": trial.version,
        "tags": dict(trial.tags),
        "parameters": dict(trial.parameters),
        "metadata": dict(trial.metadata),
        "errors": list(trial.errors),
        "project_id": trial.project_id,
        "group_id": trial.group_id,
        "status": status_to_document(trial.status or Status.CreatedGroup),
        "metrics": {},
        "chronos": {},
        "media": {},
        "created": trial.created,
        "started": trial.started,
        "ended": trial.ended,
    }


def trial_from_document(
    document: Mapping[str, Any],
    *,
    metrics: Mapping[str, Any] | None = None,
    chronos: Mapping[str, Any] | None = None,
) -> Trial:
    """The trial of a document.

    Args:
        document: its ``metrics`` and ``chronos`` are not looked at.
        metrics: the trial's `metrics`, such as a mapping that fetches when read.
        chronos: the same for its `chronos`.

    Raises:
        BadArguments: a key is missing or of another type.
    """
    fields = _taken("trial", document, _TRIAL)
    if fields["id"] is not None and len(fields["id"]) != 16:
        raise BadArguments(
            f"trial document: 'id' has {len(fields['id'])} bytes, not 16: make it with new_id()"
        )
    return Trial(
        _hash=fields["hash"],
        revision=fields["revision"],
        name=fields["name"],
        description=fields["description"],
        tags=dict(fields["tags"]),
        version=fields["version"],
        group_id=fields["group_id"],
        project_id=fields["project_id"],
        parameters=dict(fields["parameters"]),
        metadata=dict(fields["metadata"]),
        metrics={} if metrics is None else metrics,
        chronos={} if chronos is None else chronos,
        status=status_from_document(_taken("trial", document, {"status": Mapping})["status"]),
        errors=list(fields["errors"]),
        id=fields["id"],
        media=fields.get("media", {}),
        **{name: fields.get(name) for name in _TIMES},
    )


def _uids(members: Iterable[Any]) -> list[str]:
    return sorted(member if isinstance(member, str) else member.uid for member in members)


def _taken(what: str, document: Mapping[str, Any], types: Mapping[str, Any]) -> Document:
    """The document itself, once every key is there and of the right type."""
    for key, kind in types.items():
        if key not in document:
            raise BadArguments(f"{what} document: {key!r} is missing: give it, or null if there is none")
        value = document[key]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise BadArguments(
                f"{what} document: {key!r} is of type {type(value).__name__}, not {_type_text(kind)}"
            )
        if kind is list and not all(isinstance(item, str) for item in value):
            raise BadArguments(f"{what} document: {key!r} is not a list of str: give one")
    return dict(document)


def _type_text(kind: Any) -> str:
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return " or ".join(each.__name__ for each in kinds)
