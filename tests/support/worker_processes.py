"""Many processes of one program, each with a record of its own that it appends to."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from waiting import wait_until

__all__ = ["WorkerProcesses"]

_SECONDS = 90.0


class WorkerProcesses:
    """They run until they end by themselves, or until `stop`.

    Args:
        program: the script, called with ``URI NAME RECORD STOP``.
        folder: for records and the file that stops them.
        names: one process for each name.
        join: gives the URI that a process of that name joins with.
    """

    def __init__(self, program: Path, folder: Path, names: list[str], join: Callable[[str], str]) -> None:
        folder.mkdir(exist_ok=True)
        self._stop = folder / "stop"
        self._log = folder / "log"
        self.records = {name: folder / name for name in names}
        with self._log.open("wb") as log:
            self._processes = [
                subprocess.Popen(
                    [sys.executable, str(program), join(name), name, str(record), str(self._stop)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
                for name, record in self.records.items()
            ]

    @property
    def running(self) -> int:
        """Number of processes that still run."""
        return sum(process.poll() is None for process in self._processes)

    def await_progress(self) -> bool:
        """Wait until half of those that run have appended to their records; False when all have ended."""
        before = self._sizes()

        def moved() -> bool:
            now = self._sizes()
            return 2 * sum(now[name] > before[name] for name in now) >= self.running

        wait_until(moved, "progress of the workers", _SECONDS)
        return self.running > 0

    def stop(self) -> None:
        """Stop all, and wait until they have ended."""
        self._stop.touch()
        self.wait()

    def wait(self) -> None:
        """Wait until all have exited with 0."""
        for process in self._processes:
            assert process.wait(_SECONDS) == 0, self._log.read_text()

    def _sizes(self) -> dict[str, int]:
        return {name: path.stat().st_size if path.exists() else 0 for name, path in self.records.items()}

    def __enter__(self) -> WorkerProcesses:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.kill()
            process.wait(_SECONDS)
