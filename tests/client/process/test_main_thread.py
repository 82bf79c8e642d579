"""Signals that do not interrupt the main thread are handled all the same, by a thread."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from running_server import environment
from track.process import main_thread
from track.process.signals import SignalHandler
from waiting import wait_until

HEAD = """
import os, signal, sys, threading
from track.process.signals import SignalHandler

class Teller(SignalHandler):
    def sigterm(self, signum, frame): os.write(1, b"reported ")

class Blocking:
    '''The main thread reads a pipe that stays empty, and another thread receives SIGTERM.

    So it is when a signal comes just before a system call: it is recorded, and interrupts nothing.
    '''
    def __init__(self):
        self.pipe, self.ready = os.pipe(), threading.Event()
        self.main = threading.get_native_id()
        threading.Thread(target=self.receive, daemon=True).start()
        os.read(self.pipe[0], 4242)

    def receive(self):
        while hex(4242) not in open(f"/proc/self/task/{self.main}/syscall").read().split(): pass
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

teller = Teller()
"""


def run(script: str, folder: Path) -> tuple[int, str]:
    """Exit code and output of a script; -9 of one that hangs."""
    path = folder / "script.py"
    path.write_text(HEAD + textwrap.dedent(script))
    env = environment(PYTHONPATH=os.pathsep.join(sys.path))
    done = subprocess.run([sys.executable, str(path)], env=env, capture_output=True, text=True, timeout=60)
    assert not done.stderr
    return done.returncode, done.stdout.strip()


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "track-signals"]


class Quiet(SignalHandler):
    """Does nothing."""


@pytest.fixture
def quiet() -> Iterator[Quiet]:
    """A handler that is uninstalled at the end."""
    handler = Quiet()
    yield handler
    handler.uninstall()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe of the program's own, for its wakeup file descriptor; it is the process's no more at the end."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    yield read, write
    signal.set_wakeup_fd(-1)
    os.close(read)
    os.close(write)


def test_a_signal_that_does_not_interrupt_a_blocking_call_is_handled(tmp_path: Path) -> None:
    script = """
    teller.install()
    Blocking()
    """
    assert run(script, tmp_path) == (-signal.SIGTERM, "reported")


def test_so_it_is_after_another_such_signal_that_the_program_survived(tmp_path: Path) -> None:
    script = """
    def survive(signum, frame): os.write(blocked.pipe[1], b"x")
    class Known(Blocking):
        def __init__(self):
            global blocked
            blocked = self
            super().__init__()
    signal.signal(signal.SIGTERM, survive)
    teller.install()
    for _ in range(5): Known()
    """
    assert run(script, tmp_path) == (0, " ".join(["reported"] * 5))


def test_so_it_is_in_a_forked_process(tmp_path: Path) -> None:
    script = """
    teller.install()
    if not (child := os.fork()):
        Blocking()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
    Blocking()
    """
    assert run(script, tmp_path) == (-signal.SIGTERM, "reported reported")


def test_so_it_is_after_an_event_loop_that_put_back_what_it_found(tmp_path: Path) -> None:
    script = """
    import uvloop
    teller.install()
    async def nothing(): pass
    uvloop.run(nothing())
    again = Teller()
    teller.uninstall()
    again.install()
    Blocking()
    """
    assert run(script, tmp_path) == (-signal.SIGTERM, "reported")


def test_a_signal_that_is_handled_in_time_is_followed_by_no_other(tmp_path: Path) -> None:
    script = """
    import time
    signal.signal(signal.SIGTERM, lambda *_: None)
    teller.install()
    (reader,) = (thread for thread in threading.enumerate() if thread.name == "track-signals")
    followed = []
    signal.signal(signal.SIGURG, lambda *_: followed.append(1))
    for _ in range(5):
        os.kill(os.getpid(), signal.SIGTERM)
        # Until the thread has looked at that, and waits for more.
        while hex(4096) not in open(f"/proc/self/task/{reader.native_id}/syscall").read().split():
            time.sleep(0.001)
    assert not followed
    """
    assert run(script, tmp_path) == (0, " ".join(["reported"] * 5))


def mine(signum: int, frame: FrameType | None) -> None:
    """A handler of the program's own."""


@pytest.mark.parametrize("handler", [mine, signal.SIG_IGN])
def test_a_program_that_handles_sigurg_keeps_it_for_itself(quiet: Quiet, handler: Any) -> None:
    before = signal.signal(signal.SIGURG, handler)
    try:
        quiet.install()
        assert signal.getsignal(signal.SIGURG) is handler
        wait_until(lambda: threads() == [], "there is no thread")
    finally:
        signal.signal(signal.SIGURG, before)


def test_a_library_that_handles_sigurg_keeps_it_for_itself(tmp_path: Path) -> None:
    script = """
    import faulthandler
    faulthandler.register(signal.SIGURG, file=sys.stdout)
    teller.install()
    os.kill(os.getpid(), signal.SIGURG)
    """
    code, out = run(script, tmp_path)
    assert (code, "most recent call first" in out) == (0, True)


def test_there_is_a_thread_as_long_as_somebody_waits_for_signals(quiet: Quiet) -> None:
    for _ in range(3):
        quiet.install()
        quiet.install()
        wait_until(lambda: len(threads()) == 1, "there is one thread")
        quiet.uninstall()
        wait_until(lambda: threads() == [], "there is no thread")
        assert signal.getsignal(signal.SIGURG) is signal.SIG_DFL
        assert signal.set_wakeup_fd(-1) == -1


def test_one_that_is_wanted_again_at_once_goes_on(quiet: Quiet) -> None:
    for _ in range(200):
        quiet.install()
        quiet.uninstall()
    quiet.install()
    wait_until(lambda: len(threads()) == 1, "there is one thread")


def test_a_wakeup_file_descriptor_that_is_set_already_stays(quiet: Quiet, pipe: tuple[int, int]) -> None:
    signal.set_wakeup_fd(pipe[1])
    quiet.install()
    wait_until(lambda: threads() == [], "there is no thread")
    quiet.uninstall()
    assert signal.set_wakeup_fd(-1) == pipe[1]


def test_one_that_is_set_later_stays(quiet: Quiet, pipe: tuple[int, int]) -> None:
    quiet.install()
    signal.set_wakeup_fd(pipe[1])
    quiet.uninstall()
    assert signal.set_wakeup_fd(-1) == pipe[1]


def test_signals_that_come_while_it_is_looked_at_are_passed_on(quiet: Quiet, pipe: tuple[int, int]) -> None:
    came = []

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        if frame.f_code.co_filename != main_thread.__file__:
            return None
        if event == "line":
            signal.raise_signal(signal.SIGUSR1)
        return trace

    before = signal.signal(signal.SIGUSR1, lambda *_: came.append(signal.SIGUSR1))
    signal.set_wakeup_fd(pipe[1])
    sys.settrace(trace)
    try:
        quiet.install()
    finally:
        sys.settrace(None)
        signal.signal(signal.SIGUSR1, before)
    assert len(came) > 10
    assert list(os.read(pipe[0], 4096)) == came


def test_without_a_file_descriptor_signals_are_handled_as_python_does(tmp_path: Path) -> None:
    script = """
    import logging, resource
    logging.basicConfig(stream=sys.stdout, format="%(message)s")
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    teller.install()
    os.kill(os.getpid(), signal.SIGTERM)
    """
    code, out = run(script, tmp_path)
    assert (code, "signals may be handled late" in out, "reported" in out) == (-signal.SIGTERM, True, True)
