"""Windows of a chart: of x, of y and of both; outliers; all of it in the address and in saved views."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Locator, Page, expect

from track import TrackClient

pytestmark = pytest.mark.timeout(300)

Open = Callable[..., Page]
POINTS = 100


@pytest.fixture
def page(open_page: Open, client: TrackClient) -> Page:
    """The charts of a run whose loss and error ascend from 0 to 99, but for one loss of a million."""
    client.set_project("vision", force=True)
    client.new_trial("run", force=True)
    for step in range(POINTS):
        client.log(step=step, loss=1e6 if step == 50 else step, error=step)
    client.finish()
    client.protocol.flush()
    page = open_page("/charts?project=vision")
    for name in ("loss", "error"):
        expect(chart(page, name).get_by_role("img")).to_be_visible()
    return page


def chart(page: Page, name: str) -> Locator:
    return page.get_by_role("article", name=f"Chart {name}", exact=True)


def clip_of(page: Page) -> Locator:
    """Whether outliers are clipped in all charts."""
    return page.get_by_role("toolbar", name="All charts").get_by_role("button", name="clip")


def drag(page: Page, name: str, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drag from one place of a chart to another, as shares of its width and height."""
    over = chart(page, name).locator(".u-over")
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    assert box is not None
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end)]
    page.mouse.move(*places[0])
    page.mouse.down()
    page.mouse.move(*places[1], steps=4)
    page.mouse.up()


def state(page: Page) -> tuple[tuple[float, float] | None, dict[str, dict[str, float]]]:
    """The window of x and those of y, in the page's address."""
    query = parse_qs(urlsplit(page.url).query)
    low, high = query["zoom"][0].split(",") if "zoom" in query else ("", "")
    own = json.loads(query["own"][0]) if "own" in query else {}
    ranges = {name: each["range"] for name, each in own.items() if "range" in each}
    return (float(low), float(high)) if low else None, ranges


def test_a_drag_along_y_is_a_window_of_this_chart_alone(page: Page) -> None:
    drag(page, "error", (0.5, 0.25), (0.52, 0.75))
    notes = chart(page, "error").locator(".chart-notes")
    expect(notes).to_contain_text(re.compile(r"2\d above ↑ · 2\d below ↓"))
    expect(chart(page, "loss").locator(".chart-notes")).to_have_count(0)
    zoom, ranges = state(page)
    assert zoom is None
    assert list(ranges) == ["error"]
    assert 20 < ranges["error"]["low"] < 30
    assert 70 < ranges["error"]["high"] < 80


def test_a_drag_along_x_is_a_window_of_all_charts_and_of_no_y(page: Page) -> None:
    drag(page, "error", (0.25, 0.5), (0.75, 0.55))
    expect(chart(page, "loss").get_by_role("button", name="Reset the zoom")).to_be_visible()
    zoom, ranges = state(page)
    assert zoom is not None
    assert zoom == pytest.approx((25, 75), abs=2)
    assert ranges == {}


def test_a_rectangle_is_a_window_of_both_and_a_double_click_shows_all_again(page: Page) -> None:
    drag(page, "error", (0.25, 0.25), (0.75, 0.75))
    expect(chart(page, "error").get_by_role("button", name="Reset the zoom")).to_be_visible()
    zoom, ranges = state(page)
    assert zoom is not None
    assert list(ranges) == ["error"]
    chart(page, "error").locator(".u-over").dblclick()
    expect(chart(page, "error").get_by_role("button", name="Reset the zoom")).to_have_count(0)
    assert state(page) == (None, {})


def test_the_key_for_the_zoom_resets_the_windows_of_all_charts(page: Page) -> None:
    drag(page, "error", (0.5, 0.25), (0.5, 0.75))
    drag(page, "loss", (0.2, 0.2), (0.8, 0.8))
    expect(chart(page, "loss").get_by_role("button", name="Reset the zoom")).to_be_visible()
    assert set(state(page)[1]) == {"error", "loss"}
    page.keyboard.press("z")
    expect(page.get_by_role("button", name="Reset the zoom")).to_have_count(0)
    assert state(page) == (None, {})


def test_the_wheel_scrolls_the_page_over_a_chart_and_zooms_nothing(page: Page) -> None:
    page.set_viewport_size({"width": 1280, "height": 300})
    chart(page, "loss").locator(".u-over").hover()
    before = chart(page, "loss").bounding_box()
    page.mouse.wheel(0, 120)
    assert before is not None
    page.wait_for_function(
        f"() => document.querySelector('[data-chart=loss]').getBoundingClientRect().top < {before['y'] - 20}"
    )
    assert state(page) == (None, {})


def test_windows_and_outliers_are_in_the_address_and_in_a_saved_view(open_page: Open, page: Page) -> None:
    clip_of(page).click()
    expect(chart(page, "loss").locator(".chart-notes")).to_contain_text("1 above ↑")
    chart(page, "loss").get_by_role("button", name="More of loss").click()
    page.get_by_role("menuitemradio", name="Clip outliers").click()
    expect(chart(page, "loss").locator(".chart-notes")).to_have_count(0)
    drag(page, "error", (0.1, 0.3), (0.9, 0.7))
    expect(chart(page, "error").locator(".chart-notes")).to_contain_text("above ↑")
    seen = state(page)
    page.get_by_role("button", name="Views").click()
    page.get_by_role("textbox", name="Name of the view").fill("Middle")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("“Middle” is saved.")).to_be_visible()

    other = open_page("/charts?project=vision")
    expect(chart(other, "loss").get_by_role("img")).to_be_visible()
    assert state(other) == (None, {})
    other.get_by_role("button", name="Views").click()
    other.get_by_role("menuitem", name="Middle").click()
    expect(chart(other, "error").locator(".chart-notes")).to_contain_text("above ↑")
    expect(chart(other, "loss").locator(".chart-notes")).to_have_count(0)
    expect(clip_of(other)).to_have_attribute("aria-pressed", "true")
    assert state(other) == seen


def test_a_wrong_regular_expression_is_named_and_the_last_right_one_selects(page: Page) -> None:
    box = page.get_by_role("searchbox", name="Find charts by a regular expression")
    box.fill("^lo")
    expect(page.get_by_role("article")).to_have_count(1)
    box.press_sequentially("(ss")
    alert = page.get_by_role("alert")
    expect(alert).to_have_text("Not a regular expression: Unterminated group. Still shown: ^lo")
    expect(box).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_role("article")).to_have_count(1)
    assert parse_qs(urlsplit(page.url).query)["find"] == ["^lo"]
    box.press_sequentially(")?")
    expect(alert).to_have_count(0)
    expect(page.get_by_role("article")).to_have_count(1)
    # An address that somebody has written by hand.
    page.goto(page.url.split("?")[0] + "?project=vision&find=(")
    expect(alert).to_have_text("Not a regular expression: Unterminated group. All charts are shown.")
    expect(page.get_by_role("article")).to_have_count(2)
