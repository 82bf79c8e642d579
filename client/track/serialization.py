"""JSON of the model, both ways, in the shape that reports are printed in.

The short form is for people; the full form also holds what is needed to make the object again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any, ClassVar, Final

from track_protocol.errors import BadArguments, BadValue, UsageError
from track_protocol.model.aggregators import Aggregator, StatAggregator
from track_protocol.model.entities import CustomStatus, Project, Status, Trial, TrialGroup, status
from track_protocol.model.stat import StatStream, Summary
from track_protocol.model.values import converter_of

__all__ = [
    "SerializerAspect",
    "SerializerChronoContext",
    "SerializerDatetime",
    "SerializerProject",
    "SerializerStatStream",
    "SerializerStatus",
    "SerializerTrial",
    "SerializerTrialGroup",
    "SerializerUUID",
    "add_serializer",
    "from_json",
    "step_from_key",
    "step_to_key",
    "to_json",
]


_MAX_KEY: Final = 4096
_WORDS: Final = frozenset(("true", "false", "null", "NaN", "Infinity"))


class SerializerAspect:
    """How objects of one type become JSON values and come back; the base leaves them as they are."""

    def to_json(self, obj: Any, short: bool = False) -> Any:
        """JSON values of the object."""
        return obj

    def from_json(self, obj: Any) -> Any:
        """The object of JSON values.

        Raises:
            BadArguments: a part is missing or wrong.
        """
        return obj


class SerializerTrial(SerializerAspect):
    """Trials.

    Attributes:
        ignore_short: what the short form leaves out (and, beside these, the internal id).
        ignore_meta: bookkeeping that the short form leaves out of the metadata.
    """

    ignore_short: ClassVar[set[str]] = {"uid", "hash", "dtype", "project_id", "group_id"}
    ignore_meta: ClassVar[set[str]] = {"_last_change", "_update_count", "heartbeat"}

    def to_json(self, obj: Trial, short: bool = False) -> dict[str, Any]:
        """The keys of a report in their order; in full, preceded by the identity."""
        hidden = self.ignore_meta if short else frozenset[str]()
        full = {
            "dtype": "trial",
            "uid": obj.uid,
            "hash": obj.hash,
            "id": None if obj.id is None else obj.id.hex(),
            "project_id": obj.project_id,
            "group_id": obj.group_id,
            "revision": obj.revision,
            "name": obj.name,
            "description": obj.description,
            "version": obj.version,
            "tags": to_json(obj.tags),
            "parameters": to_json(obj.parameters),
            "metadata": to_json(
                {key: value for key, value in obj.metadata.items() if key not in hidden}, short
            ),
            "metrics": {str(name): _series_to_json(values, short) for name, values in obj.metrics.items()},
            "chronos": to_json(obj.chronos, short),
            # Only where there are any, since the keys of a report are documented.
            **({"media": to_json(obj.media)} if obj.media else {}),
            "errors": to_json(obj.errors),
            "status": to_json(obj.status),
        }
        return (
            {key: value for key, value in full.items() if key not in {"id", *self.ignore_short}}
            if short
            else full
        )

    def from_json(self, obj: Any) -> Trial:
        """The trial of either form; what the short form left out takes its default."""
        known = obj.get("status")
        return Trial(
            _hash=obj.get("hash"),
            revision=obj.get("revision", 0),
            name=obj.get("name"),
            description=obj.get("description"),
            tags=dict(obj.get("tags", {})),
            version=obj.get("version"),
            group_id=obj.get("group_id"),
            project_id=obj.get("project_id"),
            parameters=dict(obj.get("parameters", {})),
            metadata=dict(obj.get("metadata", {})),
            metrics={name: _series_from_json(values) for name, values in obj.get("metrics", {}).items()},
            media=dict(obj.get("media", {})),
            chronos={name: _statistics(value) for name, value in obj.get("chronos", {}).items()},
            status=None if known is None else from_json(known, "status"),
            errors=list(obj.get("errors", [])),
            id=None if obj.get("id") is None else bytes.fromhex(obj["id"]),
        )


class SerializerTrialGroup(SerializerAspect):
    """Groups of trials."""

    def to_json(self, obj: TrialGroup, short: bool = False) -> dict[str, Any]:
        """The group; its trials are uids where the group holds uids, else trials in JSON."""
        full = {
            "dtype": "trial_group",
            "uid": obj.uid,
            "name": obj.name,
            "description": obj.description,
            "metadata": to_json(obj.metadata, short),
            "trials": _members_to_json(obj.trials, short),
            "project_id": obj.project_id,
        }
        return {key: value for key, value in full.items() if key != "dtype"} if short else full

    def from_json(self, obj: Any) -> TrialGroup:
        """The group of either form."""
        return TrialGroup(
            _uid=obj.get("uid"),
            name=obj.get("name"),
            description=obj.get("description"),
            metadata=dict(obj.get("metadata", {})),
            trials={self.maybe_unflatten(trial) for trial in obj.get("trials", [])},
            project_id=obj.get("project_id"),
        )

    @staticmethod
    def maybe_unflatten(v: Any) -> Any:
        """The object of a nested JSON object; a uid stays a uid."""
        return v if isinstance(v, str) else from_json(v)


class SerializerProject(SerializerAspect):
    """Projects."""

    def to_json(self, obj: Project, short: bool = False) -> dict[str, Any]:
        """The project; its members are uids where the project holds uids, else objects in JSON."""
        full = {
            "dtype": "project",
            "uid": obj.uid,
            "name": obj.name,
            "description": obj.description,
            "metadata": to_json(obj.metadata, short),
            "groups": _members_to_json(obj.groups, short),
            "trials": _members_to_json(obj.trials, short),
        }
        return {key: value for key, value in full.items() if key != "dtype"} if short else full

    def from_json(self, obj: Any) -> Project:
        """The project of either form."""
        return Project(
            _uid=obj.get("uid"),
            name=obj.get("name"),
            description=obj.get("description"),
            metadata=dict(obj.get("metadata", {})),
            groups={SerializerTrialGroup.maybe_unflatten(group) for group in obj.get("groups", [])},
            trials={SerializerTrialGroup.maybe_unflatten(trial) for trial in obj.get("trials", [])},
        )


class SerializerStatus(SerializerAspect):
    """Statuses, known and custom."""

    def to_json(self, obj: Status | CustomStatus, short: bool = False) -> dict[str, Any]:
        """``{"value": int, "name": str}``."""
        return {"value": obj.value, "name": obj.name}

    def from_json(self, obj: Any) -> Status | CustomStatus:
        """The known status, else a custom one."""
        return status(obj.get("name"), obj.get("value"))


class SerializerStatStream(SerializerAspect):
    """Running statistics."""

    def to_json(self, obj: StatStream, short: bool = False) -> dict[str, Any]:
        """``{avg, min, max, sd, count, unit}``; in full, also the type and the state."""
        return obj.to_dict() if short else {"dtype": "stat_stream", **obj.to_dict(), **obj.state_dict()}

    def from_json(self, obj: Any, short: bool = False) -> StatStream:
        """A stream that continues from there (from the short form, to rounding)."""
        return StatStream.from_dict(obj)


class SerializerChronoContext(SerializerAspect):
    """Running timers: anything with an aggregator at ``acc``."""

    def to_json(self, obj: Any, short: bool = False) -> Any:
        """What the timer's aggregator holds."""
        return to_json(obj.acc, short)


