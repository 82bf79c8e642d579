"""Interrupts the main thread until it has run the handlers of the signals that came.

Python records a signal in C, and runs its handler when the main thread is back in the interpreter.  A
system call that blocks returns early for that.  But a signal that comes after the interpreter has looked
for signals, and before the main thread is in the system call, interrupts nothing: the handler runs when the
call returns, which may be never.  So it is with a signal that another thread receives.  A process that
waits for work then survives SIGTERM, of which it would have died without a Python handler.

C also writes the number of each signal to a file descriptor (`signal.set_wakeup_fd`).  A thread reads it.  If
the signal's handler has not run a moment later, it sends SIGURG to the main thread, again and again: that
interrupts the system call, and once the handler of SIGURG has run, so have those of all signals before it.
The same signal once more would not do: if its handler has run in the meantime, it would run twice.  SIGURG
is ignored by default, and programs that use it expect it without a cause; where a program handles it, its
signals are handled as Python does.

There is one such file descriptor in a process.  One that is set already, as by an event loop, is left alone:
the loop waits for it, and is woken up itself.  An event loop may also put its own in the place of ours, and
ours back at its end.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Final

from track.process.c_handlers import is_handled_in_c

__all__ = ["handler_runs", "unwatch", "watch"]

_log: Final = logging.getLogger("track")

_PAUSE_S: Final = 0.01
_LONGEST_PAUSE_S: Final = 1.0
"""Seconds before an interruption, the first and the last: a call of a C library may go on for long."""

_BYTES: Final = 4096


class _Pipe:
    """A pipe for the numbers of signals; it is never closed, since C may write to it at any time.

    Attributes:
        read: its end to read from.
        write: its end to write to, which does not block, as C requires.
    """

    def __init__(self) -> None:
        self.read, self.write = os.pipe()
        os.set_blocking(self.write, False)

    def renew(self) -> None:
        """Put another pipe behind the same numbers: this one is the parent's."""
        read, write = os.pipe()
        os.dup2(read, self.read, inheritable=False)
        os.dup2(write, self.write, inheritable=False)
        os.close(read)
        os.close(write)
        os.set_blocking(self.write, False)

    def current(self) -> int:
        """The process's wakeup file descriptor, or -1; what comes while this looks is passed on to it."""
        current = signal.set_wakeup_fd(self.write, warn_on_full_buffer=False)
        signal.set_wakeup_fd(current, warn_on_full_buffer=False)
        os.set_blocking(self.read, False)
        with suppress(BlockingIOError):
            numbers = os.read(self.read, _BYTES)
            if current != -1:
                os.write(current, numbers)
        return current


class _Interrupter:
    """The thread that reads a pipe while it is wanted, and a second pipe to find out who else has set one.

    Attributes:
        ran: how many handlers have begun to run.
    """

    def __init__(self) -> None:
        self._begin()
        self._numbers: frozenset[int] = frozenset()
        self._wanted = False
        self._pipe: _Pipe | None = None
        self._probe: _Pipe | None = None

    def _begin(self) -> None:
        # Reentrant: a signal handler may start or stop this in the middle of either.
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None
        self._reached = False
        self.ran = self._known = 0

    def start(self, numbers: Iterable[int]) -> None:
        self._numbers = frozenset(numbers)
        self._pipe = self._pipe or _Pipe()
        self._probe = self._probe or _Pipe()
        if self._probe.current() not in (-1, self._pipe.write, self._probe.write) or not self._takes_sigurg():
            return
        signal.set_wakeup_fd(self._pipe.write, warn_on_full_buffer=False)
        with self._lock:
            self._wanted = True
            self._start_thread()

    def stop(self) -> None:
        if not self._wanted or self._pipe is None or self._probe is None:
            return
        self._wanted = False
        if self._probe.current() == self._pipe.write:
            signal.set_wakeup_fd(-1)
        if signal.getsignal(signal.SIGURG) == self._arrived:
            signal.signal(signal.SIGURG, signal.SIG_DFL)
        with suppress(BlockingIOError):  # full: then the thread does not wait
            os.write(self._pipe.write, b"\0")

    def after_fork_in_child(self) -> None:
        """Read the signals of this process: not those of the parent, which keeps its own."""
        self._begin()
        for pipe in (self._pipe, self._probe):
            if pipe is not None:
                pipe.renew()
        if self._wanted:
            self._start_thread()

    def _takes_sigurg(self) -> bool:
        current = signal.getsignal(signal.SIGURG)
        if current == self._arrived:
            return True
        if current is not signal.SIG_DFL or is_handled_in_c(signal.SIGURG):
            return False
        signal.signal(signal.SIGURG, self._arrived)
        return True

    def _arrived(self, signum: int, frame: FrameType | None) -> None:
        self._reached = True

    def _start_thread(self) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._read, name="track-signals", daemon=True)
            thread.start()
            self._thread = thread

    def _read(self) -> None:
        assert self._pipe is not None
        while self._goes_on():
            came = sum(number in self._numbers for number in os.read(self._pipe.read, _BYTES))
            if came:
                self._interrupt(came)

    def _goes_on(self) -> bool:
        with self._lock:
            if not self._wanted:
                self._thread = None
            return self._wanted

    def _interrupt(self, came: int) -> None:
        self._reached = False
        pause = _PAUSE_S
        time.sleep(pause)
        # Nearly always they have run.  Of two signals that came as one, this knows only one, and goes on.
        is_missing = self.ran - self._known < came
        while is_missing and self._wanted and not self._reached:
            main = threading.main_thread().ident
            assert main is not None
            signal.pthread_kill(main, signal.SIGURG)
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)
        self._known = self.ran


_interrupter: Final = _Interrupter()


def watch(numbers: Iterable[int]) -> None:
    """From now on, interrupt the main thread until it has handled these signals; in the main thread only.

    Args:
        numbers: of the signals.  Those of an earlier call are replaced.
    """
    _attempt(partial(_interrupter.start, numbers))


def handler_runs() -> None:
    """To be called at the start of each handler of these signals."""
    _interrupter.ran += 1


def unwatch() -> None:
    """End that; in the main thread only, and harmless when repeated."""
    _attempt(_interrupter.stop)


def _attempt(step: Callable[[], None]) -> None:
    try:
        step()
    except (OSError, RuntimeError) as error:  # no file descriptor or no thread is left
        _log.warning("signals may be handled late, when a blocking call returns: %s", error)


os.register_at_fork(after_in_child=partial(_attempt, _interrupter.after_fork_in_child))
