"""The demo from its first process to its last: server, users, trials, workers, proof, end."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Final

from rich.console import Console

from track import TrackClient
from track.demo.folder import Folder, isolated
from track.demo.grid import grid
from track.demo.observation import Observation, Phase, observe
from track.demo.processes import Child, add_users, listens_at, start_server, start_worker, stop_all
from track.demo.reports import WorkerReport
from track.demo.result import tell, tell_result
from track.demo.table import open_view
from track.demo.verification import Verification, verify
from track_protocol.errors import TrackError

__all__ = ["Plan", "run_demo"]

_POLL_SECONDS: Final = 0.4
_STALLED_SECONDS: Final = 60.0
_WORKER_SECONDS: Final = 5.0
_SERVER_SECONDS: Final = 20.0
_COORDINATOR: Final = "coordinator"
_VERIFIER: Final = "verifier"
_ENDING_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Plan:
    """What the demo is to do.

    Attributes:
        workers: how many training processes.
        trials: how many points of the grid.
        epochs: how often each trial sees the data.
    """

    workers: int
    trials: int
    epochs: int


def run_demo(plan: Plan, folder: Folder, console: Console) -> int:
    """Search, verify and tell.

    Returns:
        0 when all went well, 1 when the store does not hold exactly what was logged.

    Raises:
        TrackError: a process failed; the message names it.
    """
    environment = folder.environment(os.environ)
    with _ended_by_signals(), isolated(environment):
        return _Demo(plan, folder, console, environment).run()


class _Demo:
    def __init__(self, plan: Plan, folder: Folder, console: Console, environment: Mapping[str, str]) -> None:
        self._plan = plan
        self._folder = folder
        self._console = console
        self._environment = environment
        self._names = [f"worker-{number}" for number in range(1, plan.workers + 1)]

    def run(self) -> int:
        started = time.monotonic()
        tell(self._console, "folder", str(self._folder.root))
        with ExitStack() as stack:
            server = start_server(self._folder, self._environment)
            stack.callback(_stop, [server], _SERVER_SECONDS)
            tell(self._console, "server", f"{listens_at(self._folder)}, TLS 1.3 AES-256-GCM")
            uris = self._add_users()
            client = _joined(stack, uris[_COORDINATOR])
            group, created = self._create_trials(client)
            workers = self._start_workers(stack, uris, group)
            last = self._watch(client, group, server, workers)
            proof = self._verify(uris[_VERIFIER], group, created)
            client.protocol.close()
            _end(server)
        tell_result(self._console, self._folder, last, proof, time.monotonic() - started)
        return 1 if proof.faults else 0

    def _add_users(self) -> dict[str, str]:
        roles = dict.fromkeys((_COORDINATOR, *self._names), "writer") | {_VERIFIER: "reader"}
        uris = add_users(self._folder, self._environment, roles)
        tell(self._console, "users", f"{len(uris) - 1} writers and 1 reader, each with a token of its own")
        return uris

    def _create_trials(self, client: TrackClient) -> tuple[str, list[str]]:
        """The uid of the group, and those of its trials."""
        client.set_project(name="digits", description="scikit-learn's bundled handwritten digits")
        group = client.set_group(name="search", description="a grid of learning rate, hidden units and alpha")
        points = grid(self._plan.trials)
        created = [client.new_trial(force=True, name="mlp", arguments=point).trial.uid for point in points]
        client.save()
        tell(self._console, "trials", f"{len(created)}, each for {self._plan.epochs} epochs")
        return group.uid, created

    def _start_workers(self, stack: ExitStack, uris: Mapping[str, str], group: str) -> list[Child]:
        workers: list[Child] = []
        stack.callback(_stop, workers, _WORKER_SECONDS)
        for name in self._names:  # one by one, so that those started are stopped if the next one fails
            worker = start_worker(self._folder, self._environment, name, uris[name], group, self._plan.epochs)
            workers.append(worker)
        tell(self._console, "workers", f"{len(workers)} processes that claim trials until none is left")
        return workers

    def _watch(self, client: TrackClient, group: str, server: Child, workers: Sequence[Child]) -> Observation:
        """Show how the search stands until all workers have ended, which they must do well."""
        started = moved = time.monotonic()
        points = 0
        with open_view(self._console) as view:
            while True:
                running = [worker for worker in workers if worker.running]
                observation = observe(client.protocol.fetch_trials({"group_id": group}))
                now = time.monotonic()
                view.show(observation, now - started)
                _check(server, workers, observation)
                if not running:
                    return observation
                if observation.points != points:
                    points, moved = observation.points, now
                elif now - moved > _STALLED_SECONDS:
                    raise _stalled(running)
                time.sleep(_POLL_SECONDS)

    def _verify(self, uri: str, group: str, created: Sequence[str]) -> Verification:
        with ExitStack() as stack:
            client = _joined(stack, uri)
            reports = [WorkerReport.read(self._folder.worker_report(name)) for name in self._names]
            return verify(client.protocol, group, created, reports)


def _joined(stack: ExitStack, uri: str) -> TrackClient:
    client = TrackClient(uri)
    stack.callback(client.protocol.close)
    return client


def _check(server: Child, workers: Sequence[Child], observation: Observation) -> None:
    """Raise for every process that ended as it should not."""
    if not server.running:
        raise TrackError(server.failure or f"{server.name} ended too early; its log is {server.log}")
    failures = []
    for worker in workers:
        if failure := worker.failure:
            held = [
                str(row.number)
                for row in observation.rows
                if row.phase is not Phase.FINISHED and worker.name in row.workers
            ]
            failures.append(f"{failure}" + (f"\n  it had trial {', '.join(held)}" if held else ""))
    if failures:
        raise TrackError("\n".join(failures))


def _stalled(running: Sequence[Child]) -> TrackError:
    names = ", ".join(worker.name for worker in running)
    return TrackError(f"{names}: no new point for {_STALLED_SECONDS:.0f} s; see {running[0].log}")


def _end(server: Child) -> None:
    code = server.stop(_SERVER_SECONDS)
    if code != 0:
        raise TrackError(server.failure or f"{server.name} did not end well; its log is {server.log}")


def _stop(children: Sequence[Child], seconds: float) -> None:
    """End what still runs; nothing may interrupt that, or processes would be left behind."""
    before = [signal.signal(number, signal.SIG_IGN) for number in _ENDING_SIGNALS]
    try:
        stop_all(children, seconds)
    finally:
        for number, handler in zip(_ENDING_SIGNALS, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and a closed terminal, like Ctrl-C, end the demo in order."""

    def end(number: int, frame: FrameType | None) -> None:
        sys.exit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