class SerializerDatetime(SerializerAspect):
    """Dates and times."""

    def to_json(self, obj: Any, short: bool = False) -> float:
        """Seconds since the epoch; a time that does not say its zone is UTC."""
        from datetime import UTC

        return float((obj if obj.tzinfo is not None else obj.replace(tzinfo=UTC)).timestamp())

    def from_json(self, obj: Any) -> Any:
        """The time in UTC of seconds since the epoch, or the one of an ISO 8601 text."""
        from datetime import UTC, datetime

        return datetime.fromisoformat(obj) if isinstance(obj, str) else datetime.fromtimestamp(obj, UTC)


class SerializerUUID(SerializerAspect):
    """UUIDs."""

    def to_json(self, obj: Any, short: bool = False) -> str:
        """The 36 characters of RFC 9562."""
        return str(obj)

    def from_json(self, obj: Any) -> Any:
        """The UUID of its text."""
        # Deferred: a process that only logs never pays for this import.
        from uuid import UUID

        return UUID(obj)


class _Plain(SerializerAspect):
    """Objects that know their own plain form."""

    def to_json(self, obj: Aggregator | Summary, short: bool = False) -> Any:
        return to_json(obj.to_dict() if isinstance(obj, Summary) else obj.to_json(short), short)


_BY_TYPE: Final[dict[type, SerializerAspect]] = {
    Trial: SerializerTrial(),
    TrialGroup: SerializerTrialGroup(),
    Project: SerializerProject(),
    Status: SerializerStatus(),
    CustomStatus: SerializerStatus(),
    StatStream: SerializerStatStream(),
    Aggregator: _Plain(),
    Summary: _Plain(),
}
_BY_TYPE_NAME: Final[dict[tuple[str, str], SerializerAspect]] = {
    ("datetime", "datetime"): SerializerDatetime(),
    ("uuid", "UUID"): SerializerUUID(),
}
# These say in their own JSON what they are; user data may hold a 'dtype' of another meaning.
_SELF_DESCRIBED: Final = ("trial", "trial_group", "project", "stat_stream", "statstream")
_STATISTICS: Final = ("stat_stream", "statstream")
"""The present and the documented name."""
_BY_DTYPE: Final[dict[str, SerializerAspect]] = {
    "trial": SerializerTrial(),
    "trial_group": SerializerTrialGroup(),
    "project": SerializerProject(),
    "stat_stream": SerializerStatStream(),
    "statstream": SerializerStatStream(),
    "status": SerializerStatus(),
    "datetime": SerializerDatetime(),
    "uuid": SerializerUUID(),
}


