"""How much work something is, counted in executed lines: the same on an idle machine and on a busy one."""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

__all__ = ["lines_of"]


def lines_of(work: Callable[[], object]) -> int:
    """Lines of Python that run in this thread, and in those that `work` starts, until it returns."""
    count = itertools.count()  # a step of it is atomic, and threads share it

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        next(count)
        return trace

    before, before_of_threads = sys.gettrace(), threading.gettrace()
    threading.settrace(trace)
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
        threading.settrace(before_of_threads)
    return next(count)
