"""Spools that more than one process could take for its own: each record has one owner, and is stored once.

Each proof is run again with its protection removed, see `unprotected_client`: without locks, a sync
deletes what a live process writes; in its parent's session, a child's records are taken for the parent's; a
copy under another session is stored once more; and in the order of time, a clock that was set back tears the
log apart.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

import clock_set_back
import torture_forker
import torture_spooler
from killed_clients import KilledClients, sync
from running_server import ServerProcess, environment
from torture import count, say
from track.persistence import get_protocol
from track.spool.segments import HEADER_SIZE, pack_header
from track_protocol.model.entities import Status, Trial
from track_protocol.wire.roles import Role
from unprotected_client import without
from written_series import SERIES, Verdict, stored_series, verdict

pytestmark = pytest.mark.timeout(1800)

_CALLS = 50
"""Log calls that have to return before the next thing happens."""

_TOGETHER = 10
"""More processes that log as fast as they can would only wait for each other."""

COMMAND = ("-m", "track.cli")


@dataclass(frozen=True)
class Scene:
    """A server on disk that can be held up, one of its writers, and the processes' folder."""

    store: str
    server: ServerProcess
    uri: str
    folder: Path

    @property
    def spool(self) -> Path:
        """The folder of the processes' spools."""
        return self.folder / "spool"

    @contextmanager
    def stopped_server(self) -> Iterator[None]:
        """The server stands still."""
        self.server.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.server.process.send_signal(signal.SIGCONT)

    def judged(self, confirmed: dict[str, int]) -> Verdict:
        """What became of it, once everything was sent that is left."""
        for _ in range(2):
            sync(self.spool, self.uri)
        assert list(self.spool.iterdir()) == []
        assert self.server.stop() == 0
        return verdict(confirmed, stored_series(self.store))


@contextmanager
def scene(folder: Path) -> Iterator[Scene]:
    """A server, which ends with it."""
    store = f"sqlite:{folder}/runs.db"
    with ServerProcess(store, folder / "home") as server:
        uri = server.served.join("owner", Role.WRITER)
        yield Scene(store, server, f"{uri}&spool_sync=always", folder / "clients")


def rounds(tmp_path: Path, small: int, full: int) -> Iterator[tuple[Path, list[str]]]:
    """So many processes by name, some at a time, with a folder for each time."""
    clients = names(count(small, full))
    for number, first in enumerate(range(0, len(clients), _TOGETHER)):
        folder = tmp_path / f"round-{number}"
        folder.mkdir()
        yield folder, clients[first : first + _TOGETHER]


def names(number: int) -> list[str]:
    """So many processes."""
    return [f"client-{each}" for each in range(number)]


# -- two processes, one spool ------------------------------------------------------------------------


def started_beside(at: Scene, program: Sequence[str]) -> None:
    """Another training starts on the same machine, and looks for what earlier ones have left."""
    source = (
        "import sys; from track import TrackClient; c = TrackClient(sys.argv[1]); c.new_trial(name='beside')"
    )
    ending = "; c.save(); import threading; [t.join() for t in threading.enumerate() if 'orphans' in t.name]"
    script = at.folder / "beside.py"
    script.write_text(f"{source}; c.log_metrics({SERIES}=0){ending}; c.close()\n")
    command = [sys.executable, *program, str(script), at.uri]
    env = environment(TRACK_SPOOL=str(at.spool), TRACK_SYNC="auto")
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=env)
    assert done.returncode == 0, done.stderr


def shared(
    tmp_path: Path, clients: list[str], beside: str, program: Sequence[str], live: Sequence[str] = ()
) -> Verdict:
    """A sync, or a start, beside processes that hold their spools and have something to send; then a kill."""
    logging = (*live, torture_spooler.__file__)
    with scene(tmp_path) as at, KilledClients(at.uri, at.folder, clients, program=logging) as processes:
        processes.await_logging(_CALLS)
        with at.stopped_server():
            processes.await_logging(_CALLS)
            # They hold their spools and cannot send themselves: whatever is sent now, others have sent.
            processes.signal(signal.SIGSTOP)
        if beside == "sync":
            said = sync(at.spool, at.uri, program=program or COMMAND)
            assert bool(program) or said.count("in use by") == len(clients)
        else:
            started_beside(at, program)
        with at.stopped_server():
            processes.signal(signal.SIGCONT)
            processes.await_logging(_CALLS)
            confirmed = processes.kill()
        return at.judged({**confirmed, **({"beside": 1} if beside == "start" else {})})


