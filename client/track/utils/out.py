"""A stream that passes output on and stores its last lines."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any, Final, TextIO

from track_protocol.errors import UsageError

__all__ = ["RingOutputDecorator"]

_LONGEST: Final = 64 * 1024
"""Maximum stored characters of an unfinished line."""


class RingOutputDecorator:
    """A text stream that passes output on and stores its last lines: ``sys.stdout = …(sys.stdout)``.

    A line that was begun again with a carriage return, as progress bars do, is stored in its last state.

    Args:
        file: where it is passed on to; None to store it only.
        n_entries: how many lines are stored, besides an unfinished one.

    Raises:
        UsageError: `n_entries` is less than 1.
    """

    def __init__(self, file: TextIO | None = None, n_entries: int = 50) -> None:
        if n_entries < 1:
            raise UsageError(f"n_entries={n_entries!r}: give the number of lines to store, at least 1")
        self.file = file
        self._lines: deque[str] = deque(maxlen=n_entries)
        self._begun = ""
        # One that a signal handler that prints may take again.
        self._lock = threading.RLock()

    def write(self, string: str) -> int:
        """Take some text; returns its length."""
        if self.file is not None:
            self.file.write(string)
        with self._lock:
            *complete, begun = (self._begun + string).split("\n")
            self._lines.extend(_as_seen(line) for line in complete)
            self._begun = _as_seen(begun)[-_LONGEST:]
        return len(string)

    def flush(self) -> None:
        """Flush the file."""
        if self.file is not None:
            self.file.flush()

    def raw(self) -> list[str]:
        """The stored lines, oldest first, without line ends."""
        lines = self.output().split("\n")
        return [line.removesuffix("\r") for line in (lines if lines[-1] else lines[:-1])]

    def output(self) -> str:
        """The stored lines as one text, with line ends."""
        with self._lock:
            return "".join(f"{line}\n" for line in self._lines) + self._begun

    def out(self) -> str:
        """The same as `output`."""
        return self.output()

    def __getattr__(self, name: str) -> Any:
        # What else a stream has (encoding, isatty, fileno, …) is that of the file.
        if name.startswith("__") or "file" not in vars(self) or self.file is None:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        return getattr(self.file, name)


def _as_seen(line: str) -> str:
    """What a terminal shows of a line: a carriage return begins it again, at its end it does nothing."""
    ended = line.endswith("\r")
    shown = (line[:-1] if ended else line).rpartition("\r")[2]
    return f"{shown}\r" if ended else shown
