"""Trials whose process is asked to end, or ends by itself, with a real server."""

from __future__ import annotations

import signal
import statistics
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from running_server import ServerProcess, serving
from script_runner import ScriptRunner
from track import Status, TrackClient
from track_server.app import Settings
from waiting import wait_until

POINTS = [float(number) for number in range(5000)]


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[ScriptRunner]:
    with serving(Settings(f"sqlite:{tmp_path / 'runs.db'}", home=tmp_path / "home")) as served:
        yield ScriptRunner(tmp_path, served.join("ann"))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server that can be killed and stopped."""
    with ServerProcess(f"sqlite:{tmp_path / 'runs.db'}", tmp_path / "home") as server:
        yield server


LOG_AND_REST = """
with client.new_trial(arguments={"a": 1}) as trial:
    for number in range(5000):
        trial.log_metrics(loss=float(number))
    ready()
    rest()
"""


# Each wait for a server that is asked for, a fifth as long.
SHORT = """
from track import logger
from track.outbox import durability
from track.process import signals
logger.SIGNAL_SECONDS = signals.SIGNAL_SECONDS = durability._SLOW_STORE_S = 1.0
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_ends_a_running_trial_as_interrupted(runner: ScriptRunner, number: signal.Signals) -> None:
    with runner.script(LOG_AND_REST) as process:
        process.send_signal(number)
        assert process.wait(30) == -number
    trial, values = runner.trial()
    assert (trial.status, values) == (Status.Interrupted, {"loss": POINTS})
    (error,) = trial.errors
    assert f"{number.name} came while the trial was running" in error
    assert "script.py" in error
    assert trial.chronos["runtime"] > 0


def test_a_trial_that_was_only_started_is_interrupted_too(runner: ScriptRunner) -> None:
    script = """
    client.new_trial(arguments={"a": 1})
    client.start()
    client.log_metrics(loss=0.0)
    ready()
    rest()
    """
    with runner.script(script) as process:
        process.terminate()
        assert process.wait(30) == -signal.SIGTERM
    trial, values = runner.trial()
    assert (trial.status, values) == (Status.Interrupted, {"loss": [0.0]})


def test_a_program_that_ends_in_its_own_time_is_still_interrupted(runner: ScriptRunner) -> None:
    script = """
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
    with client.new_trial(arguments={"a": 1}) as trial:
        ready()
        while not stop:
            time.sleep(0.01)
        trial.log_metrics(checkpoint=1.0)
    sys.exit(7)
    """
    with runner.script(script) as process:
        process.terminate()
        assert process.wait(30) == 7
    trial, values = runner.trial()
    assert (trial.status, values, len(trial.errors)) == (Status.Interrupted, {"checkpoint": [1.0]}, 1)


def test_an_exception_of_the_programs_handler_is_stored_beside_the_signal(runner: ScriptRunner) -> None:
    script = """
    def preempted(*_):
        raise RuntimeError("preempted")
    signal.signal(signal.SIGTERM, preempted)
    with client.new_trial(arguments={"a": 1}):
        ready()
        rest()
    """
    with runner.script(script) as process:
        process.terminate()
        assert process.wait(30) == 1
    trial, _ = runner.trial()
    assert trial.status is Status.Interrupted
    assert ["SIGTERM" in trial.errors[0], "RuntimeError: preempted" in trial.errors[1]] == [True, True]


def test_a_signal_waits_for_an_unreachable_server_no_longer_than_the_bound(
    server: ServerProcess, tmp_path: Path
) -> None:
    runner = ScriptRunner(tmp_path, server.served.join("ann"))
    with runner.script(LOG_AND_REST) as process:
        server.kill()
        process.terminate()
        assert process.wait(15) == -signal.SIGTERM


def test_an_interrupted_program_does_not_wait_at_its_end_for_a_server_that_is_stuck(
    server: ServerProcess, tmp_path: Path
) -> None:
    # Fails when `Outbox.on_exit` gives a server 30 s in a process that was asked to end.
    runner = ScriptRunner(tmp_path, server.served.join("ann"))
    with runner.script(SHORT + LOG_AND_REST, TRACK_SPOOL=str(tmp_path / "spool")) as process:
        server.process.send_signal(signal.SIGSTOP)
        try:
            process.send_signal(signal.SIGINT)
            assert process.wait(25) == -signal.SIGINT
        finally:
            server.process.send_signal(signal.SIGCONT)
        assert process.stderr is not None
        assert f"but queued in {tmp_path / 'spool'}" in process.stderr.read()


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2], ids=lambda number: number.name)
def test_slurms_warning_interrupts_a_trial_whose_program_does_not_handle_it(
    runner: ScriptRunner, number: signal.Signals
) -> None:
    with runner.script(LOG_AND_REST, SLURM_JOB_ID="7") as process:
        process.send_signal(number)
        assert process.wait(30) == -number
    trial, values = runner.trial()
    assert (trial.status, values) == (Status.Interrupted, {"loss": POINTS})
    assert f"{number.name} came while the trial was running" in trial.errors[0]


