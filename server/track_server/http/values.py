"""JSON as browsers get and send it.

What JSON cannot say is text: numbers that are not finite are ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``,
an id (16 bytes) is 32 hexadecimal digits, and other bytes are base64."""

from __future__ import annotations

import json
import math
from base64 import b64encode
from collections.abc import Mapping
from typing import Any, Final

from track_protocol.errors import BadArguments

__all__ = ["ID_BYTES", "NOT_FINITE", "from_json", "to_json"]

ID_BYTES: Final = 16
NOT_FINITE: Final[Mapping[str, float]] = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}

_MAX_VALUES: Final = 65_536
"""Of a body."""

_PLAIN: Final = frozenset({int, str, bool, type(None)})


def to_json(value: Any) -> bytes:
    """A value of the wire as JSON."""
    text = json.dumps(_plain(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # A lone surrogate, which UTF-8 cannot encode, becomes the escape that JSON has for it.
    return text.encode(errors="backslashreplace")


def from_json(data: bytes) -> dict[str, Any]:
    """The object that a body is.

    Raises:
        BadArguments: it is not one, or has very many values.
    """
    # Counted before they are made: each would take a hundred times the memory of its text, and hold up
    # everything else in this process.
    if sum(map(data.count, (b",", b"[", b"{"))) > _MAX_VALUES:
        raise BadArguments(f"the body has more than {_MAX_VALUES:,} values: send less at once")
    try:
        value = json.loads(data, parse_constant=_refused)
    except (ValueError, RecursionError) as error:
        raise BadArguments(f"the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise BadArguments("the body is not a JSON object: send one")
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        # Long columns of one sort are the usual case, and need no look at each value.
        return value if _PLAIN.issuperset(map(type, value)) else [_plain(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else _text_of(value)
    if isinstance(value, bytes):
        return value.hex() if len(value) == ID_BYTES else b64encode(value).decode()
    return value


def _text_of(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _refused(name: str) -> float:
    raise ValueError(f'{name} is no JSON: write it as the text "{name}"')
