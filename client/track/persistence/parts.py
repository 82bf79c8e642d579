"""Large configurations in parts: a record is bounded, and a trial's parameters are not.

Values by name that are too large for one record go into several; a dict or a list that is too large by itself
is put empty first, and filled then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from track.outbox.records import RECORD_BYTES_LIMIT, estimate_size
from track_protocol.model.documents import Document

__all__ = ["parts_of_call", "parts_of_document", "put"]

_PART_BYTES: Final = RECORD_BYTES_LIMIT - 8_192
"""Of the values in one record, beside its trial and its path."""

_CALL_BYTES: Final = 1_000_000
"""Of a call with an answer."""

_FIELDS: Final[Mapping[str, tuple[str, str]]] = {
    "log_trial_arguments": ("arguments", "parameters"),
    "log_trial_metadata": ("metadata", "metadata"),
    "add_trial_tags": ("tags", "tags"),
}
"""By method: its argument, and the field of the trial into which that is merged."""

_Call = tuple[str, dict[str, Any]]


def parts_of_call(method: str, arguments: dict[str, Any]) -> Iterator[_Call]:
    """The call, or calls that do the same and are small enough.

    Args:
        method: its name.
        arguments: as they travel.
    """
    if method not in _FIELDS or estimate_size(arguments) <= _PART_BYTES:
        yield method, arguments
        return
    name, field = _FIELDS[method]
    if (arguments.get("aggregator") or ["value"])[0] != "value":
        # Each value joins a list: it goes by itself, and one that is too large is dropped.
        for key, value in arguments[name].items():
            yield method, {**arguments, name: {key: value}}
        return
    yield from put(arguments["trial"], field, arguments[name])


def parts_of_document(document: Document) -> tuple[Document, dict[str, Document]]:
    """A trial's document that fits a record, and the fields that follow it.

    One with a value that cannot be divided is sent as it is: a call with an answer takes more than a record.
    """
    late: dict[str, Document] = {}
    rest = document
    for field in ("parameters", "metadata", "tags"):
        if estimate_size(rest) > _PART_BYTES:
            late[field], rest = rest[field], {**rest, field: {}}
    parts = [part for values in late.values() for _, _, part in _parts(values, [])]
    if estimate_size(document) < _CALL_BYTES and any(estimate_size(part) > _PART_BYTES for part in parts):
        return document, {}
    return rest, late


def put(trial: bytes | str, field: str, values: Document) -> Iterator[_Call]:
    """Calls that merge values into a field of a trial.

    Args:
        trial: its id or uid.
        field: its parameters, metadata or tags.
        values: by name.
    """
    for method, path, part in _parts(values, []):
        yield method, {"trial": trial, "field": field, "path": path, "values": part}


_Part = tuple[str, list[str], Document | list[Any]]
"""A method, where to, and what."""


def _parts(values: Document, path: list[str]) -> Iterator[_Part]:
    part: Document = {}
    nbytes = 0
    large: list[str] = []
    for name, value in values.items():
        added = estimate_size(name) + estimate_size(value)
        is_large = added > _PART_BYTES and _can_be_divided(value)
        if is_large:
            large.append(name)
            added = estimate_size(name)
        if part and nbytes + added > _PART_BYTES:
            yield "put_values", path, part
            part, nbytes = {}, 0
        part[name] = _emptied(value) if is_large else value
        nbytes += added
    yield "put_values", path, part
    for name in large:
        divided = _parts if type(values[name]) is dict else _slices
        yield from divided(values[name], [*path, name])


def _can_be_divided(value: Any) -> bool:
    return type(value) in (list, tuple) or (type(value) is dict and all(type(key) is str for key in value))


def _emptied(value: Any) -> Document | list[Any]:
    return {} if type(value) is dict else []


def _slices(items: Any, path: list[str]) -> Iterator[_Part]:
    """A list in parts that are appended; an item that is too large by itself is a part, and is dropped."""
    part: list[Any] = []
    nbytes = 0
    for item in items:
        added = estimate_size(item)
        if part and nbytes + added > _PART_BYTES:
            yield "append_values", path, part
            part, nbytes = [], 0
        part.append(item)
        nbytes += added
    yield "append_values", path, part
