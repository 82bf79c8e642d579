"""The board's charts in a real browser: which runs are drawn, and what is shown of them."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from track import TrackClient

pytestmark = pytest.mark.timeout(300)

Open = Callable[..., Page]
RUNS = 25
DRAWN = 20


@pytest.fixture
def runs(client: TrackClient) -> TrackClient:
    """A client that has logged `run 00` to `run 24`, with a loss and a section of two metrics."""
    client.set_project("vision", force=True)
    for number in range(RUNS):
        client.new_trial(
            f"run {number:02}", {"seed": number % 2}, force=True, description=f"Why there is {number}"
        )
        client.start()
        for step in range(5):
            client.log(
                step=step, loss=number + step / 10, **{"train/huge": 1e301 * (step + 1), "train/acc": step}
            )
        client.finish()
    client.protocol.flush()
    return client


def chart(page: Page, name: str) -> Locator:
    """The chart of a metric."""
    return page.get_by_role("article", name=f"Chart {name}", exact=True)


def curves(page: Page, name: str, count: int) -> Locator:
    """The picture of so many curves of a metric."""
    return chart(page, name).get_by_role("img", name=f"{name} of {count} curves", exact=True)


def point_at(page: Page, name: str, across: float, down: float) -> Locator:
    """Move the pointer to a place in a chart, as shares of its width and height; what it says of it."""
    over = chart(page, name).locator(".u-over")
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + across * box["width"], box["y"] + down * box["height"])
    return chart(page, name).locator(".chart-tip")


def test_a_run_beyond_the_first_is_drawn_when_its_eye_is_opened(open_page: Open, runs: TrackClient) -> None:
    page = open_page("/charts?project=vision")
    expect(curves(page, "loss", DRAWN)).to_be_visible()
    eye = page.get_by_role("button", name="Draw run 00")
    expect(eye).to_have_attribute("aria-pressed", "false")
    eye.click()
    expect(eye).to_have_attribute("aria-pressed", "true")
    expect(curves(page, "loss", DRAWN + 1)).to_be_visible()
    # The eye of one of the first is shut, and no other run takes its place.
    page.get_by_role("button", name="Draw run 24").click()
    expect(curves(page, "loss", DRAWN)).to_be_visible()
    other = open_page(page.url.removeprefix(page.evaluate("location.origin")))
    expect(curves(other, "loss", DRAWN)).to_be_visible()


def test_the_selected_runs_alone_are_drawn(open_page: Open, runs: TrackClient) -> None:
    page = open_page("/runs?project=vision")
    for name in ("run 01", "run 23"):
        page.get_by_role("checkbox", name=f"Select {name}").check()
    page.get_by_role("button", name="Draw only these").click()
    page.get_by_role("link", name="Charts", exact=True).click()
    expect(curves(page, "loss", 2)).to_be_visible()


def test_a_run_that_is_drawn_but_does_not_match_the_filter_stays_drawn(
    open_page: Open, runs: TrackClient
) -> None:
    page = open_page("/runs?project=vision")
    page.get_by_role("checkbox", name="Select run 01").check()
    page.get_by_role("button", name="Draw only these").click()
    box = page.get_by_role("searchbox", name="Filter")
    box.fill("seed = 0")
    box.press("Enter")
    page.get_by_role("link", name="Charts", exact=True).click()
    expect(curves(page, "loss", 1)).to_be_visible()


def test_groups_are_of_all_runs_and_not_of_the_drawn_ones(open_page: Open, runs: TrackClient) -> None:
    page = open_page("/charts?project=vision&by=parameters.seed&draw=10")
    expect(page.get_by_text(f"Groups of all {RUNS} runs")).to_be_visible()
    expect(page.get_by_role("list", name="Groups")).to_contain_text("seed 1")
    expect(curves(page, "loss", 2)).to_be_visible()
    tip = point_at(page, "loss", 0.5, 0.5)
    expect(tip).to_contain_text(re.compile("seed 0 · 13 runs|seed 1 · 12 runs"))
    expect(tip).to_contain_text(re.compile(r"1[23] runs there"))


def test_the_pointer_tells_the_run_its_note_its_step_and_its_time(open_page: Open, runs: TrackClient) -> None:
    page = open_page("/charts?project=vision&draw=1")
    expect(curves(page, "loss", 1)).to_be_visible()
    tip = point_at(page, "loss", 0.5, 0.5)
    expect(tip).to_contain_text("run 24")
    expect(tip).to_contain_text("Why there is 24")
    expect(tip).to_contain_text(re.compile(r"step 2 · \d{4}-\d\d-\d\d \d\d:\d\d:\d\d"))
    expect(page.get_by_role("region", name="Runs").locator("li.highlighted")).to_contain_text("run 24")


def test_a_section_that_was_shut_stays_shut(open_page: Open, runs: TrackClient) -> None:
    page = open_page("/charts?project=vision")
    expect(chart(page, "train/huge")).to_be_visible()
    page.get_by_role("button", name="train 2").click()
    expect(chart(page, "train/huge")).to_be_hidden()
    page.reload()
    expect(chart(page, "loss")).to_be_visible()
    expect(chart(page, "train/huge")).to_be_hidden()


def test_of_ten_thousand_metrics_all_are_found_and_few_are_in_the_page(
    open_page: Open, client: TrackClient
) -> None:
    client.set_project("wide", force=True)
    client.new_trial("wide", force=True)
    client.start()
    client.log({f"layer{number // 50:03}/w{number % 50:02}": 0.5 for number in range(10_000)}, step=1)
    client.finish()
    client.protocol.flush()
    page = open_page("/charts?project=wide")
    expect(curves(page, "layer000/w00", 1)).to_be_visible()
    assert page.get_by_role("article").count() < 400
    last = page.get_by_role("region", name="layer199", exact=True)
    last.scroll_into_view_if_needed()
    expect(chart(page, "layer199/w00")).to_be_attached()
    page.get_by_role("searchbox", name="Find charts").fill("layer19[89]/w4")
    expect(page.get_by_role("article")).to_have_count(20)


def test_paper_has_charts_within_their_frames_which_line_is_which_run_and_no_buttons(
    open_page: Open, runs: TrackClient
) -> None:
    page = open_page("/charts?project=vision", viewport={"width": 1000, "height": 400})
    expect(curves(page, "loss", DRAWN)).to_be_visible()
    legend = page.locator(".on-paper").filter(has_text="run 24")
    expect(legend).to_be_hidden()

    page.emulate_media(media="print")

    expect(legend).to_be_visible()
    expect(page.get_by_text("Charts that were not scrolled to are left out.")).to_be_visible()
    expect(chart(page, "loss").get_by_role("button", name="log")).to_be_hidden()
    for place in chart(page, "loss").all():
        frame, picture = place.bounding_box(), place.locator("canvas").bounding_box()
        assert frame is not None
        assert picture is not None
        assert picture["x"] + picture["width"] <= frame["x"] + frame["width"]


def test_a_chart_of_huge_values_is_saved_with_texts_at_its_axes(open_page: Open, runs: TrackClient) -> None:
    page = open_page("/charts?project=vision&draw=1")
    expect(curves(page, "train/huge", 1)).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="More of train/huge").click()
        page.get_by_role("menuitem", name="Save as SVG").click()
    assert "4e301</text>" in download.value.path().read_text()
