"""When to ask a silent peer for a sign of life, and when to give it up; without a clock of its own."""

from __future__ import annotations

import math
from typing import Final

__all__ = ["SILENCE_S", "Keepalive"]

SILENCE_S: Final = 20.0
"""Seconds of silence after which the peer is asked for a sign of life; as long again is too long."""


class Keepalive:
    """The two deadlines of a silent peer: the one to ask it, and the one to give it up.

    A TCP connection whose peer lost its power or its network stays open for hours, so silence is the
    only sign.  The second deadline runs from the question and not from the last sign of life: a process
    that was stopped for an hour asks first, and does not drop a peer that had no chance to answer.

    Args:
        silence: seconds until each of the two.
    """

    def __init__(self, silence: float) -> None:
        self._silence = silence
        self._heard = math.inf
        self._asked: float | None = None

    @property
    def deadline(self) -> float:
        """When the next step is due; never (`math.inf`) before the first sign of life."""
        return (self._heard if self._asked is None else self._asked) + self._silence

    @property
    def was_asked(self) -> bool:
        """Whether the peer was asked since its last sign of life."""
        return self._asked is not None

    def silence(self, now: float) -> float:
        """Seconds since the last sign of life."""
        return now - self._heard

    def note_life(self, now: float) -> None:
        """The peer gave a sign of life."""
        self._heard = now
        self._asked = None

    def asked(self, now: float) -> None:
        """The peer was asked for one."""
        self._asked = now
