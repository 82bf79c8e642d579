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
    "status_to_document",
    "trial_from_document",
    "trial_to_document",
]

Document = dict[str, Any]

_LAST_REVISION: Final = 2**31 - 1
_TIMES: Final = ("created", "started", "ended")
"""Fields that the store computes."""


@dataclass(frozen=True, slots=True)
class _Field:
    """Check of one field of a document from a client or a file."""

    fits: Callable[[Any], bool]
    wanted: str
    default: Callable[[], Any] | None = None


def _is_id(value: Any) -> bool:
    return type(value) is bytes and len(value) == 16


_TEXT: Final = _Field(lambda value: type(value) is str, "a str")
_TEXT_OR_NONE: Final = _Field(
    lambda value: value is None or type(value) is str, "a str or None", lambda: None
)
_MAP: Final = _Field(lambda value: type(value) is dict, "a dict", dict)
_NAMED: Final = {"name": _TEXT_OR_NONE, "description": _TEXT_OR_NONE, "metadata": _MAP}
_GIVEN: Final[Mapping[str, Mapping[str, _Field]]] = {
    "project": {"uid": _TEXT, **_NAMED},
    "group": {"uid": _TEXT, "project_id": _TEXT_OR_NONE, **_NAMED},
    "trial": {
        "id": _Field(_is_id, "bytes, 16 bytes long"),
        "hash": _TEXT,
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
_TEXTS: Final = _GIVEN["trial"]["errors"]
_READ: Final[Mapping[str, Mapping[str, _Field]]] = {
    "project": {**_GIVEN["project"], "groups": _TEXTS, "trials": _TEXTS},
    "group": {**_GIVEN["group"], "trials": _TEXTS},
    "trial": {
        **_GIVEN["trial"],
        "id": _Field(lambda value: value is None or _is_id(value), "bytes, 16 bytes long, or None"),
    },
}
"""What must be in a document of which an object is made."""

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
        _require(kind, name, field, value)
        checked[name] = normalise(value, name)
    return checked


def status_to_document(value: Status | CustomStatus) -> Document:
    """``{'value': int, 'name': str}``."""
    return {"value": value.value, "name": value.name}


def project_to_document(project: Project) -> Document:
    """The document of a project; its groups and trials are uids, sorted."""
    return {**_named_to_document(project), "groups": _uids(project.groups)}


def project_from_document(document: Mapping[str, Any]) -> Project:
    """The project of a document; its groups and trials are uids, none when the document does not say.

    Raises:
        BadArguments: a key is missing or of another type.
    """
    fields = _checked("project", {"groups": [], "trials": [], **document})
    return Project(**_named_fields(fields), groups=set(fields["groups"]))


def group_to_document(group: TrialGroup) -> Document:
    """The document of a group; its trials are uids, sorted."""
    return {**_named_to_document(group), "project_id": group.project_id}


def group_from_document(document: Mapping[str, Any]) -> TrialGroup:
    """The group of a document; its trials are uids, none when the document does not say.

    Raises:
        BadArguments: a key is missing or of another type.
    """
    fields = _checked("group", {"trials": [], **document})
    return TrialGroup(**_named_fields(fields), project_id=fields["project_id"])


def _named_to_document(item: Project | TrialGroup) -> Document:
    return {
        "uid": item.uid,
        "name": item.name,
        "description": item.description,
        "metadata": dict(item.metadata),
        "trials": _uids(item.trials),
    }


def _named_fields(document: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "_uid": document["uid"],
        "name": document["name"],
        "description": document["description"],
        "metadata": dict(document["metadata"]),
        "trials": set(document["trials"]),
    }


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
    fields = _checked("trial", document)
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
        status=status(**fields["status"]),
        errors=list(fields["errors"]),
        id=fields["id"],
        media=fields.get("media", {}),
        **{name: fields.get(name) for name in _TIMES},
    )


def _uids(members: Iterable[Any]) -> list[str]:
    return sorted(member if isinstance(member, str) else member.uid for member in members)


def _checked(kind: str, document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The document itself, once every key is there and of the right type."""
    for name, field in _READ[kind].items():
        if name not in document:
            raise BadArguments(f"{kind} document: {name!r} is missing: give it, or null if there is none")
        _require(kind, name, field, document[name])
    return document


def _require(kind: str, name: str, field: _Field, value: Any) -> None:
    if not field.fits(value):
        raise BadArguments(
            f"field {name!r} of a {kind} must be {field.wanted}, not {type(value).__name__} {value!r:.60}"
        )
