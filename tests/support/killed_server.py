"""A server that is killed again and again at random moments, and restarted at once."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from running_server import Served, ServerProcess
from torture import say
from track_protocol.wire.roles import Role

__all__ = ["KilledServer"]


class KilledServer:
    """A server on one port, however often it is killed.

    Args:
        store: URI of the store.
        home: the server's folder.
        dice: source of the moments.
        program: the arguments with which Python runs the server.
    """

    def __init__(
        self, store: str, home: Path, dice: random.Random, program: Sequence[str] = ("-m", "track.cli")
    ) -> None:
        self._store, self._home, self._dice, self._program = store, home, dice, program
        self._process = ServerProcess(store, home, program=program)
        self._ready_after: list[float] = []

    @property
    def served(self) -> Served:
        """The address and pin of the server."""
        return self._process.served

    def join(self, name: str) -> str:
        """Add a writer and give the URI to join with; its calls wait for a server that starts slowly."""
        return self.served.join(name, Role.WRITER, timeout="60")

    @property
    def kills(self) -> int:
        """Number of kills."""
        return len(self._ready_after)

    def kill(self, times: int, under_load: Callable[[], bool], pause: float = 0.4) -> None:
        """kill -9 and start again, each time up to `pause` seconds after `under_load` has said that it is."""
        for _ in range(times):
            if not under_load():
                return
            time.sleep(self._dice.uniform(0.0, pause))
            self._process.kill()
            killed = time.monotonic()
            port = self.served.port
            self._process = ServerProcess(self._store, self._home, port=port, program=self._program)
            self._ready_after.append(time.monotonic() - killed)

    def report(self, what: str) -> None:
        """Print how long the restarts took."""
        after = self._ready_after
        say(
            f"{what}: {self.kills} kills, ready again after {statistics.median(after):.2f} s "
            f"(median), {max(after):.2f} s (longest)"
        )

    def __enter__(self) -> KilledServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.__exit__()
