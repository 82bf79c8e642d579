"""Charts in a browser: nothing is lost in a summary, and only what is in sight is fetched."""

from __future__ import annotations

import json
import math
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from board_browser import Person, plot_of, row_of
from board_process import board_of
from large_stores import fill_with_trials, long_series
from running_server import ServerProcess
from track import TrackClient

pytestmark = pytest.mark.timeout(300)

POINTS = 1_000_000
SPIKE = 700_001
"""The step of the one value that stands out."""

END_OF_COLUMN = 702_499
"""The last step of that one of the 400 columns in which it is: there the column is drawn."""

COLUMNS = ["curve", "last", "min", "max", "mean", "points", "not finite"]
"""Of the table of values below a chart."""

NOT_SCROLLED = 12
"""Requests of charts before anything is scrolled, at most."""


def with_table(*charts: str) -> str:
    """The parameter of the address that makes these charts large, with their values below."""
    return "own=" + json.dumps({name: {"big": True, "table": True} for name in charts})


def values_of(page: Page, chart: str, run: str) -> dict[str, str]:
    """The row of a run in the table below a chart."""
    row = page.get_by_role("article", name=f"Chart {chart}").get_by_role("row").filter(has_text=run)
    texts = [row.get_by_role("rowheader").inner_text().strip()]
    texts += [str(text).replace(",", "") for text in row.get_by_role("cell").all_inner_texts()]
    return dict(zip(COLUMNS, texts, strict=True))


def point_at(plot: Locator, share: float) -> None:
    """Put the pointer into a chart, at a share of its width."""
    box = plot.bounding_box()
    assert box is not None
    plot.hover(position={"x": min(share * box["width"], box["width"] - 1), "y": box["height"] / 2})


def painted(plot: Locator, left: float, right: float, top: float, bottom: float) -> int:
    """Pixels of a colour, and not grey, in a part of a chart that is given by shares of it."""
    return int(
        plot.evaluate(
            """(over, [left, right, top, bottom]) => {
                const canvas = over.closest(".uplot").querySelector("canvas");
                const [outer, inner] = [canvas.getBoundingClientRect(), over.getBoundingClientRect()];
                const scale = canvas.width / outer.width;
                const x = (share) => Math.round((inner.left - outer.left + share * inner.width) * scale);
                const y = (share) => Math.round((inner.top - outer.top + share * inner.height) * scale);
                const [width, height] = [x(right) - x(left), y(bottom) - y(top)];
                const copy = document.createElement("canvas"); // reading slows down the canvas that is read
                [copy.width, copy.height] = [canvas.width, canvas.height];
                const pen = copy.getContext("2d", { willReadFrequently: true });
                pen.drawImage(canvas, 0, 0);
                const { data } = pen.getImageData(x(left), y(top), Math.max(1, width), Math.max(1, height));
                let found = 0;
                for (let at = 0; at < data.length; at += 4) {
                    const rgb = [...data.slice(at, at + 3)];
                    if (data[at + 3] > 60 && Math.max(...rgb) - Math.min(...rgb) > 40) found++;
                }
                return found;
            }""",
            [left, right, top, bottom],
        )
    )


def test_one_spike_in_a_million_points_is_seen_and_is_exact_when_it_is_zoomed_to(
    tmp_path: Path, person: Callable[..., Person]
) -> None:
    path = tmp_path / "runs.db"
    long_series(path, POINTS, lambda step: 100.0 if step == SPIKE else math.sin(step / 50_000))
    at = SPIKE / (POINTS - 1)
    with board_of(f"sqlite:{path}") as board:
        page = person(board.url).open(f"/charts?{with_table('loss')}")
        plot = plot_of(page, "loss")
        expect(page.get_by_text("summed")).to_be_visible()
        assert painted(plot, at - 0.01, at + 0.01, 0.0, 0.5) > 0
        assert painted(plot, at - 0.1, at - 0.02, 0.0, 0.5) == 0
        point_at(plot, END_OF_COLUMN / (POINTS - 1))
        summed = re.compile(r"… 100, mean of 2,5\d\d points")
        expect(page.locator(".chart-tip .nearest")).to_contain_text(summed)

        zoom = f"zoom={SPIKE - 50},{SPIKE + 50}"
        page.goto(f"{board.url}charts?{zoom}&{with_table('loss')}")
        expect(page.get_by_role("article").get_by_role("row").nth(1)).to_contain_text("101")
        expect(page.get_by_text("summed")).to_have_count(0)
        assert values_of(page, "loss", "trial 1")["max"] == "100"
        point_at(plot_of(page, "loss"), 0.5)
        tip = page.locator(".chart-tip")
        expect(tip).to_contain_text(f"step {SPIKE:,}")
        expect(tip.locator(".nearest b")).to_have_text("100")


