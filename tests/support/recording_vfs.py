"""Records the disk operations of SQLite, and derives the disks that a power cut could leave behind.

A write that was not followed by a sync of its file may be there, be missing or be there in part: sector by
sector, and independent of the writes before it.  Data that a sync covered is there.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import apsw

__all__ = ["Acknowledged", "Disk", "Event", "Sync", "SyncFailed", "Truncate", "Write", "recorded"]

_SECTOR: Final = 512
_SURVIVAL: Final = (0.0, 0.2, 0.5, 0.9, 1.0)
"""How likely an unsynced sector is to be on the disk; one of these for each cut."""


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes at an offset."""

    file: str
    offset: int
    data: bytes

    def pieces(self) -> Iterator[tuple[int, bytes]]:
        """The part of each sector."""
        at = 0
        while at < len(self.data):
            end = min(len(self.data), at + _SECTOR - (self.offset + at) % _SECTOR)
            yield self.offset + at, self.data[at:end]
            at = end


@dataclass(frozen=True, slots=True)
class Truncate:
    """The file ends there."""

    file: str
    size: int


@dataclass(frozen=True, slots=True)
class Sync:
    """All earlier operations on the file are durable."""

    file: str


@dataclass(frozen=True, slots=True)
class SyncFailed:
    """Earlier operations on the file may or may not be durable, and are not retried.

    Reading the file shows them nevertheless, and the next sync succeeds without them.
    """

    file: str
    reached: bool


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A writer got the acknowledgement that so many of its records are durable."""

    who: int
    count: int


Event = Write | Truncate | Sync | SyncFailed | Acknowledged


@contextmanager
def recorded(trace: list[Event]) -> Iterator[None]:
    """Record in `trace` the file operations of connections that are opened meanwhile."""
    before = apsw.vfs_names()[0]
    vfs = _Vfs(before, trace.append)
    apsw.set_default_vfs("recording")
    try:
        yield
    finally:
        apsw.set_default_vfs(before)
        vfs.unregister()


class _Vfs(apsw.VFS):
    def __init__(self, base: str, record: Callable[[Event], None]) -> None:
        super().__init__("recording", base)
        self._base = base
        self._record = record

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - APSW's name
        return _File(self._base, name, flags, self._record)


class _File(apsw.VFSFile):
    def __init__(
        self,
        base: str,
        name: str | apsw.URIFilename | None,
        flags: list[int],
        record: Callable[[Event], None],
    ) -> None:
        super().__init__(base, name, flags)
        path = name.filename() if isinstance(name, apsw.URIFilename) else name or ""
        self._name = Path(path).name
        self._record = record

    def xWrite(self, data: Any, offset: int) -> None:  # noqa: N802 - APSW's name
        super().xWrite(data, offset)
        self._record(Write(self._name, offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - APSW's name
        super().xTruncate(newsize)
        self._record(Truncate(self._name, newsize))

    def xSync(self, flags: int) -> None:  # noqa: N802 - APSW's name
        super().xSync(flags)
        self._record(Sync(self._name))


class Disk:
    """Files with changes that are not durable yet.

    Args:
        files: what is on the disk at first, by name.
    """

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = {name: bytearray(content) for name, content in files.items()}
        self._asked: dict[str, list[Write | Truncate]] = {}

    def take(self, event: Event) -> None:
        """Add an operation."""
        if isinstance(event, Write | Truncate):
            self._asked.setdefault(event.file, []).append(event)
        elif isinstance(event, Sync | SyncFailed):
            reached = isinstance(event, Sync) or event.reached
            for change in self._asked.pop(event.file, ()):
                _change(self._files, change, lambda: reached)

    def durable(self, file: str) -> bytes:
        """Return the durable content of a file."""
        return bytes(self._files[file])

    def after_a_cut(self, dice: random.Random) -> dict[str, bytearray]:
        """Return the files as a power cut may leave them now."""
        survival = dice.choice(_SURVIVAL)
        files = {name: bytearray(content) for name, content in self._files.items()}
        for change in (change for changes in self._asked.values() for change in changes):
            _change(files, change, lambda: dice.random() < survival)
        return files


def _change(files: dict[str, bytearray], change: Write | Truncate, survives: Callable[[], bool]) -> None:
    if isinstance(change, Truncate):
        if survives():
            _resize(files.setdefault(change.file, bytearray()), change.size)
        return
    for offset, piece in change.pieces():
        if survives():
            content = files.setdefault(change.file, bytearray())
            _resize(content, max(len(content), offset + len(piece)))
            content[offset : offset + len(piece)] = piece


def _resize(content: bytearray, size: int) -> None:
    del content[size:]
    content.extend(bytes(size - len(content)))
