"""The values of a trial by the names under which people ask for them, without its points."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any, Final

from track.commands.printing import json_text
from track.persistence.protocol import Protocol
from track_protocol.model.entities import Project, Trial, TrialGroup
from track_protocol.query.tree import MISSING, named

__all__ = [
    "MISSING",
    "Names",
    "document",
    "duration_text",
    "moment_text",
    "short_uids",
    "shown",
    "sorted_by",
    "value_of",
]

_STATISTICS: Final = ("count", "last", "first_step", "last_step", "min", "max", "mean", "sd")
_TREES: Final = frozenset({"parameters", "tags", "metadata"})
_SERIES: Final = {"metrics": "last", "chronos": "mean"}
_STATUS: Final = frozenset({"status", "status.name"})
_LEAST_DIGITS: Final = 8
_DIGITS: Final = 6
_FIELDS: Final = ("uid", "name", "description", "metadata")
_LONGEST: Final = 200
"""Letters of a cell."""


class Names:
    """Names of projects and groups by their uids, as a store has them."""

    def __init__(self, protocol: Protocol) -> None:
        projects = protocol.fetch_projects({}, fields=_FIELDS)
        groups = protocol.fetch_groups({}, fields=(*_FIELDS, "project_id"))
        self.projects: dict[str, Project] = {each.uid: each for each in projects}
        self.groups: dict[str, TrialGroup] = {each.uid: each for each in groups}

    def project(self, uid: str | None) -> str | None:
        """The name of a project; its uid when it has none."""
        known = None if uid is None else self.projects.get(uid)
        return uid if known is None or known.name is None else known.name

    def group(self, uid: str | None) -> str | None:
        """The name of a group; its uid when it has none."""
        known = None if uid is None else self.groups.get(uid)
        return uid if known is None or known.name is None else known.name


def document(trial: Trial, names: Names) -> dict[str, Any]:
    """All of a trial but its points, as plain values, for ``--json``."""
    heartbeat = trial.metadata.get("heartbeat")
    return {
        "uid": trial.uid,
        "id": None if trial.id is None else trial.id.hex(),
        "name": trial.name,
        "status": None if trial.status is None else trial.status.name,
        "project": names.project(trial.project_id),
        "group": names.group(trial.group_id),
        "created": trial.created,
        "started": trial.started,
        "ended": trial.ended,
        "duration": None if trial.started is None or trial.ended is None else trial.ended - trial.started,
        "seen": heartbeat if isinstance(heartbeat, (int, float)) else None,
        "hash": trial.hash,
        "revision": trial.revision,
        "version": trial.version,
        "description": trial.description,
        "parameters": trial.parameters,
        "tags": trial.tags,
        "metadata": trial.metadata,
        "metrics": _summaries(trial.metrics),
        "chronos": _summaries(trial.chronos),
        "errors": trial.errors,
    }


def _summaries(series: Any) -> dict[str, Any]:
    """A backend of the user's own may give plain values."""
    if not hasattr(series, "summary"):
        return {str(name): {} for name in series}
    return {name: {key: series.summary(name).get(key) for key in _STATISTICS} for name in series}


def value_of(known: Mapping[str, Any], attribute: str) -> Any:
    """A value of a document by its attribute as in queries; `MISSING` if there is none."""
    if attribute in _STATUS:
        return known["status"]
    root, _, rest = attribute.partition(".")
    if root in _SERIES and rest:
        return _statistic(known[root], rest, _SERIES[root])
    if root in _TREES and rest:
        return named(known[root], rest)
    return known.get(attribute, MISSING)


def _statistic(series: Mapping[str, Any], name: str, statistic: str) -> Any:
    beginning, dot, end = name.rpartition(".")
    if name not in series and dot and end in (*_STATISTICS, "avg"):
        name, statistic = beginning, "mean" if end == "avg" else end
    return series[name].get(statistic, MISSING) if name in series else MISSING


def sorted_by(
    documents: Iterable[dict[str, Any]], attribute: str | None, *, backwards: bool = False
) -> list[dict[str, Any]]:
    """Documents in the order of a value, or as they come; those that lack it are last either way."""
    documents = list(documents)
    if attribute is None:
        return documents[::-1] if backwards else documents
    have = [(value_of(each, attribute), each) for each in documents]
    missing = [each for value, each in have if not _has_place(value)]
    present = [(value, each) for value, each in have if _has_place(value)]
    present.sort(key=lambda pair: _place(pair[0]), reverse=backwards)
    return [each for _, each in present] + missing


def _has_place(value: Any) -> bool:
    return value is not MISSING and value is not None and not (isinstance(value, float) and math.isnan(value))


def _place(value: Any) -> tuple[bool, float, str]:
    """Numbers before texts."""
    if isinstance(value, (int, float)):
        return False, value, ""
    return True, 0, str(value)


def short_uids(uids: Sequence[str]) -> dict[str, str]:
    """Each uid with only as many digits of its hash as make it unique, and its revision."""
    parts = {uid: uid.rpartition("_") if "_" in uid else (uid, "", "") for uid in uids}
    hashes = sorted({hash for hash, _, _ in parts.values()})
    digits = _LEAST_DIGITS
    for one, other in pairwise(hashes):
        while digits < len(one) and one[:digits] == other[:digits]:
            digits += 1
    return {uid: f"{hash[:digits]}{mark}{revision}" for uid, (hash, mark, revision) in parts.items()}


def shown(name: str, value: Any) -> str:
    """A value as a cell of a table."""
    if value is MISSING or value is None:
        return "-"
    if name in _FORMATS and isinstance(value, (int, float)):
        return _FORMATS[name](value)
    if isinstance(value, float):
        return f"{value:.{_DIGITS}g}"
    if isinstance(value, bool):
        return str(value).lower()
    text = json_text(value) if isinstance(value, (dict, list, tuple)) else str(value)
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def moment_text(seconds: float, unit: str = "minutes") -> str:
    """A moment, in seconds since the epoch, in the local time, with its zone."""
    try:
        return datetime.fromtimestamp(seconds).astimezone().isoformat(" ", unit)
    except (ValueError, OverflowError, OSError):
        return str(seconds)


def duration_text(seconds: float) -> str:
    """A duration in the two units that suit it."""
    if abs(seconds) < 1:
        return f"{seconds * 1_000:.0f}ms"
    if not math.isfinite(seconds) or abs(seconds) < _UNITS[1][1]:
        return f"{seconds:.3g}s"
    number = next(at for at in range(len(_UNITS) - 1, 0, -1) if abs(seconds) >= _UNITS[at][1])
    (small, size), (large, whole) = _UNITS[number - 1], _UNITS[number]
    first, rest = divmod(round(abs(seconds) / size) * size, whole)
    return f"{'-' if seconds < 0 else ''}{first:.0f}{large}{rest / size:02.0f}{small}"


_UNITS: Final = (("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400))


def _point_time_text(seconds: float) -> str:
    return moment_text(seconds, "seconds")


_FORMATS: Final[Mapping[str, Callable[[float], str]]] = {
    "time": _point_time_text,
    **dict.fromkeys(("created", "started", "ended", "seen"), moment_text),
    "duration": duration_text,
}
"""How numbers are shown that are times, by the names of their columns."""
