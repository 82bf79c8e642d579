"""Capturing what a training prints: it still is printed, and its last lines go to the trial."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, TextIO, cast
from weakref import WeakSet

from track.utils.out import RingOutputDecorator
from track_protocol.errors import TrackError
from track_protocol.security.tokens import redact_tokens

__all__ = ["OutputCapture", "output_names"]

_log: Final = logging.getLogger("track")

_FIRST_SAVE_S: Final = 1.0
_SAVE_INTERVAL_S: Final = 10.0
"""Seconds between two checks for new output; the first are shorter, from `_FIRST_SAVE_S`."""

_LOCK_TIMEOUT_S: Final = 1.0
"""Seconds for which the program waits for a thread that is storing."""

_MAX_LINE: Final = 2_000
_MAX_CHARACTERS: Final = 64 * 1024
"""Characters that are stored of a line, and of each stream."""


def output_names(rank: int | None) -> tuple[str, str]:
    """Under which names the metadata have the standard output and the standard error of a rank."""
    return (f"out_{rank}", f"err_{rank}") if rank else ("out", "err")


class OutputCapture:
    """Keeps the last lines of standard output and standard error, from `begin` to `end`.

    A thread stores them from time to time, so that they are there also when the process is killed.
    What is written to the file descriptors themselves, as by C libraries and child processes, passes by.

    Args:
        store: logs lines by their names, without waiting; False when there is no trial yet.
        names: of the standard output and the standard error.
        n_entries: maximum lines of each that are stored.

    Raises:
        UsageError: `n_entries` is less than 1.
    """

    def __init__(
        self, store: Callable[[Mapping[str, list[str]]], bool], names: tuple[str, str], n_entries: int
    ) -> None:
        self._store = store
        self._before = sys.stdout, sys.stderr
        self._streams = tuple(_Stream(file, n_entries) for file in self._before)
        self._names = names
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="track-output", daemon=True)

    @property
    def streams(self) -> tuple[RingOutputDecorator, RingOutputDecorator]:
        """The replacements of standard output and standard error."""
        out, err = self._streams
        return out, err

    def begin(self) -> None:
        """Capture from now on, also what loggers write that were set up before."""
        sys.stdout, sys.stderr = (cast("TextIO", stream) for stream in self._streams)
        for handler in _handlers():
            for before, stream in zip(self._before, self._streams, strict=True):
                if handler.stream is before:
                    handler.setStream(stream)
        _live.add(self)
        atexit.register(self.end)
        self._thread.start()

    def end(self) -> None:
        """Restore the streams, unless other code has replaced them since, and store the rest."""
        if self._ended.is_set():
            return
        self._ended.set()
        atexit.unregister(self.end)
        _live.discard(self)
        out, err = self._streams
        if sys.stdout is out:
            sys.stdout = self._before[0]
        if sys.stderr is err:
            sys.stderr = self._before[1]
        for handler in _handlers():
            for before, stream in zip(self._before, self._streams, strict=True):
                if handler.stream is stream:
                    handler.setStream(before)
        self.save()

    def save(self) -> None:
        """Log the output since the last time, except in a child that was forked meanwhile."""
        # With a timeout: a signal handler must not wait for a thread that waits for the interrupted one.
        if self._pid == os.getpid() and self._lock.acquire(timeout=_LOCK_TIMEOUT_S):
            try:
                self._save()
            except TrackError as error:
                _log.warning("the output of the program could not be stored: %s", error)
            finally:
                self._lock.release()

    def _save(self) -> None:
        both = zip(self._names, self._streams, strict=True)
        changed = [(name, stream) for name, stream in both if stream.changed]
        if not changed:
            return
        for _, stream in changed:
            stream.changed = False
        if not self._store({name: _bounded(stream.raw()) for name, stream in changed}):
            for _, stream in changed:
                stream.changed = True

    def _run(self) -> None:
        interval = _FIRST_SAVE_S
        while not self._ended.wait(interval):
            interval = min(2 * interval, _SAVE_INTERVAL_S)
            self.save()

    def after_fork_in_child(self) -> None:
        """Replace the locks in a forked child: their holders do not exist there."""
        self._lock = threading.RLock()
        for stream in self._streams:
            stream.after_fork_in_child()


class _Stream(RingOutputDecorator):
    """Notes that something was written."""

    changed = False

    def write(self, string: str) -> int:
        length = super().write(string)
        self.changed = True
        return length

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def after_fork_in_child(self) -> None:
        self._lock = threading.RLock()


def _bounded(lines: list[str]) -> list[str]:
    """The last of the lines that are not too much to store, in text that can be stored."""
    last: list[str] = []
    left = _MAX_CHARACTERS
    for line in map(redact_tokens, reversed(lines)):  # before it is cut
        shown = line if len(line) <= _MAX_LINE else f"…{line[1 - _MAX_LINE :]}"
        left -= len(shown)
        if left < 0:
            break
        last.append(shown.encode(errors="backslashreplace").decode())
    return last[::-1]


def _handlers() -> Iterator[logging.StreamHandler[Any]]:
    """All of `logging` that write to a stream."""
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    for logger in loggers:
        for handler in getattr(logger, "handlers", ()):
            if isinstance(handler, logging.StreamHandler):
                yield handler


_live: Final[WeakSet[OutputCapture]] = WeakSet()


def _after_fork_in_child() -> None:
    for capture in _live:
        capture.after_fork_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)