def test_a_program_that_handles_slurms_warning_decides_about_its_trial(runner: ScriptRunner) -> None:
    script = """
    def checkpoint(*_):
        ready()
    signal.signal(signal.SIGUSR1, checkpoint)
    with client.new_trial(arguments={"a": 1}) as trial:
        for number in range(5000):
            trial.log_metrics(loss=float(number))
        ready()
        sys.stdin.read()
    """
    with runner.script(script, SLURM_JOB_ID="7") as process:
        assert process.stdout is not None
        process.send_signal(signal.SIGUSR1)
        assert process.stdout.readline() == "ready\n"
        trial, values = runner.trial()
        assert (trial.status, trial.errors, values) == (Status.Running, [], {"loss": POINTS})
        process.communicate(timeout=30)
    assert runner.trial()[0].status is Status.Completed


def test_what_workers_of_a_terminated_pool_logged_is_stored(runner: ScriptRunner) -> None:
    script = """
    def work(queue):
        for number in range(5000):
            trial.log_metrics(loss=float(number))
        queue.put(1)
        rest()
    context = multiprocessing.get_context("fork")
    with client.new_trial(arguments={"a": 1}) as trial:
        queue = context.SimpleQueue()
        with context.Pool(1, initializer=work, initargs=(queue,)) as pool:
            queue.get()
            pool.terminate()
    client.save()
    ready()
    """
    with runner.script(script) as process:
        assert process.wait(30) == 0
    # A worker has 5 s to send after SIGTERM; on a busy machine the next start sends what it queued on disk.
    wait_until(lambda: runner.trial()[1] == {"loss": POINTS}, "every point of the worker is stored")
    trial, _ = runner.trial()
    assert (trial.status, trial.errors) == (Status.Completed, [])


@pytest.mark.parametrize(
    ("code", "status", "messages"), [(0, Status.Completed, []), (3, Status.Exception, ["exited with code 3"])]
)
def test_the_exit_code_of_a_program_that_leaves_the_block_counts(
    runner: ScriptRunner, code: int, status: Status, messages: list[str]
) -> None:
    script = f"""
    with client.new_trial(arguments={{"a": 1}}):
        ready()
        sys.exit({code})
    """
    with runner.script(script) as process:
        assert process.wait(30) == code
    trial, _ = runner.trial()
    assert (trial.status, [error.splitlines()[-1] for error in trial.errors]) == (status, messages)


@pytest.mark.parametrize(
    ("ending", "code", "status"),
    [
        ("pass", 0, Status.Completed),
        ("sys.exit(0)", 0, Status.Completed),
        ("raise ArithmeticError('diverged')", 1, Status.Exception),
    ],
)
def test_an_unfinished_trial_ends_with_the_program(
    runner: ScriptRunner, ending: str, code: int, status: Status
) -> None:
    script = f"""
    client.new_trial(arguments={{"a": 1}})
    client.start()
    ready()
    {ending}
    """
    with runner.script(script) as process:
        assert process.wait(30) == code
    trial, _ = runner.trial()
    assert trial.status is status
    assert ["ArithmeticError: diverged" in error for error in trial.errors] == ([True] if code else [])


def test_an_error_in_an_interactive_line_ends_no_trial(runner: ScriptRunner) -> None:
    # Fails when `LogSignalHandler.atexit` takes the last error of a notebook for its end.
    script = """
    import code
    sys.ps1 = ">>> "  # as notebooks and Python's own prompt have it
    console = code.InteractiveConsole({"client": client})
    for line in ("trial = client.new_trial()", "trial.start()", "1 / 0", "trial.log_metrics(b=2.0)"):
        console.push(line)
    ready()
    """
    with runner.script(script) as process:
        assert process.wait(30) == 0
    trial, values = runner.trial()
    assert (trial.status, trial.errors, values) == (Status.Completed, [], {"b": [2.0]})


