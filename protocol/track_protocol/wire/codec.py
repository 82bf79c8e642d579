"""Plain values to bytes and back: msgpack, with everything ambiguous refused.

Tuples keep their type: they travel as an array whose first item is extension 1 without data.  NaN
and the infinities survive.  Refused with a clear error at either end: integers outside 64 bits
signed, lone surrogates, duplicate map keys, other extension types, nesting deeper than
`NESTING_LIMIT`, and data behind the value.

Decoding takes time and memory in proportion to the received bytes, whatever lengths they claim.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Any, Final

import msgpack

from track_protocol.errors import BadValue, RemoteProtocolError, TrackError

__all__ = [
    "NESTING_LIMIT",
    "count_items",
    "decode",
    "decode_counted",
    "decode_own",
    "encode",
    "encode_list",
    "encode_own",
]

NESTING_LIMIT: Final = 64
"""How deep lists, tuples and maps may nest: the limit for users and the protocol's own levels around it."""

_TUPLE: Final = 1
_TUPLE_MARK: Final = msgpack.ExtType(_TUPLE, b"")
_TUPLE_HEADER: Final = b"\xc7\x00\x01"

# How many keys of one map may share a hash. Those of numbers, and so of tuples of them, can be
# chosen to collide, and a map of many such keys takes time with the square of its size.
_COLLISIONS: Final = 128

# How long an item is that starts with this byte; 0 where more must be read to know it.
_SIZES: Final = bytes(
    [1] * 0xA1 + list(range(2, 33)) + [1] * 4 + [0] * 6 + [5, 9, 2, 3, 5, 0, 2, 3, 5, 9] + [0] * 12 + [1] * 32
)
_ONE_BYTE: Final = re.compile(rb"[\x00-\xa0\xc0-\xc3\xe0-\xff]+")
_COUNTED: Final = {0xC4: 1, 0xD9: 1, 0xC5: 2, 0xDA: 2, 0xC6: 4, 0xDB: 4}
_CONTAINERS: Final = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}
_UINT64: Final = 0xCF
_TOO_LARGE: Final = "an integer does not fit 64 bits: log it as a float or a string"


def count_items(
    data: bytes | bytearray | memoryview,
    fault: type[TrackError] = RemoteProtocolError,
    steps: int | None = None,
) -> tuple[int, int]:
    """How many items a value has; looks at each item's header, before anything is built from it.

    The decoder makes room for as many items as an array or map claims to have, so a few kilobytes
    of headers inside each other could claim gigabytes; but in a complete value each item takes at
    least a byte.  (Headers of one byte claim at most 30 items and need no look.)  It would also
    give integers of 64 bits unsigned, and times for extension -1.

    Args:
        data: an encoded value.
        fault: the class to raise when it is invalid.
        steps: the maximum steps of the count; None for no limit.  Any run of one-byte items is one step.

    Returns:
        the items counted, and the bytes that were not looked at.
    """
    at, claimed, size = 0, 0, len(data)
    items = taken = 0
    while at < size:
        if taken == steps:
            return items, size - at
        taken += 1
        head = data[at]
        width = _SIZES[head]
        if width == 1:
            run = _ONE_BYTE.match(data, at)
            end = run.end() if run else size
            items += end - at
            at = end
            continue
        items += 1
        if width > 1:
            at += width
        elif head in _COUNTED:
            width = _COUNTED[head]
            at += 1 + width + int.from_bytes(data[at + 1 : at + 1 + width], "big")
        elif head in _CONTAINERS:
            width, each = _CONTAINERS[head]
            claimed += each * int.from_bytes(data[at + 1 : at + 1 + width], "big")
            if claimed > size:
                raise fault("not a value in the wire's form: it claims more items than it has bytes")
            at += 1 + width
        else:
            at += _checked_width(bytes(data[at : at + 3]), fault)
    return items, 0


def _checked_width(start: bytes, fault: type[TrackError]) -> int:
    """How long an item is that must not be just anything."""
    if start == _TUPLE_HEADER:
        return 3
    if start[0] != _UINT64:
        raise fault(
            f"not a value in the wire's form: an extension (0x{start[0]:02x}) other than a tuple's mark"
        )
    if start[1:2] >= b"\x80":
        raise fault(_TOO_LARGE)
    return 9


