"""Numbers of runs: consecutive, each once, with the store reachable or not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from running_server import serving
from track.persistence import get_protocol
from track.persistence.protocol import Protocol
from track.tracker.run_ids import LAST_COUNTED, number_of, reserve, take_number, uncounted
from track_protocol.model.entities import Project, Trial, TrialGroup, new_id
from track_server.app import Settings

STARTS = """
import sys
from track import Tracker
tracker = Tracker(sys.argv[1])
tracker.set_experiment("many")
for _ in range(int(sys.argv[2])):
    with tracker.run() as number:
        print(number)
tracker.close()
"""


@pytest.fixture
def store() -> Iterator[Protocol]:
    with closing(get_protocol("ephemeral:")) as protocol:
        yield protocol


@pytest.fixture
def counter(store: Protocol) -> TrialGroup:
    project = store.new_project(Project(name="p"))
    group = store.new_trial_group(TrialGroup(name="run numbers", project_id=project.uid))
    assert group is not None
    return group


def test_numbers_begin_at_one_and_follow_each_other(store: Protocol, counter: TrialGroup) -> None:
    assert [take_number(store, counter) for _ in range(3)] == [1, 2, 3]


def test_reserved_numbers_are_not_taken_again(store: Protocol, counter: TrialGroup) -> None:
    assert reserve(store, counter, 100) == 100
    assert take_number(store, counter) == 101
    assert reserve(store, counter, 50) == 102


def test_without_a_counter_there_is_no_number(store: Protocol) -> None:
    assert take_number(store, TrialGroup(name="nowhere", project_id="p")) is None


def test_a_trial_without_a_number_has_one_of_its_id() -> None:
    trial = Trial(name="t", id=new_id())
    assert trial.id is not None
    assert number_of(trial) == uncounted(trial.id)
    assert LAST_COUNTED < number_of(trial) < 2**49
    assert number_of(Trial(metadata={"run_id": 7}, id=new_id())) == 7
    assert number_of(Trial(metadata={"run_id": "seven"}, id=trial.id)) == number_of(trial)


@pytest.mark.parametrize("kind", ["folder", "file", "socket"])
def test_processes_that_start_runs_at_once_get_a_number_each(tmp_path: Path, kind: str) -> None:
    # Fails when the update of the counter does not ask for the number that was read.
    if kind == "socket":
        with serving(Settings(backend=f"sqlite:{tmp_path}/s.db", home=tmp_path / "home")) as served:
            assert_each_once(served.join("many"))
    else:
        assert_each_once(str(tmp_path / "experiments") if kind == "folder" else f"file:{tmp_path}/s.json")


def assert_each_once(place: str, processes: int = 4, runs: int = 5) -> None:
    started = [
        subprocess.Popen([sys.executable, "-c", STARTS, place, str(runs)], stdout=subprocess.PIPE, text=True)
        for _ in range(processes)
    ]
    numbers = [int(line) for each in started for line in each.communicate(timeout=100)[0].split()]
    # A process for which the server is too slow continues alone, with numbers that follow from ids.
    counted = sorted(number for number in numbers if number <= LAST_COUNTED)
    assert counted == list(range(1, len(counted) + 1))
    assert len(set(numbers)) == processes * runs
