"""Complete runs without a reachable server: a sync stores them as if it had been there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import complete_run
from killed_clients import sync
from running_server import ServerProcess, environment
from torture import count, say
from track.persistence import get_protocol
from track.persistence.protocol import Protocol
from track.serialization import to_json
from track.spool.reader import look_in
from track_protocol.errors import ItemNotFound
from track_protocol.model.entities import Trial
from track_protocol.wire.roles import Role

pytestmark = pytest.mark.timeout(1800)

_TOGETHER = 4
_OF_THE_PROCESS = ("heartbeat", "_last_change")
"""Metadata that give the times of a process."""

_TIMED = "chrono"
_KINDS = ("metric", _TIMED, "superseded")

Content = dict[str, Any]


@dataclass
class Site:
    """A server whose address stays, with one writer."""

    folder: Path
    port: int = 0
    uri: str = ""

    @contextmanager
    def serving(self) -> Iterator[str]:
        """The URI to join with, while the server runs."""
        with ServerProcess(f"sqlite:{self.folder}/runs.db", self.folder / "home", port=self.port) as server:
            if not self.uri:
                self.port, self.uri = server.served.port, server.served.join("runner", Role.WRITER)
            yield self.uri
            assert server.stop() == 0


@pytest.fixture
def online(tmp_path: Path) -> Site:
    return site(tmp_path / "online")


@pytest.fixture
def offline(tmp_path: Path) -> Site:
    return site(tmp_path / "offline")


def site(folder: Path) -> Site:
    """One that has been there before, so that it has an address."""
    folder.mkdir()
    made = Site(folder)
    with made.serving():
        return made


def run(uri: str, spool: Path, policy: str, runs: int) -> list[int]:
    """Make so many runs, some at once; their exit codes."""
    codes: list[int] = []
    env = environment(TRACK_SPOOL=str(spool), TRACK_OFFLINE=policy, TRACK_SYNC="manual")
    for first in range(0, runs, _TOGETHER):
        processes = [
            subprocess.Popen(
                [sys.executable, complete_run.__file__, f"{uri}&timeout=1", str(number)],
                env=env,
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for number in range(first, min(runs, first + _TOGETHER))
        ]
        codes += [process.wait(120.0) for process in processes]
    return codes


# -- what is stored ----------------------------------------------------------------------------------


def stored(site: Site) -> Content:
    """Everything in the store but ids, times and what depends on them."""
    protocol = get_protocol(f"sqlite:{site.folder}/runs.db")
    try:
        return {
            "projects": sorted(map(plain, protocol.fetch_projects({})), key=repr),
            "groups": sorted(map(plain, protocol.fetch_groups({})), key=repr),
            "trials": sorted((trial_content(protocol, each) for each in protocol.fetch_trials({})), key=repr),
            "rejected": [record.reason for record in protocol.fetch_rejected()],
        }
    finally:
        protocol.close()


def plain(item: Any) -> Content:
    """Its document; what it holds is in no order."""
    found: Content = to_json(item)
    for held in ("groups", "trials"):
        if held in found:
            found[held] = sorted(map(str, found[held]))
    return found


def trial_content(protocol: Protocol, trial: Trial) -> Content:
    """A trial with all points; of timings only how many there are."""
    found = plain(trial)
    for own in ("id", "metrics", "chronos"):
        found.pop(own, None)
    for fact in _OF_THE_PROCESS:
        found["metadata"].pop(fact, None)
    for rewind in found["metadata"].get("rewinds", ()):
        del rewind["time"], rewind["session"]
    for kind in _KINDS:
        for name in sorted(trial.chronos if kind == _TIMED else trial.metrics):
            try:
                series = protocol.fetch_metrics(trial, name, kind)
            except ItemNotFound:
                continue  # nothing of it was superseded
            shown = len(series) if kind == _TIMED else repr([list(series.steps), list(series.values)])
            found[f"{kind} {name}"] = shown
    for name in trial.metrics:
        found[f"reads as {name}"] = repr(to_json(trial.metrics[name]))
    return found


def stored_online(online: Site, runs: int) -> Content:
    """What runs whose server is there leave in its store."""
    with online.serving() as uri:
        assert run(uri, online.folder / "spool", "allow", runs) == [0] * runs
    found = stored(online)
    assert (len(found["trials"]), found["rejected"]) == (runs * complete_run.TRIALS, [])
    return found


# -- the proof ---------------------------------------------------------------------------------------


def test_runs_without_a_server_are_stored_as_those_with_one(online: Site, offline: Site) -> None:
    runs, spool = count(2, 50), offline.folder / "spool"
    assert run(offline.uri, spool, "allow", runs) == [0] * runs
    assert len(look_in(spool)) == runs
    with offline.serving() as uri:
        sync(spool, uri)
    assert os.listdir(spool) == []
    found = stored(offline)
    assert found == stored_online(online, runs)
    say(f"{runs} complete runs whose server was unreachable: {len(found['trials'])} trials as online")


def test_offline_runs_are_stored_as_online_ones(online: Site, offline: Site) -> None:
    runs, spool = count(1, 50), offline.folder / "spool"
    with offline.serving() as uri:
        assert run(uri, spool, "require", runs) == [0] * runs
        assert len(look_in(spool)) == runs
    assert stored(offline)["trials"] == []
    with offline.serving() as uri:
        sync(spool, uri)
    assert os.listdir(spool) == []
    found = stored(offline)
    assert found == stored_online(online, runs)
    say(f"{runs} complete runs that asked no server: {len(found['trials'])} trials as online")


def test_runs_that_may_not_start_alone_leave_nothing(online: Site, offline: Site) -> None:
    # The protection removed: `offline=never`.
    spool = offline.folder / "spool"
    spool.mkdir()
    assert run(offline.uri, spool, "never", 1) == [1]
    with offline.serving() as uri:
        sync(spool, uri)
    assert stored(offline) != stored_online(online, 1)


@pytest.mark.torture
def test_runs_that_have_no_disk_leave_nothing(online: Site, offline: Site) -> None:
    # The protection removed: a spool, by a folder that cannot be made.
    spool = offline.folder / "spool"
    spool.mkdir()
    (offline.folder / "file").touch()
    run(offline.uri, offline.folder / "file" / "spool", "allow", 1)
    with offline.serving() as uri:
        sync(spool, uri)
    assert stored(offline) != stored_online(online, 1)
