"""An append-only file of transactions, each whole or not there at all.

::

    header   magic (8) | generation (32, ASCII) | base (8) | CRC-32 of these (4)
    frame    mark (4) | length (4) | number (8) | CRC-32 of length, number and payload (4) | payload

Integers are big-endian.  `base` is the number of the last transaction that is not in the journal
because the document has it; frames follow with the numbers ``base + 1``, ``base + 2`` and so on.

A frame is flushed to the disk before the next one may be written.  So a crash can only have damaged
the last frame, and bytes that make no frame are a torn tail exactly when no whole frame follows
them; otherwise the file was damaged later, and reading it stops with the offset.

After a write or a flush that failed nobody knows what is on the disk, whatever reading shows.  Then
this object writes no more; a new one reads what there is, and makes that durable (`Journal.secure`).
"""

from __future__ import annotations

import fcntl
import os
import struct
import weakref
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from track_protocol.errors import StoreCorrupt, StoreError, StoreFailed, StoreTooNew
from track_server.storage.file_write import rewrite, store_error, sync_folder

__all__ = ["JOURNAL_VERSION", "Frame", "Header", "Journal"]

JOURNAL_VERSION: Final = 3
"""Of the journals that this software writes: 1 had the same form, but no rejected records, 2 no blobs."""

_NAME: Final = b"TRACKJ\x00"
_MAGICS: Final = [_NAME + bytes([version]) for version in range(1, JOURNAL_VERSION + 1)]
_HEADER: Final = struct.Struct(">8s32sQ")
_CRC: Final = struct.Struct(">I")
_HEADER_SIZE: Final = _HEADER.size + _CRC.size
_MARK: Final = b"\xf5TxN"
_FRAME: Final = struct.Struct(">4sIQI")
_SIGNED: Final = struct.Struct(">IQ")
_MAX_PAYLOAD: Final = 2**32 - 1


class Header(NamedTuple):
    """Which history a journal belongs to, which transaction it starts behind, and its version."""

    generation: str
    base: int
    version: int = JOURNAL_VERSION


class Frame(NamedTuple):
    """One transaction: its number, its bytes, and the offset behind it."""

    number: int
    payload: bytes
    end: int


