"""Argument schemas: the allowed values of each parameter of a method, checked before the call.

A type is a name in `CHECKS`; a trailing ``?`` allows None.  Types that travel alike differ in meaning:
a client converts each given argument by its type (`track.persistence.calls`).
"""

from __future__ import annotations

import reprlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from track_protocol.errors import BadArguments
from track_protocol.model.media import MEDIA_KINDS, is_digest

__all__ = ["CHECKS", "REQUIRED", "Parameter", "check_arguments"]

REQUIRED: Final = object()
"""Default of a parameter that has none."""

_KINDS: Final = ("metric", "chrono", "superseded", *MEDIA_KINDS)
_CHARTED: Final = ("metric", "chrono", "superseded")
"""Kinds of series whose values are numbers."""

_AXES: Final = ("step", "time", "relative", "ordinal")
_SHOWN: Final = 60
_LARGEST: Final = sys.float_info.max
_REPR: Final = reprlib.Repr()
_REPR.maxstring = _SHOWN


def _is_text(value: Any) -> bool:
    return type(value) is str


def _is_trial(value: Any) -> bool:
    return (type(value) is bytes and len(value) == 16) or (type(value) is str and value != "")


def _are_ids(value: Any) -> bool:
    return type(value) is list and all(type(each) is bytes and len(each) == 16 for each in value)


def _is_named_map(value: Any) -> bool:
    return type(value) is dict and all(type(key) is str for key in value)


def _is_status(value: Any) -> bool:
    return (
        type(value) is dict
        and set(value) == {"value", "name"}
        and type(value["value"]) is int
        and type(value["name"]) is str
    )


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _is_finite(value: Any) -> bool:
    return _is_number(value) and -_LARGEST <= value <= _LARGEST


def _is_series(value: Any) -> bool:
    return type(value) is list and all(
        type(each) is list and len(each) == 3 and _is_key(*each) for each in value
    )


def _are_tails(value: Any) -> bool:
    return type(value) is list and all(
        type(each) is list and len(each) == 4 and _is_key(*each[:3]) and _is_count(each[3]) for each in value
    )


def _is_key(trial: Any, kind: Any, name: Any) -> bool:
    is_id = type(trial) is bytes and len(trial) == 16
    return is_id and type(kind) is str and kind in _CHARTED and type(name) is str


def _is_update(value: Any) -> bool:
    return (
        type(value) is dict
        and set(value) == {"method", "arguments"}
        and type(value["method"]) is str
        and _is_named_map(value["arguments"])
    )


CHECKS: Final[Mapping[str, tuple[Callable[[Any], bool], str]]] = {
    "aggregator": (lambda value: type(value) is list, "a list: the aggregator's name and its options"),
    "any": (lambda _value: True, "any value"),
    "axis": (
        lambda value: type(value) is str and value in _AXES,
        f"one of {', '.join(map(repr, _AXES))}",
    ),
    "bool": (lambda value: type(value) is bool, "true or false"),
    "charted": (
        lambda value: type(value) is str and value in _CHARTED,
        f"one of {', '.join(map(repr, _CHARTED))}",
    ),
    "count": (_is_count, "an integer, 0 or more"),
    "bytes": (lambda value: type(value) is bytes, "bytes"),
    "definition": (_is_named_map, "a map with the id or the uid of the object"),
    "digest": (is_digest, "a SHA-256 in 64 hexadecimal digits"),
    "document": (_is_named_map, "a document: a map with string keys"),
    "error": (_is_text, "a string"),
    "finite": (_is_finite, "a finite number"),
    "group": (_is_text, "the uid of a group"),
    "ids": (_are_ids, "a list of trials' 16-byte ids"),
    "items": (lambda value: type(value) is list, "a list"),
    "kind": (
        lambda value: type(value) is str and value in _KINDS,
        f"one of {', '.join(map(repr, _KINDS))}",
    ),
    "map": (_is_named_map, "a map with string keys"),
    "media": (
        lambda value: type(value) is str and value in MEDIA_KINDS,
        f"one of {', '.join(map(repr, MEDIA_KINDS))}",
    ),
    "number": (_is_number, "a number"),
    "project": (_is_text, "the uid of a project"),
    "query": (_is_named_map, "a map with string keys"),
    "series": (
        _is_series,
        "a list of [trial, kind, name]: 16-byte id, one of " + ", ".join(map(repr, _CHARTED)) + ", string",
    ),
    "status": (_is_status, "a status: {'value': integer, 'name': string}"),
    "tails": (_are_tails, "a list of [trial, kind, name, start], where start is an integer, 0 or more"),
    "text": (_is_text, "a string"),
    "texts": (
        lambda value: type(value) is list and all(type(each) is str for each in value),
        "a list of strings",
    ),
    "time": (_is_number, "a number: seconds since the epoch"),
    "trial": (_is_trial, "a trial: its 16-byte id or its uid"),
    "update": (_is_update, "an update: {'method': string, 'arguments': map}"),
    "values": (_is_named_map, "a map with string keys"),
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a method.

    Attributes:
        name: as it travels.
        type: a key of `CHECKS`, with ``?`` behind it when None is allowed.
        default: the value of an absent argument; `REQUIRED` when it must be there.
    """

    name: str
    type: str
    default: Any = REQUIRED

    def check(self, method: str, value: Any) -> None:
        """Raise BadArguments unless `value` fits."""
        if value is None and self.type.endswith("?"):
            return
        fits, wanted = CHECKS[self.type.rstrip("?")]
        if not fits(value):
            raise BadArguments(f"{method}: argument {self.name!r} must be {wanted}, not {_describe(value)}")


def _short(value: Any) -> str:
    """Looks at a few items only: a peer's value may be long, or nested too deep for `repr`."""
    text = _REPR.repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _describe(value: Any) -> str:
    return f"{type(value).__name__} {_short(value)}"


def check_arguments(
    method: str, parameters: tuple[Parameter, ...], given: Mapping[str, Any]
) -> dict[str, Any]:
    """The full arguments of a call: `given`, checked, with defaults filled in.

    Raises:
        BadArguments: one is unknown, missing or of another type; the message names it.
    """
    known = {parameter.name: parameter for parameter in parameters}
    for name in given:
        if name not in known:
            raise BadArguments(
                f"{method}: unknown argument {_short(name)}; known are {', '.join(known) or 'none'}"
            )
    full = {}
    for name, parameter in known.items():
        if name in given:
            parameter.check(method, given[name])
            full[name] = given[name]
        elif parameter.default is REQUIRED:
            raise BadArguments(f"{method}: argument {name!r} is missing")
        else:
            full[name] = parameter.default
    return full