def add_serializer(kind: type, aspect: SerializerAspect) -> None:
    """Let `to_json` use `aspect` for objects of a type and its subclasses."""
    _BY_TYPE[kind] = aspect


def to_json(k: Any, short: bool = False) -> Any:
    """JSON values (dict, list, str, int, float, bool, None) of any object.

    Objects of unknown types become their text.  NaN and infinities stay floats, which `json` writes
    as ``NaN`` and ``Infinity``.

    Args:
        k: the object.
        short: leave out the fields that only programs need.
    """
    kind = type(k)
    if k is None or kind in (bool, int, float, str):
        return k
    if kind is dict:
        return {_key_text(key): to_json(value, short) for key, value in k.items()}
    if kind is list or kind is tuple:
        return [to_json(value, short) for value in k]
    return _object_to_json(k, short)


def from_json(obj: Any, dtype: str | None = None) -> Any:
    """The objects of JSON values: the reverse of `to_json`.

    Args:
        obj: JSON values; nested objects are found by their own ``dtype``.
        dtype: what the whole is, when it does not say so itself: trial, trial_group, project,
            stat_stream (or statstream), status, datetime or uuid.

    Raises:
        BadArguments: `dtype` is unknown, or a part is missing or wrong.
    """
    if dtype is not None:
        aspect = _BY_DTYPE.get(dtype)
        if aspect is None:
            raise BadArguments(f"dtype {dtype!r} is not known: use one of {', '.join(_BY_DTYPE)}")
        return _read(aspect, dtype, obj)
    if isinstance(obj, list):
        return [from_json(value) for value in obj]
    if not isinstance(obj, dict):
        return obj
    named = obj.get("dtype")
    if isinstance(named, str) and named in _SELF_DESCRIBED:
        return from_json(obj, named)
    return {key: from_json(value) for key, value in obj.items()}


