"""``track ls``, on stores that hold real trials."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import track
from command_runner import fill, in_terminal, run
from track import TrackClient
from track.commands.ls import COMMAND
from track.commands.printing import width_of
from track_protocol.errors import ItemNotFound, UsageError


@pytest.fixture
def uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    uri = f"sqlite:{tmp_path}/runs.db"
    monkeypatch.setenv("TRACK_URI", uri)
    return uri


def test_trials_are_listed_with_their_differences(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    uids = fill(uri)
    assert run(COMMAND) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == [
        *("UID", "NAME", "STATUS", "lr", "loss", "note", "CREATED", "DURATION", 'loss{phase="val"}')
    ]
    assert [row.split()[0] for row in rows] == [f"{uid[:8]}_0" for uid in uids]
    assert "résumé 猫" in rows[1]
    assert len({width_of(row[: row.index("Comp")]) for row in rows[:2]}) == 1


def test_the_runs_of_init_are_found_in_the_folder_where_it_stored_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=rf"no store is given, and {tmp_path}/track.db is not there"):
        run(COMMAND)
    track.init(project="p", name="first")
    track.finish()
    run(COMMAND, "--columns", "name")
    assert capsys.readouterr().out.split() == ["NAME", "first"]


def test_a_filter_an_order_columns_and_a_limit(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    fill(uri)
    run(COMMAND, "--filter", "tags.team = red", "--sort", "lr", "-r", "--columns", "lr, metrics.loss.max")
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["lr", "loss.max"],
        ["0.3", "0.333333"],
        ["0.2", "0.5"],
    ]
    run(COMMAND, "--limit", "1", "--columns", "lr")
    assert capsys.readouterr().out.splitlines() == [
        " lr",
        "0.3",
        "only the newest 1 are shown; --limit N shows more",
    ]


def test_flat_and_nested_keys_are_columns_and_orders_alike(
    uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with TrackClient(uri) as client:
        client.new_trial(arguments={"model.lr": 0.2, "a.b": 1, "a": {"b": 2}}).start()
        client.new_trial(force=True, arguments={"model": {"lr": 0.1}, "weight decay": 3}).start()
    for column in ("model.lr", "params.model.lr", 'params."model.lr"'):
        run(COMMAND, "--columns", column, "--sort", column, "--json")
        assert json.loads(capsys.readouterr().out) == [
            {column.replace('"', ""): 0.1},
            {column.replace('"', ""): 0.2},
        ]
    run(COMMAND, "--columns", "a.b, weight decay", "--json")
    found = json.loads(capsys.readouterr().out)
    assert found == [{"a.b": 1, "weight decay": None}, {"a.b": None, "weight decay": 3}]


def test_a_trial_that_runs_shows_when_it_was_last_seen(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    client = TrackClient(uri)
    client.new_trial(arguments={"lr": 1}).start()
    client.protocol.flush()
    run(COMMAND)
    assert "SEEN" in capsys.readouterr().out.splitlines()[0].split()
    client.close()


@pytest.mark.parametrize("name", ["seen", "project", "group"])
def test_what_is_computed_is_an_order_and_a_column_too(
    uri: str, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    uids = fill(uri)
    run(COMMAND, "--sort", name, "--columns", f"uid,{name}", "--json")
    found = json.loads(capsys.readouterr().out)
    assert sorted(each["uid"] for each in found) == sorted(uids)
    assert [each[name] for each in found] == sorted(each[name] for each in found)
    run(COMMAND, "--sort", name, "-r", "--json", "--limit", "2")
    whole = json.loads(capsys.readouterr().out)
    assert [each[name] for each in whole] == sorted((each[name] for each in found), reverse=True)[:2]


def test_an_id_is_shown_in_digits(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    fill(uri)
    run(COMMAND, "--columns", "id", "--limit", "1")
    shown = capsys.readouterr().out.split()[1]
    run(COMMAND, "--columns", "id", "--json")
    assert shown == json.loads(capsys.readouterr().out)[-1]["id"]
    assert re.fullmatch("[0-9a-f]{32}", shown)


def test_a_group_can_be_named_by_its_name(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    fill(uri)
    run(COMMAND, "--filter", "group = sweep and project = vision", "--json")
    assert len(json.loads(capsys.readouterr().out)) == 3
    run(COMMAND, "--filter", "group = null")
    assert capsys.readouterr().out == "no trials that match\n"


def test_groups_and_projects_are_counted(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    fill(uri)
    run(COMMAND, "projects")
    assert capsys.readouterr().out.split()[4:7] == ["vision", "1", "3"]
    run(COMMAND, "groups", "--filter", "name ~ SWE", "--json")
    (group,) = json.loads(capsys.readouterr().out)
    assert (group["name"], group["project"], group["trials"]) == ("sweep", "vision", 3)


def test_the_json_output_has_everything_but_the_points(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    uids = fill(uri)
    run(COMMAND, "--json")
    found = json.loads(capsys.readouterr().out)
    assert [each["uid"] for each in found] == uids
    assert found[0]["metrics"]["loss"]["count"] == 4
    assert found[2]["errors"]
    run(COMMAND, "--json", "--columns", "name,group,description")
    assert json.loads(capsys.readouterr().out)[0] == {"name": "first", "group": "sweep", "description": None}


@pytest.mark.parametrize("columns", [30, 60, 100])
def test_on_a_terminal_the_table_has_its_width(uri: str, columns: int) -> None:
    uids = fill(uri)
    reported = in_terminal(columns, "ls", uri=uri)
    assert "\x1b[" in reported
    table = [line for line in re.sub(r"\x1b\[[0-9;]*m", "", reported).splitlines() if "not shown" not in line]
    assert max(map(width_of, table)) <= columns
    assert [line.split()[0] for line in table[1:4]] == [f"{uid[:8]}_0" for uid in uids]


def test_no_colours_when_they_are_not_wanted(uri: str) -> None:
    fill(uri)
    assert "\x1b[3" not in in_terminal(100, "ls", uri=uri, env=[("NO_COLOR", "1")])


def test_a_missing_store_is_not_created(tmp_path: Path) -> None:
    with pytest.raises(ItemNotFound, match="there is no store at"):
        run(COMMAND, "--uri", f"sqlite:{tmp_path}/typo.db")
    assert list(tmp_path.iterdir()) == []


def test_invalid_arguments_are_reported(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(uri)
    with pytest.raises(UsageError, match="--filter, column 5: expected a value"):
        run(COMMAND, "--filter", "lr <")
    with pytest.raises(UsageError, match="--columns: no trial has 'los': did you mean 'loss'"):
        run(COMMAND, "--columns", "uid,los")
    with pytest.raises(UsageError, match="--columns: no trial has 'los': did you mean 'loss'"):
        run(COMMAND, "--columns", "uid,los", "--filter", "lr > 5", "--json")
    with pytest.raises(UsageError, match=r"--sort: no trial has .* did you mean 'metrics.loss'"):
        run(COMMAND, "--sort", "metrics.los")
    with pytest.raises(UsageError, match="--sort takes one name"):
        run(COMMAND, "--sort", "lr,loss")
    with pytest.raises(UsageError, match="empty"):
        run(COMMAND, "--columns", "uid,,lr")
    monkeypatch.delenv("TRACK_URI")
    monkeypatch.chdir("/")  # where no run was stored
    with pytest.raises(UsageError, match="no store is given"):
        run(COMMAND)


def test_a_store_given_as_the_list_gets_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(COMMAND, "socket://me:secret@host:1")
    said = capsys.readouterr().err
    assert "track ls --uri socket://me" in said
    assert "secret" not in said


@pytest.mark.parametrize(
    "sort", ["lr", "params.lr", "loss", "metrics.loss.max", "status", "seen", "created", "duration", "group"]
)
def test_a_limit_in_an_order_shows_its_first(uri: str, capsys: pytest.CaptureFixture[str], sort: str) -> None:
    fill(uri)
    run(COMMAND, "--sort", sort, "--json", "--columns", "uid")
    everything = json.loads(capsys.readouterr().out)
    run(COMMAND, "--sort", sort, "--json", "--columns", "uid", "--limit", "2")
    assert json.loads(capsys.readouterr().out) == everything[:2]
