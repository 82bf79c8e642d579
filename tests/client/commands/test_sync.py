"""``track sync`` with real servers and processes that were killed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from orphaned_spools import left_spool, running_script
from other_user import OTHER_USER, give_away, needs_two_users
from spool_scenario import VALUES, SpoolScenario
from track.spool.folder import Checkpoint
from waiting import wait_until


@pytest.fixture
def scenario(tmp_path: Path) -> Iterator[SpoolScenario]:
    made = SpoolScenario(tmp_path)
    yield made
    with made.server:
        pass


def test_records_of_a_killed_process_are_sent_exactly_once(scenario: SpoolScenario) -> None:
    path = scenario.leave_spool()
    scenario.restart()
    ran = scenario.track("sync")
    assert ran.returncode == 0, ran
    assert f"{path}: 20,000 points sent" in ran.stdout
    assert "1 spool: 20,000 points sent, 0 points wait" in ran.stdout
    assert ran.stderr == ""
    assert scenario.values() == VALUES
    assert list(scenario.spools.iterdir()) == []
    again = scenario.track("sync")
    assert (again.returncode, again.stdout) == (0, f"no unsent records in {scenario.spools}\n")
    assert scenario.values() == VALUES


def test_a_sync_that_is_killed_in_the_middle_may_be_run_again(scenario: SpoolScenario) -> None:
    scenario.leave_spool()
    scenario.restart()
    with scenario.running("sync") as killed:
        wait_until(
            lambda: any(scenario.spools.glob("*/state.json")) or killed.poll() is not None, "a sign of it"
        )
        killed.kill()
    assert scenario.track("sync").returncode == 0
    assert scenario.values() == VALUES


def test_two_syncs_at_once_both_succeed(scenario: SpoolScenario) -> None:
    scenario.leave_spool()
    scenario.restart()
    with scenario.running("sync") as one, scenario.running("sync") as other:
        outs = [one.communicate(timeout=60), other.communicate(timeout=60)]
    assert (one.returncode, other.returncode) == (0, 0), outs
    assert scenario.values() == VALUES


def test_a_run_that_is_live_sends_its_own_spool(scenario: SpoolScenario) -> None:
    with scenario.offline_run() as script:
        ran = scenario.track("sync")
        listed = json.loads(scenario.track("sync", "--dry-run", "--json").stdout)
        scenario.server = scenario.start(scenario.server.served.port)
        wait_until(lambda: scenario.values() == VALUES, "the run has sent it itself")
    assert ran.returncode == 0, ran
    assert f"in use by {scenario.folder / 'train.py'} (pid {script.pid}), which sends it itself" in ran.stdout
    (spool,) = listed["spools"]
    assert (spool["in_use"], spool["pid"]) == (True, script.pid)
    assert spool["points"] >= len(VALUES)


def test_a_dry_run_lists_each_spool_and_changes_nothing(scenario: SpoolScenario) -> None:
    newer = left_spool(scenario.spools, session=b"n" * 16, checkpoint=Checkpoint(10, "one", "no answer"))
    older = left_spool(scenario.spools, session=b"o" * 16)
    origin = older / "spool.json"
    origin.write_text(origin.read_text().replace("1700000000", "1600000000"))
    before = {path: path.read_bytes() for path in scenario.spools.rglob("*") if path.is_file()}
    ran = scenario.track("sync", "--dry-run")
    rows = ran.stdout.splitlines()
    assert ran.returncode == 0
    assert [str(path) in row for path, row in zip((older, newer), rows[1:], strict=True)] == [True, True]
    for reported in ("train.py", os.uname().nodename, "4711", "socket://ann@localhost:8123", "20", "waits"):
        assert reported in rows[2]
    reported = json.loads(scenario.track("sync", "--dry-run", "--json").stdout)["spools"]
    assert [(each["points"], each["problem"]) for each in reported] == [(30, None), (20, "no answer")]
    assert {path: path.read_bytes() for path in scenario.spools.rglob("*") if path.is_file()} == before


def test_it_names_the_missing_login_and_accepts_one_from_each_source(scenario: SpoolScenario) -> None:
    token = scenario.uri.partition("ann:")[2].partition("@")[0]
    bare = scenario.uri.replace(token, "").replace("ann:@", "ann@")
    path = left_spool(scenario.spools, server=bare)
    ran = scenario.track("sync", TRACK_URI="")
    assert ran.returncode == 4
    for reported in ("track login", "TRACK_URI", "TRACK_TOKEN", "TRACK_TOKEN_FILE", str(path)):
        assert reported in ran.stdout
    assert scenario.track("sync", TRACK_URI="", TRACK_TOKEN=token).returncode in (0, 1)
    assert not path.exists()
    left_spool(scenario.spools, server=bare)
    assert "points sent" in scenario.track("sync").stdout
    assert not path.exists()
    left_spool(scenario.spools, server="socket://ann@nowhere.invalid:1")
    assert "points sent" in scenario.track("sync", "--to", scenario.uri, TRACK_URI="").stdout
    assert not path.exists()


def test_points_of_an_unknown_trial_are_reported_and_dropped(scenario: SpoolScenario) -> None:
    path = left_spool(scenario.spools, server=scenario.uri)
    ran = scenario.track("sync")
    assert ran.returncode == 1
    assert "30 points refused" in ran.stdout
    assert not path.exists()


def test_an_unreachable_server_exits_with_5_and_deletes_no_spool(scenario: SpoolScenario) -> None:
    scenario.server.kill()
    uri = f"{scenario.uri}&timeout=0.3"
    paths = [left_spool(scenario.spools, session=bytes([n]) * 16, server=scenario.uri) for n in range(3)]
    ran = scenario.track("sync", "--to", uri)
    assert ran.returncode == 5
    assert ran.stdout.count("not sent: no server answers") == 3
    assert all(path.exists() for path in paths)


def test_a_revoked_token_exits_with_4_and_deletes_no_spool(scenario: SpoolScenario) -> None:
    path = left_spool(scenario.spools, server=scenario.uri)
    assert scenario.track("user", "remove", "ann", "--home", str(scenario.folder / "home")).returncode == 0
    ran = scenario.track("sync")
    assert ran.returncode == 4
    assert path.exists()


def test_a_spool_of_another_server_is_reported_and_not_deleted(scenario: SpoolScenario) -> None:
    path = left_spool(scenario.spools, first=11, checkpoint=Checkpoint(10, "theirs"), server=scenario.uri)
    ran = scenario.track("sync")
    assert ran.returncode == 1
    assert "--despite-gap" in ran.stdout
    assert path.exists()
    assert "10 log calls lost" in scenario.track("sync", "--despite-gap").stdout
    assert not path.exists()


def test_damage_is_reported_and_the_rest_is_sent(scenario: SpoolScenario) -> None:
    path = scenario.leave_spool()
    scenario.restart()
    segment = next(path.glob("*.segment"))
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 4
    segment.write_bytes(data)
    ran = scenario.track("sync")
    assert ran.returncode == 1
    assert "log calls lost" in ran.stdout
    assert f"moved to {path / 'damaged'}" in ran.stdout
    stored = scenario.values()
    assert 0 < len(stored) < 20_000
    assert stored == sorted(set(stored))
    again = scenario.track("sync")
    assert again.returncode == 0
    assert "can be deleted" in again.stdout


def test_damaged_spool_metadata_needs_only_the_servers_name(scenario: SpoolScenario) -> None:
    path = scenario.leave_spool()
    scenario.restart()
    (path / "spool.json").write_text("{")
    ran = scenario.track("sync")
    assert ran.returncode == 1
    assert "give the server with --to URI" in ran.stdout
    assert scenario.track("sync", "--to", scenario.uri).returncode == 0
    assert scenario.values() == VALUES


def test_one_spool_may_be_named(scenario: SpoolScenario) -> None:
    one, other = (left_spool(scenario.spools, session=bytes([n]) * 16, server=scenario.uri) for n in (1, 2))
    scenario.track("sync", str(one))
    assert (one.exists(), other.exists()) == (False, True)


def test_a_missing_folder_is_reported(scenario: SpoolScenario) -> None:
    ran = scenario.track("sync", str(scenario.folder / "nothing"))
    assert ran.returncode == 3
    assert "is not a folder" in ran.stderr


def test_the_outcome_has_a_json_form(scenario: SpoolScenario) -> None:
    path = left_spool(scenario.spools, server="socket://ann@127.0.0.1:1?timeout=0.1")
    token = scenario.uri.partition("ann:")[2].partition("@")[0]
    ran = scenario.track("sync", "--json", TRACK_URI="", TRACK_TOKEN=token)
    (reported,) = json.loads(ran.stdout)["spools"]
    assert (reported["path"], reported["sent"], reported["left"], reported["in_use"]) == (
        str(path),
        0,
        30,
        False,
    )
    assert "no server answers" in reported["error"]


def test_points_and_other_log_calls_are_counted_separately(scenario: SpoolScenario) -> None:
    left_spool(scenario.spools, server="socket://ann@127.0.0.1:1?timeout=0.1", calls=3)
    left_spool(scenario.spools, server=scenario.uri, session=b"2" * 16, batches=0, calls=1)
    listed = json.loads(scenario.track("sync", "--dry-run", "--json").stdout)["spools"]
    assert sorted((each["points"], each["calls"]) for each in listed) == [(0, 1), (30, 3)]
    rows = [line.split() for line in scenario.track("sync", "--dry-run").stdout.splitlines()]
    assert sorted(row[-6:-4] for row in rows[1:]) == [["0", "1"], ["30", "3"]]
    token = scenario.uri.partition("ann:")[2].partition("@")[0]
    ran = scenario.track("sync", TRACK_URI="", TRACK_TOKEN=token)
    for reported in (
        "0 points sent, 30 points and 3 other log calls wait, not sent: no server answers",
        "0 points sent, 1 log call refused",
        "2 spools: 0 points sent, 30 points and 3 other log calls wait; 0 in use, 1 not sent",
    ):
        assert reported in ran.stdout


_ENDS = """
trial = client.new_trial(name="t")
for step in range(1_260):
    trial.log_metrics(step=step, loss=float(step))
