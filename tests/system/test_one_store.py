"""One store that several processes open at the same moment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from running_server import ServerProcess, environment
from track import TrackClient
from waiting import wait_until

SECONDS = 60.0
SERVERS = 3
PROCESSES = 4
POINTS = 50

LOGS = f"""
import sys
from track import TrackClient

client = TrackClient(sys.argv[1])
print("imported", flush=True)
sys.stdin.readline()
with client.new_trial(force=True, arguments={{"a": 1}}) as trial:
    for step in range({POINTS}):
        trial.log_metrics(step=step, loss=step / 8)
        if step == 0:
            client.save()
client.close()
"""


def test_of_servers_that_start_at_once_one_serves_and_the_others_name_it(tmp_path: Path) -> None:
    store = f"sqlite:{tmp_path / 'runs.db'}"
    command = [sys.executable, "-m", "track.cli", "server", store, "--listen", "127.0.0.1:0"]
    ready = [tmp_path / f"ready-{number}.json" for number in range(SERVERS)]
    servers = [
        subprocess.Popen(
            [*command, "--home", str(tmp_path / f"home-{number}"), "--ready-file", str(path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number, path in enumerate(ready)
    ]
    try:
        wait_until(
            lambda: sum(server.poll() is not None for server in servers) == SERVERS - 1,
            "all servers but one have ended",
            SECONDS,
        )
        (winner,) = (number for number, server in enumerate(servers) if server.poll() is None)
        wait_until(ready[winner].exists, "the server that is left is ready", SECONDS)
        for loser in servers[:winner] + servers[winner + 1 :]:
            assert loser.wait() == 1
            assert loser.stderr is not None
            assert f"pid {servers[winner].pid}" in loser.stderr.read()
    finally:
        for server in servers:
            server.terminate()
            server.communicate(timeout=SECONDS)
    assert servers[winner].returncode == 0


@pytest.mark.parametrize("scheme", ["sqlite", "file"])
def test_processes_that_open_a_new_store_at_once_share_it(tmp_path: Path, scheme: str) -> None:
    uri = f"{scheme}:{tmp_path / 'runs'}"
    (tmp_path / "log.py").write_text(LOGS)
    processes = [
        subprocess.Popen(
            [sys.executable, str(tmp_path / "log.py"), uri],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        for _ in range(PROCESSES)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "imported\n", process.communicate()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        _, complaints = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, complaints
    with TrackClient(uri) as client:
        trials = client.protocol.fetch_trials({})
        assert sorted(trial.revision for trial in trials) == list(range(PROCESSES))
        for trial in trials:
            assert trial.metrics["loss"] == {step: step / 8 for step in range(POINTS)}


def test_a_process_without_a_server_is_refused_beside_one_with_the_address_of_it(tmp_path: Path) -> None:
    store = f"sqlite:{tmp_path / 'runs.db'}"
    (tmp_path / "log.py").write_text(LOGS)
    with ServerProcess(store, tmp_path / "home") as server:
        command = [sys.executable, str(tmp_path / "log.py"), store]
        ended = subprocess.run(
            command, input="\n", capture_output=True, text=True, timeout=SECONDS, env=environment()
        )
        assert ended.returncode == 1
        assert f"served by pid {server.process.pid}" in ended.stderr
        assert f"socket://127.0.0.1:{server.served.port}" in ended.stderr
