"""The thread of a sender: started when there is something to send, ended when nobody needs it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from track.lifecycle import prepare_for_exit
from track.outbox.sender import Sender

__all__ = ["SenderThread"]

_GLANCE: Final = 0.02
"""Whoever waits for the end of the thread looks so often, in seconds, whether others need it again."""


class SenderThread:
    """Runs a sender in at most one thread at a time.

    Args:
        sender: what it runs.
        before_start: called before each start.

    Attributes:
        lock: held while the thread starts; a fork, too, holds it.
    """

    def __init__(self, sender: Sender, before_start: Callable[[], None]) -> None:
        self.lock = threading.RLock()
        self._sender = sender
        self._before_start = before_start
        self._thread: threading.Thread | None = None
        self._starting = False

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._thread is not None and self._thread.is_alive()

    def wake(self) -> None:
        """Make the sender look at the rows now, in a new thread if there is none."""
        if not self.is_alive or self._sender.stopping:
            self._start()
        self._sender.wake()

    def _start(self) -> None:
        with self.lock:
            # A thread that is about to end reads this under the same lock, and goes on.
            self._sender.stopping = self._sender.retiring = False
            # A signal handler that logs while the thread starts must not start another one.
            if self._starting or self.is_alive:
                return
            self._starting = True
            try:
                prepare_for_exit()
                self._before_start()
                thread = threading.Thread(target=self._run, name="track-sender", daemon=True)
                # Before it starts: it takes itself away at its end.
                self._thread = thread
                thread.start()
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
        """End the thread, and wait for that as long as nobody else needs it again.

        Args:
            timeout: seconds.
        """
        with self.lock:
            thread = self._thread
            if thread is None:
                return
            self._sender.stopping = True
            self._sender.wake()
        # Without the lock: whoever logs or asks meanwhile must not wait for a link to close.
        deadline = time.monotonic() + timeout
        while thread.is_alive() and self._sender.stopping and time.monotonic() < deadline:
            thread.join(_GLANCE)
