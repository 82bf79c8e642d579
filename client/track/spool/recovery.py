"""Taking over a spool whose process is gone: what it holds, what was torn, and what was damaged."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from track.spool.disk import Place, Spool
from track.spool.folder import SpoolFolder, spool_error
from track.spool.options import SpoolOptions
from track.spool.segments import HEADER_SIZE, RECORD_OVERHEAD, Damage, Scan, scan
from track_protocol.batch import Batch, batch_from_wire
from track_protocol.codec import decode
from track_protocol.errors import SpoolCorrupt, TrackError

__all__ = ["Kept", "Recovered", "batch_in", "recover", "survey"]

_log: Final = logging.getLogger("track")


class Kept(NamedTuple):
    """A whole record: the numbers of its log calls, how many points it has, and where it lies."""

    first: int
    last: int
    points: int
    place: Place


@dataclass(slots=True)
class Recovered:
    """What a spool holds.

    Attributes:
        kept: whole records in order, each number once.
        missing: (first, last) of log calls between them that are damaged.
        is_cut: whether the damage may also have taken log calls behind the last whole record; how many,
            nobody knows.
        torn_bytes: at the end, of a record that was not finished; no log call that returned under
            ``spool_sync=always`` is among them.
        damages: one line for each damage.
        begins: whether the first segment is still there, so that no log call was ever removed from it.
    """

    kept: list[Kept] = field(default_factory=list)
    missing: list[tuple[int, int]] = field(default_factory=list)
    is_cut: bool = False
    torn_bytes: int = 0
    damages: list[str] = field(default_factory=list)
    begins: bool = False

    def points_after(self, seq: int) -> int:
        """How many points come after a log call."""
        return sum(each.points for each in self.kept if each.last > seq)

    def bytes_after(self, seq: int) -> int:
        """How many bytes they take."""
        return sum(each.place.length for each in self.kept if each.last > seq)

    def missing_after(self, seq: int) -> int:
        """How many log calls after one are damaged, and come before others that are not."""
        damaged = self.missing
        if self.begins and self.kept and self.kept[0].first > 1:
            damaged = [(1, self.kept[0].first - 1), *damaged]
        return sum(max(0, last - max(first - 1, seq)) for first, last in damaged)


def survey(path: Path, session: str) -> Recovered:
    """Read a spool and change nothing; it may be in use.

    Raises:
        SpoolError: it cannot be read.
    """
    found = Recovered()
    for segment in sorted(path.glob("*.segment")):
        try:
            data, result = _read(segment, bytes.fromhex(session), found)
        except FileNotFoundError:
            continue  # it was confirmed meanwhile
        except OSError as error:
            raise spool_error(segment, "read", error) from error
        found.torn_bytes = len(data) - result.end
    _put_in_order(found)
    return found


def recover(folder: SpoolFolder, options: SpoolOptions) -> tuple[Spool, Recovered]:
    """Take over a spool: cut a torn tail off and set damaged bytes aside; both are logged.

    Raises:
        SpoolError: it cannot be read or written.
    """
    found = Recovered()
    session = bytes.fromhex(folder.origin.session)
    paths = folder.segments()
    sizes = {}
    for path in paths:
        try:
            data, result = _read(path, session, found)
        except OSError as error:
            raise spool_error(path, "read", error) from error
        sizes[path] = len(data)
        for damage in result.damages:
            folder.quarantine(f"{path.stem}-{damage.start}", data[damage.start : damage.end])
        if path is paths[-1] and result.end < len(data):
            found.torn_bytes = len(data) - result.end
            _cut(path, result.end)
    _put_in_order(found)
    spool = Spool(folder, options, 1 + max((_number(path) for path in paths), default=0))
    for path in paths:
        last = max((each.last for each in found.kept if each.place.segment == _number(path)), default=0)
        spool.adopt(_number(path), sizes[path], last)
    _tell(folder.path, found)
    return spool, found


def batch_in(payload: bytes) -> Batch:
    """The log calls of a record.

    Raises:
        SpoolCorrupt: they are none.
    """
    try:
        return batch_from_wire(decode(payload))
    except TrackError as error:
        raise SpoolCorrupt(f"a whole record of the spool makes no sense: {error}") from None


def _read(path: Path, session: bytes, found: Recovered) -> tuple[bytes, Scan]:
    data = path.read_bytes()
    found.begins = found.begins or _number(path) == 1
    found.is_cut = False
    try:
        result = scan(data, session)
    except SpoolCorrupt as error:
        found.damages.append(f"{path}: {error}")
        found.is_cut = True
        return data, Scan(damages=[Damage(0, len(data))], end=len(data))
    found.is_cut = any(damage.end == len(data) for damage in result.damages)
    for damage in result.damages:
        found.damages.append(f"{path}: bytes {damage.start} to {damage.end} are no record")
    for seq, start, length in result.records:
        try:
            batch = batch_in(data[start : start + length])
        except SpoolCorrupt as error:
            found.damages.append(f"{path}: {error}")
            result.damages.append(Damage(start - RECORD_OVERHEAD, start + length))
            continue
        found.kept.append(Kept(seq, batch.last, batch.points, Place(_number(path), start, length)))
    return data, result


def _put_in_order(found: Recovered) -> None:
    """Each number once, and what is missing between them: after a failed flush records are written again."""
    ordered = sorted(found.kept, key=lambda each: (each.first, -each.last))
    found.kept = []
    for each in ordered:
        expected = found.kept[-1].last + 1 if found.kept else each.first
        if each.last < expected:
            continue
        if each.first > expected:
            found.missing.append((expected, each.first - 1))
        found.kept.append(each)


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
