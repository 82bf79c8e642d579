"""Real servers to talk to: one in a thread of this process, or one as a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import uvloop

from engine_calls import writer_held
from track_protocol.uri import Uri
from track_protocol.wire.roles import Role
from track_server.accounts.users import UserStore
from track_server.app import Settings
from track_server.engine.engine import Engine
from track_server.network.limits import Limits
from track_server.network.server import SocketServer
from waiting import wait_until

_TIMEOUT = 30.0
_START = 60.0  # imports are slow where many tests share few cores


@dataclass(frozen=True)
class Served:
    """A running server; `server` is the object when it runs in this process."""

    host: str
    port: int
    pin: str
    home: Path
    plaintext: bool = False
    server: SocketServer | None = None

    def uri(self, name: str, secret: str, **options: str) -> str:
        """A URI to join with."""
        layer = "plaintext" if self.plaintext else "AES"
        query = {"security_layer": layer, "pin": self.pin, **options}
        query = {key: value for key, value in query.items() if value}
        return Uri("socket", self.host, self.port, username=name, password=secret, query=query).to_text()

    def join(self, name: str, role: Role = Role.WRITER, **options: str) -> str:
        """Add a user and give the URI to join with."""
        return self.uri(name, UserStore(self.home).add(name, role), **options)


def limited(settings: Settings, **limits: float) -> Settings:
    """The same settings with these limits."""
    return replace(settings, limits=Limits(**limits))  # type: ignore[arg-type] # some are counts


@contextmanager
def serving(settings: Settings, server_class: type[SocketServer] = SocketServer) -> Iterator[Served]:
    """A server in a thread of this process, on a free port, drained at the end."""
    server = server_class(settings=replace(settings, port=0))
    started: Future[None] = Future()

    async def run() -> None:
        try:
            await server.start()
        except BaseException as error:  # noqa: BLE001 - raised again in the test's thread
            started.set_exception(error)
            return
        started.set_result(None)
        await server.wait_closed()

    def main() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run())

    with ThreadPoolExecutor(1, thread_name_prefix="test-server") as thread:
        ended = thread.submit(main)
        started.result(_TIMEOUT)
        host, port = server.address
        try:
            yield Served(host, port, server.pin, settings.home, settings.plaintext, server)
        finally:
            server.close()
            ended.result(_TIMEOUT)


class ServerProcess:
    """``track server`` as a process of its own.

    Args:
        store: URI of the store.
        home: the server's folder.
        options: further arguments of the command.
        host, port: where to listen; by default on 127.0.0.1, and on a free port.
        program: the arguments with which Python runs a server instead of the command ``track``.

    Attributes:
        board: URL of the board; empty without the option ``--http``.
    """

    board = ""

    def __init__(
        self,
        store: str,
        home: Path,
        *options: str,
        host: str = "127.0.0.1",
        port: int = 0,
        program: Sequence[str] = ("-m", "track.cli"),
    ) -> None:
        self.home = home
        self._ready = home.parent / f"{home.name}.ready.json"
        self._ready.unlink(missing_ok=True)
        self.log = home.parent / f"{home.name}.log"
        address = f"[{host}]" if ":" in host else host
        listen = f"{address}:{port or free_port()}"
        command = [sys.executable, *program, "server", store, "--listen", listen]
        command += ["--home", str(home), "--ready-file", str(self._ready), *options]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self.served = self._await_ready()

    def _await_ready(self) -> Served:
        ended = self.process.poll
        wait_until(lambda: self._ready.exists() or ended() is not None, "the server's ready file", _START)
        assert self._ready.exists(), f"the server did not start: {self.log.read_text()}"
        ready = json.loads(self._ready.read_text())
        self.board = ready.get("board", "")
        return Served(ready["host"], ready["port"], ready["pin"], self.home)

    def stop(self) -> int:
        """Stop the server with SIGTERM; return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(_TIMEOUT)

    def kill(self) -> None:
        """Kill the server with SIGKILL."""
        self.process.kill()
        self.process.wait(_TIMEOUT)

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()


def free_port() -> int:
    """A free port below the range from which the kernel picks, so that it is still free for a restart."""
    while True:
        port = random.SystemRandom().randrange(10_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def environment(**changes: str) -> dict[str, str]:
    """This process's environment with changes."""
    return {**os.environ, **changes}


@contextmanager
def busy_disk(served: Served) -> Iterator[Callable[[], None]]:
    """Hold the writer thread of a server in this process until the yielded function is called."""
    assert served.server is not None
    engine = served.server.engine
    assert isinstance(engine, Engine)
    with writer_held(engine) as resume:
        yield resume
