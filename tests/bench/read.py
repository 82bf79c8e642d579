"""Reading: one complete long series, and a list of many trials with their last values."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

from bare import bare_read_rate
from daemon import Daemon, serving
from tables import Table
from track import TrackClient, Trial
from track.persistence.series import SeriesMapping
from training import metrics_of

__all__ = ["measure"]

_POINTS: Final = (1_000_000, 100_000)
_TRIALS: Final = (1_000, 100)
"""In full, and quick."""

_STEPS: Final = 50
"""Of each listed trial."""


def _series_seconds(daemon: Daemon, points: int) -> float:
    """Log one series, then fetch all of it once it is compacted."""
    client = TrackClient(daemon.uri)
    client.set_project(name="read")
    trial = client.new_trial(name="long")
    losses = [row["loss"] for row in metrics_of(0, points)]
    with trial:
        for step, loss in enumerate(losses):
            trial.log_metrics(step=step, loss=loss)
    daemon.bytes_at_rest()
    (stored,) = client.protocol.fetch_trials({"name": "long"})
    began = time.monotonic()
    read = client.protocol.fetch_metrics(stored, "loss")
    seconds = time.monotonic() - began
    client.close()
    if list(read.values) != losses or list(read.steps) != list(range(points)):
        raise RuntimeError("the series that was read is not the one that was logged")
    return seconds


def _list_seconds(daemon: Daemon, trials: int) -> float:
    """Create trials with four metrics each, then fetch all with the last value of each metric."""
    client = TrackClient(daemon.uri)
    project = client.set_project(name="list")
    metrics = metrics_of(1, _STEPS)
    for number in range(trials):
        trial = client.new_trial(force=True, name=f"trial-{number}")
        for step, values in enumerate(metrics):
            trial.log_metrics(step=step, **values)
    client.save()
    began = time.monotonic()
    listed = client.protocol.fetch_trials({"project_id": project.uid})
    last = [_last_values(trial) for trial in listed]
    seconds = time.monotonic() - began
    client.close()
    if last != [metrics[-1]] * trials:
        raise RuntimeError("the trials that were listed do not end with what was logged last")
    return seconds


def _last_values(trial: Trial) -> dict[str, Any]:
    """What the list itself says; no points are fetched."""
    assert isinstance(trial.metrics, SeriesMapping)
    return {name: trial.metrics.summary(name)["last"] for name in trial.metrics}


def measure(folder: Path, quick: bool) -> None:
    """Read a series and a list through the socket and print them."""
    points, trials = _POINTS[quick], _TRIALS[quick]
    bare = bare_read_rate(folder / "bare-read", points)
    table = Table("read through the socket", "seconds", "per second", "bare/s", "bare÷read")
    with serving(folder / "read") as daemon:
        seconds = _series_seconds(daemon, points)
        rate = points / seconds
        table.add(
            f"one series of {points:,} points",
            f"{seconds:.3f}",
            f"{rate:,.0f}",
            f"{bare:,.0f}",
            f"{bare / rate:.1f}",
        )
        seconds = _list_seconds(daemon, trials)
        table.add(f"{trials:,} trials with last values", f"{seconds:.3f}", f"{trials / seconds:,.0f}", "", "")
    table.print("read: bare is the same count of raw float64 triples through a TLS socket")
    print()
