"""The thread of a sender: started when there is something to send, ended when idle.

At the very end of the process, when destructors run, the interpreter has stopped all threads and
starts no other one (up to Python 3.11, the attempt hangs).  What is logged then goes to disk.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

from track.outbox.sender import Sender
from track.process.lifecycle import TurnLock, prepare_for_exit

__all__ = ["SenderThread"]

_log: Final = logging.getLogger("track")

_JOIN_INTERVAL_S: Final = 0.02
"""Seconds between checks, while waiting for the thread to end, whether it is needed again."""


class SenderThread:
    """Runs a sender in at most one thread at a time.

    Args:
        sender: what it runs.
        before_start: called before each start.

    Attributes:
        lock: held while the thread starts; a fork, too, holds it.
    """

    def __init__(self, sender: Sender, before_start: Callable[[], None]) -> None:
        self.lock = TurnLock()
        self._sender = sender
        self._before_start = before_start
        self._thread: threading.Thread | None = None
        self._starting = False
        self._problem: RuntimeError | None = None

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._thread is not None and self._thread.is_alive()

    def wake(self) -> bool:
        """Make the sender look at the records now, in a new thread if there is none.

        Returns:
            whether it does; where no thread runs or starts, the records were put on disk at best.
        """
        if sys.is_finalizing():
            self._clean_up()
            return False
        if not self.is_alive or self._sender.stopping:
            self._start()
        if not (self.is_alive or self._starting):
            self._clean_up()
            return False
        self._sender.wake()
        return True

    @property
    def problem(self) -> str:
        """Why no thread is there."""
        return "the interpreter ends" if self._problem is None else f"no thread can start: {self._problem}"

    def _clean_up(self) -> None:
        """Do here what the thread does at its end, unless it was stopped in the middle of something."""
        if self._starting or self._thread is not None:
            return
        self._starting = self._sender.stopping = True
        try:
            self._sender.run()
        except Exception:  # noqa: BLE001  # at this point any module may be cleared
            _log.exception("log calls could not be queued: %s", self.problem)
        finally:
            self._starting = False

    def _start(self) -> None:
        with self.lock:
            # A thread that is about to end reads this under the same lock, and continues.
            self._sender.stopping = self._sender.closing_when_drained = False
            # A signal handler that logs while the thread starts must not start another one.
            if self._starting or self.is_alive:
                return
            self._starting = True
            try:
                prepare_for_exit()
                self._before_start()
                thread = threading.Thread(target=self._run, name="track-sender", daemon=True)
                # Before it starts: it removes itself at its end.
                self._thread = thread
                thread.start()
                self._problem = None
            except RuntimeError as error:
                # Out of threads or memory; that must not reach the training, and is tried again.
                self._thread = None
                if self._problem is None:
                    _log.warning(
                        "the thread that sends log calls cannot start (%s): raise the limit of processes or "
                        "memory",
                        error,
                    )
                self._problem = error
            finally:
                self._starting = False

    def _run(self) -> None:
        while True:
            self._sender.run()
            with self.lock:
                if self._sender.stopping:
                    self._thread = None
                    return

    def stop(self, timeout: float) -> None:
        """End the thread, and wait for that unless another caller needs it again.

        A signal handler may come in the middle of a call of its own thread, which has what the sender needs
        to end: then nothing waits for it.

        Args:
            timeout: seconds.
        """
        with self.lock as is_outermost:
            thread = self._thread
            if thread is None:
                return
            can_end = is_outermost and not self._sender.connector.is_being_woken
            self._sender.stopping = True
            self._sender.wake()
        if not can_end:
            return
        # Without the lock: callers must not wait for a link to close.
        deadline = time.monotonic() + timeout
        while thread.is_alive() and self._sender.stopping and time.monotonic() < deadline:
            thread.join(_JOIN_INTERVAL_S)
