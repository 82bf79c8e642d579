"""Runs subcommands of `track` in the test's own process, on a store of trials."""

from __future__ import annotations

import argparse
import math
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence
from fcntl import ioctl

from track import TrackClient
from track_protocol.command import Command


def run(command: Command, *words: str) -> int:
    """Run a subcommand; return its exit code, raise its error."""
    parser = argparse.ArgumentParser()
    command.configure(parser)
    return command.run(parser.parse_args(words))


def fill(uri: str, points: int = 4) -> list[str]:
    """Store three trials in a project and a group, the last one failed; return their uids."""
    uids = []
    with TrackClient(uri) as client:
        client.set_project(name="vision")
        client.set_group(name="sweep")
        for number, name in enumerate(("first", "résumé 猫", "first")):
            trial = client.new_trial(
                force=True,
                name=name,
                arguments={"lr": 0.1 * (number + 1), "opt": {"name": "adam"}, "same": 1},
            )
            trial.start()
            for step in range(points):
                value = math.nan if step == 1 else 1.0 / (1 + step + number)
                trial.log_metrics(step=step, loss=value, note="x", **{'loss{phase="val"}': 2.0 * step})
            trial.add_tags(team="red" if number else "blue")
            error = ValueError("diverged") if number == 2 else None
            trial.finish(*(type(error), error) if error else ())
            uids.append(trial.trial.uid)
    return uids


def in_terminal(
    columns: int,
    *words: str,
    uri: str,
    env: Sequence[tuple[str, str]] = (),
    may_fail: bool = False,
    program: Sequence[str] = ("-m", "track.cli"),
) -> str:
    """Return what `track`, or another program, prints with these arguments on a terminal of that width."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 500, columns, 0, 0))
    environment = {**os.environ, "TRACK_URI": uri, "TERM": "xterm", **dict(env)}
    environment.pop("COLUMNS", None)
    command = [sys.executable, *program, *words]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    parts = []
    try:
        while part := os.read(ours, 65_536):
            parts.append(part)
    except OSError:
        pass  # Linux reports a closed peer of a terminal this way
    os.close(ours)
    assert process.wait(60) == 0 or may_fail
    return b"".join(parts).decode(errors="replace").replace("\r\n", "\n")
