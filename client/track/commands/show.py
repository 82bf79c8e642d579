"""``track show UID``: one trial as it is stored, with the count of its dropped points."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from track.commands.fields import Names, document, duration_text, moment_text, shown
from track.commands.printing import add_json, page, print_json, table
from track.commands.stores import add_store, add_trial, opened
from track.persistence.lookup import find_trial
from track.reading.flatten import flat
from track.serialization import SerializerTrial, to_json
from track_protocol.command import Command
from track_protocol.model.entities import Trial

__all__ = ["COMMAND"]

_DROPPED: Final = "dropped_points"
_RUN: Final = "run"
_HEADER: Final = ("", "POINTS", "LAST STEP", "LAST", "MIN", "MAX", "MEAN")


def _configure(parser: argparse.ArgumentParser) -> None:
    add_trial(parser)
    add_store(parser)
    add_json(parser)


def _run(arguments: argparse.Namespace) -> int:
    with opened(arguments.uri) as protocol:
        trial = find_trial(protocol, arguments.trial)
        if arguments.json:
            print_json(to_json(trial))
        else:
            page("".join(f"{line}\n" for line in _lines(trial, Names(protocol))))
    return 0


def _lines(trial: Trial, names: Names) -> list[str]:
    metadata = {
        name: value for name, value in trial.metadata.items() if name not in SerializerTrial.ignore_meta
    }
    dropped, run = metadata.pop(_DROPPED, None), metadata.pop(_RUN, None)
    lines = [f"{trial.name or 'trial'}  {trial.uid}"]
    lines += [f"{title}  {text}" for title, text in _facts(trial, names) if text is not None]
    lines += [trial.description] if trial.description else []
    lines += _dropped(dropped)
    for title, values in (
        ("run", run if isinstance(run, Mapping) else {}),
        ("parameters", trial.parameters),
        ("tags", trial.tags),
        ("metadata", metadata),
    ):
        lines += _block(title, [f"{name} = {shown(name, value)}" for name, value in flat(values).items()])
    for title, series in (("metrics", trial.metrics), ("timings", trial.chronos)):
        lines += _block(title, _series(series))
    for kind, media in trial.media.items():
        rows = [(name, f"{known['count']:,}", shown("", known["last_step"])) for name, known in media.items()]
        lines += _block(kind, table(_HEADER[:3], rows, (1, 2)))
    return lines + _block("errors", [line for error in trial.errors for line in str(error).splitlines()])


def _facts(trial: Trial, names: Names) -> Iterator[tuple[str, str | None]]:
    """What is known of every trial: titles, and texts or nothing."""
    known = document(trial, names)
    yield "status", known["status"] or "None"
    for title in ("project", "group", "version"):
        yield title, known[title]
    for title, name in (
        *((name, name) for name in ("created", "started", "ended")),
        ("last heartbeat", "seen"),
    ):
        yield title, None if known[name] is None else moment_text(known[name], "seconds")
    yield "duration", None if known["duration"] is None else duration_text(known["duration"])


def _block(title: str, lines: Sequence[str]) -> list[str]:
    return ["", title, *(f"  {line}" for line in lines)] if lines else []


def _dropped(dropped: Any) -> list[str]:
    """Points that were never stored, by reason; `dropped` may be anything that a client put there."""
    if not isinstance(dropped, Mapping) or not isinstance(reasons := dropped.get("reasons"), Mapping):
        return []
    return [
        f"dropped  {dropped.get('points')} points",
        *(f"  {count}: {why}" for why, count in reasons.items()),
    ]


def _series(series: Any) -> list[str]:
    rows = []
    for name in series:
        if not hasattr(series, "summary"):
            return list(map(str, series))  # a backend of the user's own
        known = series.summary(name)
        numbers = [known[key] for key in ("last_step", "last", "min", "max", "mean")]
        rows.append((name, f"{known['count']:,}", *(shown("", each) for each in numbers)))
    return table(_HEADER, rows, range(1, len(_HEADER))) if rows else []


COMMAND: Final = Command("show one trial", _configure, _run)
