"""Waiting for a condition without guessing how long it takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

__all__ = ["wait_until"]

_LOOK_EVERY = 0.01


def wait_until(condition: Callable[[], object], what: str, seconds: float = 20.0) -> None:
    """Return once `condition` holds; fail, naming `what`, when it does not within `seconds`."""
    pause = threading.Event()
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        pause.wait(_LOOK_EVERY)
