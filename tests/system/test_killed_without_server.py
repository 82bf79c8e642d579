"""Trials in stores that processes open themselves, and whose processes are killed, stopped and forked."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from running_server import ServerProcess
from script_runner import ScriptRunner
from track import LOST, Status, TrackClient, Trial
from waiting import wait_until

NOTE = "lost: no process that runs this trial has been connected since "
FOREVER = ("--lease", "600")

RUN = """
with client.new_trial(arguments={"a": 1}) as trial:
    trial.log_metrics(loss=0.0)
    client.save()
    ready()
    for number, line in enumerate(sys.stdin, start=1):
        trial.log_metrics(loss=float(number))
        client.save()
        ready()
"""


@pytest.fixture(params=["sqlite:{}/runs.db", "file:{}/runs.json"], ids=["sqlite", "file"])
def runner(request: pytest.FixtureRequest, tmp_path: Path) -> ScriptRunner:
    return ScriptRunner(tmp_path, request.param.format(tmp_path))


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait(30)


def say(process: subprocess.Popen[str], line: str = "go on") -> None:
    """Have a script do its next step."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()
    assert process.stdout.readline() == "ready\n"


def stop(process: subprocess.Popen[str], runner: ScriptRunner) -> None:
    """Stop a script that has nothing to write: in the middle of a transaction it would block the others."""
    (log,) = runner.folder.glob("*.db-wal")
    wait_until(lambda: log.stat().st_size == 0, "the process to be idle", 60.0)
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)


def leave(process: subprocess.Popen[str]) -> None:
    """Have a script come to its end."""
    process.communicate(timeout=30)
    assert process.returncode == 0


def stored(client: TrackClient) -> Trial:
    """The only trial."""
    (trial,) = client.protocol.fetch_trials({})
    return trial


def sessions_of(runner: ScriptRunner) -> Path:
    """The folder with the locks of the store's sessions."""
    (found,) = runner.folder.glob("*.sessions")
    return found


def test_whoever_opens_the_store_next_finds_the_trial_of_a_killed_process_lost(runner: ScriptRunner) -> None:
    with runner.script(RUN) as process:
        kill(process)
    died = time.time()
    trial, values = runner.trial()
    assert (trial.status, values) == (LOST, {"loss": [0.0]})
    assert [error.startswith(NOTE) for error in trial.errors] == [True]
    assert (trial.started or 0) <= (trial.ended or 0) <= died
    assert (trial.ended or 0) >= died - 30
    assert list(runner.folder.glob("*.sessions")) == []


def test_whoever_has_the_store_open_sees_the_loss(runner: ScriptRunner) -> None:
    with runner.script(RUN) as process, TrackClient(runner.uri) as client:
        assert stored(client).status is Status.Running
        kill(process)
        wait_until(lambda: stored(client).status == LOST, "the loss of the trial", 60.0)


def test_a_process_that_ends_without_a_word_loses_its_trial(runner: ScriptRunner) -> None:
    with runner.script(
        "client.new_trial(arguments={'a': 1}).start()\nclient.save()\nready()\nos._exit(0)"
    ) as process:
        assert process.wait(30) == 0
    assert runner.trial()[0].status == LOST


def test_every_trial_of_a_killed_process_is_lost_however_many_there_are(runner: ScriptRunner) -> None:
    source = """
    for number in range(300):
        client.protocol.log_trial_start(client.new_trial(True, {"number": number}).trial)
    client.save()
    ready()
    rest()
    """
    with runner.script(source) as process:
        kill(process)
    with TrackClient(runner.uri) as client:
        assert len(client.protocol.fetch_trials({"status": LOST})) == 300


def test_a_stopped_process_has_its_trial_and_ends_it_later(runner: ScriptRunner) -> None:
    with runner.script(RUN) as process:
        stop(process, runner)
        assert runner.trial()[0].status is Status.Running
        process.send_signal(signal.SIGCONT)
        say(process)
        leave(process)
    trial, values = runner.trial()
    assert (trial.status, trial.errors, values) == (Status.Completed, [], {"loss": [0.0, 1.0]})


def test_of_several_processes_only_the_killed_one_loses_its_trial(
    runner: ScriptRunner, stack: ExitStack
) -> None:
    with TrackClient(runner.uri) as client:
        uids = [client.new_trial(True, {"number": number}).trial.uid for number in range(2)]
        dead, living = (stack.enter_context(runner.script(RUN, TRACK_TRIAL=uid)) for uid in uids)
        kill(dead)
    with TrackClient(runner.uri) as client:
        found = {trial.uid: trial.status for trial in client.protocol.fetch_trials({})}
    assert found == {uids[0]: LOST, uids[1]: Status.Running}
    leave(living)


