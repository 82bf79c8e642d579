"""Names of series: a name and the labels of its context, with one text for both.

A context, such as ``{"phase": "train", "split": "a"}``, is part of what a series is: ``loss`` in training
and ``loss`` in validation are two series.  On the wire, in stores, queries and reports a series goes by its
canonical text, which looks as in Prometheus::

    loss{phase="train",split="a"}

Labels are sorted by name, and values are quoted: a backslash, a quote and a line break in them are written
as ``\\\\``, ``\\"`` and ``\\n``.  A series without labels goes by its name alone.  Any text is the text of
exactly one series: a text that does not have precisely this form is a name without labels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

from track_protocol.errors import BadValue
from track_protocol.model.values import MAX_NAME_BYTES, check_name, normalise

__all__ = ["MAX_SERIES_BYTES", "SeriesName", "check_series_name", "labelled"]

MAX_SERIES_BYTES: Final = 1_024
"""Of the text of a series that has labels; its name alone has the limit of any name."""

_LABEL: Final = r'[^{}",=\\\s\x00-\x1f\x7f-\x9f]+'
_QUOTED: Final = r'"(?:[^"\\]|\\[\\"n])*"'
_PAIR: Final = re.compile(rf"({_LABEL})=({_QUOTED})", re.DOTALL)
_LABELLED: Final = re.compile(rf"(.+?)\{{({_LABEL}={_QUOTED}(?:,{_LABEL}={_QUOTED})*)\}}", re.DOTALL)
_WRITTEN: Final = {"\\": "\\\\", '"': '\\"', "\n": "\\n"}
_READ: Final = {written: plain for plain, written in _WRITTEN.items()}
_SPECIAL: Final = re.compile(r'[\\"\n]')
_ESCAPE: Final = re.compile(r'\\[\\"n]')


class SeriesName:
    """A name and its labels; immutable, and equal to every other of the same text.

    Args:
        name: of the series.  Labels that are written in it already count, too.
        context: labels by name, over those in `name`: texts, numbers or booleans, which become texts.

    Attributes:
        name: without labels.
        context: values by label, sorted by label.
        text: the canonical text of both.

    Raises:
        BadValue: a label's name or value is none.
    """

    __slots__ = ("context", "name", "text")

    name: str
    context: Mapping[str, str]
    text: str

    def __init__(self, name: str, context: Mapping[str, Any] | None = None) -> None:
        if not isinstance(name, str):
            raise BadValue(f"a name of type {type(name).__name__} is not the name of a series: give a str")
        name, known = _parts(name)
        known.update(_labels({} if context is None else context))
        labels = dict(sorted(known.items()))
        for attribute, content in (
            ("name", name),
            ("context", MappingProxyType(labels)),
            ("text", _text(name, labels)),
        ):
            object.__setattr__(self, attribute, content)

    @classmethod
    def parse(cls, text: str) -> SeriesName:
        """The series of a text; every text is that of one."""
        return cls(text)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a SeriesName is immutable: create a new one with another {name}")

    def __eq__(self, other: object) -> bool:
        return self.text == other.text if isinstance(other, SeriesName) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"SeriesName({self.name!r}, {dict(self.context)!r})"

    def __str__(self) -> str:
        return self.text

    def __reduce__(self) -> tuple[Any, ...]:
        return SeriesName, (self.text,)


def labelled(values: Mapping[str, Any], context: Any) -> Mapping[str, Any]:
    """The same values under the texts that their names have in a context.

    Args:
        values: by name.
        context: labels, or None; anything else is one more value, that of the name ``context``.

    Raises:
        BadValue: a label's name or value is none.
    """
    if context is None:
        return values
    if not isinstance(context, Mapping):
        return {**values, "context": context}
    suffix = _suffix(tuple(_labels(context)))
    return {
        name + suffix if type(name) is str and not name.endswith('"}') else _unusual(name, context): value
        for name, value in values.items()
    }


def _unusual(name: Any, context: Mapping[str, Any]) -> Any:
    """A name that ends as labels do may have labels of its own; the store refuses an invalid name."""
    return SeriesName(name, context).text if isinstance(name, str) else name


def check_series_name(text: Any, what: str = "name") -> str:
    """The same text, when it may be that of a series.

    Args:
        text: a name, or the text of a name with labels: up to 1,024 bytes, of which 256 for the name.
        what: the thing that has the name, for messages.

    Raises:
        BadValue: it is not such a text.
    """
    if not isinstance(text, str) or not text.endswith('"}'):
        return check_name(text, what)
    if len(text) > MAX_SERIES_BYTES:
        # Parsing a text far over the limit would take long, too.
        return check_name(text, what, MAX_SERIES_BYTES)
    series = SeriesName(text)
    check_name(series.name, what)
    return check_name(text, what, MAX_SERIES_BYTES if series.context else MAX_NAME_BYTES)


def _parts(text: str) -> tuple[str, dict[str, str]]:
    found = _LABELLED.fullmatch(text) if text.endswith('"}') else None
    if found is not None:
        name, inside = found.groups()
        labels = {label: _ESCAPE.sub(_read, quoted[1:-1]) for label, quoted in _PAIR.findall(inside)}
        if _text(name, dict(sorted(labels.items()))) == text:
            return name, labels
    return text, {}


def _text(name: str, labels: Mapping[str, str]) -> str:
    return name + _suffix(tuple(labels.items()))


def _suffix(labels: tuple[tuple[str, str], ...]) -> str:
    if sum([len(it) for _, it in labels]) > MAX_SERIES_BYTES:
        # A label that cannot be stored is not cached, either.
        return _quoted(labels)
    return _known_suffix(labels)


@lru_cache(1_024)
def _known_suffix(labels: tuple[tuple[str, str], ...]) -> str:
    return _quoted(labels)


def _quoted(labels: tuple[tuple[str, str], ...]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{label}="{_SPECIAL.sub(_written, it)}"' for label, it in sorted(labels)) + "}"


def _written(found: re.Match[str]) -> str:
    return _WRITTEN[found[0]]


def _read(found: re.Match[str]) -> str:
    return _READ[found[0]]


def _labels(context: Any) -> list[tuple[str, str]]:
    if not issubclass(type(context), Mapping):
        raise BadValue(f"a context of type {type(context).__name__} is not a dict: give a dict of labels")
    try:
        items = list(context.items())
    except Exception as error:
        raise BadValue(f"a context of type {type(context).__name__} fails: {type(error).__name__}") from error
    return [(_label(label), _label_value(label, value)) for label, value in items]


def _label(label: Any) -> str:
    if not isinstance(label, str) or re.fullmatch(_LABEL, label) is None:
        shown = repr(label[:80]) if isinstance(label, str) else f"a value of type {type(label).__name__}"
        raise BadValue(
            f"{shown} cannot be a label of a context: "
            "give a str without spaces, quotes, braces, commas, backslashes and equals signs"
        )
    return str.__str__(label)


def _label_value(label: str, value: Any) -> str:
    if type(value) is str:
        return value
    # Numbers of other packages, members of enumerations and the like become plain ones.
    plain = normalise(value, f"label {label[:80]!r} of a context")
    if isinstance(plain, bool):
        return "true" if plain else "false"
    if isinstance(plain, str):
        return plain
    if isinstance(plain, (int, float)):
        return repr(plain)
    raise BadValue(
        f"label {label[:80]!r} of a context is of type {type(value).__name__}: give a str, a number or a bool"
    )
