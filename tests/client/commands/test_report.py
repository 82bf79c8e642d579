"""``track report``: a trial as JSON, and some trials as one page that needs no server."""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from command_runner import fill, run
from track import TrackClient
from track.commands.board import board_app
from track.commands.report import COMMAND
from track_protocol.errors import ItemNotFound, MissingExtra, TrackError, UsageError


def assets_are_built() -> bool:
    try:
        board_app("report")()
    except MissingExtra:
        return False
    return True


needs_assets = pytest.mark.skipif(not assets_are_built(), reason="the board's front end is not built")


@pytest.fixture
def uri(tmp_path: Path) -> str:
    uri = f"sqlite:{tmp_path / 'runs.db'}"
    fill(uri)
    return uri


def page_of(file: Path) -> tuple[str, dict[str, Any]]:
    """A page, and what it contains."""
    page = file.read_text("utf-8")
    (data,) = re.findall(r'<script type="application/json" id="report-data">(.*?)</script>', page, re.DOTALL)
    return page, json.loads(data)


def test_a_trial_is_printed_as_json(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(COMMAND, "résumé 猫", "--uri", uri) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "résumé 猫"


@pytest.mark.parametrize("words", [(), ("a", "b"), ("a", "--filter", "lr > 0")])
def test_json_is_of_one_trial(uri: str, words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="name one trial, or give --html"):
        run(COMMAND, *words, "--uri", uri)


@needs_assets
def test_a_page_contains_the_trials_that_match(
    uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "report.html"
    assert run(COMMAND, "--html", str(file), "--filter", "lr > 0.15", "--uri", uri) == 0
    _, report = page_of(file)
    assert report["title"] == "lr > 0.15"
    assert [each["parameters"]["lr"] for each in report["runs"]] == [pytest.approx(0.3), 0.2]
    assert {each["name"] for each in report["series"] if each["kind"] == "metric"} >= {"loss"}
    assert "2 of 2 trials" in capsys.readouterr().err


@needs_assets
def test_a_page_has_the_points_of_each_series(tmp_path: Path) -> None:
    uri, file = f"sqlite:{tmp_path / 'runs.db'}", tmp_path / "report.html"
    with TrackClient(uri) as client, client.new_trial(name="a", force=True) as trial:
        for step, value in enumerate([1.0, float("nan"), 3.0]):
            trial.log_metrics(step=step, loss=value)
    assert run(COMMAND, "a", "--html", str(file), "--uri", uri) == 0
    _, report = page_of(file)
    (loss,) = [each for each in report["series"] if each["name"] == "loss"]
    assert (loss["count"], loss["exact"], loss["axis"]) == (3, True, "step")
    steps = memoryview(b64decode(loss["arrays"]["x"])).cast("d").tolist()
    assert (steps, loss["arrays"]["step"]) == ([0.0, 1.0, 2.0], "=x")


@needs_assets
def test_the_newest_trials_are_shown_and_the_others_are_counted(uri: str, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    assert run(COMMAND, "--html", str(file), "--limit", "1", "--uri", uri) == 0
    _, report = page_of(file)
    assert (len(report["runs"]), report["left_out"]) == (1, 2)


@needs_assets
def test_what_people_wrote_is_data_and_nothing_but_the_page_s_own_script_may_run(tmp_path: Path) -> None:
    uri, file = f"sqlite:{tmp_path / 'runs.db'}", tmp_path / "report.html"
    attack = "</script><script>alert(1)</script><!--<img src=x onerror=alert(2)>"
    with (
        TrackClient(uri) as client,
        client.new_trial(name=attack, arguments={"x": attack}, force=True) as trial,
    ):
        trial.log_metrics(step=0, loss=1.0)
    assert run(COMMAND, "--html", str(file), "--title", attack, "--uri", uri) == 0
    page, report = page_of(file)
    assert report["runs"][0]["name"] == attack
    assert not re.search("<script>alert|<img|<title><", page)
    script = page.rpartition("<script>")[2].partition("</script>")[0]
    digest = b64encode(sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; script-src 'sha256-{digest}'" in page


@needs_assets
def test_a_page_of_nothing_is_not_written(uri: str, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    with pytest.raises(ItemNotFound, match="no trial matches"):
        run(COMMAND, "--html", str(file), "--filter", "lr > 99", "--uri", uri)
    assert not file.exists()


@needs_assets
def test_a_file_that_cannot_be_written_is_named(uri: str, tmp_path: Path) -> None:
    with pytest.raises(TrackError, match="cannot be written"):
        run(COMMAND, "--html", str(tmp_path / "nowhere" / "report.html"), "--uri", uri)