class Journal:
    """An open journal; made, without a header, if there is none.

    Nothing here takes the lock by itself: hold `locked` around everything else.

    Args:
        path: the journal's own file.
        read_only: for a look beside whoever writes it; it must exist then, and nothing is cut.

    Raises:
        StoreReadOnly: it cannot be opened for writing.
        StoreError: nor for another reason.
    """

    start: Final = _HEADER_SIZE
    """Offset of the first frame."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._read_only = read_only
        self._failed = False
        access = os.O_RDONLY if read_only else os.O_RDWR | os.O_CREAT
        try:
            self._file = os.open(path, access | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise store_error(path, "opened", error) from error
        _opened.add(self)

    @property
    def closed(self) -> bool:
        """Whether it was closed, or this process was forked from the one that opened it."""
        return self._file < 0

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the journal against other processes; the system lets go of it when a holder dies."""
        self.lock()
        try:
            yield
        finally:
            self.unlock()

    def lock(self) -> None:
        """Wait until no other process holds the journal, and hold it."""
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def unlock(self) -> None:
        """Let go of it."""
        fcntl.flock(self._file, fcntl.LOCK_UN)

    def check_in_place(self) -> None:
        """Refuse to go on with a file that is no longer the one at its path.

        Raises:
            StoreError: it was moved or deleted.
        """
        mine = os.fstat(self._file)
        try:
            there = self.path.stat()
        except FileNotFoundError:
            there = None
        if there is None or (there.st_dev, there.st_ino) != (mine.st_dev, mine.st_ino):
            raise StoreError(
                f"{self.path} was moved or deleted while it was open: put it back, or open the store again"
            )

    @property
    def size(self) -> int:
        """How many bytes the file has."""
        return os.fstat(self._file).st_size

    def header(self) -> Header | None:
        """What the header says; None when there is none yet.

        Raises:
            StoreTooNew: the journal has a newer layout.
            StoreCorrupt: it has a header, but not one of ours.
        """
        raw = os.pread(self._file, _HEADER_SIZE, 0)
        magic = raw[: len(_NAME) + 1]
        if len(raw) < _HEADER_SIZE and any(known.startswith(magic) for known in _MAGICS):
            return None
        if raw.startswith(_NAME) and magic > _MAGICS[-1]:
            raise StoreTooNew(f"{self.path} was written by newer software: update this one")
        signed, crc = raw[: _HEADER.size], raw[_HEADER.size :]
        if magic not in _MAGICS or _CRC.pack(zlib.crc32(signed)) != crc:
            raise self._corrupt(0)
        _, generation, base = _HEADER.unpack(signed)
        return Header(generation.decode("ascii"), base, magic[-1])

    def restart(self, header: Header) -> None:
        """Empty the journal: everything up to ``header.base`` is safe elsewhere.

        Raises:
            StoreFailed: the disk fails, or has failed before.
        """
        self._check_sound()
        signed = _HEADER.pack(_MAGICS[header.version - 1], header.generation.encode("ascii"), header.base)
        try:
            # First the header, so that frames which a power cut leaves behind it are known as old.
            os.pwrite(self._file, signed + _CRC.pack(zlib.crc32(signed)), 0)
            os.fsync(self._file)
            os.ftruncate(self._file, _HEADER_SIZE)
            os.fsync(self._file)
            sync_folder(self.path.parent)
        except OSError as error:
            raise self._fail(error) from error

    def secure(self) -> None:
        """Make sure that what has been read is on the disk and not only in memory.

        Raises:
            StoreError: it cannot be made sure of.
        """
        rewrite(self.path)

    def frames(self, offset: int) -> Iterator[Frame]:
        """The frames from `offset` on; a torn tail behind them is cut off.

        Raises:
            StoreCorrupt: the bytes at some offset are no frame, and yet frames follow them.
        """
        try:
            data = self._read(offset)
        except OSError as error:
            raise store_error(self.path, "read", error) from error
        at = 0
        while at < len(data):
            frame = _frame_at(data, at)
            if frame is None:
                if _frame_behind(data, at):
                    raise self._corrupt(offset + at)
                if not self._read_only:
                    self._cut(offset + at)
                return
            at = frame.end
            yield frame._replace(end=offset + at)

    def append(self, offset: int, number: int, payload: bytes) -> int:
        """Write a transaction at the journal's end, and flush it to the disk.

        Args:
            offset: the journal's end, from the last `Frame` or `append`.
            number: the transaction's.
            payload: its bytes.

        Returns:
            the journal's new end.

        Raises:
            StoreFull: the disk is full; the journal is as it was.
            StoreFailed: the disk fails, or has failed before.
            StoreError: it refuses for another reason; the journal is as it was.
        """
        self._check_sound()
        if len(payload) > _MAX_PAYLOAD:
            raise StoreError(f"{len(payload):,} bytes in one transaction are too many: commit more often")
        crc = zlib.crc32(payload, zlib.crc32(_SIGNED.pack(len(payload), number)))
        try:
            end = self._write(_FRAME.pack(_MARK, len(payload), number, crc) + payload, offset)
        except OSError as error:
            refused = store_error(self.path, "written", error)
            if isinstance(refused, StoreFailed):
                raise self._fail(error) from error
            self._cut(offset)
            raise refused from error
        try:
            os.fdatasync(self._file)
        except OSError as error:
            raise self._fail(error) from error
        return end

    def close(self) -> None:
        """Close the file, which lets go of the lock; harmless when repeated."""
        file, self._file = self._file, -1
        if file >= 0:
            _opened.discard(self)
            os.close(file)

    def _read(self, offset: int) -> bytes:
        parts = []
        while part := os.pread(self._file, 1 << 26, offset):
            parts.append(part)
            offset += len(part)
        return b"".join(parts)

    def _write(self, data: bytes, offset: int) -> int:
        rest = memoryview(data)
        while rest:
            written = os.pwrite(self._file, rest, offset)
            rest, offset = rest[written:], offset + written
        return offset

    def _cut(self, offset: int) -> None:
        try:
            os.ftruncate(self._file, offset)
        except OSError as error:
            raise self._fail(error) from error

    def _fail(self, error: OSError) -> StoreFailed:
        self._failed = True
        return StoreFailed(
            f"the disk failed at {self.path} ({error.strerror}): check the disk and the system's log"
        )

    def _check_sound(self) -> None:
        if self._failed:
            raise StoreFailed(f"the disk failed at {self.path} before: open the store again")

    def _corrupt(self, offset: int) -> StoreCorrupt:
        return StoreCorrupt(
            f"{self.path} is damaged at offset {offset}: restore the store from a copy, or, to go on without "
            "what was written from there on, move the journal away"
        )


_opened: Final[weakref.WeakSet[Journal]] = weakref.WeakSet()


def _forget() -> None:
    """In a forked child: close its copies, which would hold a lock beyond the parent's death."""
    for journal in list(_opened):
        journal.close()


os.register_at_fork(after_in_child=_forget)


def _frame_at(data: bytes, at: int) -> Frame | None:
    if len(data) - at < _FRAME.size:
        return None
    mark, length, number, crc = _FRAME.unpack_from(data, at)
    begin = at + _FRAME.size
    payload = data[begin : begin + length]
    if mark != _MARK or len(payload) < length:
        return None
    if zlib.crc32(payload, zlib.crc32(_SIGNED.pack(length, number))) != crc:
        return None
    return Frame(number, payload, begin + length)


def _frame_behind(data: bytes, at: int) -> bool:
    """Whether a whole frame starts anywhere behind `at`."""
    while (at := data.find(_MARK, at + 1)) != -1:
        if _frame_at(data, at) is not None:
            return True
    return False
