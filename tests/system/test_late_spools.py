"""Spools of killed processes that are sent later, and copies of spools of living ones.

The lease is far longer than a test: a trial is lost here only because its replay tells that its process has
ended.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from running_server import ServerProcess, environment
from script_runner import ScriptRunner
from track import LOST, Status, TrackClient, Trial
from track_server.methods.leases import RUNNING
from track_server.stores import open_store
from waiting import wait_until

NOTE = "lost: no process that runs this trial has been connected since "
LEASE = ("--lease", "600")
SPOOLED = """
trial = client.new_trial(arguments={"a": 1})
trial.start()
trial.log_metrics(loss=0.0)
client.save()
ready()
for number, line in enumerate(sys.stdin, start=1):
    if line == "finish\\n":
        trial.finish()
    else:
        trial.log_metrics(loss=float(number))
    client.protocol.persist()
    ready()
"""

Send = Callable[["Room", Path], None]


class Room:
    """A server that can be stopped and started again, and a script that spools in a folder of its own."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.spools = folder / "spools"
        self._stack = stack
        self.store = f"sqlite:{folder / 'runs.db'}"
        self.server = self.start()
        self.runner = ScriptRunner(folder, self.server.served.join("ann"))

    def start(self, port: int = 0, *options: str) -> ServerProcess:
        return self._stack.enter_context(
            ServerProcess(self.store, self.folder / "home", *(options or LEASE), port=port)
        )

    def restart(self) -> None:
        self.server = self.start(self.server.served.port)

    def script(self) -> subprocess.Popen[str]:
        return self._stack.enter_context(
            self.runner.script(SPOOLED, TRACK_SPOOL=str(self.spools), TRACK_SYNC="manual")
        )

    def trial(self) -> Trial:
        return self.runner.trial()[0]

    def values(self) -> list[float]:
        return self.runner.trial()[1]["loss"]


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Room]:
    monkeypatch.setenv("TRACK_SYNC", "manual")
    with ExitStack() as stack:
        yield Room(tmp_path, stack)


