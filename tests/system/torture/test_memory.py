"""Much that is logged through one server, and how little memory that takes on both ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import waiting
from growing_client import resident
from running_server import ServerProcess
from torture import count
from track import TrackClient

PROGRAM = Path(waiting.__file__).with_name("growing_client.py")
MEGABYTES = 50.0


@pytest.mark.timeout(600)
def test_neither_end_grows_by_what_is_logged(tmp_path: Path) -> None:
    images, points = count(4_000, 10_000), count(300_000, 1_000_000)
    with ServerProcess(f"sqlite:{tmp_path / 'runs.db'}", tmp_path / "home") as server:
        uri = server.served.join("ann")
        before = resident("VmRSS", server.process.pid)
        client = subprocess.run(
            [sys.executable, str(PROGRAM), uri, str(images), str(points)],
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )
        assert client.returncode == 0, client.stderr
        assert float(client.stdout) < MEGABYTES
        assert resident("VmHWM", server.process.pid) - before < MEGABYTES
        with TrackClient(uri) as reader:
            (trial,) = reader.protocol.fetch_trials({})
            assert len(reader.protocol.fetch_metrics(trial, "loss").values) == points + 1
            assert len(reader.protocol.fetch_media(trial, "image", "sample").values) == images + 1