def test_a_window_that_is_drawn_with_the_pointer_is_zoomed_to_and_left_again(
    tmp_path: Path, person: Callable[..., Person]
) -> None:
    path = tmp_path / "runs.db"
    long_series(path, 1_001, lambda step: step / 1_000)
    with board_of(f"sqlite:{path}") as board:
        page = person(board.url).open(f"/charts?{with_table('loss')}")
        plot = plot_of(page, "loss")
        box = plot.bounding_box()
        assert box is not None
        middle = box["y"] + box["height"] / 2

        page.mouse.move(box["x"] + 0.25 * box["width"], middle)
        page.mouse.down()
        page.mouse.move(box["x"] + 0.5 * box["width"], middle, steps=4)
        page.mouse.up()

        expect(page).to_have_url(re.compile(r"zoom=2\d\d\.?\d*,(49|50)\d"))
        points = page.get_by_role("article").get_by_role("row").nth(1).get_by_role("cell").nth(4)
        expect(points).to_have_text(re.compile("^2[45]\\d$"))
        page.keyboard.press("z")
        expect(points).to_have_text("1001")


def test_charts_out_of_sight_are_fetched_when_they_are_scrolled_to(
    tmp_path: Path, person: Callable[..., Person]
) -> None:
    path = tmp_path / "runs.db"
    fill_with_trials(path, 50, metrics=20, points=50)
    with board_of(f"sqlite:{path}") as board:
        watched = person(board.url)
        page = watched.open("/charts?draw=50")
        expect(page.get_by_role("img", name="loss of 50 curves")).to_be_visible()
        in_sight = page.get_by_role("article").evaluate_all(
            "(all) => all.filter((one) => one.getBoundingClientRect().top < innerHeight).length"
        )
        expect(page.get_by_role("img", name="of 50 curves").nth(in_sight - 1)).to_be_visible()
        first = watched.count("fetch_columns")
        assert 0 < first <= NOT_SCROLLED

        charts = page.get_by_role("article", name=re.compile("^Chart "))
        expect(charts).to_have_count(20)
        for place in range(20):
            charts.nth(place).scroll_into_view_if_needed()
            expect(charts.nth(place).get_by_role("img", name=re.compile("of 50 curves"))).to_be_visible()
        assert first < watched.count("fetch_columns") <= 20


def test_a_curve_for_each_group_of_all_runs_comes_from_the_server(
    tmp_path: Path, person: Callable[..., Person]
) -> None:
    path = tmp_path / "runs.db"
    fill_with_trials(path, 300, metrics=2)
    address = f"/charts?draw=5&by=parameters.opt.name&{with_table('loss')}"
    with board_of(f"sqlite:{path}") as board:
        watched = person(board.url)
        page = watched.open(address)
        expect(page.get_by_role("img", name="loss of 3 curves")).to_be_visible()
        expect(page.get_by_role("status").filter(has_text="Groups of all 300 runs")).to_be_visible()
        rows = page.get_by_role("article", name="Chart loss").get_by_role("rowheader")
        runs = [re.search(r"opt.name (\w+) · (\d+) runs", row) for row in rows.all_inner_texts()]
        assert {run[1] for run in runs if run} == {"adam", "lion", "sgd"}
        assert sum(int(run[2]) for run in runs if run) == 300
        assert watched.count("fetch_columns") == 0

        # Of another metric the server has no axis: those runs are merged that are drawn.
        page.get_by_role("toolbar", name="All charts").get_by_role("combobox", name="x").select_option(":m1")
        expect(page.get_by_role("status").filter(has_text="Groups of the 5 runs")).to_be_visible()
        expect(page.get_by_role("img", name=re.compile("^loss of [123] curves"))).to_be_visible()