@pytest.mark.parametrize("beside", ["sync", "start"])
def test_a_spool_that_a_live_process_holds_is_left_to_it(tmp_path: Path, beside: str) -> None:
    found, processes = Verdict(0), 0
    for folder, clients in rounds(tmp_path, 2, 100):
        found += shared(folder, clients, beside, ())
        processes += len(clients)
    say(f"a {beside} beside {processes} live processes, then killed: {found}")
    assert found.clean
    assert found.acknowledged > 3 * _CALLS * processes


def test_without_locks_a_sync_takes_a_live_processs_spool(tmp_path: Path) -> None:
    # The protection removed: `flock` in the process that syncs, and in the live ones the look whether
    # somebody has removed their folders, which they would make again.
    live = without("look-at-the-folder")
    found = shared(tmp_path, names(2), "sync", (*without("lock"), "track"), live)
    assert found.lost > 0


@pytest.mark.torture
def test_without_locks_a_start_takes_a_live_processs_spool(tmp_path: Path) -> None:
    # The protection removed: `flock` in the process that starts, and the same look.
    found = shared(tmp_path, names(2), "start", without("lock"), without("look-at-the-folder"))
    assert found.lost > 0


# -- forks -------------------------------------------------------------------------------------------


def forked(
    tmp_path: Path, parents: list[str], how: str, *, unreachable: bool, program: Sequence[str] = ()
) -> Verdict:
    """Processes fork in mid-run, all log on and are killed."""
    forker = (*program, torture_forker.__file__)
    with (
        scene(tmp_path) as at,
        KilledClients(
            at.uri, at.folder, parents, program=forker, options=(how,), forks=torture_forker.CHILDREN
        ) as processes,
    ):
        processes.await_logging()
        if unreachable:
            with at.stopped_server():
                processes.await_logging(_CALLS)
                confirmed = processes.kill()
        else:
            processes.await_logging(_CALLS)
            confirmed = processes.kill()
        return at.judged(confirmed)


@pytest.mark.parametrize(
    ("how", "unreachable"),
    [
        pytest.param("fork", True, id="fork, server unreachable"),
        pytest.param("multiprocessing", False, id="multiprocessing, server there"),
        pytest.param("fork", False, id="fork, server there", marks=pytest.mark.torture),
        pytest.param(
            "multiprocessing", True, id="multiprocessing, server unreachable", marks=pytest.mark.torture
        ),
    ],
)
def test_after_a_fork_in_mid_run_each_process_keeps_its_own_records(
    tmp_path: Path, how: str, unreachable: bool
) -> None:
    found, processes = Verdict(0), 0
    for folder, parents in rounds(tmp_path, 1, 50):
        found += forked(folder, parents, how, unreachable=unreachable)
        processes += len(parents) * (1 + torture_forker.CHILDREN)
    state = "unreachable" if unreachable else "there"
    say(f"{how}, server {state}, {processes} processes killed: {found}")
    assert found.clean
    assert found.acknowledged > _CALLS * processes


def test_a_child_that_continues_its_parents_session_loses_records(tmp_path: Path) -> None:
    # The protection removed: `Outbox.after_fork_in_child` begins no session of the child's own.
    found = forked(tmp_path, names(1), "fork", unreachable=False, program=without("session-of-the-child"))
    assert found.lost > 0


# -- a copy of the folder ----------------------------------------------------------------------------

MOMENTS = ["before", "at once", "after"]


def under_another_session(spool: Path) -> None:
    """Make a spool one that no server knows."""
    session = os.urandom(16)
    said = json.loads((spool / "spool.json").read_text())
    (spool / "spool.json").write_text(json.dumps({**said, "session": session.hex()}))
    for segment in spool.glob("*.segment"):
        segment.write_bytes(pack_header(session) + segment.read_bytes()[HEADER_SIZE:])


def copied(tmp_path: Path, clients: list[str], moment: str, *, disguised: bool = False) -> Verdict:
    """Spools are copied in mid-run; both the copies and what the processes leave in the end are sent."""
    copies = tmp_path / "copies"
    with scene(tmp_path) as at, KilledClients(at.uri, at.folder, clients) as processes:
        processes.await_logging(_CALLS)
        with at.stopped_server():
            processes.await_logging(_CALLS)
            processes.signal(signal.SIGSTOP)
            shutil.copytree(at.spool, copies)
        for each in copies.iterdir() if disguised else ():
            under_another_session(each)
        with ThreadPoolExecutor(1) as thread:
            if moment == "before":
                sync(copies, at.uri)
            processes.signal(signal.SIGCONT)
            sending = thread.submit(sync, copies, at.uri) if moment == "at once" else None
            processes.await_logging(_CALLS)
            confirmed = processes.kill()
            if sending is not None:
                sending.result()
        found = at.judged(confirmed) if moment != "after" else None
        if found is None:
            sync(at.spool, at.uri)
            sync(copies, at.uri)
            found = at.judged(confirmed)
        assert list(copies.iterdir()) == []
        return found


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_copied_spool_adds_nothing_and_removes_nothing(tmp_path: Path, moment: str) -> None:
    found, spools = Verdict(0), 0
    for folder, clients in rounds(tmp_path, 2, 100):
        found += copied(folder, clients, moment)
        spools += len(clients)
    say(f"{spools} spools copied, the copies sent {moment}: {found}")
    assert found.clean
    assert found.acknowledged > 3 * _CALLS * spools


