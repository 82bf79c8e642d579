"""JSON as browsers get and send it.

What JSON cannot say is text: numbers that are not finite are ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``,
an id (16 bytes) is 32 hexadecimal digits, and other bytes are base64."""

from __future__ import annotations

import json
import math
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgpack
import orjson

from track_protocol.errors import BadArguments

__all__ = ["ID_BYTES", "NOT_FINITE", "from_json", "to_json"]

ID_BYTES: Final = 16
NOT_FINITE: Final[Mapping[str, float]] = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}

_MAX_VALUES: Final = 65_536
"""Of a body."""

_LEVELS: Final = 3
"""Of values within values, down to which they are written in parts."""
_ITEMS: Final = 64
"""Of a list, in one part."""

_BITS_NOT_FINITE: Final = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]")
"""How NaN and the infinities begin where msgpack has written them; orjson would write them as null."""


def to_json(value: Any) -> bytes:
    """A value of the wire as JSON.

    Large ones are written in parts: whoever writes one keeps the interpreter from all other threads.
    """
    return b"".join(_parts(value, _LEVELS))


def _parts(value: Any, levels: int) -> Iterator[bytes]:
    if levels and isinstance(value, dict) and value:
        separator = b"{"
        for key, each in value.items():
            yield separator + _written(key) + b":"
            yield from _parts(each, levels - 1)
            separator = b","
        yield b"}"
    elif levels and isinstance(value, (list, tuple)) and len(value) > _ITEMS:
        separator = b"["
        for at in range(0, len(value), _ITEMS):
            yield separator + _written(value[at : at + _ITEMS])[1:-1]
            separator = b","
        yield b"]"
    else:
        yield _written(value)


def _written(value: Any) -> bytes:
    try:
        if not _BITS_NOT_FINITE.search(msgpack.packb(value)):
            return orjson.dumps(value, default=_text_of_bytes)
    except (ValueError, OverflowError, TypeError):
        pass  # a text or a number that neither of the two knows
    if isinstance(value, list) and len(value) > 1:
        # It is one of these, or bytes that look alike.
        return b"[%b]" % b",".join(map(_written, value))
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
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else _text_of(value)
    return _text_of_bytes(value) if isinstance(value, bytes) else value


def _text_of(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _text_of_bytes(value: bytes) -> str:
    return value.hex() if len(value) == ID_BYTES else b64encode(value).decode()


def _refused(name: str) -> float:
    raise ValueError(f'{name} is no JSON: write it as the text "{name}"')
