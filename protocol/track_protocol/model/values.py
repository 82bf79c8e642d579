"""The values that a user may log, and their plain form on the wire and in stores.

A value is refused here, in the caller's own stack and with the path of the offending part, so that
no value that cannot be stored ever reaches an outbox.  Foreign types (numpy, torch, argparse …) are
recognised without importing the packages that define them.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import numbers
import operator
import os
import re
import reprlib
import sys
from collections.abc import Callable, Hashable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from types import NoneType, SimpleNamespace
from typing import Any, Final, NoReturn, cast

from track_protocol.errors import BadValue
from track_protocol.security.tokens import redact_tokens, redact_tokens_in_bytes

__all__ = [
    "INT_MAX",
    "INT_MIN",
    "MAX_DEPTH",
    "MAX_ITEMS",
    "MAX_NAME_BYTES",
    "MAX_TEXT_BYTES",
    "check_name",
    "converter_of",
    "describe_odd",
    "normalise",
    "storable",
    "text_of",
]

INT_MIN: Final = -(2**63)
INT_MAX: Final = 2**63 - 1
MAX_TEXT_BYTES: Final = 64 * 1024
MAX_NAME_BYTES: Final = 256
MAX_ITEMS: Final = 65_536
MAX_DEPTH: Final = 32

_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f]")
_KEY_TYPES: Final = frozenset((str, int, float, bool, tuple))

# Location of a part in the complete value: (path of the parent, key); the root is (None, name).
# Linked, because it is rendered only when something is refused.
_Path = tuple[Any, Any]


def normalise(value: Any, where: str = "value") -> Any:
    """The plain form of a logged value; containers are copied.

    Plain values are None, bool, int (64 bit signed), float (NaN and infinities included), str and
    bytes (up to 64 KiB), and lists, tuples and dicts of them (up to 65,536 items each, nested up to
    32 deep; keys are str, int, float, bool or tuple).  Also accepted: array and tensor scalars and
    one-element tensors (as numbers), arrays and tensors up to 65,536 elements (as lists; None for
    what is masked), decimals (as floats), enums (by value), dates and times (ISO 8601 text), durations
    (seconds), paths and UUIDs (text), argument namespaces, data classes and models (dicts), sets (sorted
    lists).

    Args:
        value: the value that the user passed.
        where: name of the value in messages, such as ``parameters``.

    Raises:
        BadValue: the value, or a part of it, cannot be stored; the message names the part and its type.
    """
    kind = type(value)
    if kind is float or kind is bool or value is None or (kind is int and INT_MIN <= value <= INT_MAX):
        return value
    return _plain(value, (None, where), 0)


def storable(value: Any, where: str = "value") -> tuple[Any, list[str]]:
    """The plain form of anything; a part that has none becomes text, and the rest stays what it is.

    A configuration is a tree of which one leaf may be odd: a class, a function, an array that is too large, a
    field that was never set.  It never raises, whatever code of others does.

    Args:
        value: the value that the user passed.
        where: see `normalise`.

    Returns:
        the plain form, and for each part that became text its place and the reason.
    """
    odd: list[str] = []
    return _storable(value, (None, where), (), odd), odd


def describe_odd(odd: Sequence[str]) -> str:
    """The one warning about the parts that `storable` has made text."""
    more = f" (and {len(odd) - _MAX_TOLD} more)" if len(odd) > _MAX_TOLD else ""
    return f"{'; '.join(odd[:_MAX_TOLD])}{more}; its text is stored instead"


def check_name(name: Any, what: str = "name", limit: int = MAX_NAME_BYTES) -> str:
    """The same name, when it may name a metric, a project, an option and the like.

    Args:
        name: 1 to 256 bytes of UTF-8 without control characters.
        what: the thing that has the name, for messages.
        limit: most bytes, where it is not 256.

    Raises:
        BadValue: it is not such a name.
    """
    if not isinstance(name, str):
        # Without its repr, which may be long, or raise.
        raise BadValue(f"{what} is of type {type(name).__name__}: give a str")
    # Of a class of the user's own, as the members of an enumeration are, it could not travel.
    text = redact_tokens(str.__str__(name))
    size = _utf8_size(text, (None, what))
    if not 1 <= size <= limit:
        raise BadValue(f"{what} {text[:40]!r} has {size} bytes of UTF-8: give 1 to {limit}")
    if _CONTROL.search(text):
        raise BadValue(f"{what} {text!r} contains a control character: remove it")
    return text


def converter_of(value: Any) -> Callable[[Any], Any] | None:
    """The function that turns a foreign object one step nearer to a plain value; None if there is none.

    Args:
        value: anything that is not exactly a plain type.
    """
    # A cast, because mypy takes the __hash__ of a class for that of its instances.
    return _converter_of(cast(Hashable, type(value)))


@functools.lru_cache(maxsize=256)
def _converter_of(kind: type) -> Callable[[Any], Any] | None:
    if issubclass(kind, type):
        return None
    for base, convert in _BY_BASE:
        if issubclass(kind, base):
            return convert
    for module, name, convert in _BY_NAME:
        loaded = sys.modules.get(module)
        if loaded is not None and issubclass(kind, getattr(loaded, name)):
            return convert
    if dataclasses.is_dataclass(kind):
        return _fields
    if isinstance(getattr(kind, "model_fields", None), Mapping):
        return _model_fields
    if callable(getattr(kind, "item", None)) and callable(getattr(kind, "tolist", None)):
        return _array
    return next((convert for base, convert in _BY_PROTOCOL if issubclass(kind, base)), None)


def _fields(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def _model_fields(value: Any) -> dict[str, Any]:
    """Of a model of pydantic's, which is recognised by what its class declares."""
    return {name: getattr(value, name) for name in type(value).model_fields}


