"""The address of a page is its state: somebody else sees by it what the sender saw."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from board_browser import Person, plot_of, row_of
from rich_runs import RUNS, log_rich_runs
from running_server import ServerProcess
from track import TrackClient


@pytest.fixture(scope="module")
def project(uri: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    with TrackClient(uri) as client:
        return log_rich_runs(client, tmp_path_factory.mktemp("files"))


def address_of(page: Page) -> str:
    """What is behind the host in a page's address."""
    parts = urlsplit(page.url)
    return str(parts._replace(scheme="", netloc="").geturl())


def test_columns_order_filter_and_selection_are_the_same_for_another_person(
    server: ServerProcess, project: str, person: Callable[..., Person]
) -> None:
    page = person(server.board).open(f"/runs?project={project}")
    expect(row_of(page, RUNS[3])).to_be_visible()
    box = page.get_by_role("searchbox", name="Filter")
    box.fill("lr < 0.05")
    box.press("Enter")
    expect(row_of(page, RUNS[3])).to_have_count(0)
    page.get_by_role("button", name="Column optimizer").click()
    page.get_by_role("menuitem", name="Remove the column").click()
    expect(page.get_by_role("columnheader", name="optimizer")).to_have_count(0)
    page.get_by_role("button", name="Column lr").click()
    page.get_by_role("menuitem", name="Sort upwards").click()
    row_of(page, RUNS[1]).get_by_role("checkbox").check()
    expect(page.get_by_role("toolbar", name="Selected runs")).to_contain_text("1 selected")

    other = person(server.board).open(address_of(page))

    expect(row_of(other, RUNS[2])).to_have_attribute("aria-rowindex", "2")
    expect(row_of(other, RUNS[1])).to_have_attribute("aria-rowindex", "3")
    expect(row_of(other, RUNS[1]).get_by_role("checkbox")).to_be_checked()
    expect(row_of(other, RUNS[3])).to_have_count(0)
    expect(other.get_by_role("searchbox", name="Filter")).to_have_value("lr < 0.05")
    heads = other.get_by_role("columnheader").all_inner_texts()
    assert heads == page.get_by_role("columnheader").all_inner_texts()


def test_zoom_smoothing_and_scales_of_charts_are_the_same_for_another_person(
    server: ServerProcess, project: str, person: Callable[..., Person]
) -> None:
    page = person(server.board).open(f"/charts?project={project}")
    plot = plot_of(page, "train/accuracy")
    expect(plot).to_be_visible()
    page.keyboard.press("s")
    expect(page).to_have_url(re.compile("smooth=0.6"))
    page.get_by_role("button", name="log x").click()
    page.get_by_role("button", name="log x").click()
    page.get_by_role("button", name="log y").click()
    box = plot.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 40, steps=3)
    page.mouse.up()
    expect(page).to_have_url(re.compile("zoom="))
    shown = page.get_by_role("button", name=re.compile(r"^[\d.]+ – [\d.]+$")).inner_text()

    other = person(server.board).open(address_of(page))

    expect(other.get_by_role("button", name=shown.strip())).to_be_visible()
    expect(other.get_by_role("slider", name="Smoothing")).to_have_attribute("aria-valuetext", "0.6")
    expect(other.get_by_role("button", name="log y")).to_have_attribute("aria-pressed", "true")
    expect(other.get_by_role("button", name="log x")).to_have_attribute("aria-pressed", "false")


def test_back_leaves_a_view_and_takes_a_filter_away(
    server: ServerProcess, project: str, person: Callable[..., Person]
) -> None:
    page = person(server.board).open(f"/runs?project={project}")
    expect(row_of(page, RUNS[3])).to_be_visible()
    box = page.get_by_role("searchbox", name="Filter")
    box.fill("batch = 64")
    box.press("Enter")
    expect(row_of(page, RUNS[0])).to_have_count(0)
    page.get_by_role("navigation").get_by_role("link", name="Charts").click()
    expect(plot_of(page, "train/accuracy")).to_be_visible()

    page.go_back()
    expect(row_of(page, RUNS[1])).to_be_visible()
    expect(row_of(page, RUNS[0])).to_have_count(0)
    page.go_back()
    expect(row_of(page, RUNS[0])).to_be_visible()
    expect(page.get_by_role("searchbox", name="Filter")).to_have_value("")


def test_a_copied_link_holds_all_that_is_selected_however_much_it_is(
    server: ServerProcess, project: str, person: Callable[..., Person]
) -> None:
    many = ",".join(f"{number:032x}" for number in range(3_000))
    page = person(server.board, permissions=["clipboard-read", "clipboard-write"]).open(
        f"/runs#?project={project}&sel={many}"
    )
    expect(page.get_by_role("toolbar", name="Selected runs")).to_contain_text("3,000 selected")
    page.get_by_role("button", name="Views").click()
    page.get_by_role("menuitem", name="Copy a link to what is seen").click()
    expect(page.get_by_text("The link is in the clipboard.")).to_be_visible()
    link = page.evaluate("navigator.clipboard.readText()")
    assert "?" not in link.split("#")[0]

    other = person(server.board).open(link.removeprefix(server.board.rstrip("/")))
    expect(other.get_by_role("toolbar", name="Selected runs")).to_contain_text("3,000 selected")