def test_a_child_that_ends_does_not_end_its_parents_trial(runner: ScriptRunner) -> None:
    script = """
    client.new_trial(arguments={"a": 1})
    client.start()
    client.save()
    if (child := os.fork()) == 0:
        sys.exit(0)
    os.waitpid(child, 0)
    client.save()
    ready()
    rest()
    """
    with runner.script(script):
        trial, _ = runner.trial()
        assert trial.status is Status.Running


@pytest.mark.parametrize("ending", ["sys.exit(0)", "raise ArithmeticError('of the child')"])
def test_a_child_that_leaves_its_parents_block_does_not_end_the_trial(
    runner: ScriptRunner, ending: str
) -> None:
    # Fails when `TrialLogger.__exit__` does not look which process it is in.
    script = f"""
    with client.new_trial(arguments={{"a": 1}}) as trial:
        client.save()
        if (child := os.fork()) == 0:
            trial.log_metrics(child=1.0)
            {ending}
        os.waitpid(child, 0)
        client.save()
        ready()
        rest()
    """
    with runner.script(script):
        trial, values = runner.trial()
    assert (trial.status, trial.errors, values) == (Status.Running, [], {"child": [1.0]})


def test_a_job_that_starts_again_resumes_its_trial(runner: ScriptRunner) -> None:
    with runner.script(LOG_AND_REST) as process:
        process.terminate()
        process.wait(30)
    before, _ = runner.trial()
    script = """
    with client.new_trial(arguments={"a": 1}) as trial:
        trial.log_metrics(loss=5000.0)
    ready()
    """
    with runner.script(script, TRACK_TRIAL=before.uid) as process:
        assert process.wait(30) == 0
    trial, values = runner.trial()
    assert (trial.uid, trial.status, trial.errors) == (before.uid, Status.Completed, before.errors)
    assert values == {"loss": [*POINTS, 5000.0]}
    assert trial.chronos["runtime"] > before.chronos["runtime"]


RANK = """
rank = int(os.environ.get("RANK") or os.environ["SLURM_PROCID"])
with client.new_trial() as trial:
    for number in range(200):
        with trial.chrono("step"):
            sum(range(10 * number))
    trial.log_metrics(before=float(rank))
    client.save()
    ready()
    sys.stdin.read()
    if rank == 2:
        raise ArithmeticError("diverged")
    trial.log_metrics(after=float(rank))
"""


def test_a_rank_that_fails_does_not_end_the_trial_of_the_others(runner: ScriptRunner) -> None:
    with TrackClient(runner.uri) as client:
        uid = client.new_trial(arguments={"a": 1}).trial.uid
    with ExitStack() as stack:
        ranks = [
            stack.enter_context(runner.script(RANK, TRACK_TRIAL=uid, SLURM_PROCID=str(rank)))
            for rank in range(4)
        ]
        ranks[2].communicate(timeout=30)
        trial, _ = runner.trial()
        assert (trial.status, trial.metadata["ranks"], ranks[2].returncode) == (
            Status.Running,
            [0, 1, 2, 3],
            1,
        )
        for rank in (3, 1, 0):
            ranks[rank].communicate(timeout=30)
    trial, values = runner.trial()
    assert trial.status is Status.Completed
    assert values == {"before": [0.0, 1.0, 2.0, 3.0], "after": [3.0, 1.0, 0.0]}
    (error,) = trial.errors
    assert ["rank 2: Traceback" in error, "ArithmeticError: diverged" in error] == [True, True]


def test_the_timings_of_all_ranks_are_one_statistic(runner: ScriptRunner) -> None:
    with TrackClient(runner.uri) as client:
        trial = client.new_trial(arguments={"a": 1}).trial
    with ExitStack() as stack:
        for rank in range(4):
            stack.enter_context(runner.script(RANK, TRACK_TRIAL=trial.uid, RANK=str(rank)))
    with TrackClient(runner.uri) as client:
        (found,) = client.protocol.get_trial(trial) or []
        every = [float(value) for value in client.protocol.fetch_metrics(found, "step", "chrono").values]
        timing = found.chronos["step"]
    assert (timing["count"], timing["min"], timing["max"]) == (800, min(every), max(every))
    assert timing["avg"] == pytest.approx(statistics.fmean(every), rel=1e-12)
    assert timing["sd"] == pytest.approx(statistics.pstdev(every), rel=1e-9)