def _masked(value: Any) -> Any:
    """Of an array of `numpy.ma`: None for what is masked, and not the number that lies under the mask."""
    if value.size > MAX_ITEMS:
        return _array(value)
    plain = value.tolist()
    return value.reshape(-1).tolist()[0] if value.size == 1 else plain


def _array(value: Any) -> Any:
    """A number for one element, else nested lists; works for numpy, torch, jax and their like."""
    numel = getattr(value, "numel", None)
    count = numel() if callable(numel) else getattr(value, "size", 1)
    if count == 1:
        # A long double's item() is a long double again.
        item = value.item()
        return float(item) if type(item) is type(value) else item
    if count > MAX_ITEMS:
        raise BadValue(f"it has {count} elements, more than {MAX_ITEMS}: log a summary or a file of it")
    return value.tolist()


def _listed(value: Sequence[Any]) -> list[Any]:
    """Checked before the copy: a range may be longer than memory."""
    if len(value) > MAX_ITEMS:
        raise BadValue(f"it has {len(value)} items, more than {MAX_ITEMS}: log a summary or a file of it")
    return list(value)


def _sorted(values: AbstractSet[Any]) -> list[Any]:
    if all(isinstance(value, str) for value in values) or all(
        isinstance(value, (int, float)) for value in values
    ):
        return sorted(values)
    return sorted(values, key=lambda value: (type(value).__name__, repr(value)))


_BY_BASE: Final[tuple[tuple[type, Callable[[Any], Any]], ...]] = (
    (enum.Enum, operator.attrgetter("value")),
    (int, int.__int__),
    (float, float.__float__),
    (str, str.__str__),
    (bytes, bytes),
    (bytearray, bytes),
    (memoryview, bytes),
    (SimpleNamespace, vars),
    (dict, dict),
    (list, list),
    (tuple, tuple),
)
_BY_NAME: Final[tuple[tuple[str, str, Callable[[Any], Any]], ...]] = (
    ("datetime", "date", operator.methodcaller("isoformat")),
    ("datetime", "time", operator.methodcaller("isoformat")),
    ("datetime", "timedelta", operator.methodcaller("total_seconds")),
    ("uuid", "UUID", str),
    ("decimal", "Decimal", float),
    ("numpy.ma", "MaskedArray", _masked),
    ("argparse", "Namespace", vars),
)
_BY_PROTOCOL: Final[tuple[tuple[Any, Callable[[Any], Any]], ...]] = (
    (os.PathLike, os.fspath),
    (Mapping, dict),
    (AbstractSet, _sorted),
    (Sequence, _listed),
    (numbers.Real, float),
)


def _plain(value: Any, path: _Path, depth: int) -> Any:
    handler = _HANDLERS.get(type(value))
    if handler is not None:
        return handler(value, path, depth)
    return _plain(_nearer(value, path), path, depth)


