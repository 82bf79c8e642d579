"""Workers that claim trials while their server is killed: every trial is held by exactly one of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

import torture_claimer
from killed_server import KilledServer
from linearizability import Call, linearizable
from torture import count, dice, happens, say
from track.persistence import get_protocol
from track_protocol.model.entities import Trial
from unprotected_server import without
from worker_processes import WorkerProcesses


@dataclass(frozen=True)
class Claims:
    """What became of trials.

    Attributes:
        held_twice: how many have more than one holder.
        lost: how many have none.
        strange: how many have a history that no order of its calls explains.
        kills: how many there were.
    """

    held_twice: int
    lost: int
    strange: int
    kills: int


def judged(uids: Sequence[str], histories: Iterable[Path], kills: int) -> Claims:
    """Read what the workers wrote down."""
    calls: dict[str, list[Call]] = {uid: [] for uid in uids}
    holders: Counter[str] = Counter()
    for line in (line for path in histories for line in path.read_text().splitlines()):
        what, uid, taken, begun, ended = json.loads(line)
        if uid is None:
            # Who finds nothing to claim has seen all of them taken.
            for each in calls.values():
                each.append(Call(begun, ended, taken=True))
            continue
        calls[uid].append(Call(begun, ended, what == "claim", taken))
        holders[uid] += what == "claim"
    return Claims(
        sum(holders[uid] > 1 for uid in uids),
        sum(holders[uid] == 0 for uid in uids),
        sum(not linearizable(each) for each in calls.values()),
        kills,
    )


def claimed(
    tmp_path: Path,
    workers: int,
    trials: int,
    kills: int,
    program: Sequence[str] = ("-m", "track.cli"),
    *,
    store: str | None = None,
) -> Claims:
    """What became of trials that workers claimed while their server was killed."""
    store = store or f"sqlite:{tmp_path}/runs.db"
    uids = made(store, trials)
    names = [f"worker-{number}" for number in range(workers)]
    folder = tmp_path / "workers"
    folder.mkdir()
    (folder / "trials").write_text("\n".join(uids))
    with (
        KilledServer(store, tmp_path / "home", dice(), program) as server,
        WorkerProcesses(Path(torture_claimer.__file__), folder, names, server.join) as processes,
    ):
        server.kill(kills, processes.await_progress, pause=0.1)
        processes.wait()
        return judged(uids, processes.records.values(), server.kills)


def made(store: str, trials: int) -> list[str]:
    """The uids of new trials in a store."""
    protocol = get_protocol(store)
    found = [protocol.new_trial(Trial(name=f"trial {number}")) for number in range(trials)]
    protocol.close()
    return [trial.uid for trial in found if trial is not None]


def test_under_kills_every_trial_is_claimed_once_and_the_histories_are_linearizable(tmp_path: Path) -> None:
    trials = count(200, 10_000)
    found = claimed(tmp_path, count(4, 16), trials, count(3, 1_000))
    say(f"claims of {trials} trials: {found}")
    assert (found.held_twice, found.lost, found.strange) == (0, 0, 0)
    assert found.kills > 1


def test_under_kills_every_trial_in_postgres_is_claimed_once(tmp_path: Path, postgres_uri: str) -> None:
    trials = count(100, 5_000)
    found = claimed(tmp_path, count(4, 16), trials, count(2, 200), store=postgres_uri)
    say(f"claims of {trials} trials in PostgreSQL: {found}")
    assert (found.held_twice, found.lost, found.strange) == (0, 0, 0)
    assert found.kills > 1


@pytest.mark.torture
def test_without_deduplication_kills_lose_trials(tmp_path: Path) -> None:
    # The protection removed: a claim that comes again is another claim.
    assert happens(lambda folder: claimed(folder, 4, 150, 4, without("deduplication")).lost > 0, tmp_path)


def test_claims_on_an_older_state_are_caught(tmp_path: Path) -> None:
    # The protection removed: what one worker claims, another may be given, too.
    found = claimed(tmp_path, 2, 30, 0, without("fresh-claims"))
    assert found.held_twice > 0
    assert found.strange >= found.held_twice


@pytest.mark.torture
def test_stale_reads_are_caught(tmp_path: Path) -> None:
    # The protection removed: reads look at an older state.
    def reads_stale(folder: Path) -> bool:
        found = claimed(folder, 2, 60, 0, without("fresh-reads"))
        assert found.held_twice == 0
        return found.strange > 0

    assert happens(reads_stale, tmp_path)


# -- the checker itself --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        ([], True),
        ([Call(0, 9, takes=True), Call(1, 2), Call(3, 4, taken=True)], True),
        ([Call(0, 9, takes=True), Call(1, 2, taken=True), Call(3, 4)], False),
        ([Call(0, 1, takes=True), Call(2, 3)], False),
        ([Call(2, 3, takes=True), Call(0, 1, taken=True)], False),
        ([Call(0, 9, takes=True), Call(0, 9, takes=True)], False),
        ([Call(0, 9, taken=True)], False),
        ([Call(0, 5, takes=True), Call(0, 5, taken=True), Call(0, 5), Call(4, 9, taken=True)], True),
    ],
)
def test_a_history_is_linearizable_when_some_order_explains_it(calls: list[Call], expected: bool) -> None:
    assert linearizable(calls) == expected
