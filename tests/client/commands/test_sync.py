"""``track sync`` with real servers and processes that were killed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from orphaned_spools import left_spool, running_script
from spool_scenario import LOSSES, Stage
from track.spool.folder import Checkpoint
from waiting import wait_until


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    with made.server:
        pass


def test_what_a_killed_process_left_is_sent_exactly_once(stage: Stage) -> None:
    path = stage.leave_spool()
    stage.restart()
    ran = stage.track("sync")
    assert ran.returncode == 0, ran
    assert f"{path}: 20,000 points sent" in ran.stdout
    assert "1 spool: 20,000 points sent, 0 points wait" in ran.stdout
    assert ran.stderr == ""
    assert stage.losses() == LOSSES
    assert list(stage.spools.iterdir()) == []
    again = stage.track("sync")
    assert (again.returncode, again.stdout) == (0, f"no records wait in {stage.spools}\n")
    assert stage.losses() == LOSSES


def test_a_sync_that_is_killed_in_the_middle_may_be_run_again(stage: Stage) -> None:
    stage.leave_spool()
    stage.restart()
    with stage.running("sync") as killed:
        wait_until(
            lambda: any(stage.spools.glob("*/state.json")) or killed.poll() is not None, "a sign of it"
        )
        killed.kill()
    assert stage.track("sync").returncode == 0
    assert stage.losses() == LOSSES


def test_two_at_once_both_end_well(stage: Stage) -> None:
    stage.leave_spool()
    stage.restart()
    with stage.running("sync") as one, stage.running("sync") as other:
        outs = [one.communicate(timeout=60), other.communicate(timeout=60)]
    assert (one.returncode, other.returncode) == (0, 0), outs
    assert stage.losses() == LOSSES


def test_a_run_that_is_live_sends_its_own_spool(stage: Stage) -> None:
    with stage.run_away() as script:
        ran = stage.track("sync")
        listed = json.loads(stage.track("sync", "--dry-run", "--json").stdout)
        stage.server = stage.start(stage.server.served.port)
        wait_until(lambda: stage.losses() == LOSSES, "the run has sent it itself")
    assert ran.returncode == 0, ran
    assert f"in use by {stage.folder / 'train.py'} (pid {script.pid}), which sends it itself" in ran.stdout
    (spool,) = listed["spools"]
    assert (spool["in_use"], spool["pid"]) == (True, script.pid)
    assert spool["points"] >= len(LOSSES)


def test_a_dry_run_tells_of_each_spool_and_changes_nothing(stage: Stage) -> None:
    newer = left_spool(stage.spools, session=b"n" * 16, checkpoint=Checkpoint(10, "one", "it was away"))
    older = left_spool(stage.spools, session=b"o" * 16)
    origin = older / "spool.json"
    origin.write_text(origin.read_text().replace("1700000000", "1600000000"))
    before = {path: path.read_bytes() for path in stage.spools.rglob("*") if path.is_file()}
    ran = stage.track("sync", "--dry-run")
    rows = ran.stdout.splitlines()
    assert ran.returncode == 0
    assert [str(path) in row for path, row in zip((older, newer), rows[1:], strict=True)] == [True, True]
    for told in ("train.py", os.uname().nodename, "4711", "socket://ann@localhost:8123", "20", "waits"):
        assert told in rows[2]
    told = json.loads(stage.track("sync", "--dry-run", "--json").stdout)["spools"]
    assert [(each["points"], each["problem"]) for each in told] == [(30, None), (20, "it was away")]
    assert {path: path.read_bytes() for path in stage.spools.rglob("*") if path.is_file()} == before


def test_it_says_which_login_is_missing_and_takes_one_from_each_place(stage: Stage) -> None:
    bare = stage.uri.replace(stage.uri.partition("ann:")[2].partition("@")[0], "").replace("ann:@", "ann@")
    token = stage.uri.partition("ann:")[2].partition("@")[0]
    path = left_spool(stage.spools, server=bare)
    ran = stage.track("sync", TRACK_URI="")
    assert ran.returncode == 4
    for told in ("--to", "TRACK_URI", "TRACK_TOKEN", "TRACK_TOKEN_FILE", str(path)):
        assert told in ran.stdout
    assert stage.track("sync", TRACK_URI="", TRACK_TOKEN=token).returncode in (0, 1)
    assert not path.exists()
    left_spool(stage.spools, server=bare)
    assert "points sent" in stage.track("sync").stdout
    assert not path.exists()
    left_spool(stage.spools, server="socket://ann@nowhere.invalid:1")
    assert "points sent" in stage.track("sync", "--to", stage.uri, TRACK_URI="").stdout
    assert not path.exists()


def test_points_of_a_trial_that_the_server_does_not_know_are_told_and_not_kept(stage: Stage) -> None:
    path = left_spool(stage.spools, server=stage.uri)
    ran = stage.track("sync")
    assert ran.returncode == 1
    assert "30 points refused" in ran.stdout
    assert not path.exists()


def test_an_unreachable_server_exits_with_5_and_keeps_all(stage: Stage) -> None:
    stage.server.kill()
    uri = f"{stage.uri}&timeout=0.3"
    paths = [left_spool(stage.spools, session=bytes([n]) * 16, server=stage.uri) for n in range(3)]
    ran = stage.track("sync", "--to", uri)
    assert ran.returncode == 5
    assert ran.stdout.count("not sent: no server answers") == 3
    assert all(path.exists() for path in paths)


def test_a_token_that_was_revoked_exits_with_4_and_keeps_all(stage: Stage) -> None:
    path = left_spool(stage.spools, server=stage.uri)
    assert stage.track("user", "remove", "ann", "--home", str(stage.folder / "home")).returncode == 0
    ran = stage.track("sync")
    assert ran.returncode == 4
    assert path.exists()


def test_a_spool_of_another_server_is_told_and_kept(stage: Stage) -> None:
    path = left_spool(stage.spools, first=11, checkpoint=Checkpoint(10, "theirs"), server=stage.uri)
    ran = stage.track("sync")
    assert ran.returncode == 1
    assert "--despite-gap" in ran.stdout
    assert path.exists()
    assert "10 log calls lost" in stage.track("sync", "--despite-gap").stdout
    assert not path.exists()


def test_damage_is_told_and_the_rest_is_sent(stage: Stage) -> None:
    path = stage.leave_spool()
    stage.restart()
    segment = next(path.glob("*.segment"))
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 4
    segment.write_bytes(data)
    ran = stage.track("sync")
    assert ran.returncode == 1
    assert "log calls lost" in ran.stdout
    assert f"moved to {path / 'damaged'}" in ran.stdout
    stored = stage.losses()
    assert 0 < len(stored) < 20_000
    assert stored == sorted(set(stored))
    again = stage.track("sync")
    assert again.returncode == 0
    assert "can be deleted" in again.stdout


def test_a_damaged_origin_needs_only_the_servers_name(stage: Stage) -> None:
    path = stage.leave_spool()
    stage.restart()
    (path / "spool.json").write_text("{")
    ran = stage.track("sync")
    assert ran.returncode == 1
    assert "name the server with --to" in ran.stdout
    assert stage.track("sync", "--to", stage.uri).returncode == 0
    assert stage.losses() == LOSSES


def test_one_spool_may_be_named(stage: Stage) -> None:
    one, other = (left_spool(stage.spools, session=bytes([n]) * 16, server=stage.uri) for n in (1, 2))
    stage.track("sync", str(one))
    assert (one.exists(), other.exists()) == (False, True)


def test_a_folder_that_is_none_is_told(stage: Stage) -> None:
    ran = stage.track("sync", str(stage.folder / "nothing"))
    assert ran.returncode == 3
    assert "is not a folder" in ran.stderr


def test_the_outcome_can_be_read_by_a_machine(stage: Stage) -> None:
    path = left_spool(stage.spools, server="socket://ann@127.0.0.1:1?timeout=0.1")
    ran = stage.track("sync", "--json", TRACK_TOKEN=stage.uri.partition("ann:")[2].partition("@")[0])
    (told,) = json.loads(ran.stdout)["spools"]
    assert (told["path"], told["sent"], told["left"], told["in_use"]) == (str(path), 0, 30, False)
    assert "no server answers" in told["error"]


def test_points_and_other_log_calls_are_told_apart(stage: Stage) -> None:
    left_spool(stage.spools, server="socket://ann@127.0.0.1:1?timeout=0.1", calls=3)
    left_spool(stage.spools, server=stage.uri, session=b"2" * 16, batches=0, calls=1)
    listed = json.loads(stage.track("sync", "--dry-run", "--json").stdout)["spools"]
    assert sorted((each["points"], each["calls"]) for each in listed) == [(0, 1), (30, 3)]
    rows = [line.split() for line in stage.track("sync", "--dry-run").stdout.splitlines()]
    assert sorted(row[-6:-4] for row in rows[1:]) == [["0", "1"], ["30", "3"]]
    ran = stage.track("sync", TRACK_TOKEN=stage.uri.partition("ann:")[2].partition("@")[0])
    for told in (
        "0 points sent, 30 points and 3 other log calls wait, not sent: no server answers",
        "0 points sent, 1 log call refused",
        "2 spools: 0 points sent, 30 points and 3 other log calls wait; 0 in use, 1 not sent",
    ):
        assert told in ran.stdout


_ENDS = """
trial = client.new_trial(name="t")
for step in range(1_260):
    trial.log_metrics(step=step, loss=float(step))
say("logged")
"""


def test_the_exit_of_a_run_and_what_sends_it_tell_the_same_exact_number(stage: Stage) -> None:
    # Fails when a log call that is no point counts as one anywhere.
    stage.server.kill()
    with running_script(stage.folder, _ENDS, stage.uri, TRACK_SPOOL=str(stage.spools)) as script:
        _, err = script.communicate(timeout=60)
    (spool,) = json.loads(stage.track("sync", "--dry-run", "--json").stdout)["spools"]
    assert spool["points"] == 1_260
    told = f"1,260 points and {spool['calls']} other log calls"
    assert f"{told} are not at " in err
    stage.server = stage.start(stage.server.served.port)
    (outcome,) = json.loads(stage.track("sync", "--json").stdout)["spools"]
    found = {
        name: outcome[name]
        for name in ("sent", "sent_calls", "left", "left_calls", "rejected", "rejected_calls")
    }
    assert list(found.values()) == [1_260, spool["calls"], 0, 0, 0, 0]
    assert len(stage.losses()) == 1_260
