"""Differences between runs, and brushes that are filters."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from board_browser import Person, row_of
from board_process import board_of
from command_runner import run
from large_stores import fill_with_trials
from rich_runs import RUNS, log_rich_runs
from running_server import ServerProcess
from track import TrackClient
from track.commands.ls import COMMAND as LS


@pytest.fixture(scope="module")
def project(uri: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    with TrackClient(uri) as client:
        return log_rich_runs(client, tmp_path_factory.mktemp("files"))


def test_two_runs_are_compared_by_exactly_the_parameters_that_differ(
    server: ServerProcess, project: str, person: Callable[..., Person]
) -> None:
    page = person(server.board).open(f"/runs?project={project}")
    row_of(page, RUNS[0]).get_by_role("checkbox").check()
    row_of(page, RUNS[3]).get_by_role("checkbox").check()
    page.get_by_role("toolbar", name="Selected runs").get_by_role("link", name="Compare").click()

    table = page.get_by_role("region", name="Runs side by side")
    parameters = table.get_by_role("rowgroup").filter(has=page.get_by_role("rowheader", name="Parameters"))
    names = parameters.locator("th[scope=row]")
    # The learning rates of the two are the same; the width and the list are those of all.
    expect(names).to_have_text(["batch", "optimizer", "model.depth"], use_inner_text=True)
    page.get_by_role("checkbox", name="only differences").uncheck()
    expect(names.filter(has_text=re.compile("^lr$"))).to_be_visible()
    expect(names.filter(has_text="model.width")).to_be_visible()


def test_the_best_value_of_a_metric_is_marked(
    server: ServerProcess, project: str, uri: str, person: Callable[..., Person]
) -> None:
    with TrackClient(uri) as client:
        table = client.protocol.fetch_table(
            {"project_id": project}, ["name"], ["-metrics.train/accuracy.max"], limit=1
        )
        best = str(table["columns"][0][0])
    page = person(server.board).open(f"/runs?project={project}")
    for name in RUNS:
        row_of(page, name).get_by_role("checkbox").check()
    page.get_by_role("toolbar", name="Selected runs").get_by_role("link", name="Compare").click()

    heads = page.get_by_role("region", name="Runs side by side").locator("thead th[scope=col]")
    expect(heads).to_have_count(5)
    row = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name=re.compile("accuracy.*max")))
    cells = row.first.get_by_role("cell")
    names = [str(text).strip() for text in heads.all_inner_texts()]
    at = next(place for place, name in enumerate(names) if best in name) - 1
    expect(cells.nth(at).get_by_role("img", name="best")).to_be_visible()


def test_a_brushed_axis_leaves_the_rows_that_its_filter_leaves_on_the_command_line(
    tmp_path: Path, person: Callable[..., Person], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "runs.db"
    fill_with_trials(path, 200, metrics=1)
    with board_of(f"sqlite:{path}") as board:
        page = person(board.url).open("/parallel?par.axes=parameters.lr,parameters.batch,metrics.loss.min")
        picture = page.get_by_role("img", name="200 runs on 3 axes")
        box = picture.bounding_box()
        assert box is not None
        axes = page.get_by_role("list", name="Axes").get_by_role("listitem")
        head = axes.nth(2).bounding_box()
        assert head is not None
        x = head["x"] + head["width"] / 2
        page.mouse.move(x, box["y"] + 0.6 * box["height"])
        page.mouse.down()
        page.mouse.move(x, box["y"] + 0.8 * box["height"], steps=4)
        page.mouse.up()
        count = page.get_by_role("status").filter(has_text=re.compile(r"^\d+ of 200 runs"))
        expect(count).to_be_visible()
        left = int(count.inner_text().split()[0])
        assert 0 < left < 200

        page.get_by_role("button", name="Use as filter").click()
        filtered = page.get_by_role("searchbox", name="Filter")
        expect(filtered).not_to_have_value("")
        condition = filtered.input_value()
        page.get_by_role("navigation").get_by_role("link", name="Runs").click()
        expect(page.get_by_role("toolbar", name="Table")).to_contain_text(f"{left} runs match the filter")
        shown = page.get_by_role("grid", name="Runs").get_by_role("row").get_by_role("link").all_inner_texts()

    assert run(LS, "--uri", f"sqlite:{path}", "--filter", condition, "--json") == 0
    names = [trial["name"] for trial in json.loads(capsys.readouterr().out)]
    assert len(names) == left
    assert set(shown) <= set(names)
