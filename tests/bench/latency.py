"""Latency: one small trial, and a small call beside a large read."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import cycle, islice
from multiprocessing.synchronize import Event
from pathlib import Path
from statistics import median
from typing import Any, Final

from bare import bare_commit_seconds
from board_visits import Visit
from daemon import Daemon, serving
from large_stores import fill_with_trials
from running_server import ServerProcess
from tables import Table
from track import TrackClient
from track.persistence.protocol import Protocol
from track_protocol.model.entities import Trial
from training import metrics_of

__all__ = ["measure"]

_TRIALS: Final = (200, 40)
_CALLS: Final = (400, 100)
_POINTS: Final = (1_000_000, 200_000)
_TRIALS_READ: Final = (10_000, 1_000)
"""In full, and quick; the points and the trials are those that are read meanwhile."""

_VISITORS: Final = (20, 100)
"""Connections over which the board is asked at once."""

_HEAVY: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("fetch_trials", {"query": {}, "limit": 2_000}),
    (
        "fetch_table",
        {"query": {}, "columns": ["metrics.loss.min", "parameters.lr", "name", "created"], "limit": 10_000},
    ),
    ("fetch_fields", {"query": {}}),
)
"""What it is asked for, over and over."""

_READY_SECONDS: Final = 60.0


def measure(folder: Path, quick: bool) -> None:
    """Measure latencies through the socket and print them beside their controls."""
    bare = bare_commit_seconds(folder / "bare-commit", _TRIALS[quick])
    with serving(folder / "latency") as daemon:
        _print_trials(daemon, _TRIALS[quick], bare)
        _print_small_calls(daemon, _CALLS[quick], _POINTS[quick])
    _print_beside_pages(folder, _CALLS[quick], _TRIALS_READ[quick])


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


# -- a small call beside heavy requests of the board ---------------------------------------------------


def _print_beside_pages(folder: Path, calls: int, trials: int) -> None:
    path = folder / "beside.db"
    fill_with_trials(path, trials, 10)
    table = Table(
        "log a point and save", "times", "p50 ms", "p99 ms", "p50 ÷ quiet", "p99 ÷ quiet", "answers"
    )
    with (
        ServerProcess(f"sqlite:{path}", folder / "beside", "--http", "0") as server,
        TrackClient(server.served.join("script")) as client,
    ):
        trial = client.new_trial(name="beside", force=True)

        def log_a_point() -> None:
            trial.log_metrics(loss=1.0)
            client.save()

        with trial:
            quiet = _timed(log_a_point, calls)
            table.add("quiet", *_cells(quiet), "", "", "")
            for visitors in _VISITORS:
                with _asking(server.board, visitors) as answers:
                    beside = _timed(log_a_point, calls)
                    answered = answers.value
                compared = (_quantile(beside, q) / _quantile(quiet, q) for q in (0.5, 0.99))
                row = *_cells(beside), *(f"{ratio:.1f}" for ratio in compared)
                table.add(f"beside {visitors} connections", *row, f"{answered:,}")
    table.print(f"latency: while the board of {trials:,} trials is asked for all of them again and again")
    print()


@contextmanager
def _asking(url: str, visitors: int) -> Iterator[Any]:
    """Another process asks a board over so many connections; yields how many answers it has had."""
    context = multiprocessing.get_context("spawn")
    answers, stop = context.Value("i", 0), context.Event()
    process = context.Process(target=_ask, args=(url, visitors, answers, stop), daemon=True)
    process.start()
    try:
        until = time.monotonic() + _READY_SECONDS
        while not answers.value:
            if time.monotonic() > until:
                raise RuntimeError("the process that asks did not begin")
            stop.wait(0.01)
        yield answers
    finally:
        stop.set()
        process.join()


def _ask(url: str, visitors: int, answers: Any, stop: Event) -> None:
    def ask(number: int) -> None:
        visit = Visit(url)
        visit.log_in()
        for method, arguments in islice(cycle(_HEAVY), number, None):
            if stop.is_set():
                return
            visit.call(method, **arguments)
            with answers.get_lock():
                answers.value += 1

    with ThreadPoolExecutor(visitors) as threads:
        for each in [threads.submit(ask, number) for number in range(visitors)]:
            each.result()


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
