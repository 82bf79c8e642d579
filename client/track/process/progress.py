"""A progress bar for the moments when a person has to wait, on a terminal only."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Final, TextIO

from track_protocol.terminal import clean

__all__ = ["Progress"]

_WIDTH: Final = 30


class Progress:
    """A bar on one line, which it clears when done.

    Args:
        label: what is going on.
        stream: where to draw; standard error by default, and only if it is a terminal.
    """

    def __init__(self, label: str, stream: TextIO | None = None) -> None:
        self._label = clean(label)
        self._stream = sys.stderr if stream is None else stream
        self._most = 0
        self._drawn = False

    def show(self, remaining: int) -> None:
        """Draw how much is done, given how much remains."""
        if not self._is_shown():
            return
        self._most = max(self._most, remaining, 1)
        done = _WIDTH * (self._most - remaining) // self._most
        bar = "█" * done + "·" * (_WIDTH - done)
        self._stream.write(f"\r{self._label} {bar} {remaining:,} left \x1b[K")
        self._stream.flush()
        self._drawn = True

    def _is_shown(self) -> bool:
        """A process without a terminal may have no standard error at all, or a closed one."""
        return self._stream is not None and not self._stream.closed and self._stream.isatty()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._drawn:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
