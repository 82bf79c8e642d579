"""The server under measurement: a real `track server` process, and the kernel's figures of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from postgres_server import PostgresServer

__all__ = ["Daemon", "serving"]

_START_SECONDS: Final = 30.0
_MAINTENANCE_TIMEOUT_S: Final = 60.0
_UNCHANGED_S: Final = 4.0
"""Background work counts as done when no file has grown for so long."""

_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Daemon:
    """A running server.

    Attributes:
        pid: of its process.
        store: the file or the database in which it stores.
        uri: what a writer joins with.
    """

    pid: int
    store: Path | PostgresServer
    uri: str

    @property
    def cpu_seconds(self) -> float:
        """Processor time that it has used, in user and kernel mode."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    @property
    def peak_megabytes(self) -> float:
        """The most memory that it ever had resident, in units of 10^6 bytes."""
        (line,) = [
            line
            for line in Path(f"/proc/{self.pid}/status").read_text().splitlines()
            if line.startswith("VmHWM:")
        ]
        return int(line.split()[1]) * 1024 / 1e6

    @property
    def disk_bytes(self) -> int:
        """What the store occupies: the database and, of a file, its write-ahead log."""
        if isinstance(self.store, PostgresServer):
            return self.store.disk_bytes
        files = (self.store, self.store.with_name(f"{self.store.name}-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def bytes_at_rest(self) -> int:
        """`disk_bytes` once the background work is done."""
        pause = threading.Event()
        began = still = time.monotonic()
        size, used = self.disk_bytes, self.cpu_seconds
        while time.monotonic() - still < _UNCHANGED_S and time.monotonic() - began < _MAINTENANCE_TIMEOUT_S:
            pause.wait(0.25)
            before = size, used
            size, used = self.disk_bytes, self.cpu_seconds
            if size != before[0] or used - before[1] > 2 / _TICKS:
                still = time.monotonic()
        return size


@contextmanager
def serving(folder: Path, database: PostgresServer | None = None) -> Iterator[Daemon]:
    """A server of a new store in `folder`, which is made here; asked to stop at the end.

    Args:
        folder: of the server.
        database: where the store is instead, in a schema that has the folder's name.

    Raises:
        RuntimeError: it did not start, or did not stop with exit code 0.
    """
    folder.mkdir()
    home, ready, log, store = (folder / name for name in ("home", "ready.json", "server.log", "track.db"))
    backend = f"sqlite:{store}" if database is None else database.uri(folder.name.replace("-", "_"))
    command = [sys.executable, "-m", "track.cli"]
    address = ["--listen", "127.0.0.1:0", "--home", str(home), "--ready-file", str(ready)]
    # A runtime folder of its own, so that it does not replace this user's real server.
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(folder)}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "server", backend, *address], stdout=output, stderr=output, env=environment
        )
    try:
        _await(ready, process, log)
        announced = json.loads(ready.read_text())
        joining = subprocess.run(
            [*command, "user", "add", "bench", "--role", "writer", "--home", str(home)],
            check=True,
            capture_output=True,
            text=True,
        )
        yield Daemon(announced["pid"], store if database is None else database, joining.stdout.strip())
    except BaseException:
        process.kill()
        raise
    finally:
        process.terminate()
        code = process.wait()
    if code:
        raise RuntimeError(f"the server ended with {code}: {log.read_text()}")


def _await(ready: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    pause = threading.Event()
    deadline = time.monotonic() + _START_SECONDS
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the server did not start: {log.read_text()}")
        pause.wait(0.01)
