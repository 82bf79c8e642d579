"""What a signal or the end of the process does to a running trial."""

from __future__ import annotations

import logging
import os
import signal
import sys
from types import FrameType, TracebackType
from typing import Any, Final, Protocol
from weakref import ref

from track.persistence import protocol as storage
from track.process.signals import SignalHandler, seconds_left
from track_protocol.errors import TrackError

__all__ = ["Interruptible", "LogSignalHandler", "traceback_to"]

_log: Final = logging.getLogger("track")


class Interruptible(Protocol):
    """What a signal ends: `TrialLogger`."""

    @property
    def protocol(self) -> storage.Protocol: ...

    def _interrupt(self, signum: int, frame: FrameType | None) -> None: ...

    def finish(self, *exc_info: Any) -> None: ...


class LogSignalHandler(SignalHandler):
    """Ends a running trial when the process is asked to end, or ends without saying so.

    In a child that was forked while the trial ran, a signal saves what the child logged; the trial continues.

    Args:
        logger: of the trial.
    """

    def __init__(self, logger: Interruptible) -> None:
        # Weakly: a trial that the program has dropped is finished then.
        self._logger_ref = ref(logger)
        self._protocol = logger.protocol
        self._pid = 0
        self._error_before: BaseException | None = None

    def install(self) -> None:
        """See `SignalHandler.install`."""
        self._pid = os.getpid()
        self._error_before = getattr(sys, "last_value", None)
        super().install()

    def sigint(self, signum: int, frame: FrameType | None) -> None:
        """Interrupted: store that, with the traceback, and save everything logged."""
        self.sigterm(signum, frame)

    def sigterm(self, signum: int, frame: FrameType | None) -> None:
        """Interrupted: store that, with the traceback, and save everything logged."""
        logger = self._logger_ref()
        if logger is not None and self._pid == os.getpid():
            logger._interrupt(signum, frame)
        self._save(signum)

    def warned(self, signum: int, frame: FrameType | None) -> None:
        """Save everything logged, and leave the trial running: the program decides about its end."""
        self._save(signum)

    def _save(self, signum: int) -> None:
        try:
            self._protocol.persist(seconds_left())
        except TrackError as error:
            _log.error("%s: not everything is saved: %s", signal.Signals(signum).name, error)

    def atexit(self) -> None:
        """The program ended without `finish`: completed, or by the exception that ended the program."""
        # A worker of `multiprocessing` ends while its exception is still raised.
        error = sys.exc_info()[1] or (None if _is_notebook() else getattr(sys, "last_value", None))
        logger = self._logger_ref()
        if logger is None or self._pid != os.getpid():
            return
        if error is None or error is self._error_before:
            logger.finish()
        else:
            logger.finish(type(error), error, error.__traceback__)


def traceback_to(frame: FrameType | None) -> TracebackType | None:
    """The traceback that an exception raised in `frame` would have."""
    trace = None
    while frame is not None:
        trace = TracebackType(trace, frame, frame.f_lasti, frame.f_lineno or 0)
        frame = frame.f_back
    return trace


def _is_notebook() -> bool:
    """Whether the session is interactive: there the last error ended one line and not the program."""
    return hasattr(sys, "ps1") and not sys.flags.interactive
