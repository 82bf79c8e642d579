"""How much the torture tests do: a little in every test run, everything in `make torture`.

``TRACK_TORTURE=full`` asks for the full counts and for the tests that are marked ``torture``;
``TRACK_TORTURE_SEED=N`` repeats a run's choices.  Both are read here and nowhere else.
"""

from __future__ import annotations

import os
import random
import secrets
import sys
from collections.abc import Callable
from pathlib import Path

__all__ = ["FULL", "count", "dice", "happens", "say"]

FULL = os.environ.get("TRACK_TORTURE") == "full"
_SEED = os.environ.get("TRACK_TORTURE_SEED")


def count(small: int, full: int) -> int:
    """Return the count for this run."""
    return full if FULL else small


def dice() -> random.Random:
    """A source of choices, whose seed pytest shows when the test fails."""
    seed = secrets.randbits(32) if _SEED is None else int(_SEED)
    say(f"again with TRACK_TORTURE_SEED={seed}")
    return random.Random(seed)


def happens(harm: Callable[[Path], bool], folder: Path, attempts: int = 5) -> bool:
    """Whether a negative control that depends on timing finds its harm in one of several attempts.

    Args:
        harm: makes one attempt in a folder of its own, and returns whether the harm was done.
        folder: holds the folders of the attempts.
        attempts: how often to try at most.
    """
    for number in range(attempts):
        attempt = folder / f"attempt-{number}"
        attempt.mkdir()
        if harm(attempt):
            return True
    return False


def say(figure: str) -> None:
    """Print a figure for the report of `make torture`."""
    sys.stdout.write(f"\n{figure}")
