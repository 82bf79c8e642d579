"""Training scripts as processes of their own, and what became of their trial."""

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

__all__ = ["HEAD", "Stage"]

HEAD = """
import multiprocessing, os, signal, sys, time
from track import Status, TrackClient

def ready():
    print("ready", flush=True)

def rest():
    time.sleep(60)

client = TrackClient(os.environ["TRACK_URI"])
"""


class Stage:
    """Scripts that log to one store.

    Args:
        folder: where they are.
        uri: of the store, which they find in ``TRACK_URI``.
    """

    def __init__(self, folder: Path, uri: str) -> None:
        self.folder = folder
        self.uri = uri

    @contextmanager
    def script(self, source: str, **changes: str) -> Iterator[subprocess.Popen[str]]:
        """A script of its own, up to the line in which it says that it is ready.

        Args:
            source: what follows `HEAD`.
            changes: of the environment.
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
        """The only trial, and the values of all its series."""
        with TrackClient(self.uri) as client:
            (trial,) = client.protocol.fetch_trials({})
            values = {name: list(client.protocol.fetch_metrics(trial, name).values) for name in trial.metrics}
            trial.chronos = dict(trial.chronos)
            return trial, values
