"""Latency: one small trial, and a small call beside a large read."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path
from statistics import median
from typing import Final

from bare import bare_commit_seconds
from daemon import Daemon, serving
from tables import Table
from track import TrackClient
from track.persistence.protocol import Protocol
from track_protocol.model.entities import Trial
from training import metrics_of

__all__ = ["measure"]

_TRIALS: Final = (200, 40)
_CALLS: Final = (400, 100)
_POINTS: Final = (1_000_000, 200_000)
"""In full, and quick; the points are those of the series that is read meanwhile."""

_READY_SECONDS: Final = 60.0


def measure(folder: Path, quick: bool) -> None:
    """Measure latencies through the socket and print them beside their controls."""
    bare = bare_commit_seconds(folder / "bare-commit", _TRIALS[quick])
    with serving(folder / "latency") as daemon:
        _print_trials(daemon, _TRIALS[quick], bare)
        _print_small_calls(daemon, _CALLS[quick], _POINTS[quick])


# -- one small trial -------------------------------------------------------------------------------


def _print_trials(daemon: Daemon, trials: int, bare: Sequence[float]) -> None:
    client = TrackClient(daemon.uri)
    client.set_project(name="latency")
    taken = []
    for number in range(trials):
        began = time.perf_counter()
        with client.new_trial(force=True, name=f"trial {number}") as trial:
            for step in range(3):
                trial.log_metrics(step=step, loss=float(step))
        taken.append(time.perf_counter() - began)
    client.close()
    table = Table("one small trial", "times", "p50 ms", "p99 ms", "÷ bare")
    table.add("one commit of the bare server", *_cells(bare), "")
    table.add("create, log 3 points, finish", *_cells(taken), f"{median(taken) / median(bare):.1f}")
    table.print("latency: until all is durable; bare is one frame through TLS, committed and answered")
    print()


# -- a small call beside a large read ------------------------------------------------------------


def _print_small_calls(daemon: Daemon, calls: int, points: int) -> None:
    client = TrackClient(daemon.uri)
    client.set_project(name="beside")
    with client.new_trial(name="long") as trial:
        for step, row in enumerate(metrics_of(0, points)):
            trial.log_metrics(step=step, loss=row["loss"])
    protocol = client.protocol
    (small,) = (trial for trial in [protocol.new_trial(Trial(name="small"))] if trial is not None)
    write = protocol.metric_writer(small)

    def log_a_point() -> None:
        write(None, {"loss": 1.0})
        protocol.flush()

    kinds: dict[str, Callable[[], object]] = {
        "read a trial": lambda: protocol.get_trial(small),
        "log a point and flush": log_a_point,
    }
    quiet = {name: _timed(call, calls) for name, call in kinds.items()}
    with _reading(daemon.uri):
        beside = {name: _timed(call, calls) for name, call in kinds.items()}
    client.close()
    table = Table("one small call", "times", "p50 ms", "p99 ms", "p50 ÷ quiet", "p99 ÷ quiet")
    for name in kinds:
        table.add(f"{name}, quiet", *_cells(quiet[name]), "", "")
        ratios = (_quantile(beside[name], q) / _quantile(quiet[name], q) for q in (0.5, 0.99))
        table.add(f"{name}, beside the read", *_cells(beside[name]), *(f"{ratio:.1f}" for ratio in ratios))
    table.print(f"latency: a small call while another client reads {points:,} points again and again")
    print()


@contextmanager
def _reading(uri: str) -> Iterator[None]:
    """Another process reads the long series over and over, from before this begins until it ends."""
    context = multiprocessing.get_context("spawn")
    ready, stop = context.Event(), context.Event()
    process = context.Process(target=_read, args=(uri, ready, stop), daemon=True)
    process.start()
    try:
        if not ready.wait(_READY_SECONDS):
            raise RuntimeError("the process that reads did not begin")
        yield
    finally:
        stop.set()
        process.join()
    if process.exitcode:
        raise RuntimeError(f"the process that reads ended with {process.exitcode}")


def _read(uri: str, ready: Event, stop: Event) -> None:
    protocol: Protocol = TrackClient(uri).protocol
    (trial,) = protocol.fetch_trials({"name": "long"})
    while not stop.is_set():
        ready.set()
        protocol.fetch_metrics(trial, "loss")
    protocol.close()


# -- figures -------------------------------------------------------------------------------------


def _timed(call: Callable[[], object], times: int) -> list[float]:
    """Seconds of each of so many calls, one after the other."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return taken


def _quantile(taken: Sequence[float], share: float) -> float:
    return sorted(taken)[int(share * len(taken))]


def _cells(taken: Sequence[float]) -> tuple[str, str, str]:
    middle, worst = (f"{1e3 * _quantile(taken, share):.2f}" for share in (0.5, 0.99))
    return f"{len(taken):,}", middle, worst
