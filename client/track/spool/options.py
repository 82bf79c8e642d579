"""How a process spools: where, how durably and how much."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from track_protocol.errors import UsageError
from track_protocol.locations import client_state_folder

__all__ = ["SpoolOptions", "SpoolSync", "parse_size", "parse_sync", "sends_orphans", "spool_root"]

_MEBI: Final = 1024 * 1024
_UNITS: Final = {"": 1, "K": 1024, "M": _MEBI, "G": 1024 * _MEBI, "T": 1024 * 1024 * _MEBI}
_MIN_LIMIT_BYTES: Final = _MEBI
_DEFAULT_LIMIT: Final = "4G"


class SpoolSync(Enum):
    """When what was written is flushed to the disk itself; a killed process loses nothing in any case."""

    NONE = "none"
    """When the system likes: a power cut may lose what the system had not written."""

    INTERVAL = "interval"
    """At least once a second, while there is something that the server has not confirmed."""

    ALWAYS = "always"
    """Before a log call returns."""


@dataclass(frozen=True, slots=True)
class SpoolOptions:
    """How a process spools.

    Attributes:
        root: the folder in which each process has one of its own.
        sync: when it is flushed to the disk.
        limit: most bytes of one process.
        retained_bytes, retained_seconds: how much of what the server has confirmed stays, and how long, to
        be sent
            again to a server that was set back to an older state.
        segment_bytes: about the size of one file.
    """

    root: Path
    sync: SpoolSync = SpoolSync.INTERVAL
    limit: int = 4 * 1024 * _MEBI
    retained_bytes: int = 64 * _MEBI
    retained_seconds: float = 24 * 3600.0
    segment_bytes: int = 4 * _MEBI

    @classmethod
    def of(
        cls, environment: Mapping[str, str], sync: SpoolSync | None = None, limit: int | None = None
    ) -> SpoolOptions:
        """What the environment says: ``TRACK_SPOOL``, ``TRACK_SPOOL_SYNC`` and ``TRACK_SPOOL_LIMIT``.

        Args:
            environment: as `os.environ` has it.
            sync, limit: explicit values, which take precedence.

        Raises:
            UsageError: a variable has a value that means nothing.
        """
        try:
            if sync is None:
                sync = parse_sync(environment.get("TRACK_SPOOL_SYNC") or SpoolSync.INTERVAL.value)
            if limit is None:
                limit = parse_size(environment.get("TRACK_SPOOL_LIMIT") or _DEFAULT_LIMIT)
        except ValueError as error:
            raise UsageError(f"TRACK_SPOOL_SYNC or TRACK_SPOOL_LIMIT: {error}") from None
        return cls(spool_root(environment), sync, limit)


def spool_root(environment: Mapping[str, str]) -> Path:
    """The folder of all spools: ``TRACK_SPOOL``, else ``spool`` in the client's state folder.

    Raises:
        UsageError: the variable is not set, and the user has no home folder.
    """
    named = environment.get("TRACK_SPOOL")
    return Path(named).absolute() if named else client_state_folder(environment) / "spool"


def sends_orphans(environment: Mapping[str, str]) -> bool:
    """Whether a start sends what earlier runs left: ``TRACK_SYNC``, ``auto`` (the default) or ``manual``.

    Raises:
        UsageError: it is neither.
    """
    said = (environment.get("TRACK_SYNC") or "auto").lower()
    if said not in ("auto", "manual"):
        raise UsageError(f"TRACK_SYNC is {said!r}: use auto or manual")
    return said == "auto"


def parse_sync(text: str) -> SpoolSync:
    """A `SpoolSync` by its word.

    Raises:
        ValueError: it is none.
    """
    try:
        return SpoolSync(text.lower())
    except ValueError:
        words = ", ".join(each.value for each in SpoolSync)
        raise ValueError(f"{text!r} is not a spool sync mode: use one of {words}") from None


def parse_size(text: str) -> int:
    """Bytes, from a number that may end in K, M, G or T (powers of 1024).

    Raises:
        ValueError: it is no size, or less than 1 MiB.
    """
    parts = re.fullmatch(r"(\d{1,15})([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    size = 0 if parts is None else int(parts[1]) * _UNITS[parts[2].upper()]
    if size < _MIN_LIMIT_BYTES:
        raise ValueError(f"{text!r} is not a spool size: write for example 512M, at least 1M")
    return size
