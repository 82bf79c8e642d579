"""The demo's other processes: how they are started, watched and ended."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Final

from track.demo.folder import Folder
from track.demo.interruption import undisturbed
from track_protocol.errors import ServerUnreachable, TrackError

__all__ = ["LEASE_SECONDS", "Child", "Processes"]

LEASE_SECONDS: Final = 5
"""After which the trial of a killed worker is lost; short, for somebody may be waiting to see that."""

_START_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.02
_END_SECONDS: Final = 5.0
_DRAIN_SECONDS: Final = 20.0
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
        """Whether it still runs."""
        return self.process.poll() is None

    @property
    def failure(self) -> str | None:
        """How it failed, with the end of its log; None while it runs, and when it ended well."""
        code = self.process.poll()
        if not code:
            return None
        lines = self.log.read_text(errors="replace").splitlines()[-_LAST_LINES:]
        return "\n  ".join([f"{self.name} {_ending(code)}; its log is {self.log}", *lines])

    @property
    def killed(self) -> bool:
        """Whether somebody killed it."""
        return self.process.poll() == -signal.SIGKILL


class Processes:
    """All processes of a demo; as a context manager, it ends what still runs.

    Args:
        folder: where their files go.
        environment: of all of them.
    """

    def __init__(self, folder: Folder, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = environment
        self._server: Child | None = None
        self._board: Child | None = None
        self._others: list[subprocess.Popen[bytes]] = []
        self.workers: list[Child] = []

    def start_server(self) -> str:
        """Start a server on a free port of this machine.

        Returns:
            ``host:port``, where it accepts now.

        Raises:
            ServerUnreachable: it did not start; the message has the end of its log.
        """
        ready_file, log = self._folder.ready_file, self._folder.server_log
        command = _track("server", "--listen", "127.0.0.1:0", "--home", str(self._folder.home))
        command += ["--lease", str(LEASE_SECONDS)]
        with undisturbed(), log.open("ab") as output:
            process = self._popen([*command, "--ready-file", str(ready_file)], stdout=output, stderr=output)
            self._server = Child("the server", process, log)
        deadline = time.monotonic() + _START_SECONDS
        while not ready_file.exists():
            self.check_server()
            if time.monotonic() > deadline:
                raise ServerUnreachable(f"the server is not ready after {_START_SECONDS:.0f} s; see {log}")
            time.sleep(_POLL_SECONDS)
        ready = json.loads(ready_file.read_bytes())
        return f"{ready['host']}:{ready['port']}"

    def check_server(self) -> None:
        """Raise `ServerUnreachable` if the server has ended."""
        assert self._server is not None
        if not self._server.running:
            ended = self._server.failure or f"the server ended too early; its log is {self._server.log}"
            raise ServerUnreachable(ended)

    def end_server(self) -> None:
        """Ask the server to drain and end.

        Raises:
            TrackError: it did not end well.
        """
        assert self._server is not None
        with undisturbed():
            _end_all([self._server.process], _DRAIN_SECONDS)
        if self._server.failure is not None:
            raise TrackError(self._server.failure)

    def start_board(self, uri: str) -> str:
        """Start a board of the server.

        Args:
            uri: of the server; the board may do what its user may.

        Returns:
            The address that logs in, once.

        Raises:
            TrackError: it did not start; the message has the end of its log.
        """
        command = _track("board", "--no-browser")
        log = self._folder.board_log
        with undisturbed(), log.open("ab") as output:
            process = self._popen(command, stdout=subprocess.PIPE, stderr=output, TRACK_URI=uri)
            self._board = Child("the board", process, log)
            self._others.append(process)
        assert process.stdout is not None
        address = process.stdout.readline().decode().strip()
        if not address:
            process.wait()
            raise TrackError(self._board.failure or f"the board ended too early; its log is {log}")
        return address

    def wait_for_board(self) -> None:
        """Wait, for a signal that unwinds the stack: the board does not end by itself.

        Raises:
            TrackError: it did.
        """
        assert self._board is not None
        self._board.process.wait()
        raise TrackError(self._board.failure or f"the board was ended; its log is {self._board.log}")

    def end_board(self) -> None:
        """Ask the board to end.

        Raises:
            TrackError: it did not end well.
        """
        assert self._board is not None
        with undisturbed():
            _end_all([self._board.process], _END_SECONDS)
        if self._board.failure is not None:
            raise TrackError(self._board.failure)

    def add_users(self, roles: Mapping[str, str]) -> dict[str, str]:
        """Add users to the running server.

        Args:
            roles: by user name.

        Returns:
            The URIs to join with, by user name.

        Raises:
            TrackError: a user could not be added.
        """
        adding = {name: self._add_user(name, role) for name, role in roles.items()}
        return {name: _join_uri(name, process) for name, process in adding.items()}

    def _add_user(self, name: str, role: str) -> subprocess.Popen[bytes]:
        command = _track("user", "add", name, "--role", role, "--home", str(self._folder.home))
        with undisturbed():
            process = self._popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            self._others.append(process)
        return process

    def start_worker(self, name: str, uri: str, group: str, epochs: int) -> None:
        """Start a worker.

        Args:
            name: of the worker.
            uri: of the server.
            group: uid of the group whose trials it claims.
            epochs: how often each trial sees the data.
        """
        command = [sys.executable, "-m", "track.demo.worker", "--name", name, "--group", group]
        command += ["--epochs", str(epochs)]
        log, report = self._folder.worker_log(name), self._folder.worker_report(name)
        with undisturbed(), log.open("ab") as output, report.open("wb") as answer:
            process = self._popen(command, stdout=answer, stderr=output, TRACK_URI=uri)
            self.workers.append(Child(name, process, log))

    def _popen(
        self, command: list[str], *, stdout: IO[bytes] | int, stderr: IO[bytes] | int, **environment: str
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - a command of our own
            command,
            env={**self._environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            process_group=0,  # Ctrl-C is for the demo, which then ends them in order
        )

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with undisturbed():
            _end_all([*self._others, *(worker.process for worker in self.workers)], _END_SECONDS)
            if self._server is not None:
                _end_all([self._server.process], _DRAIN_SECONDS)


def _end_all(processes: Iterable[subprocess.Popen[bytes]], seconds: float) -> None:
    """Ask all to end at once, and end those that have not within some seconds."""
    asked = list(processes)
    for process in asked:
        process.terminate()
    deadline = time.monotonic() + seconds
    for process in asked:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def _join_uri(name: str, adding: subprocess.Popen[bytes]) -> str:
    uri, output = adding.communicate()
    if adding.returncode:
        why = output.decode(errors="replace").strip() or _ending(adding.returncode)
        raise TrackError(f"the user {name} could not be added: {why}")
    return uri.decode().strip()


def _track(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "track.cli", *arguments]


def _ending(code: int) -> str:
    if code >= 0:
        return f"failed with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
