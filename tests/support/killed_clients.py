"""Training processes that log until all are killed at once, and their orphaned spools."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import torture_spooler
from running_server import environment
from waiting import wait_until

__all__ = ["KilledClients", "sync"]

_SECONDS = 60.0


class KilledClients:
    """Some processes of one program, each with the processes that it forks.

    Args:
        uri: of their server.
        folder: for their records, and their spools in ``spool``.
        names: one process for each.
        program: what Python runs, before ``URI NAME RECORD``.
        options: what follows these.
        forks: how many processes each of them forks; with any, the records are ``RECORD-0``, ``RECORD-1`` …
    """

    def __init__(
        self,
        uri: str,
        folder: Path,
        names: list[str],
        *,
        program: Sequence[str] = (torture_spooler.__file__,),
        options: Sequence[str] = (),
        forks: int = 0,
    ) -> None:
        folder.mkdir(exist_ok=True)
        each = [f"-{number}" for number in range(1 + forks)] if forks else [""]
        self.records = {f"{name}{number}": folder / f"{name}{number}" for name in names for number in each}
        self._log = folder / "log"
        with self._log.open("ab") as log:
            self._processes = [
                subprocess.Popen(
                    [sys.executable, *program, uri, name, str(folder / name), *options],
                    env=environment(TRACK_SPOOL=str(folder / "spool")),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
                for name in names
            ]

    def await_logging(self, calls: int = 1) -> None:
        """Wait until each has made so many more log calls."""
        before = self._returned()

        def all_have() -> bool:
            assert all(process.poll() is None for process in self._processes), self._log.read_text()
            now = self._returned()
            return all(now[name] >= before[name] + calls for name in now)

        wait_until(all_have, "every process has logged", _SECONDS)

    def _returned(self) -> dict[str, int]:
        """How many log calls of each have returned."""
        return {
            name: path.read_bytes().count(b"\n") if path.exists() else 0
            for name, path in self.records.items()
        }

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all, forked ones too."""
        for process in self._processes:
            os.killpg(process.pid, number)

    def kill(self) -> dict[str, int]:
        """Kill all with SIGKILL; return how many log calls of each had returned."""
        self.signal(signal.SIGKILL)
        for process in self._processes:
            process.wait(_SECONDS)
        return self._returned()

    def wait(self) -> dict[str, int]:
        """Wait until all have exited with 0; return how many log calls of each count."""
        for process in self._processes:
            assert process.wait(_SECONDS) == 0, self._log.read_text()
        return self._returned()

    def __enter__(self) -> KilledClients:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(_SECONDS)


def sync(spool: Path, uri: str, *, program: Sequence[str] = ("-m", "track.cli")) -> str:
    """Run ``track sync``, which must succeed; return its output."""
    command = [sys.executable, *program, "sync", str(spool), "--to", uri]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment())
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
