"""``track board`` as a process of its own, in front of a store."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from running_server import environment

__all__ = ["BoardProcess", "board_of"]

_SECONDS = 30.0


@dataclass
class BoardProcess:
    """A running ``track board``.

    Attributes:
        process: the command.
        url: of the board.
        code: logs in once.
    """

    process: subprocess.Popen[str]
    url: str
    code: str

    def end(self, number: int = signal.SIGTERM) -> int:
        """Stop it by a signal; return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(_SECONDS)


@contextmanager
def board_of(*words: str, named: str = "board", **env: str) -> Iterator[BoardProcess]:
    """``track board``, or another command that shows one, with these arguments, on a free port."""
    command = [sys.executable, "-m", "track.cli", named, *words, "--no-browser"]
    if "--port" not in words:
        command += ["--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment(**env), text=True) as process:
        assert process.stdout is not None
        try:
            address, _, code = process.stdout.readline().strip().partition("#login=")
            assert code, "no address was printed"
            yield BoardProcess(process, address, code)
        finally:
            if process.poll() is None:
                process.kill()
