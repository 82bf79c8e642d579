"""What real programs print is in their trials on a real server, however they end."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from running_server import serving
from script_runner import ScriptRunner
from track import Status
from track_server.app import Settings
from waiting import wait_until


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[ScriptRunner]:
    with serving(Settings(f"sqlite:{tmp_path / 'runs.db'}", home=tmp_path / "home")) as served:
        yield ScriptRunner(tmp_path, served.join("ann"))


def test_what_was_printed_before_a_kill_is_there(runner: ScriptRunner) -> None:
    script = """
    with client.new_trial(arguments={"a": 1}) as trial:
        trial.capture_output()
        ready()
        print("warming up", file=sys.stderr)
        rest()
    """

    def is_stored() -> bool:
        metadata = runner.trial()[0].metadata
        return (metadata.get("out"), metadata.get("err")) == (["ready"], ["warming up"])

    with runner.script(script) as process:
        wait_until(is_stored, "what a live process printed is stored")
        process.kill()
        assert process.wait(30) == -signal.SIGKILL
    assert is_stored()


def test_a_signal_keeps_the_last_lines(runner: ScriptRunner) -> None:
    script = """
    with client.new_trial(arguments={"a": 1}) as trial:
        trial.capture_output()
        ready()
        rest()
    """
    with runner.script(script) as process:
        process.terminate()
        assert process.wait(30) == -signal.SIGTERM
    trial, _ = runner.trial()
    assert (trial.status, trial.metadata["out"]) == (Status.Interrupted, ["ready"])


def test_a_forked_child_does_not_store_what_it_printed(runner: ScriptRunner) -> None:
    script = """
    with client.new_trial(arguments={"a": 1}) as trial:
        trial.capture_output()
        ready()
        trial._output.save()
        child = os.fork()
        if child == 0:
            print("in the child")
            trial._output.save()
            trial.protocol.flush(30.0)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    """
    with runner.script(script) as process:
        assert process.wait(30) == 0
    assert runner.trial()[0].metadata["out"] == ["ready"]


def test_without_a_block_the_end_of_the_program_is_captured_with_its_traceback(runner: ScriptRunner) -> None:
    script = """
    trial = client.new_trial(arguments={"a": 1})
    trial.capture_output(3)
    ready()
    1 / 0
    """
    with runner.script(script) as process:
        assert process.wait(30) == 1
        assert process.stderr is not None
        assert "ZeroDivisionError" in process.stderr.read()
    trial, _ = runner.trial()
    assert trial.metadata["out"] == ["ready"]
    lines = trial.metadata["err"]
    assert (len(lines), lines[-1]) == (3, "ZeroDivisionError: division by zero")


def test_bars_logging_and_ranks_are_captured(runner: ScriptRunner) -> None:
    script = """
    import logging
    from tqdm import tqdm

    def rank(number, uid):
        with TrackClient(os.environ["TRACK_URI"], rank=number) as client:
            with client.set_trial(uid=uid) as trial:
                trial.capture_output()
                print("rank", number)

    ready()
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.INFO)
    with client.new_trial(arguments={"a": 1}) as trial:
        trial.capture_output()
        for _ in tqdm(range(100), desc="epoch", mininterval=0):
            pass
        logging.info("the epoch is over")
        process = multiprocessing.get_context("fork").Process(target=rank, args=(2, trial.trial.uid))
        process.start()
        process.join()
        assert process.exitcode == 0
        print("all ranks are done")
    """
    with runner.script(script) as process:
        assert process.wait(30) == 0
    trial, _ = runner.trial()
    bar, line = trial.metadata["err"]
    assert (bar[:11], line) == ("epoch: 100%", "INFO the epoch is over")
    assert "100/100" in bar
    assert (trial.metadata["out"], trial.metadata["out_2"]) == (["all ranks are done"], ["rank 2"])
