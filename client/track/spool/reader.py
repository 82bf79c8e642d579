"""Reading the spool of an ended process: its records, its torn tail and its damaged parts."""

from __future__ import annotations

import logging
import math
import os
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from track.process.private import entries, open_private, read_private
from track.spool.folder import (
    Checkpoint,
    SpoolFolder,
    SpoolMetadata,
    is_held,
    read_checkpoint,
    read_metadata,
    segments_in,
    spool_error,
    spools_in,
)
from track.spool.options import SpoolOptions
from track.spool.segments import HEADER_SIZE, RECORD_OVERHEAD, Damage, Scan, scan
from track.spool.writer import Location, Spool
from track_protocol.errors import SpoolCorrupt, SpoolError, TrackError
from track_protocol.wire.batch import Batch, CallOp, PointsOp, batch_from_wire
from track_protocol.wire.codec import decode_own
from track_protocol.wire.columns import unpack
from track_protocol.wire.counts import Counts

__all__ = [
    "Extent",
    "ExtentIndex",
    "Found",
    "Recovered",
    "batch_in",
    "look_at",
    "look_in",
    "recover",
    "survey",
]

_log: Final = logging.getLogger("track")
_NOTHING: Final = Counts()


@dataclass(slots=True)
class Recovered:
    """What a spool holds.

    Attributes:
        intact: intact records in order, each number once, as extents.
        missing: (first, last) of log calls between them that are damaged.
        waiting: counts of those that the server has not confirmed.
        nbytes: how many bytes that takes.
        is_cut: whether the damage may also have destroyed log calls after the last intact record; how many
            is unknown.
        torn_bytes: at the end, of a record that was not finished; no log call that returned under
            ``spool_sync=always`` is among them.
        damages: one line for each damage.
        begins: whether the first segment is still there, so that no log call was ever removed from it.
        last_time: the latest time that a log call has, in seconds since the epoch: a sign of life.
    """

    intact: list[Extent] = field(default_factory=list)
    missing: list[tuple[int, int]] = field(default_factory=list)
    waiting: Counts = _NOTHING
    nbytes: int = 0
    is_cut: bool = False
    torn_bytes: int = 0
    damages: list[str] = field(default_factory=list)
    begins: bool = False
    last_time: float | None = None

    def missing_after(self, seq: int) -> int:
        """How many log calls after one are damaged, and come before others that are not."""
        damaged = self.missing
        if self.begins and self.intact and self.intact[0].first > 1:
            damaged = [(1, self.intact[0].first - 1), *damaged]
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
    try:
        segments = segments_in(path)
    except OSError as error:
        raise spool_error(path, "read", error) from error
    for segment in segments:
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
    reading = _Reading(bytes.fromhex(folder.metadata.session), folder.checkpoint().acked)
    try:
        paths = folder.segments()
    except OSError as error:
        raise spool_error(folder.path, "read", error) from error
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
    """Reads the segments of a spool, one after the other; only one of them is in memory.

    Attributes:
        found: what was found so far; finally it contains the intact records.
        last: the number of the last log call in what was read so far.
    """

    def __init__(self, session: bytes, acked: int) -> None:
        self._session = session
        self._acked = acked
        self._extent_index = ExtentIndex()
        self.found = Recovered()
        self.last = 0

    def read(self, path: Path) -> tuple[bytes, Scan]:
        """The bytes of a segment, and what they are.

        Raises:
            OSError: it cannot be read.
        """
        data, found, number = read_private(path), self.found, _number(path)
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
            found.damages.append(f"{path}: bytes {damage.start} to {damage.end} are not a valid record")
        for _, start, length in result.records:
            try:
                batch = batch_in(data[start : start + length])
            except SpoolCorrupt as error:
                found.damages.append(f"{path}: {error}")
                result.damages.append(Damage(start - RECORD_OVERHEAD, start + length))
                continue
            if self._extent_index.add(batch, Location(number, start, length)):
                self._count(batch, length)
        return data, result

    def _count(self, batch: Batch, length: int) -> None:
        self.last = max(self.last, batch.last)
        times = [time for op in batch.ops for time in _times(op)]
        if times:
            self.found.last_time = max(*times, self.found.last_time or 0.0)
        if batch.last > self._acked:
            self.found.waiting += batch.counts_after(self._acked)
            self.found.nbytes += length

    def end(self) -> Recovered:
        """What was found in all of them."""
        self.found.intact, self.found.missing = self._extent_index.extents, self._extent_index.missing
        return self.found