def say(process: subprocess.Popen[str], line: str = "go on") -> None:
    """Have a script do its next step."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()
    assert process.stdout.readline() == "ready\n"


def sync(room: Room, folder: Path, *, may_be_displaced: bool = False) -> None:
    """Send the spools in a folder by the command; a living process may take its session back meanwhile."""
    command = [sys.executable, "-m", "track.cli", "sync", str(folder)]
    env = environment(TRACK_URI=room.runner.uri)
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    displaced = may_be_displaced and "which has taken over" in done.stdout
    assert displaced or done.returncode == 0, done.stdout + done.stderr


@contextmanager
def replaying(room: Room) -> Iterator[None]:
    """Somebody sends the spool, and then has the server wait for the goodbye."""
    source = """
    import threading
    from track.connection import link
    link.SocketLink.close = lambda self: threading.Event().wait()
    from track.cli import main
    ready()
    main(["sync", os.environ["TRACK_SPOOL"]])
    """
    with room.runner.script(source, TRACK_SPOOL=str(room.spools), TRACK_SYNC="manual"):
        yield


def next_start(room: Room, folder: Path) -> None:
    """Have the next process that starts send the spools, as it does by itself."""
    source = "client.protocol.fetch_trials({})\nready()\nsys.stdin.readline()"
    with room.runner.script(source, TRACK_SPOOL=str(folder), TRACK_SYNC="auto") as process:
        wait_until(lambda: not list(folder.rglob("*.segment")), "the spools to be sent", 30.0)
        process.communicate("", timeout=30)


@pytest.mark.parametrize("send", [sync, next_start])
def test_a_trial_whose_last_records_are_sent_later_is_lost_at_once_as_of_its_death(
    room: Room, send: Send
) -> None:
    process = room.script()
    room.server.kill()
    say(process)
    died = time.time()
    process.kill()
    process.wait(30)
    room.restart()
    assert room.trial().status is Status.Running
    between = time.time()
    send(room, room.spools)
    wait_until(lambda: room.trial().status == LOST, "the loss of the trial")
    trial = room.trial()
    assert room.values() == [0.0, 1.0]
    assert (trial.started or 0) < (trial.ended or 0) <= died < between
    assert [error.startswith(NOTE) for error in trial.errors] == [True]


def test_a_trial_that_was_lost_before_its_spool_is_sent_stays_lost(room: Room) -> None:
    process = room.script()
    room.server.kill()
    say(process)
    process.kill()
    process.wait(30)
    room.server = room.start(room.server.served.port, "--lease", "0.3")
    wait_until(lambda: room.trial().status == LOST, "the loss of the trial")
    before = room.trial()
    room.server.stop()
    room.restart()
    sync(room, room.spools)
    trial = room.trial()
    assert (trial.status, trial.ended, trial.errors) == (LOST, before.ended, before.errors)
    assert room.values() == [0.0, 1.0]


def test_an_end_that_is_in_the_spool_is_the_end_of_the_trial(room: Room) -> None:
    process = room.script()
    room.server.kill()
    say(process)
    say(process, "finish")
    process.kill()
    process.wait(30)
    room.restart()
    sync(room, room.spools)
    trial = room.trial()
    assert (trial.status, trial.errors) == (Status.Completed, [])


def test_an_end_that_comes_after_the_loss_is_the_end_of_the_trial(room: Room) -> None:
    process = room.script()
    room.server.kill()
    say(process)
    say(process, "finish")
    process.kill()
    process.wait(30)
    room.server = room.start(room.server.served.port, "--lease", "0.3")
    wait_until(lambda: room.trial().status == LOST, "the loss of the trial")
    sync(room, room.spools)
    trial = room.trial()
    assert (trial.status, trial.errors) == (Status.Completed, [])


def test_a_server_that_is_killed_remembers_that_a_process_has_ended(room: Room) -> None:
    """The replay is stopped before its goodbye, so only what is stored tells the next server of the end."""
    process = room.script()
    room.server.kill()
    say(process)
    died = time.time()
    process.kill()
    process.wait(30)
    room.restart()
    with replaying(room):
        wait_until(lambda: room.values() == [0.0, 1.0], "the last records")
        assert room.trial().status is Status.Running
        room.server.kill()
    room.restart()
    wait_until(lambda: room.trial().status == LOST, "the loss of the trial")
    trial = room.trial()
    assert (trial.started or 0) < (trial.ended or 0) <= died


def test_a_copy_of_the_spool_of_a_living_process_changes_nothing(room: Room, tmp_path: Path) -> None:
    process = room.script()
    say(process)
    copied = tmp_path / "copied"
    shutil.copytree(room.spools, copied)
    sync(room, copied, may_be_displaced=True)
    say(process)
    with TrackClient(room.runner.uri) as client:
        wait_until(lambda: room.values() == [0.0, 1.0, 2.0], "the points of the living process")
        assert client.protocol.fetch_trials({"status": LOST}) == []
    assert (room.trial().status, room.trial().errors) == (Status.Running, [])
    say(process, "finish")
    wait_until(lambda: room.trial().status is Status.Completed, "the end of the trial")


def test_a_copy_of_the_spool_of_a_connected_process_does_not_report_its_end(
    room: Room, tmp_path: Path
) -> None:
    process = room.script()
    say(process)
    copied = tmp_path / "copied"
    shutil.copytree(room.spools, copied)
    process.send_signal(signal.SIGSTOP)  # connected, and too slow to take its session back
    sync(room, copied)
    room.server.kill()
    with closing(open_store(room.store, exclusive=False)) as store, store.snapshot() as view:
        (running,) = view.leases_by_status(*RUNNING)
        session = view.session(running.sid)
    assert session is not None
    assert session.ended is None


def test_a_living_process_that_was_unreachable_takes_its_trial_back(room: Room, tmp_path: Path) -> None:
    process = room.script()
    room.server.kill()
    say(process)
    copied = tmp_path / "copied"
    shutil.copytree(room.spools, copied)
    process.send_signal(signal.SIGSTOP)
    room.restart()
    sync(room, copied)
    wait_until(lambda: room.trial().status == LOST, "the loss of the trial")
    process.send_signal(signal.SIGCONT)
    wait_until(lambda: room.trial().status is Status.Running, "the return of the process")
    say(process)
    wait_until(lambda: room.values() == [0.0, 1.0, 2.0], "the points of the living process")
    assert room.trial().errors == []
