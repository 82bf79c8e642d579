"""Many workers, one store: each logs its own trial as fast as it can, then everything is read back."""

from __future__ import annotations

import gc
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bare import bare_ingest_rate
from daemon import Daemon, serving
from parallel import Span, Wait, run_together
from postgres_server import PROGRAMS, PostgresServer
from tables import Table
from track import TrackClient
from training import NAMES, metrics_of

__all__ = ["measure"]

_WORKERS: Final = (1, 8, 32)
_POSTGRES_WORKERS: Final = 8
_STEPS: Final = (600_000, 60_000)
"""Of all workers together: in full, and quick."""

_BARE_POINTS: Final = (4_000_000, 1_000_000)
_PROJECT: Final = "swarm"


@dataclass(frozen=True)
class _Job:
    uri: str
    worker: int
    steps: int


def _work(job: _Job, wait: Wait) -> Span[float]:
    """Log one trial; gives the moment of the last log call."""
    metrics = metrics_of(job.worker, job.steps)
    client = TrackClient(job.uri)
    client.set_project(name=_PROJECT)
    trial = client.new_trial(name=f"worker-{job.worker}")
    trial.log_arguments(steps=job.steps)
    gc.freeze()  # what the collector would spend on the prepared metrics is not the logger's doing
    wait()
    began = time.monotonic()
    with trial:
        log = trial.log_metrics
        for step, values in enumerate(metrics):
            log(step=step, **values)
        logged = time.monotonic()
    ended = time.monotonic()
    client.close()
    return Span(began, ended, logged)


@dataclass(frozen=True)
class _Audit:
    """What was read back: how long it took, and how it differs from what was logged."""

    seconds: float
    lost: int
    doubled: int


def _audit(uri: str, workers: int, steps: int) -> _Audit:
    """Read every point through a client of its own and compare it with what was logged."""
    client = TrackClient(uri)
    project = client.set_project(name=_PROJECT)
    began = time.monotonic()
    trials = {trial.name: trial for trial in client.protocol.fetch_trials({"project_id": project.uid})}
    read = {
        (worker, name): client.protocol.fetch_metrics(trials[f"worker-{worker}"], name)
        for worker in range(workers)
        for name in NAMES
    }
    seconds = time.monotonic() - began
    client.close()
    lost = doubled = 0
    for worker in range(workers):
        metrics = metrics_of(worker, steps)
        for name in NAMES:
            missing, extra = _difference([row[name] for row in metrics], read[worker, name])
            lost, doubled = lost + missing, doubled + extra
    return _Audit(seconds, lost, doubled)


def _difference(logged: Sequence[float], read: Any) -> tuple[int, int]:
    """How many points are missing, and how many are there beyond those that were logged."""
    want, got = Counter(enumerate(logged)), Counter(zip(read.steps, read.values, strict=True))
    return (want - got).total(), (got - want).total()


@dataclass(frozen=True)
class _Result:
    points: int
    log_seconds: float
    acked_seconds: float
    cpu_seconds: float
    audit: _Audit
    disk_bytes: int
    bytes_at_rest: int
    peak_megabytes: float

    @property
    def acked_rate(self) -> float:
        return self.points / self.acked_seconds

    @property
    def read_rate(self) -> float:
        return self.points / (self.acked_seconds + self.audit.seconds)


def _swarm(daemon: Daemon, workers: int, all_steps: int) -> _Result:
    steps = all_steps // workers
    points = steps * workers * len(NAMES)
    cpu: list[float] = []
    jobs = [_Job(daemon.uri, worker, steps) for worker in range(workers)]
    spans = run_together(_work, jobs, lambda: cpu.append(daemon.cpu_seconds))
    used, disk = daemon.cpu_seconds - cpu[0], daemon.disk_bytes
    began = min(span.began for span in spans)
    return _Result(
        points,
        max(span.result for span in spans) - began,
        max(span.ended for span in spans) - began,
        used,
        _audit(daemon.uri, workers, steps),
        disk,
        daemon.bytes_at_rest(),
        daemon.peak_megabytes,
    )


def measure(folder: Path, quick: bool) -> None:
    """Run the swarm beside the bare server and print both, and some of it on PostgreSQL, if that is there."""
    table = Table(
        "workers", "acked/s", "read/s", "bare/s", "bare÷acked", "bare÷read", "lost", "doubled",
        "CPU µs/pt", "RSS MB", "B/pt", "B/pt merged",
    )  # fmt: skip
    rates, bares, notes = {}, {}, []
    for workers in _WORKERS:
        bares[workers] = bare = bare_ingest_rate(folder / f"bare-{workers}", workers, _BARE_POINTS[quick])
        with serving(folder / f"track-{workers}") as daemon:
            got = _swarm(daemon, workers, _STEPS[quick])
        rates[workers] = got.read_rate
        table.add(f"{workers}", *_cells(got, bare))
        if workers == _POSTGRES_WORKERS and PROGRAMS is not None:
            database = PostgresServer(durable=True, within=folder.parent)
            try:
                with serving(folder / "track-postgres", database) as daemon:
                    before = database.cpu_seconds
                    beside = _swarm(daemon, workers, _STEPS[quick])
                    used = database.cpu_seconds - before
            finally:
                database.stop()
            table.add(f"{workers}, PostgreSQL", *_cells(beside, bare))
            notes.append(
                f"PostgreSQL ÷ SQLite at {workers} workers: acked {beside.acked_rate / got.acked_rate:.2f}; "
                f"its own processes took {1e6 * used / beside.points:.2f} CPU µs/pt, reading included"
            )
    points = _STEPS[quick] * len(NAMES)
    scalars = f"{len(NAMES)} scalars a step"
    table.print(f"swarm: {points:,} points in all, {scalars}, TLS, durable; SQLite unless said otherwise")
    print(f"32 workers ÷ 8 workers: read {rates[32] / rates[8]:.2f}, bare {bares[32] / bares[8]:.2f}\n")
    print("".join([f"{note}\n" for note in notes]))


def _cells(got: _Result, bare: float) -> list[str]:
    return [
        f"{got.acked_rate:,.0f}",
        f"{got.read_rate:,.0f}",
        f"{bare:,.0f}",
        f"{bare / got.acked_rate:.1f}",
        f"{bare / got.read_rate:.1f}",
        f"{got.audit.lost:,}",
        f"{got.audit.doubled:,}",
        f"{1e6 * got.cpu_seconds / got.points:.2f}",
        f"{got.peak_megabytes:.0f}",
        f"{got.disk_bytes / got.points:.1f}",
        f"{got.bytes_at_rest / got.points:.1f}",
    ]
