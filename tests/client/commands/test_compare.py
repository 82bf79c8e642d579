"""``track compare``: what differs between trials."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from command_runner import fill, run
from track import TrackClient
from track.commands.compare import COMMAND
from track_protocol.errors import UsageError


@pytest.fixture
def uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    uri = f"sqlite:{tmp_path}/runs.db"
    monkeypatch.setenv("TRACK_URI", uri)
    return uri


def compared(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, list[object]]:
    assert run(COMMAND, *words, "--json") == 0
    return {each["name"]: list(each["values"].values()) for each in json.loads(capsys.readouterr().out)}


def test_what_differs_is_shown_and_what_is_equal_is_not(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, third = fill(uri)
    found = compared(capsys, first, second)
    assert found["params.lr"] == [0.1, 0.2]
    assert found["metrics.loss"] == [0.25, 0.2]
    assert found["tags.team"] == ["blue", "red"]
    assert found["name"] == ["first", "résumé 猫"]
    assert not {"params.same", "params.opt.name", "status", "metadata.heartbeat"} & found.keys()
    assert compared(capsys, third, first, second)["status"] == ["Exception", "Completed", "Completed"]


def test_all_shows_what_is_equal_too(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    fill(uri)
    assert compared(capsys, "--filter", "lr < 0.25", "--all")["params.same"] == [1, 1]


def test_flat_and_nested_keys_of_one_name_are_both_there(
    uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with TrackClient(uri) as client:
        client.new_trial(name="a", arguments={"a.b": 1, "a": {"b": 2}}).start()
        client.new_trial(force=True, name="b", arguments={"a.b": 3}).start()
    found = compared(capsys, "a", "b")
    assert (found["params.a.b"], found['params."a"."b"']) == ([1, 3], [2, None])


def test_a_value_and_its_text_differ(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    with TrackClient(uri) as client:
        client.new_trial(name="a", arguments={"x": 1, "y": 1}).start()
        client.new_trial(force=True, name="b", arguments={"x": "1", "y": True}).start()
    found = compared(capsys, "a", "b")
    assert (found["params.x"], found["params.y"]) == ([1, "1"], [1, True])


def test_the_table_has_a_column_for_each_trial(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, _ = fill(uri)
    run(COMMAND, first, second)
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == ["NAME", f"{first[:8]}_0", f"{second[:8]}_0"]
    assert ["params.lr", "0.1", "0.2"] in [row.split() for row in rows]


def test_one_trial_or_none_is_refused(uri: str) -> None:
    first, *_ = fill(uri)
    with pytest.raises(UsageError, match="two trials or more, and there is 1"):
        run(COMMAND, first, first)
    with pytest.raises(UsageError, match="one of them is needed"):
        run(COMMAND)
    with pytest.raises(UsageError, match="not both"):
        run(COMMAND, first, "--filter", "lr < 1")
