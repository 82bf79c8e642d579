"""Two hosts that have nothing in common but a network: the join URI is all that the second one gets."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from running_server import environment
from waiting import wait_until

_WORKER = """
import sys
from track import TrackClient

client = TrackClient(sys.argv[1])
client.set_project(name="shared")
trial = client.new_trial(name=sys.argv[2])
with trial:
    for step in range(1000):
        trial.log_metrics(step=step, loss=1.0 / (step + 1))
client.close()
"""


@dataclass(frozen=True)
class _Host:
    """A network namespace with a home of its own."""

    name: str
    address: str
    folder: Path

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Run a program there."""
        variables = {"HOME": str(self.folder), "TMPDIR": str(self.folder)}
        variables |= {
            f"XDG_{kind}": str(self.folder / kind) for kind in ("STATE_HOME", "DATA_HOME", "RUNTIME_DIR")
        }
        return subprocess.Popen(
            ["ip", "netns", "exec", self.name, sys.executable, *command],
            env=environment(**variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[tuple[_Host, _Host]]:
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("two hosts need network namespaces: root and iproute2")
    unique = uuid.uuid4().hex[:6]
    names = (f"track-a-{unique}", f"track-b-{unique}")
    made = []
    try:
        for name in names:
            try:
                _ip("netns", "add", name)
            except subprocess.CalledProcessError as error:
                pytest.skip(f"network namespaces cannot be made here: {error.stderr.strip()}")
            made.append(name)
        ends = (f"ta{unique}", f"tb{unique}")
        _ip("link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
        for name, end, address in zip(names, ends, ("10.77.0.1", "10.77.0.2"), strict=True):
            _ip("link", "set", end, "netns", name)
            _ip("-n", name, "addr", "add", f"{address}/24", "dev", end)
            _ip("-n", name, "link", "set", end, "up")
            _ip("-n", name, "link", "set", "lo", "up")
            (tmp_path / name).mkdir()
        first, second = (
            _Host(name, address, tmp_path / name)
            for name, address in zip(names, ("10.77.0.1", "10.77.0.2"), strict=True)
        )
        yield first, second
    finally:
        for name in made:
            _ip("netns", "del", name)


def test_processes_on_another_host_join_by_the_uri_alone(hosts: tuple[_Host, _Host]) -> None:
    here, there = hosts
    ready, home = here.folder / "ready.json", str(here.folder / "home")
    server = here.start(
        *("-m", "track.cli", "server", f"sqlite:{here.folder}/runs.db", "--listen", f"{here.address}:0"),
        *("--home", home, "--ready-file", str(ready)),
    )
    try:
        wait_until(lambda: ready.exists() or server.poll() is not None, "the server accepts")
        assert server.poll() is None, server.communicate()[1]
        added = here.start("-m", "track.cli", "user", "add", "ann", "--role", "writer", "--home", home)
        uri = added.communicate(timeout=30)[0].strip()
        assert f"@{here.address}:{json.loads(ready.read_text())['port']}?" in uri
        workers = [there.start("-c", _WORKER, uri, f"worker {number}") for number in range(3)]
        for worker in workers:
            complaints = worker.communicate(timeout=60)[1]
            assert worker.returncode == 0, complaints
        asked = there.start("-c", _COUNT, uri)
        assert asked.communicate(timeout=60)[0].split() == ["1000"] * 3
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=30)
    assert server.returncode == 0


_COUNT = """
import sys
from track import TrackClient

client = TrackClient(sys.argv[1])
for trial in client.protocol.fetch_trials({"metrics.loss.count": {"$gt": 0}}):
    print(len(client.protocol.fetch_metrics(trial, "loss")))
"""
