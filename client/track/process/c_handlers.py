"""Which signals a C library handles, of which Python does not know."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Final

__all__ = ["is_handled_in_c"]

_PROCESS_STATUS: Final = Path("/proc/self/status")


def is_handled_in_c(number: signal.Signals) -> bool:
    """Whether the process handles a signal that Python says to have its default action.

    `faulthandler.register` does that, for example.  Always False elsewhere than on Linux.
    """
    try:
        lines = _PROCESS_STATUS.read_text().splitlines()
    except OSError:
        return False  # not Linux
    caught = next((line for line in lines if line.startswith("SigCgt:")), "SigCgt: 0")
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)