def _object_to_json(k: Any, short: bool) -> Any:
    for base in type(k).__mro__:
        # By name: a process that has no time to write never imports the module.
        aspect = _BY_TYPE.get(base) or _BY_TYPE_NAME.get((base.__module__, base.__qualname__))
        if aspect is not None:
            return aspect.to_json(k, short)
    if isinstance(k, bytes):
        return k.hex()
    if isinstance(k, AbstractSet):
        return _members_to_json(k, short)
    convert = converter_of(k)
    try:
        return str(k) if convert is None else to_json(convert(k), short)
    except BadValue:
        # Too large for a value, and still no reason for a report to fail.
        return str(k)


def _key_text(key: Any) -> str:
    """Plain objects have their keys as people write them; a text key is never quoted."""
    if type(key) is str:
        return key
    plain = to_json(key)
    return plain if isinstance(plain, str) else json.dumps(plain, separators=(",", ":"))


def _members_to_json(members: AbstractSet[Any], short: bool) -> list[Any]:
    if all(isinstance(member, (int, float)) for member in members):
        return sorted(members)
    return sorted((to_json(member, short) for member in members), key=_member_order)


def _member_order(member: Any) -> str:
    return str(member.get("uid", member) if isinstance(member, dict) else member)


def _series_to_json(values: Any, short: bool) -> Any:
    if isinstance(values, Mapping):
        return {step_to_key(_step(step)): to_json(value, short) for step, value in values.items()}
    return to_json(values, short)


def _step(step: Any) -> Any:
    """A step in plain form, with nested tuples as JSON has them."""
    return step if isinstance(step, (str, int, float)) else to_json(step)


def _series_from_json(values: Any) -> Any:
    if isinstance(values, dict) and values.get("dtype") not in _STATISTICS:
        return {step_from_key(key): value for key, value in values.items()}
    return _statistics(values)


def _statistics(value: Any) -> Any:
    """The aggregator of a full form; a short one has lost its state and stays what it is."""
    is_full = isinstance(value, dict) and value.get("dtype") in _STATISTICS
    return StatAggregator.from_json(value) if is_full else value


def _read(aspect: SerializerAspect, dtype: str, obj: Any) -> Any:
    try:
        return aspect.from_json(obj)
    except (AttributeError, TypeError, ValueError, UsageError) as error:
        raise BadArguments(
            f"this is not the JSON of a {dtype} ({error}): pass a result of to_json()"
        ) from error


def step_to_key(step: Any) -> str:
    """The JSON key of a step, different for different steps.

    A number is its JSON text, a tuple a JSON array, and a text itself, in JSON quotes only where it
    would otherwise read as something else: ``1`` is ``1`` and ``'1'`` is ``"1"``.

    Args:
        step: an int, float, bool, str, None or a tuple of these.
    """
    if isinstance(step, str):
        return step if step_from_key(step) == step else json.dumps(step)
    return json.dumps(step, separators=(",", ":"))


def step_from_key(key: str) -> Any:
    """The step of a JSON key; a key that `step_to_key` would not write is itself the step."""
    if len(key) > _MAX_KEY or (key[:1].isalpha() and key not in _WORDS):
        return key
    try:
        step = _hashable(json.loads(key))
    except (ValueError, TypeError, RecursionError):
        return key
    if isinstance(step, str):
        # Quotes are only written round a text that needs them.
        return step if step_from_key(step) != step and json.dumps(step) == key else key
    return step if step_to_key(step) == key else key


def _hashable(step: Any) -> Any:
    if isinstance(step, list):
        return tuple(_hashable(part) for part in step)
    hash(step)
    return step
