"""``track tail TRIAL [METRIC…]``: the newest points of a trial, and new ones as they arrive."""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from track.commands.fields import moment_text, shown
from track.commands.printing import json_text, say
from track.commands.stores import SeriesInfo, add_store, add_trial, opened, pages_of, series_of
from track.persistence.lookup import find_trial
from track.persistence.protocol import Protocol
from track_protocol.command import Command
from track_protocol.errors import ItemNotFound
from track_protocol.model.entities import Status, Trial
from track_protocol.query.names import suggestion

__all__ = ["COMMAND"]

_POINTS: Final = 10
_INTERVAL: Final = 1.0
_ENDED: Final = Status.ErrorGroup.value


def _configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add_trial(parser)
    add("metrics", nargs="*", metavar="METRIC", help="its name, with or without labels (default: all)")
    add_store(parser)
    add("-n", type=int, default=_POINTS, metavar="N", help=f"points to begin with (default: {_POINTS})")
    add("--no-follow", action="store_true", help="do not wait for new points")
    add("--interval", type=float, default=_INTERVAL, metavar="S", help="seconds between polls (default: 1)")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each point")


def _run(arguments: argparse.Namespace) -> int:
    with opened(arguments.uri) as protocol:
        trial = find_trial(protocol, arguments.trial)
        _Tail(protocol, arguments.metrics, arguments.json).show(trial, max(0, arguments.n), arguments)
    return 0


class _Point(NamedTuple):
    time: float
    step: Any
    name: str
    value: Any


class _Tail:
    """Reads the points since the last poll, and prints them."""

    def __init__(self, protocol: Protocol, wanted: Sequence[str], as_json: bool) -> None:
        self._protocol = protocol
        self._wanted = wanted
        self._as_json = as_json
        self._seen: dict[str, int] = {}
        self._last: dict[str, float] = {}
        self._rewinds: Any = None

    def show(self, trial: Trial, count: int, options: argparse.Namespace) -> None:
        known = self._metrics(trial)
        if self._wanted and not known and (options.no_follow or _has_ended(trial)):
            raise ItemNotFound(f"trial {trial.uid} has no {self._missing(trial)}")
        if self._wanted and not known:
            sys.stderr.write(f"track: the trial has no {self._missing(trial)}; waiting for its points\n")
        for text, points in known.items():
            self._seen[text] = max(0, points - count)
        # Of several series each has its last points here; the newest of all of them are shown.
        rows = _rows(self._new(trial))
        self._print(rows[len(rows) - min(count, len(rows)) :])
        while not options.no_follow and not _has_ended(trial):
            time.sleep(max(0.05, options.interval))
            found = self._protocol.get_trial(trial)
            if not found:
                raise ItemNotFound(f"trial {trial.uid} was deleted")
            trial = found[0]
            self._print(_rows(self._new(trial)))
        if not self._as_json and not options.no_follow and trial.status is not None:
            say(f"the trial has ended: {trial.status.name}\n")

    def _metrics(self, trial: Trial) -> dict[str, int]:
        series = series_of(trial, self._wanted)
        return {each.name.text: each.count or 0 for each in series if each.kind == "metric"}

    def _missing(self, trial: Trial) -> str:
        named = " or ".join(self._wanted)
        return f"metric called {named}: {suggestion(self._wanted[0], [str(name) for name in trial.metrics])}"

    def _new(self, trial: Trial) -> list[_Point]:
        rewinds = trial.metadata.get("rewinds")
        rewound, self._rewinds = rewinds != self._rewinds, rewinds
        points: list[_Point] = []
        for series in series_of(trial, self._wanted):
            if series.kind == "metric":
                points += self._new_of(trial, series, rewound=rewound)
        return points

    def _new_of(self, trial: Trial, series: SeriesInfo, *, rewound: bool) -> list[_Point]:
        text, count = series.name.text, series.count or 0
        # A rewind moves points, so that their numbers change; their times do not.
        after = self._last.get(text, -math.inf) if rewound else -math.inf
        start = 0 if rewound and text in self._last else self._seen.get(text, 0)
        if count <= start:
            return []
        points: list[_Point] = []
        for page in pages_of(self._protocol, trial, series, start):
            start += len(page)
            rows = zip(page.steps, page.times, page.values, strict=True)
            points += [_Point(at, step, text, value) for step, at, value in rows if at > after]
        self._seen[text] = start
        self._last[text] = max([self._last.get(text, -math.inf), *(point.time for point in points)])
        return points

    def _print(self, rows: Sequence[list[_Point]]) -> None:
        for row in rows:
            say(_json_line(row) if self._as_json else _line(row))
        sys.stdout.flush()


def _has_ended(trial: Trial) -> bool:
    return trial.status is not None and trial.status.value >= _ENDED


def _rows(points: list[_Point]) -> list[list[_Point]]:
    """Points in order of time; those that were logged together are one row."""
    rows: list[list[_Point]] = []
    for point in sorted(points, key=lambda point: point.time):
        before = rows[-1][-1] if rows else None
        if before is not None and (before.time, before.step) == (point.time, point.step):
            rows[-1].append(point)
        else:
            rows.append([point])
    return rows


def _line(row: list[_Point]) -> str:
    at = moment_text(row[0].time, "seconds")
    step = "" if row[0].step is None else f"  step {shown('', row[0].step)}"
    values = "".join(f"  {point.name}={shown('', point.value)}" for point in row)
    return f"{at}{step}{values}\n"


def _json_line(row: list[_Point]) -> str:
    values = {point.name: point.value for point in row}
    return json_text({"step": row[0].step, "time": row[0].time, "values": values}) + "\n"


COMMAND: Final = Command("show the newest points of a trial, and follow it until it ends", _configure, _run)
