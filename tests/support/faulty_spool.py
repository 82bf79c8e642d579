"""A program whose spool is on a failing disk: ``python faulty_spool.py FAULT AT TIMES PROGRAM …``.

From the AT-th call of a kind on, TIMES calls on files of the spool fail.  Each one adds a byte to the file
``faults-PID`` beside the folder of spools.
"""

from __future__ import annotations

import errno
import os
import runpy
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from track.outbox import disk as disk_module

__all__ = ["FAULTS", "Fault"]


@dataclass(frozen=True, slots=True)
class Fault:
    """How a disk fails.

    Attributes:
        call: of the system, which fails.
        number: of the system's error.
        half: half of what the first call writes is written; that alone is no failure.
        forgets: data of a failed flush is lost, as a Linux kernel drops pages that it could not write.
    """

    call: str
    number: int
    half: bool = False
    forgets: bool = False


FAULTS: Final = {
    "open": Fault("open", errno.EIO),
    "write": Fault("write", errno.EIO),
    "full": Fault("write", errno.ENOSPC),
    "short": Fault("write", errno.ENOSPC, half=True),
    "flush": Fault("fsync", errno.EIO, forgets=True),
}


class _FailingDisk:
    """Wraps the system's calls.

    Args:
        fault: how it fails.
        at: the first call that does, counted from 1.
        times: how many do in succession.
        spool: the folder of spools.
    """

    def __init__(self, fault: Fault, at: int, times: int, spool: Path) -> None:
        self._fault = fault
        self._hits = range(at, at + times)
        self._spool = str(spool)
        self._calls = 0
        self._reports = spool.with_name(f"faults-{os.getpid()}")
        self._flushed: dict[str, int] = {}
        self._open, self._write, self._fsync = os.open, os.write, os.fsync

    def _fails(self, call: str, path: str) -> bool:
        if call != self._fault.call or not path.startswith(self._spool):
            return False
        self._calls += 1
        if self._calls not in self._hits:
            return False
        with self._reports.open("ab") as report:
            report.write(b"!")
        return True

    def _error(self) -> OSError:
        return OSError(self._fault.number, os.strerror(self._fault.number))

    def open(self, path: Any, flags: int, *rest: Any, dir_fd: int | None = None) -> int:
        """`os.open`."""
        # Folders are opened for each file in them: it is the file whose opening fails.
        full = os.fspath(path) if dir_fd is None else os.path.join(_path_of(dir_fd), path)
        if not flags & os.O_DIRECTORY and self._fails("open", full):
            raise self._error()
        return self._open(path, flags, *rest, dir_fd=dir_fd)

    def write(self, file: int, data: Any) -> int:
        """`os.write`."""
        if self._fails("write", _path_of(file)):
            if self._fault.half and self._calls == self._hits.start:
                return self._write(file, data[: len(data) // 2])
            raise self._error()
        return self._write(file, data)

    def fsync(self, file: int) -> None:
        """`os.fsync`."""
        path = _path_of(file)
        if self._fails("fsync", path):
            if self._fault.forgets and path.endswith(".segment"):
                os.truncate(path, self._flushed.get(path, 0))
            raise self._error()
        self._fsync(file)
        self._flushed[path] = os.fstat(file).st_size


def _path_of(file: int) -> str:
    return os.readlink(f"/proc/self/fd/{file}")


def _install(fault: str, at: int, times: int) -> None:
    disk = _FailingDisk(FAULTS[fault], at, times, Path(os.environ["TRACK_SPOOL"]))
    calls: dict[str, Callable[..., Any]] = {"open": disk.open, "write": disk.write, "fsync": disk.fsync}
    for name, call in calls.items():
        setattr(os, name, call)
    # A test need not wait as long as a user.
    disk_module._RETRY_INTERVAL_S = 0.05  # type: ignore[misc]  # constant elsewhere
    disk_module._SYNC_INTERVAL_S = 0.05  # type: ignore[misc]  # constant elsewhere


if __name__ == "__main__":
    _install(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    del sys.argv[:4]
    runpy.run_path(sys.argv[0], run_name="__main__")
