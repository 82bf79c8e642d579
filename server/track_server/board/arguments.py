"""Arguments of calls as browsers write them, read by the types that the method table declares."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import Any, Final

from track_protocol.errors import BadArguments
from track_protocol.wire.methods import Method
from track_server.http.values import NOT_FINITE

__all__ = ["read_arguments"]

_ID: Final = re.compile("[0-9a-f]{32}")


def read_arguments(method: Method, given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call as they travel on the wire; the call itself checks them.

    Args:
        method: the method.
        given: the arguments by name, as JSON has them.

    Raises:
        BadArguments: bytes are not base64, or a query nests without end.
    """
    types = {parameter.name: parameter.type.rstrip("?") for parameter in method.parameters}
    try:
        return {name: _READERS.get(types.get(name, ""), _as_it_is)(value) for name, value in given.items()}
    except RecursionError:
        raise BadArguments(f"an argument of {method.name} nests too deep: flatten it") from None


def _as_it_is(value: Any) -> Any:
    return value


def _id(value: Any) -> Any:
    return bytes.fromhex(value) if isinstance(value, str) and _ID.fullmatch(value) else value


def _ids(value: Any) -> Any:
    return [_id(each) for each in value] if isinstance(value, list) else value


def _of_trials(value: Any) -> Any:
    """Lists that begin with a trial's id."""
    if not isinstance(value, list):
        return value
    return [[*_ids(each[:1]), *each[1:]] if isinstance(each, list) else each for each in value]


def _number(value: Any) -> Any:
    return NOT_FINITE.get(value, value) if isinstance(value, str) else value


def _bytes(value: Any) -> Any:
    try:
        return b64decode(value, validate=True) if isinstance(value, str) else value
    except binascii.Error:
        raise BadArguments("bytes are written in base64") from None


def _identified(value: Any) -> Any:
    """A document or definition, whose id is bytes."""
    return {**value, "id": _id(value["id"])} if isinstance(value, dict) and "id" in value else value


def _query(value: Any) -> Any:
    """A query: ids are bytes, and operands of a comparison may be infinite."""
    if isinstance(value, dict):
        return {
            name: _operands(each) if name == "id" else _query(_operand(name, each))
            for name, each in value.items()
        }
    return [_query(each) for each in value] if isinstance(value, list) else value


def _operand(name: str, value: Any) -> Any:
    return _number(value) if name in ("$lt", "$lte", "$gt", "$gte") else value


def _operands(value: Any) -> Any:
    """What an id is compared with, in whichever operator."""
    if isinstance(value, dict):
        return {name: _operands(each) for name, each in value.items()}
    return _ids(value) if isinstance(value, list) else _id(value)


_READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "trial": _id,
    "ids": _ids,
    "series": _of_trials,
    "tails": _of_trials,
    "query": _query,
    "number": _number,
    "time": _number,
    "bytes": _bytes,
    "document": _identified,
    "definition": _identified,
}
"""By the types of `track_protocol.wire.schema`; the others are the same in JSON."""
