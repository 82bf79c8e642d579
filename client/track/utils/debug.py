"""Seeing where a program is."""

from __future__ import annotations

import sys
import traceback

__all__ = ["print_stack"]


def print_stack(msg: str = "-") -> None:
    """Print the caller's stack to standard error, the caller last, each line behind a mark.

    Args:
        msg: printed in front, to distinguish several calls.
    """
    frame = sys._getframe(1)
    lines = "".join(traceback.format_stack(frame)).splitlines()
    sys.stderr.write("".join(f"{msg} {line}\n" for line in lines))
