"""A client whose home, current folder and spool are closed or missing works all the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from running_server import environment, serving
from track import TrackClient
from track_server.app import Settings

SCRIPT = """
import os, sys
from pathlib import Path
from track import TrackClient

def log(name):
    client = TrackClient(os.environ["TRACK_URI"])
    client.new_trial(name)
    client.log_metrics(loss=1.0)
    client.save()
    client.close()

log("before")  # the interpreter itself may be where the other user cannot go: all modules are loaded now
missing = Path(sys.argv[1])
missing.mkdir()
os.chdir(missing)
missing.rmdir()
os.setresuid(65_534, 65_534, 65_534)
log("after")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_client_without_a_home_a_current_folder_and_a_spool_works(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with serving(Settings(f"sqlite:{tmp_path / 'runs.db'}", home=tmp_path / "home")) as served:
        uri = served.join("ann")
        home = str(closed / "me")
        folders = {name: "" for name in os.environ if name.startswith("XDG_")}
        env = environment(PYTHONPATH=os.pathsep.join(sys.path), TRACK_URI=uri, HOME=home, **folders)
        command = [sys.executable, "-c", SCRIPT, str(tmp_path / "missing")]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert "queued in memory only" in done.stderr
        with TrackClient(uri) as client:
            (found,) = client.protocol.fetch_trials({"name": "after"})
            assert found.metrics["loss"] == [1.0]
