"""Signals with real processes: the handlers that run, in which order, and what the process dies of."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from types import FrameType

import pytest

from running_server import environment
from track.process.signals import SignalHandler

HEAD = """
import os, signal, sys, time
from track.process.signals import SignalHandler, seconds_left

def say(*words):
    print(*words, flush=True)

class Teller(SignalHandler):
    def sigint(self, signum, frame): say("reported", signum)
    def sigterm(self, signum, frame): say("reported", signum)
    def warned(self, signum, frame): say("warned", signum, seconds_left() > 4)
    def atexit(self): say("at exit")

teller = Teller()
"""


def run(script: str, folder: Path, **changes: str) -> tuple[int, list[str]]:
    """Exit code and output of a script, in an environment with changes."""
    path = folder / "script.py"
    path.write_text(HEAD + textwrap.dedent(script))
    command = [sys.executable, str(path)]
    env = {"PYTHONPATH": os.pathsep.join(sys.path), **changes}
    env = {
        name: value for name, value in environment(**env).items() if name in changes or name != "SLURM_JOB_ID"
    }
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout.splitlines()


class Quiet(SignalHandler):
    """Does nothing."""


@pytest.fixture
def mine() -> object:
    """A handler of the program's own for SIGTERM, there for one test."""

    def handler(signum: int, frame: FrameType | None) -> None: ...

    before = signal.signal(signal.SIGTERM, handler)
    yield handler
    signal.signal(signal.SIGTERM, before)


def test_the_default_action_still_ends_the_process_with_that_signal(tmp_path: Path) -> None:
    script = """
    teller.install()
    os.kill(os.getpid(), signal.SIGTERM)
    say("alive")
    """
    assert run(script, tmp_path) == (-signal.SIGTERM, ["reported 15"])


def test_ctrl_c_is_still_an_exception(tmp_path: Path) -> None:
    script = """
    teller.install()
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)
    except KeyboardInterrupt:
        say("KeyboardInterrupt")
    """
    assert run(script, tmp_path) == (0, ["reported 2", "KeyboardInterrupt", "at exit"])


def test_the_programs_own_handler_is_called_on(tmp_path: Path) -> None:
    script = """
    signal.signal(signal.SIGTERM, lambda *_: say("mine"))
    teller.install()
    os.kill(os.getpid(), signal.SIGTERM)
    say("alive")
    teller.uninstall()
    os.kill(os.getpid(), signal.SIGTERM)
    """
    assert run(script, tmp_path) == (0, ["reported 15", "mine", "alive", "mine"])


def test_a_handler_that_fails_does_not_stop_the_signal(tmp_path: Path) -> None:
    script = """
    class Failing(SignalHandler):
        def sigterm(self, signum, frame): raise ValueError("no")
    failing = Failing()
    failing.install()
    os.kill(os.getpid(), signal.SIGTERM)
    """
    assert run(script, tmp_path) == (-signal.SIGTERM, [])


@pytest.mark.parametrize(("first", "second"), [("SIGTERM", "SIGTERM"), ("SIGINT", "SIGTERM")])
def test_a_second_signal_ends_at_once(tmp_path: Path, first: str, second: str) -> None:
    script = f"""
    class Slow(SignalHandler):
        def sigterm(self, signum, frame):
            say("reported")
            os.kill(os.getpid(), signal.{second})
            time.sleep(30)
            say("finished")
        sigint = sigterm
    slow = Slow()
    slow.install()
    os.kill(os.getpid(), signal.{first})
    """
    assert run(script, tmp_path) == (-signal.Signals[second], ["reported"])


def test_a_second_signal_that_the_program_survives_cuts_the_first_short(tmp_path: Path) -> None:
    script = """
    signal.signal(signal.SIGTERM, lambda *_: say("mine"))
    class Slow(SignalHandler):
        def sigterm(self, signum, frame):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(30)
            say("finished")
    slow = Slow()
    slow.install()
    os.kill(os.getpid(), signal.SIGTERM)
    say("alive")
    """
    assert run(script, tmp_path) == (0, ["mine", "mine", "alive"])


def test_an_ignored_signal_stays_ignored(tmp_path: Path) -> None:
    script = """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    teller.install()
    os.kill(os.getpid(), signal.SIGTERM)
    """
    assert run(script, tmp_path) == (0, ["at exit"])


def test_handlers_share_the_time_there_is(tmp_path: Path) -> None:
    script = """
    signal.signal(signal.SIGTERM, lambda *_: None)
    class Slow(SignalHandler):
        def sigterm(self, signum, frame):
            left.append(seconds_left())
            time.sleep(0.05)
    left = []
    both = Slow(), Slow()
    for each in both: each.install()
    os.kill(os.getpid(), signal.SIGTERM)
    say(left[0] - left[1] >= 0.05)
    """
    assert run(script, tmp_path) == (0, ["True"])


