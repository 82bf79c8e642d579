"""What a log call costs the training loop: the time inside `log_metrics` with four metrics."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from daemon import serving
from tables import Table
from track import TrackClient
from training import metrics_of

__all__ = ["measure"]

_PACE: Final = 200
"""Calls a second of the paced run."""

_PACED_SECONDS: Final = (10, 2)
_FLAT_OUT: Final = (200_000, 50_000)
"""Calls without a pause: in full, and quick."""

_SYSTEM: Final = "system metrics"
"""End of the names of runs that log system metrics as well, every second."""

Log = Callable[..., object]


def _nothing(*, step: int, **metrics: float) -> None:
    """The floor: a call with the same arguments that does nothing."""


def _flat_out(log: Log, metrics: Sequence[Mapping[str, float]]) -> list[int]:
    """Nanoseconds of each call, one after the other."""
    clock, taken = time.perf_counter_ns, []
    for step, values in enumerate(metrics):
        began = clock()
        log(step=step, **values)
        taken.append(clock() - began)
    return taken


def _paced(log: Log, metrics: Sequence[Mapping[str, float]]) -> list[int]:
    """Nanoseconds of each call, at `_PACE` calls a second."""
    clock, taken = time.perf_counter_ns, []
    due = time.monotonic()
    for step, values in enumerate(metrics):
        due += 1 / _PACE
        time.sleep(max(0.0, due - time.monotonic()))
        began = clock()
        log(step=step, **values)
        taken.append(clock() - began)
    return taken


def _row(table: Table, name: str, taken: Sequence[int], floor: Sequence[int]) -> None:
    ordered = sorted(taken)
    table.add(
        name,
        f"{len(ordered):,}",
        f"{median(ordered) / 1e3:.2f}",
        f"{ordered[int(0.99 * len(ordered))] / 1e3:.2f}",
        f"{ordered[-1] / 1e3:,.0f}",
        f"{sum(ordered) / len(ordered) / 1e3:.2f}",
        f"{median(ordered) / median(floor):.1f}",
    )


def measure(folder: Path, quick: bool) -> None:
    """Time log calls against a live server and print them beside the empty call."""
    runs: dict[str, tuple[Callable[[Log, Any], list[int]], int]] = {
        f"paced, {_PACE}/s": (_paced, _PACE * _PACED_SECONDS[quick]),
        f"paced, {_PACE}/s, {_SYSTEM}": (_paced, _PACE * _PACED_SECONDS[quick]),
        "flat out": (_flat_out, _FLAT_OUT[quick]),
    }
    table = Table(
        "log_metrics(step, 4 metrics)", "calls", "median µs", "p99 µs", "max µs", "mean µs", "÷ empty"
    )
    with serving(folder / "call") as daemon:
        client = TrackClient(daemon.uri)
        client.set_project(name="call")
        for name, (run, calls) in runs.items():
            metrics = metrics_of(0, calls)
            floor = run(_nothing, metrics[: calls // 4])
            trial = client.new_trial(force=True, name=name)
            gc.freeze()  # what the collector would spend on the prepared metrics is not the logger's doing
            with trial:
                if name.endswith(_SYSTEM):
                    trial.log_system_metrics(interval=1.0)
                taken = run(trial.log_metrics, metrics)
            _row(table, f"{name}, empty call", floor, floor)
            _row(table, name, taken, floor)
        client.close()
    table.print("call: time inside one call, against a live server")
    print()
