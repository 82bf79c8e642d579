"""A disk that fails at the k-th call of a kind, under SQLite as its VFS and under the file store's own calls.

The content of the disk is recorded as events of `recording_vfs`: a sync that fails leaves behind what a
Linux page cache does, bytes that can be read and need not be on the disk.
"""

from __future__ import annotations

import errno
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import apsw

from recording_vfs import Event, Sync, SyncFailed, Truncate, Write

__all__ = ["CALLS", "Fault", "FaultyDisk"]

CALLS: Final = ("sync", "write", "truncate")
_RESULTS: Final = {
    "sync": apsw.SQLITE_IOERR_FSYNC,
    "write": apsw.SQLITE_IOERR_WRITE,
    "truncate": apsw.SQLITE_IOERR_TRUNCATE,
}
_MODULES: Final = ("track_server.storage.durable_files",)


@dataclass(frozen=True, slots=True)
class Fault:
    """Which calls fail, and how.

    Attributes:
        call: the kind, one of `CALLS`.
        at: the first that fails, counted from 1.
        times: how many fail in succession.
        every: so many calls later the next ones fail; 0 for never.
        number: the system's error number.
        half: half of what the first of them writes is written nevertheless.  For a plain file that is a
            short write, which alone is no failure: the next ones are.
        reached: the data of a failing sync has reached the disk nevertheless.
    """

    call: str
    at: int
    times: int = 1
    every: int = 0
    number: int = errno.EIO
    half: bool = False
    reached: bool = False

    def hits(self, ordinal: int) -> bool:
        """Whether that call fails."""
        behind = ordinal - self.at
        return behind >= 0 and (behind % self.every if self.every else behind) < self.times


class FaultyDisk:
    """Counts calls, lets some fail, and records all outcomes.

    Args:
        record: takes the events.

    Attributes:
        calls: number of calls of each kind since `arm`.
        failed: how many of them failed.
    """

    def __init__(self, record: Callable[[Event], None]) -> None:
        self.record = record
        self.calls: Counter[str] = Counter()
        self.failed = 0
        self._faults: tuple[Fault, ...] = ()
        self._guard = threading.Lock()

    def arm(self, *faults: Fault) -> None:
        """Start to count; without faults the disk works."""
        with self._guard:
            self.calls.clear()
            self._faults = faults

    def fault(self, call: str) -> Fault | None:
        """Count a call; the fault, if it hits."""
        with self._guard:
            self.calls[call] += 1
            ordinal = self.calls[call]
            for fault in self._faults:
                if fault.call == call and fault.hits(ordinal):
                    self.failed += 1
                    return fault if ordinal == fault.at else replace(fault, half=False)
            return None

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Stores that are opened meanwhile are on this disk."""
        before = apsw.vfs_names()[0]
        vfs = _Vfs(before, self)
        with ExitStack() as patched:
            for module in _MODULES:
                patched.enter_context(patch(f"{module}.os", _Os(self)))
            apsw.set_default_vfs("faulty")
            try:
                yield
            finally:
                apsw.set_default_vfs(before)
                vfs.unregister()


def _sqlite_error(fault: Fault) -> apsw.Error:
    if fault.call == "write" and fault.number == errno.ENOSPC:
        return apsw.FullError("no space left on device")
    error = apsw.IOError(f"{fault.call}: {os.strerror(fault.number)}")
    error.extendedresult = _RESULTS[fault.call]  # type: ignore[attr-defined]  # apsw documents it
    return error


class _Vfs(apsw.VFS):
    def __init__(self, base: str, disk: FaultyDisk) -> None:
        super().__init__("faulty", base)
        self._base = base
        self._disk = disk

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - APSW's name
        return _File(self._base, name, flags, self._disk)


class _File(apsw.VFSFile):
    def __init__(
        self, base: str, name: str | apsw.URIFilename | None, flags: list[int], disk: FaultyDisk
    ) -> None:
        super().__init__(base, name, flags)
        path = name.filename() if isinstance(name, apsw.URIFilename) else name or ""
        self._name = Path(path).name
        self._disk = disk

    def xWrite(self, data: Any, offset: int) -> None:  # noqa: N802 - APSW's name
        fault, data = self._disk.fault("write"), bytes(data)
        if fault is not None:
            data = data[: len(data) // 2] if fault.half else b""
        if data:
            super().xWrite(data, offset)
            self._disk.record(Write(self._name, offset, data))
        if fault is not None:
            raise _sqlite_error(fault)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - APSW's name
        fault = self._disk.fault("truncate")
        if fault is not None:
            raise _sqlite_error(fault)
        super().xTruncate(newsize)
        self._disk.record(Truncate(self._name, newsize))

    def xSync(self, flags: int) -> None:  # noqa: N802 - APSW's name
        fault = self._disk.fault("sync")
        if fault is not None:
            self._disk.record(SyncFailed(self._name, fault.reached))
            raise _sqlite_error(fault)
        super().xSync(flags)
        self._disk.record(Sync(self._name))


class _Os:
    """The module `os` on that disk."""

    def __init__(self, disk: FaultyDisk) -> None:
        self._disk = disk

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def pwrite(self, file: int, data: Any, offset: int) -> int:
        """See `os.pwrite`."""
        fault, data = self._disk.fault("write"), bytes(data)
        if fault is not None:
            if not fault.half or len(data) < 2:
                raise OSError(fault.number, os.strerror(fault.number))
            data = data[: len(data) // 2]
        written = os.pwrite(file, data, offset)
        self._disk.record(Write(_name(file), offset, data[:written]))
        return written

    def ftruncate(self, file: int, size: int) -> None:
        """See `os.ftruncate`."""
        fault = self._disk.fault("truncate")
        if fault is not None:
            raise OSError(fault.number, os.strerror(fault.number))
        os.ftruncate(file, size)
        self._disk.record(Truncate(_name(file), size))

    def fsync(self, file: int) -> None:
        """See `os.fsync`."""
        fault = self._disk.fault("sync")
        if fault is not None:
            self._disk.record(SyncFailed(_name(file), fault.reached))
            raise OSError(fault.number, os.strerror(fault.number))
        os.fsync(file)
        self._disk.record(Sync(_name(file)))

    fdatasync = fsync


def _name(file: int) -> str:
    return Path(f"/proc/self/fd/{file}").readlink().name
