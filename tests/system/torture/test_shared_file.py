"""Twenty processes with one file open at once, without a server; some of them are killed."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

import file_sharer
from torture import count
from track.persistence import get_protocol
from track_protocol.model.entities import Status, Trial
from waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PROCESSES = 20
SECONDS = 180.0


@dataclass(frozen=True)
class Outcome:
    """What was confirmed to the processes, compared with the store.

    Attributes:
        failed: processes that ended by an error of their own.
        lost: updates and points that were confirmed and are not there.
        doubled: points that are there more than once.
        uncounted: by how many ``_update_count`` is off from the updates that are there.
        held_twice: trials that two processes were given.
        unclaimed: running trials that no living process has claimed.
    """

    failed: int
    lost: int
    doubled: int
    uncounted: int
    held_twice: int
    unclaimed: int


def made(uri: str, free: int) -> None:
    """A store with the trial that all share, and those that are to be claimed."""
    protocol = get_protocol(uri)
    protocol.new_trial(Trial(name="shared"))
    for number in range(free):
        protocol.new_trial(Trial(name="free", parameters={"number": number}))
    protocol.close()


def shared(folder: Path, rounds: int, killed: int = 0) -> Outcome:
    """What becomes of a store that processes share, some of which are killed in the middle."""
    uri, free = f"file:{folder}/runs.json", PROCESSES * rounds
    made(uri, free)
    records = {f"w{number}": folder / f"w{number}" for number in range(PROCESSES)}
    program = [sys.executable, file_sharer.__file__]
    log = (folder / "log").open("wb")
    with log:
        processes = [
            subprocess.Popen([*program, uri, name, str(record), str(rounds)], stderr=log)
            for name, record in records.items()
        ]
    victims = list(zip(processes, records.values(), strict=True))[:killed]
    try:
        for process, record in victims:
            wait_until(lambda: record.exists() and record.read_text().count("\n") > 2, "progress", SECONDS)  # noqa: B023 - called at once
            process.kill()
        failed = sum(process.wait(SECONDS) != 0 for process in processes[killed:])
    finally:
        for process in processes:
            process.kill()
            process.wait(SECONDS)
    assert not failed, (folder / "log").read_text()
    confirmed = Counter(line for record in records.values() for line in record.read_text().splitlines())
    return judged(uri, confirmed, killed)


def judged(uri: str, confirmed: Counter[str], killed: int) -> Outcome:
    """Compare what was confirmed with the store."""
    protocol = get_protocol(uri)
    (trial,) = protocol.fetch_trials({"name": "shared"})
    running = protocol.fetch_trials({"name": "free", "status": Status.Running})
    points = Counter(f"{name}.{step}" for name, values in trial.metrics.items() for step in values)
    stored = sum(len(protocol.fetch_metrics(trial, name)) for name in trial.metrics)
    protocol.close()
    logged = [line.removeprefix("logged ") for line in confirmed if line.startswith("logged ")]
    claims = {line: count for line, count in confirmed.items() if line.startswith("claimed ")}
    return Outcome(
        failed=0,
        lost=sum((each not in trial.tags) + (each not in points) for each in logged),
        doubled=stored - len(points),
        uncounted=abs(trial.metadata["_update_count"] - len(trial.tags)),
        held_twice=sum(count > 1 for count in claims.values()),
        unclaimed=max(0, len(running) - len(claims) - killed),
    )


def test_twenty_processes_lose_nothing_though_some_are_killed(tmp_path: Path) -> None:
    assert shared(tmp_path, count(3, 20), 5) == Outcome(0, 0, 0, 0, 0, 0)


@pytest.mark.torture
def test_nothing_that_a_killed_process_held_is_in_the_way(tmp_path: Path) -> None:
    shared(tmp_path, 2, PROCESSES)
    protocol = get_protocol(f"file:{tmp_path}/runs.json")
    found = protocol.fetch_and_update_trial({"name": "shared"}, "add_trial_tags", late=1)
    protocol.close()
    assert found is not None
    assert found.tags["late"] == 1
