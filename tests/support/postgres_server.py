"""A PostgreSQL server of the tests' own: a fresh cluster in a temporary folder, which is removed at the
end."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import psycopg

from waiting import wait_until

__all__ = ["PROGRAMS", "PostgresServer"]


def _programs() -> Path | None:
    """The folder of the newest PostgreSQL that is installed; Debian puts it on no path."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda each: int(each.parts[-3]))
    found = shutil.which("initdb") or (str(debian[-1]) if debian else None)
    return None if found is None else Path(found).parent


PROGRAMS: Final = _programs()
"""Where its programs are; None if it is not installed."""

_FAST: Final = ("fsync=off", "full_page_writes=off")
_SETTINGS: Final = (
    *("shared_buffers=16MB", "max_connections=60", "autovacuum_naptime=10min", "max_wal_size=256MB"),
    *("logging_collector=off", "deadlock_timeout=100ms"),
)


class PostgresServer:
    """A running server, reached through a socket in its folder.

    Args:
        durable: whether its commits reach the disk.
        port: where it listens on loopback, too; None for nowhere.
        settings: further ones, ``name=value``.
        within: where its folder is made; by default where temporary folders are.
    """

    def __init__(
        self,
        *,
        durable: bool = False,
        port: int | None = None,
        settings: tuple[str, ...] = (),
        within: Path | None = None,
    ) -> None:
        assert PROGRAMS is not None, "it is not installed"
        self._user = _unprivileged()
        self.folder = Path(tempfile.mkdtemp(prefix="track-pg-", dir=within))
        if self._user:
            os.chown(self.folder, self._user["user"], self._user["group"])
        self._durable = durable
        self.port = port
        self._more = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._run(
            "initdb", "-D", str(self.data), "-A", "trust", "-U", "track", "-E", "UTF8", "--locale=C", "-N"
        )
        self.start()

    @property
    def data(self) -> Path:
        """The folder of the cluster."""
        return self.folder / "data"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        assert PROGRAMS is not None
        settings = [*_SETTINGS, *(() if self._durable else _FAST), *self._more]
        listen = "" if self.port is None else "127.0.0.1"
        settings += [f"unix_socket_directories={self.folder}", f"listen_addresses={listen}"]
        settings += [] if self.port is None else [f"port={self.port}"]
        options = [part for each in settings for part in ("-c", each)]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(PROGRAMS / "postgres"), "-D", str(self.data), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self._user,
            )
        wait_until(self._answers, "PostgreSQL answers")

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError((self.folder / "log").read_text()[-2_000:])
        try:
            self.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def _run(self, program: str, *arguments: str) -> None:
        assert PROGRAMS is not None
        done = subprocess.run(
            [str(PROGRAMS / program), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
            **self._user,
        )
        assert done.returncode == 0, done.stderr

    def execute(self, statement: str, *, database: str = "postgres") -> list[tuple[Any, ...]]:
        """The rows of a statement that an administrator makes."""
        parts = {"host": str(self.folder), "user": "track", "dbname": database}
        if self.port is not None:
            parts["port"] = str(self.port)
        with psycopg.connect(psycopg.conninfo.make_conninfo(**parts), autocommit=True) as db:
            cursor = db.execute(statement.encode())
            return cursor.fetchall() if cursor.description is not None else []

    def uri(self, schema: str, **options: str) -> str:
        """The URI of a store in a schema."""
        more = "".join([f"&{name}={quote(value, safe='')}" for name, value in options.items()])
        port = "" if self.port is None else f"&port={self.port}"
        return f"postgresql:///postgres?host={self.folder}&user=track&schema={schema}{port}{more}"

    @property
    def disk_bytes(self) -> int:
        """What its database occupies, without the write-ahead log."""
        ((size,),) = self.execute("SELECT pg_database_size('postgres')")
        return int(size)

    @property
    def cpu_seconds(self) -> float:
        """Processor time that its processes have used, as far as they are still there."""
        ticks = 0
        for each in _processes_of(self.data):
            with suppress(OSError):  # it has just ended
                fields = (each / "stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        """End it as a power cut does, as far as processes go."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        wait_until(lambda: not _processes_of(self.data), "PostgreSQL has ended")

    def stop(self) -> None:
        """End it at once and in order, and remove its folder."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait()
        shutil.rmtree(self.folder)


def _unprivileged() -> dict[str, Any]:
    """Who runs it, as arguments of a process: it refuses to be root."""
    if os.geteuid() != 0:
        return {}
    names = {each.pw_name: each for each in pwd.getpwall()}
    user = names.get("postgres") or names["nobody"]
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _processes_of(data: Path) -> list[Path]:
    """The processes of a cluster that are alive: each works in the folder of its data."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cwd"):
        with suppress(OSError):  # it has just ended, or is another user's
            if each.readlink() == data:
                found.append(each.parent)
    return found
