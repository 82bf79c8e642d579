"""Trials whose processes were killed or disconnected, with real processes and a real server."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from running_server import ServerProcess, serving
from script_runner import ScriptRunner
from track import LOST, CustomStatus, Status, TrackClient, Trial
from track_server.app import Settings
from track_server.network.limits import Limits
from waiting import wait_until

NOTE = "lost: no process that runs this trial has been connected since "
SHORT = 0.5
ONE_BLINK = Limits(silence_seconds=0.5)
"""A peer that says nothing is dropped very soon, as one is whose machine has lost its network."""

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
ONLY_START = """
client.new_trial(arguments={"a": 1})
client.start()
client.log_metrics(loss=0.0)
client.save()
ready()
"""


@pytest.fixture(autouse=True)
def nothing_is_resent(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other process sends the spool of a killed one during the test: its trial would run again."""
    monkeypatch.setenv("TRACK_SYNC", "manual")


@contextmanager
def runner_with(folder: Path, lease: float) -> Iterator[ScriptRunner]:
    with serving(Settings(f"sqlite:{folder / 'runs.db'}", home=folder / "home", lease=lease)) as served:
        yield ScriptRunner(folder, served.join("ann"))


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[ScriptRunner]:
    with runner_with(tmp_path, SHORT) as runner:
        yield runner


@pytest.fixture
def watchful(tmp_path: Path) -> Iterator[ScriptRunner]:
    """A server that drops the silent very soon."""
    settings = Settings("ephemeral:", home=tmp_path / "home", limits=ONE_BLINK, lease=1.0)
    with serving(settings) as served:
        yield ScriptRunner(tmp_path, served.join("ann"))


def status_of(runner: ScriptRunner) -> Status | CustomStatus | None:
    return runner.trial()[0].status


def await_loss(runner: ScriptRunner, seconds: float = 20.0) -> None:
    wait_until(lambda: status_of(runner) == LOST, "the loss of the trial", seconds)


