"""Processes that start together, so that no measurement includes the start of an interpreter."""

from __future__ import annotations

import multiprocessing
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from typing import Any, Generic, TypeVar

__all__ = ["Span", "Wait", "run_together"]

_TIMEOUT_S = 120.0

J = TypeVar("J")
R = TypeVar("R")

Wait = Callable[[], object]
"""A member calls it once, when it is ready; it returns when all are."""


@dataclass(frozen=True)
class Span(Generic[R]):
    """What one member did between two moments of the system's monotonic clock, in seconds."""

    began: float
    ended: float
    result: R


def run_together(work: Callable[[J, Wait], R], jobs: Sequence[J], at_start: Callable[[], None]) -> list[R]:
    """Run `work(job, wait)` in a process of its own for each job.

    Args:
        work: a function of a module; calls `wait` between getting ready and beginning.
        jobs: one for each process; pickled.
        at_start: called here when all are ready, before the first begins.

    Returns:
        what each returned, in the order of the jobs.

    Raises:
        RuntimeError: a process failed; the message holds its traceback.
    """
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(len(jobs) + 1, timeout=_TIMEOUT_S)
    pipes: list[Connection] = []
    processes = []
    for job in jobs:
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_member, args=(work, job, barrier, theirs), daemon=True)
        process.start()
        theirs.close()
        pipes.append(ours)
        processes.append(process)
    try:
        while barrier.n_waiting < len(jobs) and all(process.is_alive() for process in processes):
            threading.Event().wait(0.005)
        at_start()
        if all(process.is_alive() for process in processes):
            barrier.wait()
    except threading.BrokenBarrierError:
        pass  # a member failed; its error is raised below
    outcomes = [_received(pipe) for pipe in pipes]
    for process in processes:
        process.join()
    for good, outcome in outcomes:
        if not good:
            raise RuntimeError(f"a worker process failed:\n{outcome}")
    return [outcome for _, outcome in outcomes]


def _received(pipe: Connection) -> tuple[bool, Any]:
    try:
        received: tuple[bool, Any] = pipe.recv()
    except EOFError:
        return False, "the process ended without a result"
    return received


def _member(work: Callable[[Any, Wait], Any], job: Any, barrier: Barrier, pipe: Connection) -> None:
    try:
        outcome = (True, work(job, barrier.wait))
    except Exception:  # noqa: BLE001 - the parent raises it
        barrier.abort()
        outcome = (False, traceback.format_exc())
    pipe.send(outcome)