def test_values_that_are_not_finite_are_marked_at_their_steps_and_leave_the_rest_alone(
    server: ServerProcess, client: TrackClient, person: Callable[..., Person]
) -> None:
    project = client.set_project(name="odd", force=True)
    odd = {10: math.nan, 20: math.inf, 30: -math.inf, 40: math.nan}
    with client.new_trial(name="odd", force=True) as trial:
        for step in range(41):
            trial.log_metrics(step=step, loss=odd.get(step, 1.0 + step / 100), same=7.0)
    page = person(server.board).open(f"/charts?project={project.uid}&{with_table('loss', 'same')}")

    plot = plot_of(page, "loss")
    expect(page.get_by_text("4 × not finite")).to_be_visible()
    values = values_of(page, "loss", "odd")
    assert values == {"curve": "odd", "last": "NaN", "min": "1", "max": "1.39", **values}
    assert (values["points"], values["not finite"]) == ("41", "4")
    assert painted(plot, 10 / 40 - 0.02, 10 / 40 + 0.02, 0.9, 1.0) > 0  # NaN, at the lower edge
    assert painted(plot, 20 / 40 - 0.02, 20 / 40 + 0.02, 0.0, 0.1) > 0  # an arrow upwards
    assert painted(plot, 30 / 40 - 0.02, 30 / 40 + 0.02, 0.9, 1.0) > 0  # and one downwards
    assert painted(plot, 20 / 40 - 0.02, 20 / 40 + 0.02, 0.9, 1.0) == 0
    for step, text in ((10, "NaN"), (20, "∞"), (30, "−∞")):
        point_at(plot, step / 40)
        tip = page.locator(".chart-tip")
        expect(tip).to_contain_text(f"step {step}")
        expect(tip.locator(".nearest b")).to_have_text(text)
    same = values_of(page, "same", "odd")
    assert (same["min"], same["max"], same["mean"]) == ("7", "7", "7")
    assert painted(plot_of(page, "same"), 0.1, 0.9, 0.0, 1.0) > 0

    page.goto(f"{server.board}runs?project={project.uid}&columns=metrics.loss.last,metrics.loss.min")
    row = row_of(page, "odd")
    expect(row.get_by_role("gridcell").nth(0)).to_have_text("NaN")
    expect(row.get_by_role("gridcell").nth(1)).to_have_text("1")


def test_a_damaged_series_is_named_in_its_chart_and_breaks_no_other(
    tmp_path: Path, person: Callable[..., Person]
) -> None:
    path = tmp_path / "runs.db"
    fill_with_trials(path, 2, metrics=2)
    with sqlite3.connect(path) as db:
        (series,) = db.execute("SELECT min(id) FROM series WHERE name = 'loss'").fetchone()
        db.execute("UPDATE chunk SET data = zeroblob(length(data)) WHERE series = ?", (series,))
    db.close()
    with board_of(f"sqlite:{path}") as board:
        page = person(board.url).open("/charts")
        damaged = page.get_by_role("article", name="Chart loss")
        expect(damaged.get_by_role("alert")).to_contain_text("is damaged")
        expect(damaged.get_by_role("img", name="loss of 1 curves")).to_be_visible()
        expect(page.get_by_role("img", name="m1 of 2 curves")).to_be_visible()


def test_a_metric_of_its_own_may_be_x(
    server: ServerProcess, client: TrackClient, person: Callable[..., Person]
) -> None:
    project = client.set_project(name="against another metric", force=True)
    with client.new_trial(name="one", force=True) as trial:
        for step in range(11):
            trial.log_metrics(step=step, loss=1.0 / (step + 1), seen=step * 1_000)
    page = person(server.board).open(f"/charts?project={project.uid}")

    page.get_by_role("combobox", name="x", exact=True).select_option("seen")

    point_at(plot_of(page, "loss"), 0.5)
    expect(page.locator(".chart-tip")).to_contain_text("5,000")
    expect(page.locator(".chart-tip .nearest b")).to_have_text("0.166667")
