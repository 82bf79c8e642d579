"""Segments: append-only files of numbered records, each checked by itself.

::

    header   magic (8) | session (16)
    record   length (4) | seq (8) | CRC-32 of length, seq and payload (4) | payload

Integers are big-endian; `seq` is the number of the first log call in the payload, and ascends.  CRC-32 is
that of zlib (RFC 1952), as in chunks of the server's stores.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from track_protocol.errors import SpoolCorrupt

__all__ = [
    "HEADER_SIZE",
    "RECORD_OVERHEAD",
    "Damage",
    "Record",
    "Scan",
    "pack_header",
    "pack_record",
    "scan",
]

_MAGIC: Final = b"TRACKS\x00\x01"
_HEADER: Final = struct.Struct(">8s16s")
_SIGNED: Final = struct.Struct(">IQ")
_RECORD: Final = struct.Struct(">IQI")

HEADER_SIZE: Final = _HEADER.size
RECORD_OVERHEAD: Final = _RECORD.size

_MAX_HEADER_DAMAGE: Final = 4
"""The number of header bytes that may be damaged while the header still counts as this session's."""

_MAX_PAYLOAD_BYTES: Final = 2**24
"""No payload has more bytes: a length beyond it is damage."""

_HIGH_ZEROS: Final = b"\0\0\0"
_HIGH_AT: Final = 4
"""Where each record has zeros, since no session has 2**40 records."""


class Record(NamedTuple):
    """The position of a record's payload in its segment."""

    seq: int
    start: int
    length: int


class Damage(NamedTuple):
    """Bytes from `start` to `end` that are not what was written there."""

    start: int
    end: int


@dataclass(slots=True)
class Scan:
    """What a segment holds.

    Attributes:
        records: intact ones, in order.
        damages: in the header, between records, or where a last one of the right length is.
        end: offset after the last record, intact or damaged; bytes after it are a torn tail.
    """

    records: list[Record] = field(default_factory=list)
    damages: list[Damage] = field(default_factory=list)
    end: int = HEADER_SIZE


def pack_header(session: bytes) -> bytes:
    """The first bytes of a segment."""
    return _HEADER.pack(_MAGIC, session)


def pack_record(seq: int, payload: bytes) -> bytes:
    """A record's bytes."""
    return _RECORD.pack(len(payload), seq, _checksum(seq, payload)) + payload


def scan(data: bytes, session: bytes) -> Scan:
    """Find the records of a segment.

    Args:
        data: the entire segment.
        session: whose it must be.

    Raises:
        SpoolCorrupt: it is no segment, or one of another session.
    """
    found = Scan()
    header = pack_header(session)
    if data[:HEADER_SIZE] != header:
        if header.startswith(data):
            return Scan(end=len(data))  # torn while it was begun
        differing = sum(one != other for one, other in zip(header, data, strict=False))
        if len(data) < HEADER_SIZE or differing > _MAX_HEADER_DAMAGE:
            raise SpoolCorrupt("it is not a segment of this session's spool")
        found.damages.append(Damage(0, HEADER_SIZE))
    last = 0
    while found.end < len(data):
        record = _record_at(data, found.end, last)
        if record is None:
            record = _next_record(data, found.end, last)
            if record is None:
                if _is_finished(data, found.end):
                    found.damages.append(Damage(found.end, len(data)))
                    found.end = len(data)
                break
            found.damages.append(Damage(found.end, record.start - RECORD_OVERHEAD))
        found.records.append(record)
        found.end = record.start + record.length
        last = record.seq
    return found


def _next_record(data: bytes, after: int, last: int) -> Record | None:
    """The first intact record after a damaged one."""
    if len(data) - after >= RECORD_OVERHEAD:
        # Mostly only the payload is damaged, and the length still gives the position of the next one.
        follower = after + RECORD_OVERHEAD + _length_at(data, after)
        record = _record_at(data, follower, last)
        if record is not None:
            return record
    at = data.find(_HIGH_ZEROS, after + 1 + _HIGH_AT) - _HIGH_AT
    while at > after:
        record = _record_at(data, at, last)
        if record is not None:
            return record
        at = data.find(_HIGH_ZEROS, at + 1 + _HIGH_AT) - _HIGH_AT
    return None


def _length_at(data: bytes, at: int) -> int:
    """The length of a damaged record; if a flipped bit in it is all the damage, the right one."""
    length, seq, checksum = _RECORD.unpack_from(data, at)
    start = at + RECORD_OVERHEAD
    for bit in range(_MAX_PAYLOAD_BYTES.bit_length()):
        repaired = length ^ 1 << bit
        end = start + repaired
        if (
            repaired <= _MAX_PAYLOAD_BYTES
            and end <= len(data)
            and checksum == _checksum(seq, data[start:end])
        ):
            return int(repaired)
    return int(length)


def _is_finished(data: bytes, at: int) -> bool:
    """Whether a record there, though damaged, was written to its end: it is no torn one."""
    if len(data) - at < RECORD_OVERHEAD:
        return False
    return at + RECORD_OVERHEAD + int(_RECORD.unpack_from(data, at)[0]) == len(data)


def _record_at(data: bytes, at: int, last: int) -> Record | None:
    if len(data) - at < RECORD_OVERHEAD:
        return None
    length, seq, checksum = _RECORD.unpack_from(data, at)
    start = at + RECORD_OVERHEAD
    if seq <= last or length > _MAX_PAYLOAD_BYTES or start + length > len(data):
        return None
    if checksum != _checksum(seq, data[start : start + length]):
        return None
    return Record(seq, start, length)


def _checksum(seq: int, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(_SIGNED.pack(len(payload), seq)))
