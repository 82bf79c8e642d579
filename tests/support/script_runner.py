"""Runs training scripts as processes of their own, and reads the trial that they logged."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from running_server import environment
from track import TrackClient, Trial

__all__ = ["HEAD", "ScriptRunner"]

HEAD = """
import multiprocessing, os, signal, sys, time
from track import Status, TrackClient

def ready():
    print("ready", flush=True)

def rest():
    # In short pieces: Python handles a signal that comes just before one of them only behind it.
    while True:
        time.sleep(0.01)

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup, which ignores it
client = TrackClient(os.environ["TRACK_URI"])
"""


class ScriptRunner:
    """Runs scripts that log to one store.

    Args:
        folder: working directory of the scripts.
        uri: of the store; scripts read it from ``TRACK_URI``.
    """

    def __init__(self, folder: Path, uri: str) -> None:
        self.folder = folder
        self.uri = uri

    @contextmanager
    def script(self, source: str, **changes: str) -> Iterator[subprocess.Popen[str]]:
        """Start a script and wait until it prints that it is ready; it is killed at the end.

        Args:
            source: the code after `HEAD`.
            changes: environment variables to set.
        """
        path = self.folder / "script.py"
        path.write_text(HEAD + textwrap.dedent(source))
        env = environment(PYTHONPATH=os.pathsep.join(sys.path), TRACK_URI=self.uri, **changes)
        command = [sys.executable, str(path)]
        with subprocess.Popen(
            command,
            cwd=self.folder,
            env=env,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == "ready\n", process.communicate()
                yield process
            finally:
                process.kill()

    def trial(self) -> tuple[Trial, dict[str, list[float]]]:
        """Return the only trial and the values of all its series."""
        with TrackClient(self.uri) as client:
            (trial,) = client.protocol.fetch_trials({})
            values = {name: list(client.protocol.fetch_metrics(trial, name).values) for name in trial.metrics}
            trial.chronos = dict(trial.chronos)
            return trial, values
