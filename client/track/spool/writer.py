"""A spool that is being written: records are appended, and confirmed segments are deleted."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from track.process.files import OwnedFile, sync, sync_folder
from track.process.private import read_private
from track.spool.folder import SpoolFolder, spool_error
from track.spool.options import SpoolOptions, SpoolSync
from track.spool.segments import HEADER_SIZE, RECORD_OVERHEAD, pack_header, pack_record, scan
from track_protocol.errors import SpoolCorrupt, SpoolError, SpoolFull

__all__ = ["EXTENT_BYTES", "EXTENT_RECORDS", "Location", "Spool"]

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_MIN_SEGMENTS: Final = 8
"""A spool with a low limit has smaller segments, because confirmed records are deleted by segment."""


EXTENT_RECORDS: Final = 4_096
EXTENT_BYTES: Final = 1024 * 1024
"""Maximum size of one extent in memory: an extent is read back at once."""


class Location(NamedTuple):
    """The position of a record, or of several adjacent ones."""

    segment: int
    start: int
    length: int

    def is_behind(self, other: Location) -> bool:
        """Whether the one record begins where the other ends."""
        return self.segment == other.segment and self.start == other.start + other.length + RECORD_OVERHEAD

    def coalesced(self, behind: Location, records: int) -> Location | None:
        """The place of both, if they are neighbours and not too much to be read back at once.

        Args:
            behind: the location after this one.
            records: how many both are.
        """
        length = behind.start + behind.length - self.start
        if not behind.is_behind(self) or records > EXTENT_RECORDS or length > EXTENT_BYTES:
            return None
        return self._replace(length=length)


@dataclass(slots=True)
class _Segment:
    """A file of the spool.

    Attributes:
        number: in its name.
        size: in bytes.
        last: the number of the last log call in it.
        ended: when the last record came, by the monotonic clock.
    """

    number: int
    size: int
    last: int
    ended: float


class Spool:
    """The records of one session, on disk.

    Args:
        folder: held by this process.
        options: how to store them.
        first_segment: the number of the first segment that it writes; earlier ones are only read.
    """

    def __init__(self, folder: SpoolFolder, options: SpoolOptions, first_segment: int = 1) -> None:
        self.folder = folder
        self._options = options
        self._most = min(options.segment_bytes, options.limit // _MIN_SEGMENTS)
        self._session = bytes.fromhex(folder.metadata.session)
        self._segments: deque[_Segment] = deque()
        self._number = first_segment
        self._file: OwnedFile | None = None
        self._reading: tuple[int, OwnedFile] | None = None
        self._size = 0
        self._unsynced = False
        self._is_full = False

    # -- writing ---------------------------------------------------------------------------------

    def append(self, first: int, last: int, payload: bytes) -> Location:
        """Append a record; a killed process does not lose it.

        Args:
            first, last: the numbers of the log calls in it.
            payload: what it holds.

        Raises:
            SpoolFull: there is no room for it; nothing was written.
            SpoolError: it cannot be written; nothing of it counts, and the next one begins a new segment.
        """
        record = pack_record(first, payload)
        self._make_room(len(record))
        try:
            segment = self._current()
            self._write(record)
        except OSError as error:
            self._break_off()
            self._take_back()
            if error.errno in _FULL:
                self._is_full = True
                raise SpoolFull(f"no room is left for {self.folder.path} ({error.strerror})") from error
            raise spool_error(self.folder.path, "written", error) from error
        location = Location(segment.number, segment.size + RECORD_OVERHEAD, len(payload))
        segment.size += len(record)
        segment.last = last
        segment.ended = time.monotonic()
        self._size += len(record)
        self._unsynced = True
        self._is_full = False
        return location

    def sync(self) -> None:
        """Flush what was written to the disk itself.

        Raises:
            SpoolError: it is not known what of it is there; what was written since the last time has to be
                written again, and goes to a new segment.
        """
        if not self._unsynced or self._file is None:
            return
        try:
            sync(self._file.fileno())
        except OSError as error:
            self._break_off()
            raise spool_error(self.folder.path, "flushed to the disk", error) from error
        self._unsynced = False

    def _current(self) -> _Segment:
        if self._file is not None and self._segments[-1].size >= self._most:
            if self._options.sync is not SpoolSync.NONE:
                sync(self._file.fileno())
            self._break_off()
        if self._file is None:
            path = self.folder.segment(self._number)
            self._file = OwnedFile(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND)
            self._segments.append(_Segment(self._number, 0, 0, time.monotonic()))
            self._number += 1
            self._write(pack_header(self._session))
            self._segments[-1].size = HEADER_SIZE
            self._size += HEADER_SIZE
            if self._options.sync is not SpoolSync.NONE:
                sync_folder(self.folder.path)
        return self._segments[-1]

    def _write(self, data: bytes) -> None:
        assert self._file is not None, "a segment was begun"
        file, view = self._file.fileno(), memoryview(data)
        while view:
            view = view[os.write(file, view) :]

    def _break_off(self) -> None:
        """Stop writing to this segment: after a failure, its end is in an unknown state."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None

    def _take_back(self) -> None:
        """Remove a segment without records: on a full disk there would soon be many of its kind."""
        if self._segments and self._segments[-1].last == 0 and self._segments[-1].size <= HEADER_SIZE:
            segment = self._segments.pop()
            self._size -= segment.size
            with contextlib.suppress(OSError):
                self.folder.segment(segment.number).unlink()

    def _make_room(self, nbytes: int) -> None:
        if self._size + nbytes <= self._options.limit:
            return
        raise SpoolFull(
            f"{self.folder.path} has reached its limit of {self._options.limit:,} bytes: let the server come "
            "back, or set TRACK_SPOOL_LIMIT to more"
        )

    # -- reading ---------------------------------------------------------------------------------

    def read_extent(self, location: Location) -> list[tuple[int, Location, bytes]]:
        """The adjacent records, except damaged ones, whose bytes are moved to a folder of their own.

        Args:
            location: reaches from the payload of the first one to the end of the last one.

        Returns:
            Of each record the number of its first log call, its place and its payload.

        Raises:
            SpoolError: they cannot be read.
        """
        begin = location.start - RECORD_OVERHEAD
        try:
            data = os.pread(self._opened(location.segment), RECORD_OVERHEAD + location.length, begin)
        except OSError as error:
            raise spool_error(self.folder.segment(location.segment), "read", error) from error
        data = pack_header(self._session) + data
        offset = begin - HEADER_SIZE
        found = scan(data, self._session)
        for start, end in [*found.damages, (found.end, len(data))]:
            # Intact records must not be lost because damaged bytes cannot be moved: these stay where they
            # are.
            with contextlib.suppress(SpoolError):
                if end > start:
                    self.folder.quarantine(f"{location.segment:08d}-{offset + start}", data[start:end])
        return [
            (seq, Location(location.segment, offset + start, length), data[start : start + length])
            for seq, start, length in found.records
        ]

    def _opened(self, segment: int) -> int:
        if self._reading is None or self._reading[0] != segment or not self._reading[1].is_ours:
            self._close_reading()
            self._reading = (segment, OwnedFile(self.folder.segment(segment), os.O_RDONLY))
        return self._reading[1].fileno()

    def _close_reading(self) -> None:
        if self._reading is not None:
            self._reading[1].close()
            self._reading = None

    def retained_after(
        self, last_seq: int, complain: Callable[[SpoolError], None]
    ) -> Iterator[tuple[int, Location, bytes]]:
        """Records whose first log call comes after `last_seq` or that contain it, as far as they are stored.

        Args:
            last_seq: as said.
            complain: reports each segment that cannot be read and is left out.
        """
        for segment in list(self._segments):
            if segment.last <= last_seq:
                continue
            path = self.folder.segment(segment.number)
            try:
                data = self._bytes_of(path)
                records = scan(data, self._session).records
            except SpoolCorrupt as error:
                complain(SpoolCorrupt(f"{path}: {error}"))
                continue
            except SpoolError as error:
                complain(error)
                continue
            for record in records:
                payload = data[record.start : record.start + record.length]
                yield record.seq, Location(segment.number, record.start, record.length), payload

    def _bytes_of(self, path: Path) -> bytes:
        try:
            return read_private(path)
        except OSError as error:
            raise spool_error(path, "read", error) from error

    # -- forgetting ------------------------------------------------------------------------------

    @property
    def nbytes(self) -> int:
        """The size of all segments."""
        return self._size

    @property
    def is_pressed(self) -> bool:
        """Whether room runs short, so that what is confirmed has to go soon."""
        return self._is_full or self._size > self._options.limit // 2

    def adopt(self, number: int, size: int, last: int) -> None:
        """Register an existing segment, so that it is deleted like the others; oldest first."""
        self._segments.append(_Segment(number, size, last, time.monotonic()))
        self._size += size

    def acknowledge(self, last_seq: int) -> None:
        """The server has confirmed everything up to `last_seq`: delete old segments.

        Raises:
            OSError: one cannot be removed.
        """
        oldest_retained = time.monotonic() - self._options.retained_seconds
        confirmed = [segment for segment in self._segments if segment.last <= last_seq]
        surplus = sum(segment.size for segment in confirmed) - self._options.retained_bytes
        for segment in confirmed:
            writing = self._file is not None and segment is self._segments[-1]
            if writing or not (surplus > 0 or segment.ended < oldest_retained or self.is_pressed):
                break
            self.folder.segment(segment.number).unlink(missing_ok=True)
            self._segments.popleft()
            self._size -= segment.size
            surplus -= segment.size

    def remove(self) -> None:
        """Everything is confirmed and the process ends: delete the spool."""
        self.close()
        self.folder.remove()

    def close(self) -> None:
        """Close all files."""
        self._break_off()
        self._close_reading()
