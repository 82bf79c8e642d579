"""What a script says for another tracker, and what has no effect here: one warning for each."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

__all__ = ["say_ignored"]

_log: Final = logging.getLogger("track")

_said: Final[set[str]] = set()


def say_ignored(what: str, names: Iterable[str]) -> None:
    """Warn that arguments have no effect, of each once in a process.

    Args:
        what: takes them.
        names: of the arguments.
    """
    new = [name for name in names if f"{what}.{name}" not in _said]
    _said.update(f"{what}.{name}" for name in new)
    if new:
        _log.warning("%s: %s has no effect with Track", what, ", ".join(sorted(new)))
