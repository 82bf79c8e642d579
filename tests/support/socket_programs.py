"""Programs at both ends of a socket, each a process of its own as a user would start it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

__all__ = ["ECHO", "SAY", "start", "user"]

ECHO = """
import sys
from track.utils import listen_socket

with listen_socket("127.0.0.1", 0, backend="AES") as listening:
    print(listening.getsockname()[1], flush=True)
    connection, address = listening.accept()
    with connection, connection.makefile("rwb") as stream:
        for line in stream:
            stream.write(b"heard " + line)
            stream.flush()
"""
"""Listens, and prints the port."""

SAY = """
import sys
from track.utils import open_socket

with open_socket("127.0.0.1", int(sys.argv[1]), backend="AES") as connection:
    connection.sendall(b"hello\\n")
    print(connection.recv(1024).decode(), end="")
"""
"""Connects to the port, says something, and prints the answer."""


def user(home: Path, **variables: str) -> dict[str, str]:
    """The environment of a user whose home is that folder."""
    names = {"HOME": str(home), "XDG_STATE_HOME": str(home / ".local/state")}
    return {**os.environ, **names, **variables}


def start(program: str, *arguments: str, env: dict[str, str]) -> subprocess.Popen[str]:
    """A process that runs the program."""
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    )
