"""What happens when a signal requests the end of the process; the program's own handlers still run.

One Python handler for each signal serves everybody who waits for it, and then calls on what was
installed before: the program's handler, ``KeyboardInterrupt``, or the signal's default action.  It is
installed only while a hook is registered, and removed only if no other one has replaced it.

Under Slurm, SIGUSR1 and SIGUSR2 (``--signal=USR1@60``) announce that the job is about to be ended.  A
program without a handler for them dies of them, so they are taken as SIGTERM is.  One that has a handler
decides itself what follows, such as a checkpoint and another job; it is only warned, to save first.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Final
from weakref import WeakSet

__all__ = ["SIGNAL_SECONDS", "SignalHandler", "is_asked_to_end", "leave", "seconds_left"]

_log: Final = logging.getLogger("track")

SIGNAL_SECONDS: Final = 5.0
"""Maximum delay before a signal reaches the program's own handler."""

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_WARNINGS: Final = (signal.SIGUSR1, signal.SIGUSR2)
"""Handled only under Slurm: otherwise the program defines their meaning."""

_SLURM: Final = "SLURM_JOB_ID"
_PROCESS_STATUS: Final = Path("/proc/self/status")


class SignalHandler:
    """Receives signals and the end of the process, once installed; a subclass defines the reaction.

    Exceptions are logged, and the signal continues.  It is not kept alive by being installed.
    """

    def sigint(self, signum: int, frame: FrameType | None) -> None:
        """SIGINT came, as from Ctrl-C.

        Args:
            signum: its number.
            frame: what it interrupted.
        """

    def sigterm(self, signum: int, frame: FrameType | None) -> None:
        """SIGTERM came, as from a scheduler, or SIGHUP; or a warning of Slurm's, and the process dies of it.

        Args:
            signum: its number.
            frame: what it interrupted.
        """

    def warned(self, signum: int, frame: FrameType | None) -> None:
        """One of Slurm's warnings came, SIGUSR1 or SIGUSR2, which the program handles in a moment.

        Args:
            signum: its number.
            frame: what it interrupted.
        """

    def atexit(self) -> None:
        """The process ends; it is still possible to log."""

    def install(self) -> None:
        """Register; signals arrive only if this is called in the main thread.

        A signal that the process ignores stays ignored, and one that is handled by a C library is left to it.
        """
        _installed.add(self)
        # Again each time, so that it runs before what was registered earlier: that flushes.
        atexit.unregister(leave)
        atexit.register(leave)
        _update()

    def uninstall(self) -> None:
        """Unregister; the previous handlers return when the last hook unregisters."""
        _installed.discard(self)
        _update()


class _CutShort(BaseException):
    """A second signal came; the handling of the first one ends."""


class _Link:
    """The Python handler of one signal, which chains to the handler that it replaced."""

    def __init__(self, number: signal.Signals, before: signal._HANDLER) -> None:
        self._number = number
        self.before = before
        self.notifies = True
        """False once a newer one does; the program's handler may still chain to this one."""

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        if self.notifies and self._warns:
            self._warn(signum, frame)
        elif self.notifies and _state.busy:
            self._chain(signum, frame)
            raise _CutShort
        elif self.notifies:
            self._notify(signum, frame)
        self._chain(signum, frame)

    @property
    def _warns(self) -> bool:
        return self._number in _WARNINGS and callable(self.before)

    def _warn(self, signum: int, frame: FrameType | None) -> None:
        # Not busy with it: a signal that ends the process while this saves is reported as usual.
        if not _state.busy:
            _state.deadline = time.monotonic() + SIGNAL_SECONDS
            for handler in list(_installed):
                self._notify_one(handler.warned, signum, frame)

    def _notify(self, signum: int, frame: FrameType | None) -> None:
        try:
            try:
                _state.busy = _state.asked = True
                _state.deadline = time.monotonic() + SIGNAL_SECONDS
                for handler in list(_installed):
                    notify = handler.sigint if self._number is signal.SIGINT else handler.sigterm
                    self._notify_one(notify, signum, frame)
            finally:
                _state.busy = False
        except _CutShort:
            _state.busy = False

    def _notify_one(
        self, notify: Callable[[int, FrameType | None], None], signum: int, frame: FrameType | None
    ) -> None:
        try:
            notify(signum, frame)
        except Exception:  # noqa: BLE001  # the signal must continue, whatever a handler does
            _log.exception("a handler of %s failed", self._number.name)

    def _chain(self, signum: int, frame: FrameType | None) -> None:
        if callable(self.before):
            self.before(signum, frame)
        elif self.before is signal.SIG_DFL:
            # So that a waiting parent sees which signal ended the process.
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)


class _State:
    """Whether a signal is being handled, until when that may take, and whether one has ever come."""

    busy = False
    deadline = 0.0
    asked = False


_state: Final = _State()
_installed: Final[WeakSet[SignalHandler]] = WeakSet()
_links: Final[dict[signal.Signals, _Link]] = {}


def _update() -> None:
    # Only the main thread may; a handler that a thread leaves installed only calls the next one.
    if threading.current_thread() is not threading.main_thread():
        return
    if _installed:
        for number in _SIGNALS + (_WARNINGS if _SLURM in os.environ else ()):
            _install_handler(number)
        return
    for number in list(_links):
        if signal.getsignal(number) is _links[number]:
            signal.signal(number, _links.pop(number).before)


def _install_handler(number: signal.Signals) -> None:
    current, ours = signal.getsignal(number), _links.get(number)
    if current in (ours, None, signal.SIG_IGN) or (current is signal.SIG_DFL and _is_caught(number)):
        return
    if ours is not None:
        ours.notifies = False
    _links[number] = _Link(number, current)
    signal.signal(number, _links[number])


def _is_caught(number: signal.Signals) -> bool:
    """Whether a C library handles a signal of which Python does not know, as `faulthandler.register` does."""
    try:
        lines = _PROCESS_STATUS.read_text().splitlines()
    except OSError:
        return False  # not Linux
    caught = next((line for line in lines if line.startswith("SigCgt:")), "SigCgt: 0")
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def leave() -> None:
    """Notify all handlers that the process ends."""
    for handler in list(_installed):
        handler.atexit()


def seconds_left() -> float:
    """What remains of `SIGNAL_SECONDS`, the limit for all handlers together."""
    return max(0.0, _state.deadline - time.monotonic())


def is_asked_to_end() -> bool:
    """Whether a signal has requested the end of this process, so that its sender waits."""
    return _state.asked
