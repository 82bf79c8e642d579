"""The demo's other processes: how they are started, watched and ended."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from track.demo.folder import Folder
from track_protocol.errors import ServerUnreachable, TrackError

__all__ = ["Child", "add_users", "listens_at", "start_server", "start_worker", "stop_all"]

_START_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.02
_LAST_LINES: Final = 5


@dataclass(frozen=True, slots=True)
class Child:
    """A process of ours.

    Attributes:
        name: for people.
        process: the process.
        log: what it writes to its standard error.
    """

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def running(self) -> bool:
        """Whether it goes on."""
        return self.process.poll() is None

    @property
    def failure(self) -> str | None:
        """How it failed, with the end of its log; None while it runs, and when it ended well."""
        code = self.process.poll()
        if not code:
            return None
        lines = self.log.read_text(errors="replace").splitlines()[-_LAST_LINES:]
        return "\n".join(
            [f"{self.name} {_ending(code)}; its log is {self.log}", *(f"  {line}" for line in lines)]
        )

    def stop(self, seconds: float) -> int:
        """Ask it to end, and end it if it does not within some seconds; its exit code."""
        self.process.terminate()
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def stop_all(children: Iterable[Child], seconds: float) -> None:
    """Ask all to end at once, and end those that have not within some seconds."""
    running = [child for child in children if child.running]
    for child in running:
        child.process.terminate()
    deadline = time.monotonic() + seconds
    for child in running:
        child.stop(max(0.0, deadline - time.monotonic()))


def start_server(folder: Folder, environment: Mapping[str, str]) -> Child:
    """A server on a free port of this machine, which accepts when this returns.

    Raises:
        ServerUnreachable: it did not start; the message holds the end of its log.
    """
    command = _track("server", "--listen", "127.0.0.1:0", "--home", str(folder.home))
    command += ["--ready-file", str(folder.ready_file)]
    server = _spawn("the server", command, environment, folder.server_log)
    deadline = time.monotonic() + _START_SECONDS
    while not folder.ready_file.exists():
        if not server.running or time.monotonic() > deadline:
            server.stop(0.0)
            raise ServerUnreachable(server.failure or f"the server did not start; its log is {server.log}")
        time.sleep(_POLL_SECONDS)
    return server


def listens_at(folder: Folder) -> str:
    """``host:port`` of the server."""
    ready = json.loads(folder.ready_file.read_bytes())
    return f"{ready['host']}:{ready['port']}"


def add_users(folder: Folder, environment: Mapping[str, str], roles: Mapping[str, str]) -> dict[str, str]:
    """Add users to the running server.

    Args:
        folder: of the demo.
        environment: of the processes.
        roles: by user name.

    Returns:
        The URIs to join with, by user name.

    Raises:
        TrackError: a user could not be added.
    """
    adding = {
        name: subprocess.Popen(  # noqa: S603 - a command of our own
            _track("user", "add", name, "--role", role, "--home", str(folder.home)),
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )
        for name, role in roles.items()
    }
    outcomes = {name: (*process.communicate(), process.returncode) for name, process in adding.items()}
    for name, (_, told, code) in outcomes.items():
        if code:
            raise TrackError(f"the user {name} could not be added: {told.strip() or _ending(code)}")
    return {name: uri.strip() for name, (uri, _, _) in outcomes.items()}


def start_worker(
    folder: Folder, environment: Mapping[str, str], name: str, uri: str, group: str, epochs: int
) -> Child:
    """A worker, which joins by `uri` and takes trials from the group with the uid `group`."""
    command = [sys.executable, "-m", "track.demo.worker", "--name", name, "--group", group]
    command += ["--epochs", str(epochs)]
    return _spawn(
        name,
        command,
        {**environment, "TRACK_URI": uri},
        folder.worker_log(name),
        folder.worker_report(name),
    )


def _track(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "track.cli", *arguments]


def _spawn(
    name: str, command: Sequence[str], environment: Mapping[str, str], log: Path, output: Path | None = None
) -> Child:
    with log.open("ab") as errors, (output or log).open("ab") as answers:
        process = subprocess.Popen(  # noqa: S603 - a command of our own
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=answers,
            stderr=errors,
            process_group=0,  # Ctrl-C is for the demo, which then ends them in order
        )
    return Child(name, process, log)


def _ending(code: int) -> str:
    if code >= 0:
        return f"failed with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