@pytest.mark.torture
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_copy_whose_session_the_server_does_not_know_is_stored_twice(tmp_path: Path, moment: str) -> None:
    # The protection removed: the copy has another session, so that its records are new ones.
    found = copied(tmp_path, names(2), moment, disguised=True)
    assert found.doubled > 0


# -- a clock that is set back ------------------------------------------------------------------------

SETS_BACK = (clock_set_back.__file__, torture_spooler.__file__)


def set_back(
    tmp_path: Path, clients: list[str], *, unreachable: bool, program: Sequence[str] = COMMAND
) -> tuple[Verdict, list[list[float]]]:
    """The clock is set back by a year in mid-run, and the processes are killed later.

    Returns:
        What became of what they logged, and when the stored points say that they were logged.
    """
    with scene(tmp_path) as at, KilledClients(at.uri, at.folder, clients, program=SETS_BACK) as processes:
        processes.await_logging(_CALLS)
        if unreachable:
            with at.stopped_server():
                confirmed = _go_back(processes)
        else:
            confirmed = _go_back(processes)
        sync(at.spool, at.uri, program=program)
        found = at.judged(confirmed)
        return found, stored_times(at.store)


def _go_back(processes: KilledClients) -> dict[str, int]:
    processes.await_logging(_CALLS)
    processes.signal(signal.SIGUSR1)
    processes.await_logging(_CALLS)
    return processes.kill()


def stored_times(store: str) -> list[list[float]]:
    """When the points of each trial were logged, in the order in which they are stored."""
    protocol = get_protocol(store)
    try:
        return [list(protocol.fetch_metrics(trial, SERIES).times) for trial in protocol.fetch_trials({})]
    finally:
        protocol.close()


@pytest.mark.parametrize("unreachable", [False, True], ids=["server there", "server unreachable"])
def test_a_clock_that_is_set_back_changes_neither_order_nor_number(tmp_path: Path, unreachable: bool) -> None:
    found, times = Verdict(0), list[list[float]]()
    for folder, clients in rounds(tmp_path, 2, 50):
        one, logged_at = set_back(folder, clients, unreachable=unreachable)
        found += one
        times += logged_at
    state = "unreachable" if unreachable else "there"
    say(f"clock set back by a year in {len(times)} processes, server {state}: {found}")
    assert found.clean
    for logged in times:
        jumps = [later - earlier for earlier, later in pairwise(logged) if later < earlier]
        assert jumps == [pytest.approx(-clock_set_back.YEAR, abs=60.0)]


@pytest.mark.torture
def test_what_is_put_in_order_by_time_is_torn_apart_by_a_clock_that_is_set_back(tmp_path: Path) -> None:
    # The protection removed: what a spool holds is ordered by its numbers.
    command = (*without("order-of-numbers"), "track")
    try:
        found, _ = set_back(tmp_path, names(1), unreachable=True, program=command)
    except AssertionError as error:
        assert "wait, not sent" in str(error)  # noqa: PT017 # either is what must not be
    else:
        assert found.lost > 0


def test_a_clock_that_is_set_back_does_not_change_what_is_timed(tmp_path: Path) -> None:
    source = """
import os, signal, sys
from track import TrackClient
client = TrackClient(sys.argv[1])
with client.new_trial(name="timed") as trial, trial.chrono("across"):
    os.kill(os.getpid(), signal.SIGUSR1)
    trial.log_metrics(loss=1.0)
client.close()
"""
    script = tmp_path / "timed.py"
    script.write_text(source)
    with scene(tmp_path) as at:
        command = [sys.executable, clock_set_back.__file__, str(script), at.uri]
        subprocess.run(command, check=True, timeout=60, env=environment(TRACK_SPOOL=str(at.spool)))
        protocol = get_protocol(at.uri)
        (trial,) = protocol.fetch_trials({"name": "timed"})
        timings = {name: protocol.fetch_metrics(trial, name, "chrono") for name in ("across", "runtime")}
        assert (protocol.get_trial(Trial(id=trial.id)) or [])[0].status is Status.Completed
        protocol.close()
    for series in timings.values():
        (seconds,) = series.values
        assert 0.0 <= seconds < 60.0
