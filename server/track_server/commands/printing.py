"""What the server's commands print and log: names and paths of others do not control the terminal."""

from __future__ import annotations

import logging
import sys

from track_protocol.terminal import clean

__all__ = ["LogFormatter", "say", "tell"]


def say(text: str) -> None:
    """Print lines to standard output."""
    sys.stdout.write(clean(text))


def tell(text: str) -> None:
    """Print a line to standard error."""
    sys.stderr.write(clean(text) + "\n")


class LogFormatter(logging.Formatter):
    """Lines of the log; a message of several lines is one, so that no peer can write lines of its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name of the base class
        """See `logging.Formatter.formatMessage`."""
        return clean(super().formatMessage(record)).replace("\n", "\\n")

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`; a traceback keeps its lines."""
        return clean(super().format(record))
