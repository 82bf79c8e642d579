"""The demo from its first process to its last: server, users, trials, workers, proof, end."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Final

from rich.console import Console

from track import TrackClient
from track.commands.board import open_browser
from track.demo.folder import Folder, isolated
from track.demo.grid import grid
from track.demo.interruption import ended_by_signals
from track.demo.observation import Observation, Phase, observe
from track.demo.processes import LEASE_SECONDS, Child, Processes
from track.demo.reports import WorkerReport
from track.demo.result import show, show_result, show_way_to_the_board
from track.demo.table import open_view
from track.demo.verification import Verification, verify
from track_protocol.errors import TrackError

__all__ = ["Plan", "run_demo"]

_POLL_SECONDS: Final = 0.4
_STALLED_SECONDS: Final = 90.0
_COORDINATOR: Final = "coordinator"
_VERIFIER: Final = "verifier"


@dataclass(frozen=True, slots=True)
class Plan:
    """The options of the demo.

    Attributes:
        workers: how many training processes.
        trials: how many points of the grid.
        epochs: how often each trial sees the data.
        board: whether a board shows the search, until Ctrl-C.
    """

    workers: int
    trials: int
    epochs: int
    board: bool = False


def run_demo(plan: Plan, folder: Folder, console: Console) -> int:
    """Search, verify and report.

    Returns:
        0 on success, 1 when the stored points differ from the logged ones.

    Raises:
        TrackError: a process failed; the message names it.
    """
    outside = dict(os.environ)
    environment = folder.environment(outside)
    with ended_by_signals(), isolated(environment):
        try:
            with Processes(folder, environment) as processes, ExitStack() as clients:
                return _Demo(plan, folder, console, processes, clients, outside).run()
        except (KeyboardInterrupt, SystemExit):
            show(console, "stopped", f"all processes have ended; the store is {folder.store}", "yellow")
            raise


class _Demo:
    def __init__(
        self,
        plan: Plan,
        folder: Folder,
        console: Console,
        processes: Processes,
        clients: ExitStack,
        outside: Mapping[str, str],
    ) -> None:
        self._plan = plan
        self._folder = folder
        self._console = console
        self._processes = processes
        self._clients = clients
        self._outside = outside
        self._workers = [f"worker-{number}" for number in range(1, plan.workers + 1)]
        self._killed: set[str] = set()

    def run(self) -> int:
        started = time.monotonic()
        show(self._console, "folder", str(self._folder.root))
        address = self._processes.start_server()
        show(self._console, "server", f"{address}, TLS 1.3 AES-256-GCM")
        uris = self._add_users()
        client = self._join(uris[_COORDINATOR])
        group, created = self._create_trials(client)
        board = self._start_board(uris[_COORDINATOR]) if self._plan.board else None
        self._start_workers(uris, group)
        last = self._watch(client, group)
        proof = self._verify(self._join(uris[_VERIFIER]), group, created, last)
        self._clients.close()
        if board is None:
            self._processes.end_server()
        show_result(self._console, self._folder, last, proof, time.monotonic() - started)
        if board is not None:
            self._stay(board)
        show_way_to_the_board(self._console, self._folder)
        return 1 if proof.faults else 0

    def _add_users(self) -> dict[str, str]:
        roles = dict.fromkeys((_COORDINATOR, *self._workers), "writer") | {_VERIFIER: "reader"}
        uris = self._processes.add_users(roles)
        show(self._console, "users", f"{len(uris) - 1} writers and 1 reader, each with a token of its own")
        return uris

    def _join(self, uri: str) -> TrackClient:
        client = TrackClient(uri)
        self._clients.callback(client.close)
        return client

    def _create_trials(self, client: TrackClient) -> tuple[str, list[str]]:
        """The uid of the group, and those of its trials."""
        client.set_project(name="digits", description="scikit-learn's bundled handwritten digits")
        group = client.set_group(name="search", description="a grid of learning rate, hidden units and alpha")
        points = grid(self._plan.trials)
        created = [
            client.new_trial(force=True, name=f"mlp-{number}", arguments=point).trial.uid
            for number, point in enumerate(points, 1)
        ]
        client.save()
        show(self._console, "trials", f"{len(created)}, each for {self._plan.epochs} epochs")
        return group.uid, created

    def _start_workers(self, uris: dict[str, str], group: str) -> None:
        for name in self._workers:
            self._processes.start_worker(name, uris[name], group, self._plan.epochs)
        show(self._console, "workers", f"{len(self._workers)} processes that claim trials until none is left")

    def _start_board(self, uri: str) -> str:
        """The address that logs in; a browser opens it, where somebody would see that."""
        address = self._processes.start_board(uri)
        show(self._console, "board", address)
        with isolated(self._outside):  # a browser belongs to the desktop, not to the demo's folder
            open_browser(address)
        return address

    def _stay(self, board: str) -> None:
        """Keep the server and its board until Ctrl-C."""
        with suppress(KeyboardInterrupt):
            show(self._console, "board", f"{board} until Ctrl-C")
            self._processes.wait_for_board()
        self._processes.end_board()
        self._processes.end_server()

    def _watch(self, client: TrackClient, group: str) -> Observation:
        """Show the progress of the search until all workers have ended without an error."""
        started = moved = time.monotonic()
        points = 0
        with open_view(self._console) as view:
            while True:
                running = [worker for worker in self._processes.workers if worker.running]
                self._processes.check_server()  # first: a call to a server that has ended would wait
                observation = observe(client.protocol, group)
                now = time.monotonic()
                view.show(observation, now - started)
                self._check_workers(observation)
                if not running:
                    return observation
                if observation.points != points:
                    points, moved = observation.points, now
                elif now - moved > _STALLED_SECONDS:
                    raise _stalled(running)
                time.sleep(_POLL_SECONDS)

    def _verify(
        self, client: TrackClient, group: str, created: Sequence[str], last: Observation
    ) -> Verification:
        ended = [name for name in self._workers if name not in self._killed]
        reports = [WorkerReport.read(self._folder.worker_report(name)) for name in ended]
        of_killed = {row.uid for row in last.rows if not self._killed.isdisjoint(row.workers)}
        return verify(client.protocol, group, created, reports, of_killed)

    def _check_workers(self, observation: Observation) -> None:
        """Raise an error that names every failed process and its task.

        Who looks at the board may kill a worker to see what becomes of its trial: the others go on.
        """
        failures = []
        for worker in self._processes.workers:
            if worker.name in self._killed or not (failure := worker.failure):
                continue
            held = _held_by(worker, observation)
            if self._plan.board and worker.killed:
                self._killed.add(worker.name)
                what = f"trial {held} will be lost in {LEASE_SECONDS} s" if held else "it had no trial"
                show(self._console, "killed", f"{worker.name}; {what}", "yellow")
            else:
                failures.append(f"{failure}" + (f"\n  it had trial {held}" if held else ""))
        if failures:
            raise TrackError("\n".join(failures))


def _held_by(worker: Child, observation: Observation) -> str:
    """The numbers of the trials that a worker has not finished."""
    return ", ".join(
        str(row.number)
        for row in observation.rows
        if row.phase is not Phase.FINISHED and worker.name in row.workers
    )


def _stalled(running: Sequence[Child]) -> TrackError:
    names = ", ".join(worker.name for worker in running)
    return TrackError(f"{names}: no new point for {_STALLED_SECONDS:.0f} s; see {running[0].log}")
