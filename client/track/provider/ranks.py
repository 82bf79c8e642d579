"""Ranks of a distributed job, and messages between them."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from track.recording.resume import rank_in

__all__ = ["from_first", "is_first", "rank", "several"]


def rank(environment: Mapping[str, str] = os.environ) -> int | None:
    """The rank of this process: of its process group, or else of its environment; None for neither."""
    distributed = _initialised()
    return rank_in(environment) if distributed is None else int(distributed.get_rank())


def is_first() -> bool:
    """Whether this process is rank 0, or alone."""
    return not rank()


def several() -> bool:
    """Whether this process talks to others by ``torch.distributed``."""
    distributed = _initialised()
    return distributed is not None and distributed.get_world_size() > 1


def from_first(value: Any) -> Any:
    """What rank 0 gave; all ranks of several call this at the same point.

    Args:
        value: of rank 0; that of the others is not looked at.
    """
    box = [value]
    _initialised().broadcast_object_list(box, src=0)
    return box[0]


def _initialised() -> Any:
    """The module, if the program has set up its processes; a program that has not imported it did not."""
    distributed = sys.modules.get("torch.distributed")
    usable = distributed is not None and distributed.is_available() and distributed.is_initialized()
    return distributed if usable else None
