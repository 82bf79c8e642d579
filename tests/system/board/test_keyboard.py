"""All of the board's daily work without a pointer."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from board_browser import Person, row_of
from rich_runs import RUNS, log_rich_runs
from running_server import ServerProcess
from track import TrackClient


def type_keys(page: Page, *keys: str) -> None:
    """Press keys one after the other."""
    for key in keys:
        page.keyboard.press(key)


def tab_to(page: Page, name: str) -> None:
    """Press Tab until the element of that name has the focus."""
    for _ in range(200):
        page.keyboard.press("Tab")
        focused = page.evaluate(
            "() => { const { activeElement: at } = document;"
            " return at.ariaLabel ?? at.labels?.[0]?.textContent ?? at.textContent; }"
        )
        if str(focused).strip() == name:
            return
    raise AssertionError(f"the keyboard does not reach {name!r}")


def test_filter_select_compare_log_and_rename_need_no_pointer(
    server: ServerProcess, client: TrackClient, tmp_path: Path, person: Callable[..., Person]
) -> None:
    project = log_rich_runs(client, tmp_path, "keyboard only")
    page = person(server.board).open(f"/runs?project={project}")
    expect(row_of(page, RUNS[0])).to_be_visible()

    type_keys(page, "/")
    expect(page.get_by_role("searchbox", name="Filter")).to_be_focused()
    page.keyboard.type("batch = 32")
    type_keys(page, "Enter")
    expect(page.get_by_role("toolbar", name="Table")).to_contain_text("2 runs match the filter")
    type_keys(page, "Escape", "j", "x", "j", "x")
    expect(page.get_by_role("toolbar", name="Selected runs")).to_contain_text("2 selected")
    type_keys(page, "c")
    side_by_side = page.get_by_role("region", name="Runs side by side")
    expect(side_by_side.get_by_role("columnheader").get_by_role("link", name=RUNS[0])).to_be_visible()
    expect(side_by_side.get_by_role("columnheader").get_by_role("link", name=RUNS[2])).to_be_visible()

    type_keys(page, "g", "c")
    expect(page.get_by_role("article", name="Chart train/accuracy")).to_be_visible()
    type_keys(page, "l")
    # Of all charts, or of the one that happens to lie under the pointer.
    expect(page.get_by_role("button", name="log", pressed=True).first).to_be_visible()

    type_keys(page, "g", "r")
    expect(page.get_by_role("grid", name="Runs")).to_be_visible()
    type_keys(page, "Escape")
    expect(page.get_by_role("toolbar", name="Table")).to_be_visible()
    type_keys(page, "j", "x")
    expect(page.get_by_role("toolbar", name="Selected runs")).to_contain_text("1 selected")
    tab_to(page, "Rename")
    type_keys(page, "Enter")
    expect(page.get_by_label("Name", exact=True)).to_be_focused()
    type_keys(page, "Control+a")
    page.keyboard.type("the better one")
    type_keys(page, "Tab", "Control+a")
    page.keyboard.type("With **warm-up**.")
    type_keys(page, "Tab", "Enter")
    expect(row_of(page, "the better one")).to_be_visible()
    type_keys(page, "o")
    notes = page.get_by_role("region", name="Notes")
    expect(notes).to_have_text(re.compile("With warm-up"))
    expect(notes.get_by_role("strong")).to_have_text("warm-up")


def test_the_list_of_keys_names_what_works_on_the_page(
    server: ServerProcess, person: Callable[..., Person]
) -> None:
    page = person(server.board).open("/runs")
    expect(
        page.get_by_role("heading", name="No runs yet").or_(page.get_by_role("grid")).first
    ).to_be_visible()

    type_keys(page, "?")

    keys = page.get_by_role("dialog", name="Keys")
    for label in ("Go to the filter", "Select the run", "Compare the selected runs", "Go to Charts"):
        expect(keys).to_contain_text(label)
    type_keys(page, "Escape")
    expect(keys).to_have_count(0)
