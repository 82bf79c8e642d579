"""The live view of the search: a table on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from track.demo.observation import Observation, Phase, Row

__all__ = ["Rate", "View", "open_view", "trial_table"]

_STYLES: Final = {
    Phase.WAITING: "dim",
    Phase.RUNNING: "yellow",
    Phase.FINISHED: "green",
    Phase.FAILED: "bold red",
}
_ORDER: Final = (Phase.FAILED, Phase.RUNNING, Phase.FINISHED, Phase.WAITING)
_TEXTS: Final = {"status": 8, "worker": 8}
_NUMBER_WIDTH: Final = 6
_SHORT_NAMES: Final = {"learning_rate": "rate"}
_LINES_AROUND: Final = 7
"""Lines of the view without a trial, and the one of the cursor."""

_FEWEST_ROWS: Final = 3
_WIDTH: Final = 78
_RATE_SECONDS: Final = 3.0
_LINE_SECONDS: Final = 2.0


class View(Protocol):
    """Shows the progress of the search."""

    def show(self, observation: Observation, elapsed: float) -> None:
        """Bring the view up to date, `elapsed` seconds after the start."""


class Rate:
    """Points a second over the last few seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def update(self, now: float, points: int) -> float:
        """Take a count at a time in seconds; the rate since the oldest one that still matters."""
        self._seen.append((now, points))
        while len(self._seen) > 2 and now - self._seen[0][0] > _RATE_SECONDS:
            self._seen.popleft()
        then, before = self._seen[0]
        return (points - before) / (now - then) if now > then else 0.0


@contextmanager
def open_view(console: Console) -> Iterator[View]:
    """The view that suits where the console writes to."""
    if not console.is_terminal or console.is_dumb_terminal:
        yield _Lines(console)
        return
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        yield _LiveTable(console, live)


class _LiveTable:
    def __init__(self, console: Console, live: Live) -> None:
        self._console = console
        self._live = live
        self._rate = Rate()

    def show(self, observation: Observation, elapsed: float) -> None:
        room = max(_FEWEST_ROWS, self._console.height - _LINES_AROUND)
        rate = self._rate.update(elapsed, observation.points)
        parts: list[RenderableType] = [
            _head(observation, rate, elapsed),
            trial_table(_chosen(observation, room)),
        ]
        hidden = len(observation.rows) - room
        parts.append(Text(f"  … and {hidden} more" if hidden > 0 else "", style="dim"))
        self._live.update(Group(*parts), refresh=True)


class _Lines:
    """A line now and then, and one for each trial that ends."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rate = Rate()
        self._told: set[str] = set()
        self._next = 0.0

    def show(self, observation: Observation, elapsed: float) -> None:
        rate = self._rate.update(elapsed, observation.points)
        ended = [row for row in observation.rows if row.phase in (Phase.FINISHED, Phase.FAILED)]
        news = [row for row in ended if row.uid not in self._told]
        for row in news:
            self._told.add(row.uid)
            self._print(_line(row))
        is_last = bool(news) and len(ended) == len(observation.rows)
        if is_last or elapsed >= self._next:
            self._next = elapsed + _LINE_SECONDS
            self._print(_summary(observation, rate, elapsed))

    def _print(self, text: str) -> None:
        self._console.print(text, soft_wrap=True, highlight=False)


def trial_table(rows: list[Row]) -> Table:
    """One line a trial; fits 80 columns."""
    # All runs usually have one seed, which is then not worth a column.
    varied = ["seed"] if len({row.parameters["seed"] for row in rows}) > 1 else []
    parameters = ["learning_rate", "hidden", "alpha", *varied]
    table = Table(
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold"
    )
    for name in ("trial", *parameters, "status", "worker", "points", "last loss", "accuracy"):
        # Widths that do not depend on the values keep the columns still while these change.
        table.add_column(
            _SHORT_NAMES.get(name, name),
            justify="left" if name in _TEXTS else "right",
            min_width=_TEXTS.get(name, _NUMBER_WIDTH),
            no_wrap=True,
        )
    for row in rows:
        table.add_row(
            str(row.number),
            *(f"{row.parameters[name]:g}" for name in parameters),
            Text(row.phase.value, style=_STYLES[row.phase]),
            ", ".join(row.workers),
            f"{row.points:,}" if row.points else "",
            _number(row.loss),
            _number(row.accuracy),
        )
    return table


def _line(row: Row) -> str:
    parameters = ", ".join(f"{name} {value:g}" for name, value in row.parameters.items())
    line = f"trial {row.number:>3} {row.phase.value} by {', '.join(row.workers) or 'no worker'}: {parameters}"
    if row.loss is not None:
        line += f"; loss {_number(row.loss)}"
    if row.accuracy is not None:
        line += f", accuracy {_number(row.accuracy)}"
    return line


def _chosen(observation: Observation, room: int) -> list[Row]:
    """What people look for first: trials in work, then the best of those that are done."""
    best = {row.uid: place for place, row in enumerate(observation.best(len(observation.rows)))}
    ordered = sorted(
        observation.rows,
        key=lambda row: (_ORDER.index(row.phase), best.get(row.uid, len(best)), row.number),
    )
    return ordered[:room]


def _head(observation: Observation, rate: float, elapsed: float) -> RenderableType:
    done = observation.phases[Phase.FINISHED]
    head = Table.grid()
    head.add_row(Text(_summary(observation, rate, elapsed), overflow="ellipsis", no_wrap=True))
    head.add_row(ProgressBar(total=len(observation.rows), completed=done, width=_WIDTH))
    return head


def _summary(observation: Observation, rate: float, elapsed: float) -> str:
    phases = observation.phases
    failed = f", {phases[Phase.FAILED]} failed" if phases[Phase.FAILED] else ""
    running = f"{phases[Phase.RUNNING]} running" if observation.has_begun else "workers are starting"
    trials = f"{phases[Phase.FINISHED]}/{len(observation.rows)} finished, {running}{failed}"
    return f"{trials} · {observation.points:,} points, {rate:,.0f} points/s · {elapsed:.0f} s"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
