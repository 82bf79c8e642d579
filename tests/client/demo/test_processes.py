from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import pytest

from track.demo import processes as processes_module
from track.demo.folder import Folder, new_folder
from track.demo.processes import Child, Processes
from track_protocol.errors import ServerUnreachable, TrackError
from track_protocol.uri import Uri

STUBBORN = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
signal.pause()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return new_folder(tmp_path / "demo", datetime.now(UTC))


def child(folder: Folder, code: str) -> Child:
    log = folder.worker_log("worker-1")
    with log.open("wb") as errors:
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=errors)
    return Child("worker-1", process, log)


def ended(folder: Folder, code: str) -> Child:
    started = child(folder, code)
    started.process.communicate(timeout=30)
    return started


def check_until_it_has_ended(processes: Processes) -> NoReturn:
    while True:
        processes.check_server()


def test_a_clean_exit_is_not_a_failure(folder: Folder) -> None:
    assert ended(folder, "").failure is None


def test_a_failure_names_the_process_its_exit_code_and_the_end_of_its_log(folder: Folder) -> None:
    failure = ended(folder, "raise RuntimeError('out of paper')").failure or ""
    assert failure.startswith("worker-1 failed with exit code 1; its log is ")
    assert failure.endswith("RuntimeError: out of paper")


def test_a_killed_process_is_named_with_the_signal(folder: Folder) -> None:
    failure = ended(folder, "import os; os.kill(os.getpid(), 9)").failure or ""
    assert failure.startswith("worker-1 was killed by SIGKILL")


def test_a_process_that_does_not_listen_is_killed_in_the_end(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes_module, "_END_SECONDS", 0.2)
    with Processes(folder, folder.environment(os.environ)) as processes:
        stubborn = child(folder, STUBBORN)
        assert stubborn.process.stdout is not None
        assert stubborn.process.stdout.readline() == b"ready\n"
        processes.workers.append(stubborn)
    assert stubborn.process.returncode == -signal.SIGKILL


def test_a_server_that_cannot_start_is_an_error_with_the_reason(folder: Folder) -> None:
    folder.home.write_text("in the way")
    with (
        Processes(folder, folder.environment(os.environ)) as processes,
        pytest.raises(ServerUnreachable, match="the server failed with exit code"),
    ):
        processes.start_server()


def test_each_user_gets_an_encrypted_address_and_a_token_of_its_own(folder: Folder) -> None:
    with Processes(folder, folder.environment(os.environ)) as processes:
        address = processes.start_server()
        uris = processes.add_users({"ann": "writer", "bob": "reader"})
        with pytest.raises(TrackError, match="ann could not be added"):
            processes.add_users({"ann": "writer"})
        processes.end_server()
    ann, bob = (Uri.parse(uris[name]) for name in ("ann", "bob"))
    assert (ann.username, bob.username) == ("ann", "bob")
    assert ann.password != bob.password
    assert ann.query["security_layer"] == bob.query["security_layer"] == "AES"
    assert ann.port == bob.port == int(address.rpartition(":")[2])


def test_the_end_of_the_block_ends_the_server(folder: Folder) -> None:
    with Processes(folder, folder.environment(os.environ)) as processes:
        host, _, port = processes.start_server().rpartition(":")
        socket.create_connection((host, int(port))).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)))


def test_a_server_that_exited_is_detected(folder: Folder) -> None:
    with Processes(folder, folder.environment(os.environ)) as processes:
        processes.start_server()
        os.kill(json.loads(folder.ready_file.read_bytes())["pid"], signal.SIGKILL)
        with pytest.raises(ServerUnreachable, match="the server was killed by SIGKILL"):
            check_until_it_has_ended(processes)