def _times(op: PointsOp | CallOp) -> Sequence[float]:
    """When the log calls of an operation were made, as far as they say so."""
    times = unpack(op.times) if isinstance(op, PointsOp) else [op.arguments.get("time")]
    return [time for time in times if isinstance(time, int | float) and math.isfinite(time)]


def batch_in(payload: bytes) -> Batch:
    """The log calls of a record.

    Raises:
        SpoolCorrupt: they are none.
    """
    try:
        return batch_from_wire(decode_own(payload))
    except TrackError as error:
        raise SpoolCorrupt(f"an intact record of the spool cannot be decoded: {error}") from None


def _cut(path: Path, end: int) -> None:
    try:
        if end <= HEADER_SIZE:
            path.unlink()
            return
        descriptor = open_private(path, os.O_WRONLY)
        try:
            os.ftruncate(descriptor, end)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise spool_error(path, "truncated after its last complete record", error) from error


def _number(path: Path) -> int:
    return int(path.stem)


def _tell(path: Path, found: Recovered) -> None:
    if found.torn_bytes:
        _log.warning(
            "%s: the last %s bytes, an incomplete record, were cut off",
            path,
            f"{found.torn_bytes:,}",
        )
    for damage in found.damages:
        _log.error("%s; the bytes were moved to %s", damage, path / "damaged")
    for first, last in found.missing:
        _log.error("%s: log calls %s to %s are damaged and cannot be sent", path, first, last)


@dataclass(slots=True)
class Extent:
    """Records whose numbers follow each other, as their bytes do.

    Attributes:
        first, last: numbers of their log calls.
        counts: what was logged by them.
        location: from the payload of the first one to the end of the last one.
        records: how many they are.
    """

    first: int
    last: int
    counts: Counts
    location: Location
    records: int = 1

    def absorb(self, behind: Extent) -> bool:
        """Become the extent of both, if the other one follows directly; returns whether it does."""
        records = self.records + behind.records
        location = self.location.coalesced(behind.location, records)
        if location is None or self.last + 1 != behind.first:
            return False
        self.last, self.location, self.records = behind.last, location, records
        self.counts += behind.counts
        return True


class ExtentIndex:
    """Intact records as they are found, each number once: after a failed flush records are written again."""

    def __init__(self) -> None:
        self._extents: list[Extent] = []
        self._numbers = _Numbers()

    def add(self, batch: Batch, location: Location) -> bool:
        """Count a record, if not all of its numbers were found before.

        Args:
            batch: what it holds.
            location: where.

        Returns:
            whether it counts.
        """
        if not self._numbers.add(batch.first, batch.last):
            return False
        extent = Extent(batch.first, batch.last, batch.counts, location)
        if not (self._extents and self._extents[-1].absorb(extent)):
            self._extents.append(extent)
        return True

    @property
    def extents(self) -> list[Extent]:
        """What was found, in the order of its numbers."""
        ordered: list[Extent] = []
        for each in sorted(self._extents, key=lambda each: (each.first, -each.last)):
            if not ordered or each.last > ordered[-1].last:
                ordered.append(each)
        return ordered

    @property
    def missing(self) -> list[tuple[int, int]]:
        """First and last of the numbers between those that were found."""
        return self._numbers.gaps


class _Numbers:
    """Which numbers there are, as runs without a gap, in order."""

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []

    def add(self, first: int, last: int) -> bool:
        """Whether some from `first` to `last` are new."""
        firsts, lasts = self._firsts, self._lasts
        # The index of the run before them; usually they follow all others.
        at = len(firsts) - 1 if not firsts or first > lasts[-1] else bisect_right(firsts, first) - 1
        if at >= 0 and last <= lasts[at]:
            return False
        if at >= 0 and first <= lasts[at] + 1:
            first = firsts[at]
        else:
            at += 1
        end = at
        while end < len(firsts) and firsts[end] <= last + 1:
            last = max(last, lasts[end])
            end += 1
        firsts[at:end], lasts[at:end] = [first], [last]
        return True

    @property
    def gaps(self) -> list[tuple[int, int]]:
        """First and last of those that are missing between runs."""
        pairs = zip(self._lasts, self._firsts[1:], strict=False)
        return [(last + 1, first - 1) for last, first in pairs]


