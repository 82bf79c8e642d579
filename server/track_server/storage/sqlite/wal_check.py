"""Whether the log of a SQLite store is undamaged: SQLite reads it up to the first damage and reports nothing.

A crash can leave the last transaction torn, since each one is flushed before the next begins, and that was
never acknowledged.  But if complete transactions follow what cannot be read, it was damaged later: SQLite
would silently discard all of them, and overwrite them with what is written next.  So that is looked
for before anything is written.

::

    header   magic, format, page size, checkpoint, salt, salt, checksum, checksum
    frame    page, pages of the database behind a commit or else 0, salt, salt, checksum, checksum | page

Integers are big-endian and have 4 bytes.  A checksum continues the one before it, so that each frame can
be compared with the one in front of it (https://sqlite.org/fileformat2.html, "The Write-Ahead Log").
"""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path
from typing import Final

import apsw

from track_protocol.errors import StoreCorrupt

__all__ = ["check_log", "check_log_beside_others", "frames_read", "log_length", "refuse_strange_log"]

_HEADER: Final = 32
_FRAME: Final = 24
_MAGIC: Final = 0x377F0682
"""Of checksums over little-endian words; of big-endian ones it is one more."""

_FORMATS: Final = slice(18, 20)
_WITH_LOG: Final = b"\x02\x02"
"""What a store's header says permanently once it was written through a log; a copy of ours says otherwise."""

_FOLLOWING: Final = 2
"""Commits behind a damage from which on it is no torn end: the first may end the damaged transaction."""

_NOOP: Final = -1
"""The mode of `wal_checkpoint` that only returns the length of the log (SQLITE_CHECKPOINT_NOOP)."""


def refuse_strange_log(path: str, length: int, header: bytes) -> None:
    """Refuse a log that is not of the store beside it: SQLite would delete it, or damage the store with it.

    Args:
        path: of the store.
        length: of its log in bytes, by `log_length`, looked at before the store.
        header: the store's first bytes, none if it is missing or empty.

    Raises:
        StoreCorrupt: there is one with something in it.
    """
    if length <= _HEADER or header[_FORMATS] == _WITH_LOG:
        return
    log = _log_of(path)
    if not header:
        raise StoreCorrupt(
            f"{path} is missing or empty, but its log {log} has the last transactions: restore the file, "
            "or rename the log to start a new one"
        )
    raise StoreCorrupt(
        f"{log} is the log of another file than {path}, which may be a backup that was copied there: put "
        "back what was there, rename the log if its content is not wanted, or use 'track restore'"
    )


def log_length(path: str) -> int:
    """Bytes of the log of the store at `path`; 0 if it has none."""
    try:
        return _log_of(path).stat().st_size
    except OSError:
        return 0  # opening the store reports what is wrong with the folder


def check_log(path: str, db: apsw.Connection, read: int) -> None:
    """Check the log of a store to which no process writes meanwhile.

    Args:
        path: of the store.
        db: an open connection to it.
        read: how many frames of the log SQLite has accepted, by `frames_read`.

    Raises:
        StoreCorrupt: committed transactions follow a damage.
    """
    found = _damage(_log_of(path), read, _page_size(db))
    if found is not None:
        raise _corrupt(path, found[1])


def check_log_beside_others(path: str, db: apsw.Connection) -> None:
    """The same, for a connection that only reads: what is being written meanwhile is no damage.

    Raises:
        StoreCorrupt: committed transactions follow a damage.
    """
    log, page_size = _log_of(path), _page_size(db)
    found = _damage(log, frames_read(db), page_size)
    if found is not None and found == _damage(log, frames_read(db), page_size):
        raise _corrupt(path, found[1])


def frames_read(db: apsw.Connection) -> int:
    """How many frames of the log SQLite accepts; outside of a transaction."""
    db.execute("SELECT count(*) FROM sqlite_schema").fetchall()  # before its first read it has not looked
    return max(0, db.wal_checkpoint(mode=_NOOP)[0])


def _damage(log: Path, read: int, page_size: int) -> tuple[bytes, int] | None:
    """The log's header, and the offset from which on it cannot be read though commits follow; or None."""
    try:
        file = os.open(log, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return _damage_in(file, read, page_size)
    finally:
        os.close(file)


def _damage_in(file: int, read: int, page_size: int) -> tuple[bytes, int] | None:
    header = os.pread(file, _HEADER, 0)
    if len(header) < _HEADER:
        return None
    sound = header[24:] == _checksum(header[:24], bytes(8), _word_order(header))
    size = _FRAME + page_size
    damaged = None if sound else 0
    before = os.pread(file, _FRAME, _HEADER + (read - 1) * size) if read else header[8:]
    commits = 0
    for number in range(read, (os.fstat(file).st_size - _HEADER) // size):
        at = _HEADER + number * size
        frame = os.pread(file, _FRAME, at)
        salt = header[16:24] if sound else before[8:16]
        if frame[8:16] == salt and _follows(file, at, frame, before, page_size, _word_order(header)):
            commits += damaged is not None and any(frame[4:8])
        elif damaged is None:
            damaged = at
        if commits == _FOLLOWING:
            assert damaged is not None
            return header, damaged
        before = frame
    return None


def _follows(file: int, at: int, frame: bytes, before: bytes, page_size: int, order: str) -> bool:
    page = os.pread(file, page_size, at + _FRAME)
    return len(page) == page_size and _checksum(frame[:8] + page, before[16:24], order) == frame[16:24]


def _word_order(header: bytes) -> str:
    magic = int.from_bytes(header[:4], "big")
    if magic in (_MAGIC, _MAGIC + 1):
        return "<" if magic == _MAGIC else ">"
    return "<" if sys.byteorder == "little" else ">"


def _checksum(data: bytes, before: bytes, order: str) -> bytes:
    first, second = struct.unpack(">II", before)
    words = iter(struct.unpack(f"{order}{len(data) // 4}I", data))
    for one, other in zip(words, words, strict=True):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + other + first) & 0xFFFFFFFF
    return struct.pack(">II", first, second)


def _page_size(db: apsw.Connection) -> int:
    return int(db.execute("PRAGMA page_size").get)


def _log_of(path: str) -> Path:
    return Path(f"{path}-wal")


def _corrupt(path: str, offset: int) -> StoreCorrupt:
    return StoreCorrupt(
        f"{path}-wal is damaged at offset {offset}, and transactions committed behind it cannot be read: "
        "restore a backup with 'track restore', or, to continue without what was written from there on, keep "
        f"a copy, cut it with 'truncate -s {offset} {path}-wal', and see 'track check'"
    )
