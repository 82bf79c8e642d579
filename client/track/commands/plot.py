"""``track plot METRIC``: a metric of some trials as lines in the terminal."""

from __future__ import annotations

import argparse
import math
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any, Final

from track.commands.fields import short_uids, shown
from track.commands.plotting import Cell, Curve, axis_text, draw
from track.commands.printing import width_of
from track.commands.stores import (
    add_filter,
    add_store,
    add_trials,
    check_choice,
    check_series,
    chosen_trials,
    opened,
)
from track.persistence.protocol import Protocol
from track.reading.trials import StoredTrial
from track_protocol.command import Command
from track_protocol.errors import ItemNotFound
from track_protocol.query.filter_parser import read_names

__all__ = ["COMMAND"]

_TRIALS: Final = 10
_HEIGHT: Final = 20
_LEAST: Final = 10
"""Letters and rows below which nothing can be seen."""

_COLOURS: Final = ("cyan", "green", "yellow", "magenta", "red", "blue", "bright_black", "white")
_MARKS: Final = "*+xo#@%&"
"""What distinguishes the lines where there are no colours."""

_X_TITLES: Final = {"step": "step", "time": "seconds since the start"}


def _configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("metric", metavar="METRIC", help="its name, with or without labels")
    add_trials(parser, "all")
    add_store(parser)
    add_filter(parser)
    add("--limit", type=int, default=_TRIALS, metavar="N", help=f"newest trials to draw (default: {_TRIALS})")
    add("--x", choices=tuple(_X_TITLES), default="step", help="what is from left to right (default: step)")
    add("--log", action="store_true", help="logarithmic values")
    add("--height", type=int, default=_HEIGHT, metavar="ROWS", help=f"rows (default: {_HEIGHT})")


def _run(arguments: argparse.Namespace) -> int:
    check_choice(arguments)
    metric = read_names(arguments.metric)[0].removeprefix("metrics.")
    with opened(arguments.uri) as protocol:
        lines, left_out = _lines(protocol, metric, arguments)
    if not lines:
        raise ItemNotFound(f"none of the trials has numbers of the metric {metric!r:.80}")
    terminal = shutil.get_terminal_size()
    height = max(_LEAST // 2, min(arguments.height, 200))
    sys.stdout.write(_picture(lines, max(_LEAST * 2, terminal.columns), height, arguments))
    if left_out:
        sys.stdout.write(f"{left_out:,} older trials are not drawn; --limit N draws more\n")
    return 0


@dataclass(frozen=True, slots=True)
class _Named:
    """A line and its name in the legend."""

    name: str
    curve: Curve


def _lines(protocol: Protocol, metric: str, arguments: argparse.Namespace) -> tuple[list[_Named], int]:
    """A line for each series of that name, and how many trials were left out."""
    found = chosen_trials(protocol, arguments)
    check_series(protocol, found, [metric])
    having = [trial for each in found if (trial := StoredTrial.of(each, protocol)).has(metric)]
    drawn = having if arguments.trials else having[max(0, len(having) - max(1, arguments.limit)) :]
    short = short_uids([trial.uid for trial in drawn])
    lines = []
    for trial in drawn:
        for line in trial.lines(metric, x=arguments.x):
            name = " ".join(filter(None, (short[trial.uid], trial.name, line.name)))
            curve = Curve(list(map(_number, line.x)), [_height(value, arguments.log) for value in line.y])
            if any(map(math.isfinite, curve.y)):
                lines.append(_Named(shown("", name), curve))
    return lines, len(having) - len(drawn)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else math.nan


def _height(value: Any, is_log: bool) -> float:
    number = _number(value)
    if not is_log:
        return number
    return math.log10(number) if number > 0 else math.nan


def _picture(lines: Sequence[_Named], width: int, height: int, arguments: argparse.Namespace) -> str:
    """The axes around the canvas, and the legend below it."""
    # The labels beside the canvas determine its width.
    values = [y for line in lines for y in line.curve.y if math.isfinite(y)]
    low, high = min(values), max(values)
    ticks = {0: high, height // 2: (low + high) / 2, height - 1: low}
    texts = {row: axis_text(10**value if arguments.log else value) for row, value in ticks.items()}
    margin = max(map(len, texts.values()))
    cells, (first, last), _ = draw([line.curve for line in lines], width - margin - 2, height)
    paint = _paint if sys.stdout.isatty() and "NO_COLOR" not in os.environ else _plain
    several = len(lines) > 1
    rows = [f"{texts.get(number, ''):>{margin}} │{paint(row, several)}" for number, row in enumerate(cells)]
    ends = axis_text(first), f"{_X_TITLES[arguments.x]}  {axis_text(last)}"
    below = f"{'':{margin}} └{'─' * (width - margin - 2)}"
    scale = f"{'':{margin}}  {ends[0]}{ends[1]:>{max(1, width - margin - 2 - len(ends[0]))}}"
    legend = [
        f"{paint([Cell('⣿', number)], several)} {line.name}"
        for number, line in enumerate(lines)
        if width_of(line.name)
    ]
    return "".join(f"{row.rstrip()}\n" for row in [*rows, below, scale, *legend])


def _plain(row: Sequence[Cell], several: bool) -> str:
    """A row without colours; of several lines each has a mark of its own."""
    return "".join(
        cell.text if cell.curve is None or not several else _MARKS[cell.curve % len(_MARKS)] for cell in row
    )


def _paint(row: Sequence[Cell], several: bool) -> str:
    try:
        from rich.console import Console
        from rich.text import Text
    except ImportError:  # without the extra 'cli' there are no colours
        return _plain(row, several)
    text = Text()
    for cell in row:
        text.append(cell.text, None if cell.curve is None else _COLOURS[cell.curve % len(_COLOURS)])
    painted = StringIO()
    console = Console(file=painted, force_terminal=True, width=len(row) + 1)
    console.print(text, end="", no_wrap=True)
    return painted.getvalue()


COMMAND: Final = Command("draw a metric of some trials in the terminal", _configure, _run)