@dataclass(frozen=True, slots=True)
class Found:
    """One spool.

    Attributes:
        path: its folder.
        metadata: whose it is; None if it does not say.
        checkpoint: how far it had come.
        in_use: whether a process writes or sends it.
        held: what it holds.
        has_damaged_bytes: whether damaged bytes were moved to a folder of their own.
        error: why it cannot be used.
    """

    path: Path
    metadata: SpoolMetadata | None
    checkpoint: Checkpoint
    in_use: bool
    held: Recovered = field(default_factory=Recovered)
    has_damaged_bytes: bool = False
    error: SpoolError | None = None

    @property
    def waiting(self) -> Counts:
        """How much waits, as far as is known here."""
        return self.held.waiting

    @property
    def nbytes(self) -> int:
        """How many bytes wait."""
        return self.held.nbytes

    @property
    def is_damage_only(self) -> bool:
        """Whether all was sent, and only damaged bytes remain."""
        return self.has_damaged_bytes and self.error is None and not segments_in(self.path)

    @property
    def state(self) -> str:
        """In a few words."""
        if self.in_use:
            return "in use"
        if self.error is not None:
            return "unusable"
        if self.is_damage_only:
            return "sent, damaged bytes remain"
        return "waits, damaged" if self.held.damages else "waits"

    def as_json(self) -> dict[str, Any]:
        """Everything about it, in plain values."""
        metadata = asdict(self.metadata) if self.metadata is not None else {}
        return {
            "folder": str(self.path),
            **metadata,
            "state": self.state,
            "in_use": self.in_use,
            "points": self.waiting.points,
            "calls": self.waiting.calls,
            "bytes": self.nbytes,
            "acked": self.checkpoint.acked,
            "generation": self.checkpoint.generation,
            "problem": self.checkpoint.problem,
            "damages": self.held.damages,
            "missing": self.held.missing_after(self.checkpoint.acked),
            "torn_bytes": 0 if self.in_use else self.held.torn_bytes,
            "error": None if self.error is None else str(self.error),
        }


def look_in(root: Path, *, inside: bool = True) -> list[Found]:
    """The spools in a folder, which may be one itself; the oldest first.

    Args:
        root: the folder.
        inside: see `look_at`.

    Raises:
        SpoolError: the folder cannot be read.
    """
    found = [look_at(path, inside=inside) for path in spools_in(root)]
    filled = [each for each in found if not _is_shell(each.path)]
    return sorted(filled, key=lambda each: each.metadata.made if each.metadata is not None else 0.0)


def look_at(path: Path, *, inside: bool = True) -> Found:
    """One spool; its faults are reported, not raised.

    Args:
        path: its folder.
        inside: whether to read what it holds, too, which takes a while if that is much.
    """
    checkpoint, in_use = read_checkpoint(path), False
    has_damaged_bytes = "damaged" in _names_in(path)
    try:
        in_use = is_held(path)
        metadata = read_metadata(path)
    except SpoolError as error:
        return Found(path, None, checkpoint, in_use, has_damaged_bytes=has_damaged_bytes, error=error)
    except OSError as error:
        return Found(path, None, checkpoint, in_use, error=spool_error(path, "read", error))
    try:
        held = survey(path, metadata.session, checkpoint.acked) if inside else Recovered()
        return Found(path, metadata, checkpoint, in_use, held, has_damaged_bytes)
    except SpoolError as error:
        return Found(path, metadata, checkpoint, in_use, has_damaged_bytes=has_damaged_bytes, error=error)


def _is_shell(path: Path) -> bool:
    """Whether its process died before it had written anything, or it is just being removed."""
    try:
        names = {entry.name for entry in entries(path)}
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return not ({"damaged", "spool.json"} & names or any(name.endswith(".segment") for name in names))


def _names_in(path: Path) -> frozenset[str]:
    """What is in a folder; nothing, if it may not be used."""
    try:
        return frozenset(entry.name for entry in entries(path))
    except OSError:
        return frozenset()