def _nearer(value: Any, path: _Path) -> Any:
    """A foreign object one step nearer to a plain value."""
    convert = converter_of(value)
    if convert is None:
        _refuse(
            path, f"an object of type {_type_name(value)} cannot be stored: log a number, a text or str(it)"
        )
    try:
        nearer = convert(value)
    except Exception as error:  # noqa: BLE001  # foreign code may raise anything: say where
        _refuse(path, f"an object of type {_type_name(value)} cannot be stored: {error}")
    if type(nearer) is type(value):
        _refuse(
            path,
            f"an object of type {_type_name(value)} cannot be stored: its plain form is the object itself",
        )
    return nearer


def _storable(value: Any, path: _Path, above: tuple[int, ...], odd: list[str]) -> Any:
    """As `_plain`; `above` has the ids of the containers around it."""
    kind = type(value)
    try:
        if value is _UNSET:
            _refuse(path, "the field was never set: give it a value")
        if id(value) in above:
            _refuse(path, "it contains itself: leave that out")
        if kind in _CONTAINERS:
            _check_container(value, path, len(above) + _AROUND)
            return _CONTAINERS[kind](value, path, (*above, id(value)), odd)
        if kind in _HANDLERS:
            return _plain(value, path, len(above))
        parts = _parts_of(value)
        if parts is not None:
            return _storable(parts, path, (*above, id(value)), odd)
        nearer = _nearer(value, path)
        return _storable(nearer, path, (*above, id(value)) if type(nearer) in _CONTAINERS else above, odd)
    except BadValue as error:
        odd.append(str(error))
    except Exception as error:  # noqa: BLE001  # foreign code may raise anything
        odd.append(f"{_render(path)}: an object of type {_type_name(value)} fails: {type(error).__name__}")
    return text_of(value)


def _parts_of(value: Any) -> dict[str, Any] | None:
    """The fields of a data class or a model, of which one may be missing; None of anything else."""
    kind = type(value)
    names: list[str] = []
    if dataclasses.is_dataclass(kind):
        names = [field.name for field in dataclasses.fields(kind)]
    elif _converter_of(cast(Hashable, kind)) is _model_fields:
        names = list(kind.model_fields)
    return {name: getattr(value, name, _UNSET) for name in names} or None


class _Unset:
    """What a field contains that was never set."""

    def __repr__(self) -> str:
        return "unset"


_UNSET: Final = _Unset()


def _stored_list(value: Any, path: _Path, above: tuple[int, ...], odd: list[str]) -> list[Any]:
    return [_storable(item, (path, index), above, odd) for index, item in enumerate(value)]


def _stored_tuple(value: Any, path: _Path, above: tuple[int, ...], odd: list[str]) -> tuple[Any, ...]:
    return tuple(_stored_list(value, path, above, odd))


def _stored_dict(value: Any, path: _Path, above: tuple[int, ...], odd: list[str]) -> dict[Any, Any]:
    plain: dict[Any, Any] = {}
    for key, item in value.items():
        try:
            name = _key(key, (path, key), len(above))
        except Exception:  # noqa: BLE001  # foreign code may raise anything
            name = text_of(key)
            odd.append(f"{_render(path)}: a key of type {_type_name(key)} cannot be stored: use a str")
        while name in plain:
            name = f"{name}_"
        plain[name] = _storable(item, (path, name), above, odd)
    return plain


_CONTAINERS: Final[dict[type, Callable[[Any, _Path, tuple[int, ...], list[str]], Any]]] = {
    list: _stored_list,
    tuple: _stored_tuple,
    dict: _stored_dict,
}

_MAX_TOLD: Final = 8
"""Places that one warning names."""

_MAX_DECIMAL_BITS: Final = 4_096
_AROUND: Final = 4
"""Levels around a value in the records and documents that hold it."""

_MAX_SHOWN: Final = 1_024
_ADDRESS: Final = re.compile(r" at 0x[0-9a-fA-F]+")


def text_of(value: Any) -> str:
    """Some text of anything, without addresses, which differ from one process to the next; never raises."""
    kind = type(value)  # and not isinstance: a weak reference asks what is gone for its class
    if issubclass(kind, str):
        return str.__str__(value).encode(errors="backslashreplace")[:MAX_TEXT_BYTES].decode(errors="ignore")
    if kind is int and value.bit_length() > _MAX_DECIMAL_BITS:
        # Of more than 4,300 digits Python makes no decimal text.
        return hex(value)[:MAX_TEXT_BYTES]
    try:
        shown = reprlib.repr(value) if issubclass(kind, (dict, list, tuple, set)) else str(value)
        text = _ADDRESS.sub("", shown[: 2 * _MAX_SHOWN])[:_MAX_SHOWN]
    except Exception:  # noqa: BLE001  # foreign code may raise anything
        text = f"<{_type_name(value)}>"
    return text.encode(errors="backslashreplace").decode()


