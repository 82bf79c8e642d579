"""Servers of one store, one at a time: each comes up at another address than the one before."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from running_server import ServerProcess, free_port
from track_protocol.uri import Uri

__all__ = ["MovingServer"]


class MovingServer:
    """A server that is ended and takes its place at another of its addresses.

    Args:
        store: URI of the store.
        home: the folder of all servers: they have one key and the same users.
        dice: source of moments, places and ways to end.
        options: further arguments of ``track server``.

    Attributes:
        places: the addresses, each with a port.
        process: the server that runs now.
        ups: when each server was ready, and when it was ended, as `time.time` says.
    """

    def __init__(self, store: str, home: Path, dice: random.Random, *options: str) -> None:
        self._store, self._home, self._dice, self._options = store, home, dice, options
        port = free_port()
        self.places = [("127.0.0.1", port), ("127.0.0.2", port), (_last_address(), free_port())]
        self.ups: list[tuple[float, float]] = []
        self.at = 0
        self.process = self._start()

    def join(self, name: str, *places: tuple[str, int]) -> str:
        """Add a writer and give the URI to join with, of all places or of these."""
        return self.uri(Uri.parse(self.process.served.join(name)), *places)

    def uri(self, joined: Uri, *places: tuple[str, int]) -> str:
        """The same URI with all places, or with these, as its hosts."""
        (host, port), *more = places or self.places
        return replace(joined, hostname=host, port=port, more_hosts=tuple(more)).to_text()

    def move(self, *, kill: bool = True) -> None:
        """End the server and start one at another place."""
        self.ups[-1] = (self.ups[-1][0], time.time())
        if kill:
            self.process.kill()
        else:
            assert self.process.stop() == 0
        self.at = (self.at + self._dice.randint(1, 2)) % 3
        self.process = self._start()

    def move_often(self, times: int, under_load: Callable[[], bool], pause: float = 0.4) -> None:
        """Move, each time up to `pause` seconds after `under_load` has said that it is."""
        for _ in range(times):
            if not under_load():
                return
            time.sleep(self._dice.uniform(0.0, pause))
            self.move(kill=self._dice.random() < 0.75)

    def _start(self) -> ServerProcess:
        host, port = self.places[self.at]
        process = ServerProcess(self._store, self._home, *self._options, host=host, port=port)
        self.ups.append((time.time(), float("inf")))
        return process

    def __enter__(self) -> MovingServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.__exit__()


def _last_address() -> str:
    with suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return "::1"
    return "127.0.0.3"
