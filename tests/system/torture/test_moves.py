"""Servers of one store that end and come up at another address, under clients that know all addresses."""

from __future__ import annotations

from pathlib import Path

import pytest

import torture_writer
from moving_server import MovingServer
from torture import count, dice, say
from worker_processes import WorkerProcesses
from written_series import stored_series, verdict

HOSTS = 3
MOST_ATTEMPTS = 2 * HOSTS - 1
"""Once a server is up: the rest of a round that began before, and one more."""


def attempts(record: Path) -> list[tuple[float, str]]:
    """When a writer tried to connect or was let in, and where."""
    found = []
    for line in record.with_name(f"{record.name}.attempts").read_text().splitlines():
        at, _, said = line.partition(" ")
        if said.startswith("connecting to "):
            found.append((float(at), ""))
        elif " is attached to " in said:
            found.append((float(at), said.split(" is attached to ")[1].split()[0]))
    return found


def needed(noted: list[tuple[float, str]], since: float, until: float) -> int:
    """How many attempts it took from the start of a server until it let the writer in, or ended."""
    number = 0
    for at, place in noted:
        if since <= at < until:
            if place:
                break
            number += 1
    return number


def test_writers_follow_their_servers_from_address_to_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(torture_writer.WITH_ATTEMPTS, "1")
    store, names = f"sqlite:{tmp_path}/runs", [f"writer-{number}" for number in range(count(3, 16))]
    with (
        MovingServer(store, tmp_path / "home", dice()) as server,
        WorkerProcesses(Path(torture_writer.__file__), tmp_path / "writers", names, server.join) as processes,
    ):
        server.move_often(count(5, 200), processes.await_progress)
        processes.stop()
    confirmed = {name: int(record.read_text().split()[-1]) for name, record in processes.records.items()}
    found = verdict(confirmed, stored_series(store))
    say(f"moves of the server: {found}")
    assert found.clean
    assert found.acknowledged > 0
    noted = [attempts(record) for record in processes.records.values()]
    most = max(needed(each, *up) for each in noted for up in server.ups)
    say(f"attempts until a server that was up let a writer in: at most {most}")
    assert most <= MOST_ATTEMPTS
    assert all(len({place for _, place in each if place}) > 1 for each in noted)