def _same(value: Any, path: _Path, depth: int) -> Any:
    return value


def _integer(value: int, path: _Path, depth: int) -> int:
    if not INT_MIN <= value <= INT_MAX:
        _refuse(path, "the integer does not fit 64 bits: log it as a float or a str")
    return value


def _text(value: str, path: _Path, depth: int) -> str:
    value = redact_tokens(value)
    size = _utf8_size(value, path)
    if size > MAX_TEXT_BYTES:
        _refuse(path, f"the text has {size} bytes, more than {MAX_TEXT_BYTES}: shorten it or log a file")
    return value


def _bytes(value: bytes, path: _Path, depth: int) -> bytes:
    value = redact_tokens_in_bytes(value)
    if len(value) > MAX_TEXT_BYTES:
        _refuse(path, f"there are {len(value)} bytes, more than {MAX_TEXT_BYTES}: log a file")
    return value


def _list(value: list[Any], path: _Path, depth: int) -> list[Any]:
    _check_container(value, path, depth)
    return [_plain(item, (path, index), depth + 1) for index, item in enumerate(value)]


def _tuple(value: tuple[Any, ...], path: _Path, depth: int) -> tuple[Any, ...]:
    _check_container(value, path, depth)
    return tuple(_plain(item, (path, index), depth + 1) for index, item in enumerate(value))


def _dict(value: dict[Any, Any], path: _Path, depth: int) -> dict[Any, Any]:
    _check_container(value, path, depth)
    plain = {}
    for key, item in value.items():
        inner = (path, key)
        plain[_key(key, inner, depth + 1)] = _plain(item, inner, depth + 1)
    if len(plain) != len(value):
        _refuse(path, "two of its keys have the same plain form: rename one")
    return plain


def _key(key: Any, path: _Path, depth: int) -> Any:
    plain = _plain(key, path, depth)
    if type(plain) not in _KEY_TYPES:
        _refuse(path, f"a key of type {_type_name(key)} cannot be stored: use a str, a number or a tuple")
    try:
        hash(plain)
    except TypeError:
        _refuse(path, "a key that contains a set cannot be stored: use a str, a number or a tuple of them")
    return plain


_HANDLERS: Final[dict[type, Callable[[Any, _Path, int], Any]]] = {
    NoneType: _same,
    bool: _same,
    float: _same,
    int: _integer,
    str: _text,
    bytes: _bytes,
    list: _list,
    tuple: _tuple,
    dict: _dict,
}


def _check_container(value: Any, path: _Path, depth: int) -> None:
    if depth >= MAX_DEPTH:
        _refuse(path, f"it is nested deeper than {MAX_DEPTH}: flatten it, or look for a cycle")
    if len(value) > MAX_ITEMS:
        _refuse(path, f"it has {len(value)} items, more than {MAX_ITEMS}: log a summary or a file of it")


def _utf8_size(text: str, path: _Path) -> int:
    if text.isascii():
        return len(text)
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        _refuse(
            path,
            "the text contains a lone surrogate, which UTF-8 cannot encode: decode it with errors='replace'",
        )


def _refuse(path: _Path, reason: str) -> NoReturn:
    raise BadValue(f"{_render(path)}: {reason}")


def _render(path: _Path) -> str:
    parts: list[str] = []
    parent, key = path
    while parent is not None:
        parts.append(f".{redact_tokens(key)[:64]}" if isinstance(key, str) else f"[{_short(key)}]")
        parent, key = parent
    return _printable(key + "".join(reversed(parts)))


def _short(key: Any) -> str:
    """A huge integer has no decimal text at all."""
    if isinstance(key, int) and not INT_MIN <= key <= INT_MAX:
        return "huge"
    try:
        return repr(key)[:64]
    except Exception:  # noqa: BLE001  # foreign code may raise anything
        return f"a {_type_name(key)}"


def _printable(text: str) -> str:
    return _CONTROL.sub("?", text.encode(errors="replace").decode())


def _type_name(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
