"""A server, one user and a folder of spools, with client processes that are killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orphaned_spools import running_script
from running_server import ServerProcess, environment
from track import TrackClient
from track.spool.reader import look_in
from waiting import wait_until

__all__ = ["VALUES", "SpoolScenario"]

VALUES = [float(step) for step in range(20_000)]

_OFFLINE_RUN = """
trial = client.new_trial(name="t", version="1")
trial.log_arguments(a=1)
trial.start()
client.protocol.flush()
say("ready")
sys.stdin.readline()          # the test kills the server
for step in range(20_000):
    trial.log_metrics(step=step, loss=float(step))
say("logged")
time.sleep(120)
"""


class SpoolScenario:
    """A server with a store on disk, one user, and a folder of spools."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spools = folder / "spools"
        self.store = f"sqlite:{folder / 'runs.db'}"
        self.server = self.start()
        self.uri = self.server.served.join("ann")

    def start(self, port: int = 0) -> ServerProcess:
        return ServerProcess(self.store, self.folder / "home", port=port)

    def restart(self) -> None:
        self.server.kill()
        self.server = self.start(self.server.served.port)

    def track(self, *words: str, **changes: str) -> subprocess.CompletedProcess[str]:
        """Run a command with the user's URI in the environment."""
        with self.running(*words, **changes) as process:
            out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def running(self, *words: str, **changes: str) -> subprocess.Popen[str]:
        """Start a command."""
        env = environment(**{"TRACK_URI": self.uri, "TRACK_SPOOL": str(self.spools), **changes})
        command = [sys.executable, "-m", "track.cli", *words]
        return subprocess.Popen(
            command,
            env=env,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.folder,
        )

    def values(self) -> list[float]:
        """Return the stored values of the only trial's loss."""
        with TrackClient(self.uri) as client:
            (trial,) = client.protocol.fetch_trials({})
            return (
                list(client.protocol.fetch_metrics(trial, "loss").values) if "loss" in trial.metrics else []
            )

    def leave_spool(self) -> Path:
        """Kill a process that has logged 20,000 points without a server, and return its spool."""
        with self.offline_run() as script:
            script.send_signal(signal.SIGKILL)
            script.wait()
        (path,) = self.spools.iterdir()
        return path

    @contextmanager
    def offline_run(self) -> Iterator[subprocess.Popen[str]]:
        """A process that has queued 20,000 points on disk since its server was killed."""
        with running_script(self.folder, _OFFLINE_RUN, self.uri, TRACK_SPOOL=str(self.spools)) as script:
            self.server.kill()
            assert script.stdin is not None
            assert script.stdout is not None
            script.stdin.write("\n")
            script.stdin.flush()
            assert script.stdout.readline() == "logged\n", script.communicate()
            wait_until(lambda: self.on_disk() >= len(VALUES), "all points on disk")
            yield script

    def on_disk(self) -> int:
        """Return how many points are queued on disk."""
        return sum(found.waiting.points for found in look_in(self.spools))
