"""``track show UID``: one trial as it is stored, with what it lost."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from track.commands.text import table, time_text
from track.persistence import get_protocol
from track.resuming import definition
from track_protocol.command import Command
from track_protocol.errors import ItemNotFound, UsageError
from track_protocol.model import Trial
from track_protocol.protocol import Protocol
from track_protocol.serialization import SerializerTrial, to_json

__all__ = ["COMMAND"]

_URI: Final = "TRACK_URI"
_LOSSES: Final = "losses"
_HEARTBEAT: Final = "heartbeat"
_HEADER: Final = ("", "POINTS", "LAST STEP", "LAST", "MIN", "MAX", "MEAN")
_DIGITS: Final = 6


def _configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("uid", metavar="UID", help="HASH_REVISION, or the 32 digits of the trial's id")
    add("--uri", default=os.environ.get(_URI), help=f"the store (default: {_URI})")
    add("--json", action="store_true", help="for a machine to read")


def _run(arguments: argparse.Namespace) -> int:
    if arguments.uri is None:
        raise UsageError(f"nothing says which store to look in: give --uri, or set {_URI}")
    protocol = get_protocol(arguments.uri)
    try:
        trial = _found(protocol, arguments.uid)
        told = json.dumps(to_json(trial), indent=2) if arguments.json else "\n".join(_lines(trial))
    finally:
        protocol.close()
    sys.stdout.write(f"{told}\n")
    return 0


def _found(protocol: Protocol, uid: str) -> Trial:
    found = protocol.get_trial(definition(uid, None, 0))
    if not found:
        raise ItemNotFound(f"no trial has the uid or id {uid}: 'track show' wants it as report() prints it")
    return found[0]


def _lines(trial: Trial) -> list[str]:
    metadata = dict(trial.metadata)
    losses = metadata.pop(_LOSSES, None)
    for bookkeeping in SerializerTrial.ignore_meta - {_HEARTBEAT}:
        metadata.pop(bookkeeping, None)
    lines = [
        f"{trial.name or 'trial'}  {trial.uid}",
        f"status  {trial.status.name if trial.status else None}",
    ]
    if isinstance(heartbeat := metadata.pop(_HEARTBEAT, None), float):
        lines.append(f"heard of  {time_text(heartbeat)}")
    if trial.description:
        lines.append(trial.description)
    lines += _losses(losses)
    for title, values in (("parameters", trial.parameters), ("tags", trial.tags), ("metadata", metadata)):
        lines += _block(title, [f"{name} = {_shown(value)}" for name, value in values.items()])
    for title, series in (("metrics", trial.metrics), ("timings", trial.chronos)):
        lines += _block(title, _series(series))
    for kind, names in trial.media.items():
        rows = [(name, str(known["count"]), _shown(known["last_step"])) for name, known in names.items()]
        lines += _block(kind, table(_HEADER[:3], rows))
    return lines + _block("errors", [line for error in trial.errors for line in str(error).splitlines()])


def _block(title: str, lines: Sequence[str]) -> list[str]:
    return ["", title, *(f"  {line}" for line in lines)] if lines else []


def _losses(losses: Any) -> list[str]:
    """What was never stored; `losses` may be anything that a client put there."""
    if not isinstance(losses, Mapping) or not isinstance(reasons := losses.get("reasons"), Mapping):
        return []
    return [f"LOST  {losses.get('points')} points", *(f"  {count}: {why}" for why, count in reasons.items())]


def _series(series: Any) -> list[str]:
    rows = []
    for name in series:
        known = series.summary(name)
        numbers = [known[key] for key in ("last_step", "last", "min", "max", "mean")]
        rows.append((name, str(known["count"]), *map(_shown, numbers)))
    return table(_HEADER, rows) if rows else []


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.{_DIGITS}g}" if isinstance(value, float) else str(value)


COMMAND: Final = Command("show one trial as it is stored", _configure, _run)
