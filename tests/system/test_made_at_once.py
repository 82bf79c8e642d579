"""Projects and groups that several processes make at the same moment."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from running_server import environment, serving
from track import TrackClient
from track_protocol.model.entities import Project, TrialGroup
from track_server.app import Settings

PROCESSES = 4
ROUNDS = 20
MAKE = """
import json, os, sys
from track import TrackClient
from track.structure import Project, TrialGroup
own = {"by": sys.argv[1]}
with TrackClient() as client:
    print("ready", flush=True)
    for line in sys.stdin:
        name = line.strip()
        project = client.protocol.new_project(Project(name=name, tags=own, metadata=own))
        group = client.protocol.new_trial_group(TrialGroup(name=name, metadata=own))
        print(json.dumps([project.tags, project.metadata, group and group.metadata]), flush=True)
"""


def made_at_once(uri: str, *names: str) -> list[list[Any]]:
    """What the processes got, by name."""
    with ExitStack() as stack:
        workers = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", MAKE, str(number)],
                    env=environment(TRACK_URI=uri),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    bufsize=1,
                )
            )
            for number in range(PROCESSES)
        ]
        found = []
        for name in ("", *names):
            for worker in workers if name else ():
                assert worker.stdin is not None
                worker.stdin.write(f"{name}\n")
            lines = [worker.stdout.readline() for worker in workers if worker.stdout is not None]
            found.append([json.loads(line) for line in lines] if name else [])
        return found[1:]


def check_that_one_made_each(uri: str) -> None:
    names = [f"name-{number}" for number in range(ROUNDS)]
    for name, got in zip(names, made_at_once(uri, *names), strict=True):
        projects, groups = [each[:2] for each in got], [each[2] for each in got if each[2] is not None]
        assert projects == [projects[0]] * PROCESSES, name
        assert len(groups) == 1, (name, groups)
        with TrackClient(uri) as client:
            stored = client.protocol.get_project(Project(name=name))
            group = client.protocol.get_trial_group(TrialGroup(name=name))
        assert stored is not None
        assert group is not None
        assert [stored.tags, stored.metadata] == projects[0]
        assert group.metadata == groups[0]


@pytest.mark.parametrize("store", ["sqlite", "file"])
def test_one_of_many_clients_of_a_server_makes_it_and_the_others_get_it(tmp_path: Path, store: str) -> None:
    with serving(Settings(backend=f"{store}:{tmp_path / 'runs'}", home=tmp_path / "home")) as server:
        check_that_one_made_each(server.join("script"))


@pytest.mark.parametrize("store", ["sqlite", "file"])
def test_one_of_many_processes_on_one_file_makes_it_and_the_others_get_it(tmp_path: Path, store: str) -> None:
    check_that_one_made_each(f"{store}:{tmp_path / 'runs'}")
