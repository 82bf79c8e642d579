"""The fields of a new trial, from whatever a script has them in."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from track.persistence.calls import as_status
from track.recording.parameters import fields_of
from track_protocol.model.values import MAX_TEXT_BYTES, text_of

__all__ = ["labels_of", "plain_fields"]

_log: Final = logging.getLogger("track")

_SEVERAL: Final = (list, tuple, set, frozenset)


def plain_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields as a trial has them: what is of another form becomes text, with a warning.

    A trial is often created by its first point, where nothing may raise any more.

    Args:
        given: by name.

    Raises:
        UsageError: the status is no known one.
    """
    return {name: _MAKERS[name](name, value) if name in _MAKERS else value for name, value in given.items()}


def labels_of(given: Any) -> dict[str, Any]:
    """Labels by name; a text, or each of several, is one without a value.

    Args:
        given: a mapping, a text, several of them, or None.
    """
    named = fields_of(given)
    if named is not None or given is None:
        return named or {}
    several = given if issubclass(type(given), _SEVERAL) else [given]
    return {text_of(label): True for label in several}


def _text(field: str, given: Any) -> str | None:
    if given is None:
        return None
    text = text_of(given)
    if not (issubclass(type(given), str) and text == str.__str__(given)):
        _log.warning(
            "%s: stored as the text %.80r: give a str, of up to %d bytes", field, text, MAX_TEXT_BYTES
        )
    return text


def _named(field: str, given: Any) -> dict[str, Any]:
    named = fields_of(given)
    if named is None and given is not None:
        _log.warning("%s: what has no names is stored as the value of %r: give a dict", field, field)
        named = {field: given}
    return named or {}


_MAKERS: Final[Mapping[str, Callable[[str, Any], Any]]] = {
    "name": _text,
    "description": _text,
    "version": _text,
    "tags": lambda _, given: labels_of(given),
    "metadata": _named,
    "status": lambda _, given: as_status(given),
}
