"""Many trials: a thousand of one hash, and what a page of ten thousand costs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Final

from daemon import Daemon, serving
from tables import Table
from track import TrackClient
from track.persistence.protocol import Protocol
from track_protocol.model.entities import Status, Trial

__all__ = ["measure"]

_ALIKE: Final = (1_000, 200)
_LISTED: Final = (10_000, 1_000)
"""In full, and quick."""

_PROCESSES: Final = (15, 3)
"""In full, and quick."""

_FIRST: Final = """
import sys, time
from track import TrackClient
client = TrackClient(sys.argv[1])
client.protocol.fetch_trials({"name": "nobody"})
began, used = time.perf_counter(), time.process_time()
client.new_trial(parameters={"lr": 0.1})
print(1e3 * (time.perf_counter() - began), 1e3 * (time.process_time() - used))
client.close()
"""

_TIMES: Final = 5
_TOGETHER: Final = 16
"""Threads that create trials; the server commits together what came together."""


def measure(folder: Path, quick: bool) -> None:
    """Create trials and look at pages of them, and print the times."""
    with serving(folder / "alike") as daemon:
        _print_alike(daemon, _ALIKE[quick])
    with serving(folder / "listed") as daemon:
        _print_listed(daemon, _LISTED[quick])
    with serving(folder / "first") as daemon:
        _print_first(daemon, _PROCESSES[quick])


def _print_alike(daemon: Daemon, trials: int) -> None:
    """Each tenth of many trials that differ in their revision only."""
    client = TrackClient(daemon.uri)
    tenths = []
    for _ in range(10):
        began = time.perf_counter()
        for _ in range(trials // 10):
            client.protocol.new_trial(Trial(parameters={"lr": 0.1}), auto_increment=True)
        tenths.append(time.perf_counter() - began)
    client.close()
    table = Table(f"{trials:,} trials of one hash", *(str(number) for number in range(1, 11)), "last ÷ first")
    per_trial = (f"{1e3 * seconds / (trials // 10):.2f}" for seconds in tenths)
    table.add("ms for each, by tenth", *per_trial, f"{tenths[-1] / tenths[0]:.2f}")
    table.print("trials: creating the next revision, one call after the other")
    print()


def _print_listed(daemon: Daemon, trials: int) -> None:
    """A page of many trials, beside the same page of an empty store and beside one trial."""
    client = TrackClient(daemon.uri)
    client.set_project(name="listed")
    protocol = client.protocol
    empty = _seconds(lambda: _ls(daemon))
    with ThreadPoolExecutor(_TOGETHER) as threads:
        one, *_ = threads.map(lambda number: _trial(protocol, number), range(trials))
    protocol.flush()
    query = {"status": Status.Completed, "parameters.lr": {"$gte": 0.25}, "metrics.loss.min": {"$lt": 0.9}}

    def page() -> None:
        found = protocol.fetch_trials(query, order=["-metrics.loss.min"], start=100, limit=20)
        if len(found) != 20:
            raise RuntimeError(f"the page has {len(found)} trials, not 20")

    table = Table(f"of {trials:,} trials", "ms", "control ms", "÷ control")
    for name, seconds, control in (
        ("track ls --limit 20; of an empty store", _seconds(lambda: _ls(daemon)), empty),
        ("sorted, filtered page of 20; one trial", _seconds(page), _seconds(lambda: protocol.get_trial(one))),
    ):
        table.add(name, f"{1e3 * seconds:.1f}", f"{1e3 * control:.1f}", f"{seconds / control:.1f}")
    client.close()
    table.print(f"trials: the median of {_TIMES} times, beside a control that is named behind the semicolon")
    print()


def _print_first(daemon: Daemon, processes: int) -> None:
    """The first trial of a process, which notes where it runs, beside one that does not."""
    table = Table(f"the first trial of {processes} processes", "ms", "processor ms", "slowest ms")
    for name, capture in (("with what a run notes of itself", "1"), ("without (TRACK_CAPTURE=0)", "0")):
        taken = [_first(daemon, capture) for _ in range(processes)]
        wall, used = ([each[place] for each in taken] for place in (0, 1))
        table.add(name, f"{median(wall):.1f}", f"{median(used):.1f}", f"{max(wall):.1f}")
    table.print("trials: creating the first one, connected and with all modules loaded that it needs anyway")
    print()


def _first(daemon: Daemon, capture: str) -> tuple[float, float]:
    """Milliseconds until the trial is created, and those of the processor."""
    env = {**os.environ, "TRACK_SYNC": "manual", "TRACK_QUIET": "1", "TRACK_CAPTURE": capture}
    command = [sys.executable, "-c", _FIRST, daemon.uri]
    ran = subprocess.run(command, check=True, capture_output=True, text=True, env=env)
    wall, used = ran.stdout.split()
    return float(wall), float(used)


def _trial(protocol: Protocol, number: int) -> Trial:
    """A trial of its own; every other one is completed."""
    trial = protocol.new_trial(
        Trial(name=f"trial {number}", parameters={"lr": number % 100 / 100, "n": number})
    )
    if trial is None:
        raise RuntimeError(f"trial {number} was there already")
    protocol.log_trial_metrics(trial, step=0, loss=number % 997 / 997)
    if number % 2:
        protocol.set_trial_status(trial, Status.Completed)
    return trial


def _ls(daemon: Daemon) -> None:
    command = [sys.executable, "-m", "track.cli", "ls", "--limit", "20", "--uri", daemon.uri]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "TRACK_SYNC": "manual"})


def _seconds(call: Callable[[], object]) -> float:
    """The median of some times."""
    taken = []
    for _ in range(_TIMES):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return median(taken)