class _TupleMark:
    """Stands for a tuple's mark until the array that it begins is complete."""


_MARK: Final = _TupleMark()
_NESTED: Final = frozenset({list, tuple, dict, _TupleMark})


def _check_nesting(value: Any, fault: type[TrackError]) -> None:
    """Level by level, so that depth costs no stack."""
    level = [value] if type(value) in _NESTED else []
    for _ in range(NESTING_LIMIT):
        if not level:
            return
        kinds = set(map(type, level))
        if _TupleMark in kinds:
            raise fault("not a value in the wire's form: a tuple's mark that begins no array")
        items = chain.from_iterable(level)
        if dict in kinds:
            items = chain(items, *[part.values() for part in level if type(part) is dict])
        level = [item for item in items if type(item) in _NESTED]
    if level:
        raise fault(f"a value nests deeper than {NESTING_LIMIT}: flatten it")


def _extension(code: int, data: bytes) -> _TupleMark:
    return _MARK


def _array(items: list[Any]) -> list[Any] | tuple[Any, ...]:
    return tuple(items[1:]) if items and items[0] is _MARK else items


def _map(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    if len(pairs) > _COLLISIONS:
        crowd = max(Counter(hash(key) for key, _ in pairs).values())
        if crowd > _COLLISIONS:
            raise RemoteProtocolError(f"{crowd} keys of one map have the same hash: use strings")
    found = dict(pairs)
    if len(found) != len(pairs):
        raise RemoteProtocolError("a map contains the same key twice")
    return found


def _encode_other(value: object) -> list[Any]:
    if type(value) is tuple:
        return [_TUPLE_MARK, *value]
    if type(value) is int:
        raise BadValue(_TOO_LARGE)
    raise BadValue(
        f"a value of type {type(value).__name__} cannot be sent: "
        "convert it to a number, a string, a list or a dict"
    )


def encode(value: Any) -> bytes:
    """Encode a plain value.

    Raises:
        BadValue: it contains a value that the wire cannot carry exactly.
    """
    packed = encode_own(value)
    count_items(packed, BadValue)
    _check_nesting(value, BadValue)
    return packed


def encode_own(value: Any) -> bytes:
    """Encode a value that was checked before it was stored; takes a fraction of the time of `encode`.

    Raises:
        BadValue: it contains a value that the wire cannot carry at all.
    """
    try:
        packed: bytes = msgpack.packb(value, default=_encode_other, use_bin_type=True, strict_types=True)
    except UnicodeEncodeError as error:
        raise BadValue(f"a string contains a lone surrogate and is not text: {error.reason}") from None
    except ValueError as error:
        raise BadValue(f"a value cannot be sent: {error}") from None
    return packed


def encode_list(items: Sequence[bytes]) -> bytes:
    """The encoding of a list whose items are encoded."""
    header: bytes = msgpack.Packer().pack_array_header(len(items))
    return header + b"".join(items)


def decode(data: bytes | bytearray | memoryview) -> Any:
    """Decode one value that fills `data`.

    Raises:
        RemoteProtocolError: the bytes are not one value in the wire's form.
    """
    count_items(data)
    return decode_counted(data)


def decode_counted(data: bytes | bytearray | memoryview) -> Any:
    """Decode one value that `count_items` has looked at to its end.

    Raises:
        RemoteProtocolError: the bytes are not one value in the wire's form.
    """
    value = decode_own(data)
    _check_nesting(value, RemoteProtocolError)
    return value


def decode_own(data: bytes | bytearray | memoryview) -> Any:
    """Decode bytes that this side encoded and stored under a checksum; `encode` has checked them then.

    That takes half the time of `decode`.

    Raises:
        RemoteProtocolError: the bytes are not one value.
    """
    try:
        return msgpack.unpackb(
            data,
            raw=False,
            strict_map_key=False,
            list_hook=_array,
            object_pairs_hook=_map,
            ext_hook=_extension,
        )
    except (ValueError, TypeError, RecursionError, msgpack.exceptions.UnpackException) as error:
        raise RemoteProtocolError(
            f"not a value in the wire's form: {str(error) or type(error).__name__}"
        ) from None
