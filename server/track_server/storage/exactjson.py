"""JSON that gives back exactly the value that was written.

RFC 8259 has no bytes, tuples, NaN or infinities and only text keys.  The text written here stays
readable by any JSON parser (so also by SQLite's functions) and says the rest so:

======================  ==============================================================
value                   text
======================  ==============================================================
+Inf, -Inf              ``9e999``, ``-9e999``: out of range, so they read as infinities
NaN                     ``{"$float":"nan"}``
tuple                   ``{"$tuple":[...]}``
bytes                   ``{"$bytes":"<base64>"}``
dict, awkward keys      ``{"$dict":[[key,value],...]}``
======================  ==============================================================

A dict's keys are awkward when one is not a string, or starts with ``$`` and could be taken for one
of these forms.  A scalar has one text only: equal texts are equal values of the same type.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Callable, Iterable
from typing import Any, Final, NoReturn

from track_protocol.errors import BadValue
from track_protocol.model.values import INT_MAX, INT_MIN

__all__ = ["MAX_NESTING", "dumps", "loads"]

MAX_NESTING: Final = 64
"""How deep lists, tuples and dicts may nest; well inside what SQLite's JSON parser takes."""

_quoted: Final[Callable[[str], str]] = json.JSONEncoder(ensure_ascii=False).encode


def dumps(value: Any) -> str:
    """The text of a value: one line, no spaces, not escaped to ASCII.

    Args:
        value: None, bool, int, float, str, bytes, or lists, tuples and dicts of such; subclasses
            are written as the type they come from.

    Raises:
        BadValue: an integer over 64 bits, a lone surrogate, another type, or nesting too deep.
    """
    return _text(value, MAX_NESTING)


def loads(text: str) -> Any:
    """The value that `dumps` wrote as this text.

    Raises:
        BadValue: the text is not JSON, or holds a ``$`` form that `dumps` does not write.
    """
    try:
        return _DECODER.decode(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise BadValue(f"not a value written by this software ({error}): {text[:80]!r}") from error


def _text(value: Any, levels: int) -> str:
    write = _WRITERS.get(type(value)) or _inherited_writer(value)
    if levels == 0:
        raise BadValue(f"a value nests deeper than {MAX_NESTING} levels: flatten it")
    return write(value, levels - 1)


def _inherited_writer(value: Any) -> Callable[[Any, int], str]:
    for kind, write in _WRITERS.items():
        if isinstance(value, kind):
            return write
    raise BadValue(
        f"a {type(value).__qualname__} cannot be stored: give None, a bool, number, string, bytes, list or "
        "dict"
    )


def _write_int(value: int, levels: int) -> str:
    if not INT_MIN <= value <= INT_MAX:
        raise BadValue("an integer does not fit 64 bits: store it as a string or a float")
    return int.__repr__(value)


def _write_float(value: float, levels: int) -> str:
    if math.isfinite(value):
        return float.__repr__(value)
    if math.isnan(value):
        return '{"$float":"nan"}'
    return "9e999" if value > 0 else "-9e999"


def _write_str(value: str, levels: int) -> str:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise BadValue(
                f"the string {value[:80]!r} contains a lone surrogate, which UTF-8 cannot encode"
            ) from error
    return _quoted(value)


def _write_bytes(value: bytes, levels: int) -> str:
    return '{"$bytes":"' + base64.b64encode(value).decode() + '"}'


def _write_list(value: Iterable[Any], levels: int) -> str:
    return "[" + ",".join([_text(item, levels) for item in value]) + "]"


def _write_tuple(value: tuple[Any, ...], levels: int) -> str:
    return '{"$tuple":' + _write_list(value, levels) + "}"


def _write_dict(value: dict[Any, Any], levels: int) -> str:
    if all(isinstance(key, str) and not key.startswith("$") for key in value):
        pairs = [_write_str(key, 0) + ":" + _text(item, levels) for key, item in value.items()]
        return "{" + ",".join(pairs) + "}"
    pairs = [f"[{_text(key, levels)},{_text(item, levels)}]" for key, item in value.items()]
    return '{"$dict":[' + ",".join(pairs) + "]}"


# Looked up by exact type first; the order matters only for subclasses.
_WRITERS: Final[dict[type, Callable[[Any, int], str]]] = {
    type(None): lambda value, levels: "null",
    bool: lambda value, levels: "true" if value else "false",
    int: _write_int,
    float: _write_float,
    str: _write_str,
    bytes: _write_bytes,
    list: _write_list,
    tuple: _write_tuple,
    dict: _write_dict,
}


def _read_float(operand: Any) -> float:
    if operand != "nan":
        raise ValueError(f"{operand!r} is not nan")
    return math.nan


def _read_bytes(operand: str) -> bytes:
    try:
        return base64.b64decode(operand, validate=True)
    except binascii.Error as error:
        raise ValueError(f"{operand!r} is not base64") from error


def _read_tuple(operand: Any) -> tuple[Any, ...]:
    if not isinstance(operand, list):
        raise ValueError(f"{operand!r:.40} is not a list of items")
    return tuple(operand)


def _read_dict(operand: Any) -> dict[Any, Any]:
    return dict(_read_tuple(operand))


_READERS: Final[dict[str, Callable[[Any], Any]]] = {
    "$float": _read_float,
    "$tuple": _read_tuple,
    "$bytes": _read_bytes,
    "$dict": _read_dict,
}


def _read_object(found: dict[str, Any]) -> Any:
    if len(found) != 1:
        return found
    (key, operand), *_ = found.items()
    if not key.startswith("$"):
        return found
    if key not in _READERS:
        raise ValueError(f"{key!r} is not a form of value")
    return _READERS[key](operand)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER: Final = json.JSONDecoder(object_hook=_read_object, parse_constant=_refuse_constant)
