"""Plain values to bytes and back: msgpack, with everything ambiguous refused.

Tuples keep their type (extension 1).  NaN and the infinities survive.  Refused with a clear error
at either end: integers outside 64 bits, lone surrogates, duplicate map keys, unknown extension
types, and data behind the value.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgpack

from track_protocol.errors import BadValue, RemoteProtocolError

__all__ = ["decode", "encode"]

_TUPLE: Final = 1


def _encode_other(value: object) -> msgpack.ExtType:
    if type(value) is tuple:
        return msgpack.ExtType(_TUPLE, encode(list(value)))
    raise BadValue(
        f"a value of type {type(value).__name__} cannot be sent: convert it to a number, a string, a list or a dict"
    )


def encode(value: Any) -> bytes:
    """Encode a plain value.

    Raises:
        BadValue: it holds something that the wire cannot carry exactly.
    """
    try:
        packed: bytes = msgpack.packb(value, default=_encode_other, use_bin_type=True, strict_types=True)
    except OverflowError:
        raise BadValue("an integer does not fit 64 bits: log it as a float or a string") from None
    except UnicodeEncodeError as error:
        raise BadValue(f"a string holds a lone surrogate and is not text: {error.reason}") from None
    except ValueError as error:
        raise BadValue(f"a value cannot be sent: {error}") from None
    return packed


def _unique(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise RemoteProtocolError("a map holds the same key twice")
    return found


def _extension_at(depth: int) -> Callable[[int, bytes], Any]:
    def extension(code: int, data: bytes) -> Any:
        if code != _TUPLE:
            raise RemoteProtocolError(f"extension type {code} is unknown here")
        if depth == _TUPLE_DEPTH:
            raise RemoteProtocolError(f"tuples nest deeper than {_TUPLE_DEPTH}")
        items = _decode(data, depth + 1)
        if not isinstance(items, list):
            raise RemoteProtocolError("a tuple holds no list")
        return tuple(items)

    return extension


def _decode(data: bytes | memoryview, depth: int) -> Any:
    return msgpack.unpackb(
        data, raw=False, strict_map_key=False, object_pairs_hook=_unique, ext_hook=_EXTENSIONS[depth], timestamp=0
    )


# Each nested tuple starts a decoder of its own on the C stack, so an unbounded depth could crash
# the process; nothing else in msgpack recurses.
_TUPLE_DEPTH: Final = 8
_EXTENSIONS: Final = [_extension_at(depth) for depth in range(_TUPLE_DEPTH + 1)]


def decode(data: bytes | memoryview) -> Any:
    """Decode one value that fills `data`.

    Raises:
        RemoteProtocolError: the bytes are not one value in the wire's form.
    """
    try:
        return _decode(data, 0)
    except RemoteProtocolError:
        raise
    except (ValueError, TypeError, msgpack.exceptions.UnpackException) as error:
        raise RemoteProtocolError(f"not a value in the wire's form: {error or type(error).__name__}") from None
