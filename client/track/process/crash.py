"""Crash output without tokens: Python prints the line of the source that raised, and a login may be in it."""

from __future__ import annotations

import sys
import threading
import traceback
from types import TracebackType
from typing import Any

from track_protocol.security.tokens import redact_tokens

__all__ = ["redact_crash_output"]


def redact_crash_output() -> None:
    """Have uncaught exceptions printed without the tokens in their text; harmless when repeated.

    An exception whose text has none is left to the hook that was there before.
    """
    if not isinstance(sys.excepthook, _Hook):
        sys.excepthook = _Hook(sys.excepthook)
    if not isinstance(threading.excepthook, _ThreadHook):
        threading.excepthook = _ThreadHook(threading.excepthook)


class _Hook:
    """Of `sys`.

    Args:
        before: the hook that was there before.
    """

    def __init__(self, before: Any) -> None:
        self._before = before

    def __call__(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if (text := _redacted(error)) is None:
            self._before(kind, error, trace)
        else:
            sys.stderr.write(text)


class _ThreadHook:
    """Of `threading`.

    Args:
        before: the hook that was there before.
    """

    def __init__(self, before: Any) -> None:
        self._before = before

    def __call__(self, args: Any) -> None:
        error = args.exc_value
        if error is None or (text := _redacted(error)) is None:
            self._before(args)
        else:
            sys.stderr.write(f"Exception in thread {args.thread.name if args.thread else '?'}:\n{text}")


def _redacted(error: BaseException) -> str | None:
    """What would be printed of an exception, without tokens; None if there is none in it."""
    text = "".join(traceback.format_exception(error))
    return None if (redacted := redact_tokens(text)) == text else redacted