def say(process: subprocess.Popen[str], line: str = "go on") -> None:
    """Have a script do its next step."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()
    assert process.stdout.readline() == "ready\n"


def leave(process: subprocess.Popen[str]) -> None:
    """Have a script come to its end."""
    process.communicate(timeout=30)
    assert process.returncode == 0


# -- lost ----------------------------------------------------------------------------------------


def test_a_trial_whose_process_is_killed_is_lost(runner: ScriptRunner) -> None:
    with runner.script(RUN) as process:
        process.kill()
        await_loss(runner)
    trial, values = runner.trial()
    assert ([error.startswith(NOTE) for error in trial.errors], values) == ([True], {"loss": [0.0]})
    assert (trial.started or 0) < (trial.ended or 0) <= time.time()
    with TrackClient(runner.uri) as client:
        assert client.protocol.fetch_trials({"status": LOST}) == [trial]


def test_a_process_that_disconnects_without_ending_its_trial_loses_it(runner: ScriptRunner) -> None:
    with runner.script(ONLY_START + "os._exit(0)") as process:
        assert process.wait(30) == 0
        await_loss(runner)


def test_without_a_lease_a_killed_process_leaves_its_trial_running(tmp_path: Path) -> None:
    with runner_with(tmp_path, 0.0) as runner, runner.script(RUN) as process:
        process.kill()
        with pytest.raises(AssertionError, match="the loss of the trial"):
            await_loss(runner, seconds=2.0)
        assert status_of(runner) is Status.Running


def test_a_claim_whose_claimer_is_killed_is_lost(runner: ScriptRunner) -> None:
    with TrackClient(runner.uri) as client:
        client.new_trial(arguments={"a": 1})
    script = """
    client.protocol.fetch_and_update_trial(
        {"status": Status.CreatedGroup}, "set_trial_status", status=Status.Running
    )
    ready()
    rest()
    """
    with runner.script(script) as process:
        assert status_of(runner) is Status.Running
        process.kill()
        await_loss(runner)


def test_a_trial_lives_as_long_as_one_of_its_ranks(runner: ScriptRunner) -> None:
    with TrackClient(runner.uri) as client:
        uid = client.new_trial(arguments={"a": 1}).trial.uid
    with ExitStack() as stack:
        first, second = (stack.enter_context(runner.script(RUN, TRACK_TRIAL=uid, RANK=rank)) for rank in "01")
        with TrackClient(runner.uri) as client:
            trial = client.new_trial(arguments={"clock": 1})
        other = stack.enter_context(runner.script(RUN, TRACK_TRIAL=trial.trial.uid))
        first.kill()
        other.kill()
        wait_until(lambda: named(runner, trial.trial.uid).status == LOST, "the loss of the other trial")
        assert named(runner, uid).status is Status.Running
        say(second)
        second.kill()
        wait_until(lambda: named(runner, uid).status == LOST, "the loss of the trial of two ranks")


def named(runner: ScriptRunner, uid: str) -> Trial:
    """A trial as it is stored."""
    with TrackClient(runner.uri) as client:
        (found,) = client.protocol.get_trial(Trial(_hash=uid[:-2], revision=int(uid[-1]))) or []
        return found


# -- and back ------------------------------------------------------------------------------------


def test_late_data_has_a_lost_trial_run_again_and_come_to_its_true_end(watchful: ScriptRunner) -> None:
    with watchful.script(RUN) as process:
        process.send_signal(signal.SIGSTOP)
        await_loss(watchful)
        process.send_signal(signal.SIGCONT)
        say(process)
        trial, values = watchful.trial()
        assert (trial.status, trial.errors, values) == (Status.Running, [], {"loss": [0.0, 1.0]})
        assert trial.ended is None
        leave(process)
    trial, values = watchful.trial()
    assert (trial.status, trial.errors, values) == (Status.Completed, [], {"loss": [0.0, 1.0]})


def test_a_late_exception_is_the_true_end_too(watchful: ScriptRunner) -> None:
    with watchful.script(RUN + "    raise ArithmeticError('diverged')") as process:
        process.send_signal(signal.SIGSTOP)
        await_loss(watchful)
        process.send_signal(signal.SIGCONT)
        process.communicate(timeout=30)
    trial, _ = watchful.trial()
    assert trial.status is Status.Exception
    assert ["ArithmeticError: diverged" in error for error in trial.errors] == [True]


def test_late_data_does_not_disturb_the_job_that_resumed(watchful: ScriptRunner) -> None:
    with watchful.script(RUN) as late:
        late.send_signal(signal.SIGSTOP)
        await_loss(watchful)
        with watchful.script(RUN, TRACK_TRIAL=watchful.trial()[0].uid) as process:
            late.send_signal(signal.SIGCONT)
            say(late)
            leave(late)
            trial, values = watchful.trial()
            assert (trial.status, values) == (Status.Running, {"loss": [0.0, 0.0, 1.0]})
            leave(process)
    assert status_of(watchful) is Status.Completed


def test_late_data_does_not_undo_a_change_to_a_lost_trial(watchful: ScriptRunner) -> None:
    with watchful.script(RUN) as process:
        process.send_signal(signal.SIGSTOP)
        await_loss(watchful)
        with TrackClient(watchful.uri) as client:
            (trial,) = client.protocol.fetch_trials({})
            client.protocol.set_trial_status(trial, Status.Broken)
        process.send_signal(signal.SIGCONT)
        say(process)
        leave(process)
    trial, values = watchful.trial()
    assert (trial.status, values) == (Status.Broken, {"loss": [0.0, 1.0]})


# -- servers that come and go --------------------------------------------------------------------


def test_a_server_that_is_killed_and_comes_back_loses_the_dead_and_not_the_living(tmp_path: Path) -> None:
    store, home, lease = f"sqlite:{tmp_path / 'runs.db'}", tmp_path / "home", ("--lease", "8")
    with ExitStack() as stack:
        server = stack.enter_context(ServerProcess(store, home, *lease))
        runner = ScriptRunner(tmp_path, server.served.join("ann"))
        with TrackClient(runner.uri) as client:
            uids = [client.new_trial(True, {"a": number}).trial.uid for number in range(2)]
        dead, living = (stack.enter_context(runner.script(RUN, TRACK_TRIAL=uid)) for uid in uids)
        server.kill()
        dead.kill()
        stack.enter_context(ServerProcess(store, home, *lease, port=server.served.port))
        seen = set()

        def dead_is_lost() -> bool:
            seen.add(named(runner, uids[1]).status)
            return named(runner, uids[0]).status == LOST

        wait_until(dead_is_lost, "the loss of the trial whose process was killed")
        say(living)
        leave(living)
    assert seen == {Status.Running}