say("logged")
"""


def test_the_exit_report_and_the_sync_show_the_same_number(scenario: SpoolScenario) -> None:
    # Fails when a log call that is no point counts as one anywhere.
    scenario.server.kill()
    uri = f"{scenario.uri}&timeout=0.5"
    with running_script(scenario.folder, _ENDS, uri, TRACK_SPOOL=str(scenario.spools)) as script:
        _, err = script.communicate(timeout=60)
    (spool,) = json.loads(scenario.track("sync", "--dry-run", "--json").stdout)["spools"]
    assert spool["points"] == 1_261  # one is the runtime
    reported = f"1,261 points and {spool['calls']} other log calls"
    assert f"{reported} are not at " in err
    scenario.server = scenario.start(scenario.server.served.port)
    (outcome,) = json.loads(scenario.track("sync", "--json").stdout)["spools"]
    found = {
        name: outcome[name]
        for name in ("sent", "sent_calls", "left", "left_calls", "rejected", "rejected_calls")
    }
    assert list(found.values()) == [1_261, spool["calls"], 0, 0, 0, 0]
    assert len(scenario.values()) == 1_260


# -- spools of other users ---------------------------------------------------------------------------


@pytest.fixture
def theirs(scenario: SpoolScenario) -> Path:
    """A spool of another user of this machine, who is ann at the server."""
    scenario.leave_spool()
    scenario.restart()
    (path,) = scenario.spools.iterdir()
    give_away(scenario.spools)
    return path


@needs_two_users
def test_a_spool_of_another_user_is_not_sent_as_ones_own(scenario: SpoolScenario, theirs: Path) -> None:
    ran = scenario.track("sync", str(scenario.spools))
    assert ran.returncode == 2
    assert f"belongs to user {OTHER_USER}" in ran.stderr
    assert "--from-other-user" in ran.stderr
    ran = scenario.track("sync")
    assert ran.returncode == 1
    assert f"it belongs to user {OTHER_USER}" in ran.stderr
    assert scenario.values() == []


@needs_two_users
def test_a_spool_of_another_user_is_sent_under_that_users_login_and_stays(
    scenario: SpoolScenario, theirs: Path
) -> None:
    before = {path: path.read_bytes() for path in theirs.rglob("*")}
    listed = scenario.track("sync", str(scenario.spools), "--from-other-user", "--dry-run", "--json")
    assert [each["points"] for each in json.loads(listed.stdout)["spools"]] == [len(VALUES)]
    # The login of who runs the command is not used, even though it is configured for that very user.
    ran = scenario.track("sync", str(scenario.spools), "--from-other-user", TRACK_TOKEN="trk_mine")
    assert ran.returncode == 2
    assert "nothing was entered" in ran.stdout + ran.stderr
    ran = scenario.track("sync", str(scenario.spools), "--from-other-user", "--to", scenario.uri)
    assert ran.returncode == 0, ran
    assert f"{theirs}: 20,000 points" in ran.stdout
    assert scenario.values() == VALUES
    assert {path: path.read_bytes() for path in theirs.rglob("*")} == before


@needs_two_users
def test_a_spool_of_another_user_is_not_sent_under_another_login(
    scenario: SpoolScenario, theirs: Path
) -> None:
    ran = scenario.track("sync", str(theirs), "--from-other-user", "--to", scenario.server.served.join("bob"))
    assert ran.returncode == 4
    assert "its records are ann's at the server, and --to names another user" in ran.stdout
    assert scenario.values() == []


@needs_two_users
def test_a_spool_without_a_user_name_is_that_users_own_to_send(scenario: SpoolScenario) -> None:
    left_spool(scenario.spools, server="socket://localhost:8123")
    give_away(scenario.spools)
    ran = scenario.track("sync", str(scenario.spools), "--from-other-user")
    assert ran.returncode == 4
    assert "only that user can send them" in ran.stdout


def test_another_users_spool_has_to_be_named(scenario: SpoolScenario) -> None:
    ran = scenario.track("sync", "--from-other-user")
    assert ran.returncode == 2
    assert "--from-other-user needs the folder" in ran.stderr
