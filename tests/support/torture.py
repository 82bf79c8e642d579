"""How much the torture tests do: a little in every test run, everything in `make torture`.

``TRACK_TORTURE=full`` asks for the full counts, ``TRACK_TORTURE_SEED=N`` repeats a run's choices.
Both are read here and nowhere else.
"""

from __future__ import annotations

import os
import random
import secrets
import sys

__all__ = ["FULL", "count", "dice", "say"]

FULL = os.environ.get("TRACK_TORTURE") == "full"
_SEED = os.environ.get("TRACK_TORTURE_SEED")


def count(small: int, full: int) -> int:
    """How many, in this run."""
    return full if FULL else small


def dice() -> random.Random:
    """A source of choices, whose seed pytest shows when the test fails."""
    seed = secrets.randbits(32) if _SEED is None else int(_SEED)
    say(f"again with TRACK_TORTURE_SEED={seed}")
    return random.Random(seed)


def say(figure: str) -> None:
    """Print a figure for the report of `make torture`."""
    sys.stdout.write(f"\n{figure}")
