"""Taking over a spool whose process is gone: what it holds, what was torn, and what was damaged."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from track.spool.folder import SpoolFolder, spool_error
from track.spool.options import SpoolOptions
from track.spool.segments import HEADER_SIZE, RECORD_OVERHEAD, Damage, Scan, scan
from track.spool.stretches import Gathering, Stretch
from track.spool.writer import Place, Spool
from track_protocol.errors import SpoolCorrupt, TrackError
from track_protocol.wire.amount import Amount
from track_protocol.wire.batch import Batch, batch_from_wire
from track_protocol.wire.codec import decode_own

__all__ = ["Recovered", "batch_in", "recover", "survey"]

_log: Final = logging.getLogger("track")
_NOTHING: Final = Amount()


@dataclass(slots=True)
class Recovered:
    """What a spool holds.

    Attributes:
        kept: whole records in order, each number once, as stretches.
        missing: (first, last) of log calls between them that are damaged.
        waiting: what was logged by them behind what the server had confirmed.
        nbytes: how many bytes that takes.
        is_cut: whether the damage may also have taken log calls behind the last whole record; how many,
            nobody knows.
        torn_bytes: at the end, of a record that was not finished; no log call that returned under
            ``spool_sync=always`` is among them.
        damages: one line for each damage.
        begins: whether the first segment is still there, so that no log call was ever removed from it.
    """

    kept: list[Stretch] = field(default_factory=list)
    missing: list[tuple[int, int]] = field(default_factory=list)
    waiting: Amount = _NOTHING
    nbytes: int = 0
    is_cut: bool = False
    torn_bytes: int = 0
    damages: list[str] = field(default_factory=list)
    begins: bool = False

    def missing_after(self, seq: int) -> int:
        """How many log calls after one are damaged, and come before others that are not."""
        damaged = self.missing
        if self.begins and self.kept and self.kept[0].first > 1:
            damaged = [(1, self.kept[0].first - 1), *damaged]
        return sum(max(0, last - max(first - 1, seq)) for first, last in damaged)


def survey(path: Path, session: str, acked: int = 0) -> Recovered:
    """Read a spool and change nothing; it may be in use.

    Args:
        path: its folder.
        session: whose it is, in hexadecimal digits.
        acked: the last log call that the server had confirmed.

    Raises:
        SpoolError: it cannot be read.
    """
    reading = _Reading(bytes.fromhex(session), acked)
    for segment in sorted(path.glob("*.segment")):
        try:
            data, result = reading.read(segment)
        except FileNotFoundError:
            continue  # it was confirmed meanwhile
        except OSError as error:
            raise spool_error(segment, "read", error) from error
        reading.found.torn_bytes = len(data) - result.end
    return reading.end()


def recover(folder: SpoolFolder, options: SpoolOptions) -> tuple[Spool, Recovered]:
    """Take over a spool: cut a torn tail off and set damaged bytes aside; both are logged.

    Raises:
        SpoolError: it cannot be read or written.
    """
    reading = _Reading(bytes.fromhex(folder.origin.session), folder.progressed().acked)
    paths = folder.segments()
    spool = Spool(folder, options, 1 + max((_number(path) for path in paths), default=0))
    for path in paths:
        try:
            data, result = reading.read(path)
        except OSError as error:
            raise spool_error(path, "read", error) from error
        for damage in result.damages:
            folder.quarantine(f"{path.stem}-{damage.start}", data[damage.start : damage.end])
        if path is paths[-1] and result.end < len(data):
            reading.found.torn_bytes = len(data) - result.end
            _cut(path, result.end)
        spool.adopt(_number(path), len(data), reading.last)
    found = reading.end()
    _tell(folder.path, found)
    return spool, found


class _Reading:
    """Goes through the segments of a spool, one after the other; only one of them is in memory.

    Args:
        session: whose they are.
        acked: the last log call that the server had confirmed.

    Attributes:
        found: what was found so far; whole records are in it in the end.
        last: the number of the last log call in what was read so far.
    """

    def __init__(self, session: bytes, acked: int) -> None:
        self._session = session
        self._acked = acked
        self._gathering = Gathering()
        self.found = Recovered()
        self.last = 0

    def read(self, path: Path) -> tuple[bytes, Scan]:
        """The bytes of a segment, and what they are.

        Raises:
            OSError: it cannot be read.
        """
        data, found, number = path.read_bytes(), self.found, _number(path)
        found.begins = found.begins or number == 1
        found.is_cut = False
        try:
            result = scan(data, self._session)
        except SpoolCorrupt as error:
            found.damages.append(f"{path}: {error}")
            found.is_cut = True
            return data, Scan(damages=[Damage(0, len(data))], end=len(data))
        found.is_cut = any(damage.end == len(data) for damage in result.damages)
        for damage in result.damages:
            found.damages.append(f"{path}: bytes {damage.start} to {damage.end} are no record")
        for _, start, length in result.records:
            try:
                batch = batch_in(data[start : start + length])
            except SpoolCorrupt as error:
                found.damages.append(f"{path}: {error}")
                result.damages.append(Damage(start - RECORD_OVERHEAD, start + length))
                continue
            if self._gathering.add(batch, Place(number, start, length)):
                self._count(batch, length)
        return data, result

    def _count(self, batch: Batch, length: int) -> None:
        self.last = max(self.last, batch.last)
        if batch.last > self._acked:
            self.found.waiting += batch.amount_after(self._acked)
            self.found.nbytes += length

    def end(self) -> Recovered:
        """What was found in all of them."""
        self.found.kept, self.found.missing = self._gathering.stretches, self._gathering.missing
        return self.found


def batch_in(payload: bytes) -> Batch:
    """The log calls of a record.

    Raises:
        SpoolCorrupt: they are none.
    """
    try:
        return batch_from_wire(decode_own(payload))
    except TrackError as error:
        raise SpoolCorrupt(f"a whole record of the spool makes no sense: {error}") from None


def _cut(path: Path, end: int) -> None:
    try:
        if end <= HEADER_SIZE:
            path.unlink()
        else:
            os.truncate(path, end)
    except OSError as error:
        raise spool_error(path, "cut where its last whole record ends", error) from error


def _number(path: Path) -> int:
    return int(path.stem)


def _tell(path: Path, found: Recovered) -> None:
    if found.torn_bytes:
        _log.warning(
            "%s: the last %s bytes are of a record that was not finished, and were cut off",
            path,
            f"{found.torn_bytes:,}",
        )
    for damage in found.damages:
        _log.error("%s; the bytes are set aside in %s", damage, path / "damaged")
    for first, last in found.missing:
        _log.error("%s: log calls %s to %s are damaged and cannot be sent", path, first, last)