def test_the_handlers_from_before_come_back_with_the_last_that_leaves(mine: object) -> None:
    one, two = Quiet(), Quiet()
    one.install()
    two.install()
    one.uninstall()
    assert signal.getsignal(signal.SIGTERM) is not mine
    two.uninstall()
    assert signal.getsignal(signal.SIGTERM) is mine
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_put_in_the_place_of_ours_stays(mine: object) -> None:
    def later(signum: int, frame: FrameType | None) -> None: ...

    one = Quiet()
    one.install()
    signal.signal(signal.SIGTERM, later)
    one.uninstall()
    assert signal.getsignal(signal.SIGTERM) is later


def test_another_thread_than_the_main_one_leaves_signals_alone(mine: object) -> None:
    one = Quiet()
    thread = threading.Thread(target=one.install)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is mine
    one.uninstall()


def test_a_handler_put_in_the_place_of_ours_may_call_ours_on(tmp_path: Path) -> None:
    script = """
    teller.install()
    ours = signal.getsignal(signal.SIGTERM)
    def later(signum, frame):
        say("later")
        ours(signum, frame)
    signal.signal(signal.SIGTERM, later)
    again = Teller()
    again.install()
    teller.uninstall()
    os.kill(os.getpid(), signal.SIGTERM)
    """
    assert run(script, tmp_path) == (-signal.SIGTERM, ["reported 15", "later"])


def test_a_signal_that_a_c_library_handles_is_left_to_it(tmp_path: Path) -> None:
    script = """
    import faulthandler
    faulthandler.register(signal.SIGTERM, file=sys.stdout)
    teller.install()
    os.kill(os.getpid(), signal.SIGTERM)
    say("alive")
    """
    code, lines = run(script, tmp_path)
    assert (code, lines[-2:], "reported 15" in lines) == (0, ["alive", "at exit"], False)
    assert any("most recent call first" in line for line in lines)


# -- warnings under Slurm ------------------------------------------------------------------------

WARNINGS = pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2], ids=lambda number: number.name)


@WARNINGS
def test_a_warning_without_a_handler_is_taken_as_the_end(tmp_path: Path, number: signal.Signals) -> None:
    script = f"""
    teller.install()
    os.kill(os.getpid(), {number:d})
    say("alive")
    """
    assert run(script, tmp_path, SLURM_JOB_ID="7") == (-number, [f"reported {number:d}"])


@WARNINGS
def test_a_warning_that_the_program_handles_is_its_own(tmp_path: Path, number: signal.Signals) -> None:
    script = f"""
    signal.signal({number:d}, lambda *_: say("mine"))
    teller.install()
    os.kill(os.getpid(), {number:d})
    say("alive")
    """
    assert run(script, tmp_path, SLURM_JOB_ID="7") == (
        0,
        [f"warned {number:d} True", "mine", "alive", "at exit"],
    )


def test_elsewhere_than_under_slurm_it_is_no_warning(tmp_path: Path) -> None:
    script = """
    teller.install()
    say(signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL)
    signal.signal(signal.SIGUSR1, lambda *_: say("mine"))
    teller.install()
    os.kill(os.getpid(), signal.SIGUSR1)
    """
    assert run(script, tmp_path) == (0, ["True", "mine", "at exit"])


def test_a_signal_that_comes_while_a_warning_is_handled_still_ends_the_process(tmp_path: Path) -> None:
    script = """
    signal.signal(signal.SIGUSR1, lambda *_: say("mine"))
    class Slow(Teller):
        def warned(self, signum, frame):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(30)
    slow = Slow()
    slow.install()
    os.kill(os.getpid(), signal.SIGUSR1)
    """
    assert run(script, tmp_path, SLURM_JOB_ID="7") == (-signal.SIGTERM, ["reported 15"])


def test_a_warning_while_a_signal_is_handled_takes_none_of_its_time(tmp_path: Path) -> None:
    script = """
    signal.signal(signal.SIGUSR1, lambda *_: say("mine"))
    class Warned(Teller):
        def sigterm(self, signum, frame):
            os.kill(os.getpid(), signal.SIGUSR1)
            say("reported", signum)
    slow = Warned()
    slow.install()
    os.kill(os.getpid(), signal.SIGTERM)
    """
    assert run(script, tmp_path, SLURM_JOB_ID="7") == (-signal.SIGTERM, ["mine", "reported 15"])


def test_the_handlers_of_warnings_come_back_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    one = Quiet()
    one.install()
    assert signal.getsignal(signal.SIGUSR1) is not signal.SIG_DFL
    monkeypatch.delenv("SLURM_JOB_ID")
    one.uninstall()
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
