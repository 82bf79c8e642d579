"""The demo as people run it: as a command, with processes that are killed and keys that are pressed."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from board_visits import Visit
from track import TrackClient
from waiting import wait_until

TIMEOUT = 100.0
ENDLESS = ("--epochs", "100000", "--trials", "2", "--workers")


@contextmanager
def demo(folder: Path, *options: str, **env: str) -> Iterator[subprocess.Popen[str]]:
    """``track demo``, with its plain lines to be read; whatever happens, it is ended in order."""
    process = subprocess.Popen(
        [sys.executable, "-m", "track.cli", "demo", "--dir", str(folder), *options],
        env={**os.environ, "PYTHONUNBUFFERED": "1", "HOME": str(folder.parent / "home"), **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    watchdog = threading.Timer(TIMEOUT, process.terminate)
    watchdog.start()
    try:
        with process:
            yield process
            process.terminate()
    finally:
        watchdog.cancel()


def wait_for(process: subprocess.Popen[str], pattern: str) -> str:
    """Read up to a line like this; returns the pattern's group, or what has matched."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if found := re.search(pattern, line):
            return found[found.re.groups]
    assert process.stderr is not None
    pytest.fail(f"the demo ended without a line like {pattern!r}: {lines} {process.stderr.read()}")


def pids_of(folder: Path, what: str) -> list[int]:
    """The processes whose environment lies in the folder, and whose command line contains `what`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            environment = (process / "environ").read_bytes().split(b"\0")
            if what in command and f"TRACK_HOME={folder / 'server'}".encode() in environment:
                found.append(int(process.name))
    return found


needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes in /proc")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "demo"


def test_the_demo_trains_verifies_and_prints_where_its_files_are(folder: Path) -> None:
    with demo(folder, "--workers", "2", "--trials", "3", "--epochs", "1") as process:
        printed, complaints = process.communicate()
    # On a busy machine an answer may take a second, which is reported and is no fault.
    faults = [line for line in complaints.splitlines() if "slow to answer" not in line]
    assert (process.returncode, faults) == (0, [])
    assert "3/3 finished, 0 running" in printed
    assert "3 trials, each claimed by exactly one worker" in printed
    counted = re.search(r"([\d,]+) points logged, ([\d,]+) stored", printed)
    assert counted, printed
    logged, stored = counted.groups()
    assert logged == stored == f"{3 * (89 * 2 + 2 + 2):,}"
    assert "0 lost, 0 doubled" in printed
    assert str(folder / "server.log") in printed
    assert list((folder.parent / "home").iterdir()) == []
    assert printed.splitlines()[-1].endswith(f" board sqlite:{folder / 'server' / 'track.db'}")
    with TrackClient(f"sqlite:{folder / 'server' / 'track.db'}") as client:
        assert len(client.protocol.fetch_trials({"status": "Completed"})) == 3


def test_the_board_shows_the_trials_while_they_run_and_until_ctrl_c(folder: Path) -> None:
    browser, opened = folder.parent / "browser", folder.parent / "opened"
    browser.write_text(f'#!/bin/sh\necho "$1 $TRACK_URI $XDG_RUNTIME_DIR" > {opened}\n')
    browser.chmod(0o755)
    desktop = {
        "DISPLAY": ":0",
        "BROWSER": str(browser),
        "XDG_RUNTIME_DIR": "/run/desktop",
        "SSH_CONNECTION": "",
    }
    few = ("--workers", "2", "--trials", "2", "--epochs", "2", "--board")
    with demo(folder, *few, **desktop) as process:
        url, _, code = wait_for(process, r"^board +(\S+)").partition("#login=")
        visit = Visit(url)
        assert visit.log_in(code=code).json["role"] == "writer"
        assert visit.call("fetch_table", query={}, columns=["name"]).json["total"] == 2
        with visit.listening() as events:
            assert any(data["trials"] for name, _, data in events if name == "changed")
        wait_for(process, r"^verified")
        assert wait_for(process, r"^board +(\S+) until Ctrl-C") == f"{url}#login={code}"
        assert visit.call("fetch_table", query={}, columns=["status"]).json["columns"] == [["Completed"] * 2]
        process.send_signal(signal.SIGINT)
        printed, complaints = process.communicate()
    assert (process.returncode, [line for line in complaints.splitlines() if "slow" not in line]) == (0, [])
    assert printed.splitlines()[-1].endswith(f" board sqlite:{folder / 'server' / 'track.db'}")
    assert opened.read_text() == f"{url}  /run/desktop\n"
    assert pids_of(folder, "track") == []


@needs_proc
def test_beside_the_board_a_killed_workers_trial_is_lost_and_the_others_go_on(folder: Path) -> None:
    with demo(folder, *ENDLESS, "2", "--board") as process:
        url, _, code = wait_for(process, r"^board +(\S+)").partition("#login=")
        visit = Visit(url)
        assert visit.log_in(code=code).status == 200

        def statuses() -> set[str]:
            answer = visit.call("fetch_table", query={}, columns=["status"]).json
            return {str(status) for status in answer["columns"][0]}

        wait_for(process, r"2 running · [1-9]")
        os.kill(pids_of(folder, "--name worker-2")[0], signal.SIGKILL)
        assert "will be lost" in wait_for(process, r"^killed .*")
        wait_until(lambda: statuses() == {"Running", "lost"}, "the lost trial")
        wait_for(process, r"1 running, 1 failed · [1-9]")
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert process.returncode == 130
    assert pids_of(folder, "track") == []


@needs_proc
def test_a_killed_worker_ends_the_demo_with_its_name_and_its_trial(folder: Path) -> None:
    with demo(folder, *ENDLESS, "2") as process:
        # The second line comes seconds after the first: what a worker said of its trial is stored by then.
        for _ in range(2):
            wait_for(process, r"2 running · [1-9]")
        os.kill(pids_of(folder, "--name worker-2")[0], signal.SIGKILL)
        _, complaints = process.communicate()
    assert process.returncode == 1
    assert "worker-2 was killed by SIGKILL" in complaints
    assert "it had trial" in complaints
    assert "worker-1" not in complaints
    assert pids_of(folder, "track") == []


@needs_proc
@pytest.mark.parametrize(
    ("moment", "pressed", "code"),
    [
        (r"^server", signal.SIGHUP, 129),
        (r"^workers", signal.SIGINT, 130),
    ],
)
def test_a_demo_that_is_stopped_leaves_no_process_behind(
    folder: Path, moment: str, pressed: signal.Signals, code: int
) -> None:
    with demo(folder, *ENDLESS, "1") as process:
        wait_for(process, moment)
        process.send_signal(pressed)
        printed, _ = process.communicate()
    assert process.returncode == code
    assert "stopped" in printed
    assert pids_of(folder, "track") == []


def test_a_folder_that_is_not_empty_is_refused_in_one_line(folder: Path) -> None:
    folder.mkdir()
    (folder / "thesis.tex").touch()
    with demo(folder) as process:
        printed, complaints = process.communicate()
    assert (process.returncode, printed) == (2, "")
    assert complaints.count("\n") == 1
    assert "--dir" in complaints
