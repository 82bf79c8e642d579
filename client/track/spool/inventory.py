"""What lies in the spools of a machine; looking changes nothing, and they may be in use."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from track.spool.folder import (
    Origin,
    Progressed,
    is_held,
    read_origin,
    read_progressed,
    spool_error,
    spools_in,
)
from track.spool.reader import Recovered, survey
from track_protocol.errors import SpoolError
from track_protocol.wire.amount import Amount

__all__ = ["Found", "look_at", "look_in"]


@dataclass(frozen=True, slots=True)
class Found:
    """One spool.

    Attributes:
        path: its folder.
        origin: whose it is; None if it does not say.
        progressed: how far it had come.
        in_use: whether a process writes or sends it.
        held: what it holds.
        kept_damage: whether bytes that are no records were set aside.
        trouble: why it cannot be used.
    """

    path: Path
    origin: Origin | None
    progressed: Progressed
    in_use: bool
    held: Recovered = field(default_factory=Recovered)
    kept_damage: bool = False
    trouble: SpoolError | None = None

    @property
    def waiting(self) -> Amount:
        """How much waits, as far as is known here."""
        return self.held.waiting

    @property
    def nbytes(self) -> int:
        """How many bytes wait."""
        return self.held.nbytes

    @property
    def is_damage_only(self) -> bool:
        """Whether all was sent, and only what was set aside is left."""
        return self.kept_damage and self.trouble is None and not any(self.path.glob("*.segment"))

    @property
    def state(self) -> str:
        """In a few words."""
        if self.in_use:
            return "in use: sends itself"
        if self.trouble is not None:
            return "unusable"
        if self.is_damage_only:
            return "sent, damaged bytes kept"
        return "waits, damaged" if self.held.damages else "waits"

    def as_json(self) -> dict[str, Any]:
        """Everything about it, in plain values."""
        origin = asdict(self.origin) if self.origin is not None else {}
        return {
            "folder": str(self.path),
            **origin,
            "state": self.state,
            "in_use": self.in_use,
            "points": self.waiting.points,
            "calls": self.waiting.calls,
            "bytes": self.nbytes,
            "acked": self.progressed.acked,
            "generation": self.progressed.generation,
            "problem": self.progressed.problem,
            "damages": self.held.damages,
            "missing": self.held.missing_after(self.progressed.acked),
            "torn_bytes": 0 if self.in_use else self.held.torn_bytes,
            "error": None if self.trouble is None else str(self.trouble),
        }


def look_in(root: Path, *, inside: bool = True) -> list[Found]:
    """The spools in a folder, which may be one itself; the oldest first.

    Args:
        root: the folder.
        inside: see `look_at`.

    Raises:
        SpoolError: the folder cannot be read.
    """
    found = [look_at(path, inside=inside) for path in spools_in(root)]
    kept = [each for each in found if not _is_shell(each.path, each.kept_damage)]
    return sorted(kept, key=lambda each: each.origin.made if each.origin is not None else 0.0)


def look_at(path: Path, *, inside: bool = True) -> Found:
    """One spool; what is wrong with it is told, not raised.

    Args:
        path: its folder.
        inside: whether to read what it holds, too, which takes a while if that is much.
    """
    progressed, in_use = read_progressed(path), False
    kept_damage = (path / "damaged").is_dir()
    try:
        in_use = is_held(path)
        origin = read_origin(path)
    except SpoolError as error:
        return Found(path, None, progressed, in_use, kept_damage=kept_damage, trouble=error)
    except OSError as error:
        return Found(path, None, progressed, in_use, trouble=spool_error(path, "read", error))
    try:
        held = survey(path, origin.session, progressed.acked) if inside else Recovered()
        return Found(path, origin, progressed, in_use, held, kept_damage)
    except SpoolError as error:
        return Found(path, origin, progressed, in_use, kept_damage=kept_damage, trouble=error)


def _is_shell(path: Path, kept_damage: bool) -> bool:
    """Whether its process died before it had written anything, or it is just being removed."""
    return not (kept_damage or (path / "spool.json").exists() or any(path.glob("*.segment")))