def test_a_trial_lives_as_long_as_one_of_its_ranks(runner: ScriptRunner, stack: ExitStack) -> None:
    with TrackClient(runner.uri) as client:
        uid = client.new_trial(arguments={"a": 1}).trial.uid
    first, second = (stack.enter_context(runner.script(RUN, TRACK_TRIAL=uid, RANK=rank)) for rank in "01")
    kill(first)
    assert runner.trial()[0].status is Status.Running
    kill(second)
    assert runner.trial()[0].status == LOST


def test_a_closed_client_has_its_trials_while_its_process_lives(runner: ScriptRunner) -> None:
    source = """
    other = TrackClient(os.environ["TRACK_URI"])
    trial = client.new_trial(arguments={"a": 1})
    client.protocol.log_trial_start(trial.trial)
    client.protocol.close()
    other.protocol.fetch_trials({})
    other.close()
    ready()
    rest()
    """
    with runner.script(source) as process:
        assert runner.trial()[0].status is Status.Running
        kill(process)
    assert runner.trial()[0].status == LOST


def test_a_forked_child_changes_nothing_about_who_is_alive(runner: ScriptRunner) -> None:
    source = """
    trial = client.new_trial(arguments={"a": 1})
    trial.start()
    client.save()
    child = os.fork()
    if child == 0:
        trial.log_metrics(loss=1.0)
        client.save()
        ready()
        sys.stdin.readline()
        os._exit(0)
    rest()
    """
    with runner.script(source) as process:
        assert runner.trial()[0].status is Status.Running
        kill(process)
        assert runner.trial()[0].status == LOST
        assert process.stdin is not None
        process.stdin.close()


def test_a_child_that_is_killed_does_not_end_its_parent_s_trial(runner: ScriptRunner) -> None:
    source = """
    with client.new_trial(arguments={"a": 1}) as trial:
        client.save()
        child = os.fork()
        if child == 0:
            trial.log_metrics(loss=1.0)
            client.save()
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(child, 0)
        ready()
        sys.stdin.readline()
    """
    with runner.script(source) as process:
        assert runner.trial()[0].status is Status.Running
        leave(process)
    assert runner.trial()[0].status is Status.Completed


def test_a_living_process_whose_lock_was_removed_takes_its_trial_back(runner: ScriptRunner) -> None:
    with runner.script(RUN) as process:
        stop(process, runner)
        shutil.rmtree(sessions_of(runner))
        assert runner.trial()[0].status == LOST
        process.send_signal(signal.SIGCONT)
        with TrackClient(runner.uri) as client:
            wait_until(lambda: stored(client).status is Status.Running, "the return of the process", 60.0)
        leave(process)
    trial, _ = runner.trial()
    assert (trial.status, trial.errors) == (Status.Completed, [])


def test_a_late_word_does_not_disturb_the_process_that_resumed_a_lost_trial(runner: ScriptRunner) -> None:
    with runner.script(RUN) as late:
        stop(late, runner)
        shutil.rmtree(sessions_of(runner))
        with runner.script(RUN, TRACK_TRIAL=runner.trial()[0].uid) as process:
            late.send_signal(signal.SIGCONT)
            say(late)
            leave(late)
            assert runner.trial()[0].status is Status.Running
            leave(process)
    assert runner.trial()[0].status is Status.Completed


def test_a_server_that_starts_later_need_not_wait_for_a_lease(runner: ScriptRunner, tmp_path: Path) -> None:
    with runner.script(RUN) as process:
        kill(process)
    with ServerProcess(runner.uri, tmp_path / "home", *FOREVER) as server:
        served = ScriptRunner(tmp_path, server.served.join("ann"))
        wait_until(lambda: served.trial()[0].status == LOST, "the loss of the trial", 60.0)


def test_trials_of_a_server_s_clients_are_left_to_the_server(
    runner: ScriptRunner, tmp_path: Path, stack: ExitStack
) -> None:
    server = stack.enter_context(ServerProcess(runner.uri, tmp_path / "home", *FOREVER))
    served = ScriptRunner(tmp_path, server.served.join("ann"))
    process = stack.enter_context(served.script(RUN))
    server.kill()
    assert runner.trial()[0].status is Status.Running
    stack.enter_context(ServerProcess(runner.uri, tmp_path / "home", *FOREVER, port=server.served.port))
    say(process)
    leave(process)
    assert served.trial()[0].status is Status.Completed


def test_no_process_runs_the_trials_of_a_copy(runner: ScriptRunner, tmp_path: Path) -> None:
    with runner.script(RUN) as process, TrackClient(runner.uri) as client:
        client.protocol.commit()
        (tmp_path / "copies").mkdir()
        for path in tmp_path.glob("runs*"):  # of a document, not its sidecar
            if path.is_file():
                shutil.copy(path, tmp_path / "copies")
        copied = ScriptRunner(tmp_path, runner.uri.replace(str(tmp_path), str(tmp_path / "copies")))
        assert copied.trial()[0].status == LOST
        leave(process)
    assert runner.trial()[0].status is Status.Completed
