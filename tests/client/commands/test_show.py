"""``track show``, on stores that hold real trials."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from track import TrackClient
from track.commands.show import COMMAND
from track_protocol.errors import ItemNotFound, UsageError


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"sqlite:{tmp_path}/runs.db"


@pytest.fixture
def uid(uri: str) -> str:
    """Of a finished trial with a bit of everything."""
    with TrackClient(uri) as client:
        trial = client.new_trial(name="third try", arguments={"lr": 0.1})
        trial.add_tags(team="vision")
        trial.start()
        for step in range(10):
            trial.log_metrics(step=step, loss=1.0 / (1 + step), bad=object())
        with trial.chrono("epoch"):
            pass
        error = ValueError("diverged")
        trial.finish(type(error), error)
        return trial.trial.uid


def show(*words: str) -> int:
    parser = argparse.ArgumentParser()
    COMMAND.configure(parser)
    return COMMAND.run(parser.parse_args(words))


def test_it_shows_the_fields_and_series_of_a_trial(
    uri: str, uid: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert show(uid, "--uri", uri) == 0
    reported = capsys.readouterr().out
    for text in (
        f"third try  {uid}",
        "status  Exception",
        "lr = 0.1",
        "team = vision",
        "metrics",
        "epoch",
        "ValueError: diverged",
    ):
        assert text in reported
    (loss,) = [line.split() for line in reported.splitlines() if line.startswith("  loss ")]
    assert loss[:6] == ["loss", "10", "9", "0.1", "0.1", "1"]


def test_it_shows_the_dropped_points_with_their_reasons(
    uri: str, uid: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # Fails when the client does not report dropped points to the trial.
    show(uid, "--uri", uri)
    reported = capsys.readouterr().out
    assert "dropped  10 points\n  10: bad: " in reported


def test_the_json_output_has_the_same_fields(uri: str, uid: str, capsys: pytest.CaptureFixture[str]) -> None:
    show(uid, "--uri", uri, "--json")
    reported = json.loads(capsys.readouterr().out)
    assert (reported["name"], reported["metadata"]["dropped_points"]["points"]) == ("third try", 10)


def test_a_trial_can_be_named_by_its_name(uri: str, uid: str, capsys: pytest.CaptureFixture[str]) -> None:
    for name in (uid[:8], "third try"):
        assert show(name, "--uri", uri) == 0
        assert f"third try  {uid}" in capsys.readouterr().out


def test_a_missing_trial_is_reported(uri: str, uid: str) -> None:
    with pytest.raises(ItemNotFound, match="no trial is called '00ff_0'"):
        show("00ff_0", "--uri", uri)


def test_it_reports_missing_fields(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRACK_URI", raising=False)
    monkeypatch.chdir("/")  # where no run was stored
    with pytest.raises(UsageError, match="no store is given"):
        show("00ff_0")
    with pytest.raises(ItemNotFound, match="there is no store at"):
        show("00ff_0", "--uri", uri)


def test_it_shows_labels_and_media(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    with TrackClient(uri) as client:
        trial = client.new_trial(name="t")
        trial.log_metrics(step=3, context={"phase": "train"}, loss=0.5)
        trial.log_text("answer", "once upon a time", step=7)
        uid = trial.trial.uid
    assert show(uid, "--uri", uri) == 0
    reported = capsys.readouterr().out
    assert 'loss{phase="train"}       1' in reported
    assert [line.split() for line in reported.splitlines() if "answer" in line] == [["answer", "1", "7"]]
