"""A node of CockroachDB as a child process."""

from __future__ import annotations

import atexit
import logging
import shutil
import subprocess
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from track_protocol.errors import MissingExtra, StoreError, UsageError
from track_protocol.loopback import is_loopback

__all__ = ["CockRoachDB", "CockroachDB"]

_log: Final = logging.getLogger("track")

_PROGRAM: Final = "cockroach"
_READY: Final = "node_id"
_MAX_LINES: Final = 50
_DRAIN_SECONDS: Final = 1.0

_NAMES: Final = MappingProxyType({"rpc_client_flags": "client_flags", "nodeid": "node_id"})
"""Properties whose documented names are not those that the program prints."""


class CockroachDB:
    """A node of CockroachDB that stores its data in a folder, and runs until `stop`.

    The node is a child of this process; it is stopped when this process ends.  The `cockroach` program has
    to be installed.

    Args:
        location: the folder of the data.
        listen: ``HOST:PORT`` for clients and other nodes.
        webui: ``HOST:PORT`` of the page that shows the cluster.
        join: ``HOST:PORT`` of nodes of the cluster to join; without any, it is a cluster of one node.
        certs: the folder of certificates; without one it trusts every client, so that it only listens on
            this machine.
        program: name or path of the executable.

    Attributes:
        location: the folder.
        properties: all that the node has printed of itself at its start, by name.

    Raises:
        UsageError: it should listen to other machines without certificates.
    """

    def __init__(
        self,
        location: str | Path,
        listen: str = "localhost:26257",
        webui: str = "localhost:8080",
        join: Sequence[str] = (),
        certs: str | Path | None = None,
        program: str = _PROGRAM,
    ) -> None:
        for address in (listen, webui):
            if certs is None and not is_loopback(address.rpartition(":")[0]):
                raise UsageError(
                    f"{address}: without certificates, anyone who can reach this node can read and change "
                    "everything; give certs, or listen at localhost"
                )
        self.location = Path(location)
        self.properties: dict[str, str] = {}
        self._program = program
        self._options = [
            f"--store=path={self.location.absolute()}",
            f"--listen-addr={listen}",
            f"--http-addr={webui}",
            "--insecure" if certs is None else f"--certs-dir={certs}",
        ]
        self._command = ["start", f"--join={','.join(join)}"] if join else ["start-single-node"]
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._said: deque[str] = deque(maxlen=_MAX_LINES)
        self._told = threading.Event()

    @property
    def build(self) -> str | None:
        """The program's version; None before the node has printed it."""
        return self.properties.get("build")

    @property
    def client_flags(self) -> str | None:
        """The options with which its command line client finds the node."""
        return self.properties.get("client_flags")

    @property
    def node_id(self) -> str | None:
        """Its number in the cluster."""
        return self.properties.get("node_id")

    @property
    def sql(self) -> str | None:
        """The URL for clients of PostgreSQL."""
        return self.properties.get("sql")

    @property
    def status(self) -> str | None:
        """The state of the node at its start, such as ``restarted pre-existing node``."""
        return self.properties.get("status")

    @property
    def webui(self) -> str | None:
        """The URL of the page that shows the cluster."""
        return self.properties.get("webui")

    def start(self, wait: bool = True, timeout: float = 60.0) -> None:
        """Start the node.

        Args:
            wait: until it serves.
            timeout: seconds to wait.

        Raises:
            MissingExtra: the program is not installed.
            UsageError: the node runs already.
            StoreError: the node has ended again, or does not serve in time; with its output.
        """
        if self._process is not None and self._process.poll() is None:
            raise UsageError(f"the node at {self.location} runs already, with pid {self._process.pid}")
        program = shutil.which(self._program)
        if program is None:
            raise MissingExtra(
                f"no program {self._program!r} is on PATH: install CockroachDB from "
                "https://www.cockroachlabs.com/docs/releases/, or keep trials in 'sqlite:FILE'"
            )
        self.properties, self._told = {}, threading.Event()
        self._said.clear()
        self._process = self._spawn(program)
        atexit.register(self.stop)
        self._reader = threading.Thread(
            target=self._listen, args=(self._process, self._told), name="track-cockroach", daemon=True
        )
        self._reader.start()
        if wait:
            self._wait_until_it_serves(timeout)

    def _spawn(self, program: str) -> subprocess.Popen[str]:
        try:
            return subprocess.Popen(  # noqa: S603  # the program that the caller names
                [program, *self._command, *self._options],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            )
        except OSError as error:
            raise StoreError(f"{program} cannot be run ({error}): install it again") from error

    def stop(self, timeout: float = 30.0) -> None:
        """Ask the node to end, and wait until it has; one that does not end in time is killed.

        Args:
            timeout: seconds to wait.
        """
        process = self._process
        if process is None:
            return
        atexit.unregister(self.stop)
        process.terminate()
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
        self.wait()

    def wait(self) -> int | None:
        """Wait until the node has ended; returns its exit code, None if it never ran."""
        if self._process is None or self._reader is None:
            return None
        code = self._process.wait()
        # Its child processes may hold the pipe open forever.
        self._reader.join(_DRAIN_SECONDS)
        return code

    def parse(self, properties: dict[str, str], line: str) -> Mapping[str, str]:
        """Take one property from a line ``name: value`` that the program prints; other lines have none.

        Args:
            properties: where it is put.
            line: the line.

        Returns:
            `properties`.
        """
        name, colon, value = line.partition(":")
        key = name.strip().lower().replace(" ", "_")
        if colon and value.strip():
            properties[_NAMES.get(key, key)] = value.strip()
        return properties

    def __enter__(self) -> CockroachDB:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _listen(self, process: subprocess.Popen[str], ready: threading.Event) -> None:
        """Read its output until it ends: a full pipe would block it."""
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                self._said.append(line)
                if not ready.is_set():
                    self.parse(self.properties, line)
                if _READY in self.properties:
                    ready.set()
        ready.set()

    def _wait_until_it_serves(self, timeout: float) -> None:
        in_time = self._told.wait(timeout)
        if _READY in self.properties:
            return
        said = "".join(self._said).strip() or "nothing"
        self.stop()
        what = "has ended again" if in_time else f"does not serve after {timeout:g} s"
        raise StoreError(f"the node at {self.location} {what}; its output:\n{said}")


class CockRoachDB(CockroachDB):
    """The same, by the arguments of older scripts.

    Args:
        location: the folder of the data.
        addrs: ``HOST:PORT`` for clients and other nodes.
        join: ``HOST:PORT`` of nodes of the cluster to join, several with commas between them.
        clean_on_exit: remove the folder once the node has ended.  One that held something before stays, with
            a warning.
    """

    def __init__(
        self, location: str | Path, addrs: str, join: str | None = None, clean_on_exit: bool = False
    ) -> None:
        super().__init__(location, addrs, join=join.split(",") if join else ())
        self.clean_on_exit = clean_on_exit
        self._was_empty = not any(self.location.glob("*"))

    def stop(self, timeout: float = 30.0) -> None:
        """See `CockroachDB.stop`."""
        super().stop(timeout)
        if not self.clean_on_exit or not self.location.is_dir():
            return
        if self._was_empty:
            shutil.rmtree(self.location, ignore_errors=True)
        else:
            _log.warning("%s held files before the node was started: it is not removed", self.location)
