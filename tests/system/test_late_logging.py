"""What a program logs after the flush at its end: by exit functions, destructors and generators."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from running_server import serving
from script_runner import ScriptRunner
from track import Status, TrackClient
from track.spool.folder import spools_in
from track_server.app import Settings
from waiting import wait_until

LATE = [float(number) for number in range(10)]


@pytest.fixture
def spools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRACK_SPOOL", str(tmp_path / "spool"))
    return tmp_path / "spool"


@pytest.fixture
def runner(tmp_path: Path, spools: Path) -> Iterator[ScriptRunner]:
    with serving(Settings(f"sqlite:{tmp_path / 'runs.db'}", home=tmp_path / "home")) as served:
        yield ScriptRunner(tmp_path, served.join("ann"))


def test_what_a_destructor_logs_after_threads_have_stopped_is_queued_on_disk_for_the_next_start(
    runner: ScriptRunner, spools: Path
) -> None:
    # Fails, by waiting forever, when `SenderThread.wake` starts a thread while the interpreter ends.
    script = """
    class Late:
        def __del__(self):
            for number in range(10):
                self.trial.log_metrics(late=float(number))

    with client.new_trial(arguments={"a": 1}) as trial:
        trial.log_metrics(loss=1.0)
    late = Late()
    late.trial, late.itself = trial, late
    ready()
    """
    with runner.script(script) as process:
        assert process.wait(60) == 0
        assert process.stderr is not None
        logged = process.stderr.read()
    # A busy machine may add a line about a slow server: the remedy still comes once.
    assert logged.count("track sync") == 1
    (left,) = spools_in(spools)
    with TrackClient(runner.uri) as client:
        client.new_trial(arguments={"b": 1})
        wait_until(lambda: not left.exists(), "the next start has sent it")
        (trial,) = client.protocol.fetch_trials({"parameters.a": 1})
        assert list(client.protocol.fetch_metrics(trial, "late").values) == LATE
    assert trial.status is Status.Completed


def test_asking_after_threads_have_stopped_fails_at_once(runner: ScriptRunner) -> None:
    # Fails, by waiting, when `Outbox._enqueue` leaves a request to a thread that will never run.
    script = """
    class Late:
        def __del__(self):
            try:
                client.protocol.fetch_trials({})
            except Exception as error:
                print("late:", error, flush=True)

    client.new_trial(arguments={"a": 1}).log_metrics(loss=1.0)
    late = Late()
    late.itself = late
    ready()
    """
    with runner.script(script) as process:
        assert process.wait(60) == 0
        assert process.stdout is not None
        assert process.stdout.read().endswith("cannot be called: the interpreter ends\n")


def test_a_generator_that_is_left_in_the_block_ends_with_the_program(runner: ScriptRunner) -> None:
    script = """
    def training():
        with client.new_trial(arguments={"a": 1}) as trial:
            while True:
                trial.log_metrics(loss=1.0)
                yield

    steps = training()
    next(steps)
    ready()
    """
    with runner.script(script) as process:
        assert process.wait(60) == 0
    trial, values = runner.trial()
    assert (trial.status, trial.errors, values) == (Status.Completed, [], {"loss": [1.0]})
