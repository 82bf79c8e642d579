"""Brushing on the page of parallel coordinates."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Locator, Page, expect

from board_browser import Person
from board_process import board_of
from large_stores import fill_with_trials

RUNS = 200
AXES = ("parameters.lr", "parameters.batch", "metrics.loss.min")


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a board with many runs."""
    path: Path = tmp_path_factory.mktemp("store") / "runs.db"
    fill_with_trials(path, RUNS, metrics=1)
    with board_of(f"sqlite:{path}") as board:
        yield board.url


@pytest.fixture
def page(board: str, person: Callable[..., Person]) -> Page:
    page = person(board).open(f"/parallel?par.axes={','.join(AXES)}")
    expect(picture(page)).to_be_visible()
    return page


def picture(page: Page) -> Locator:
    return page.get_by_role("img", name=f"{RUNS} runs on {len(AXES)} axes")


def brush(page: Page, axis: int, start: float, end: float) -> None:
    """Drag along an axis, between two shares of its height from above."""
    box = picture(page).bounding_box()
    head = page.get_by_role("list", name="Axes").get_by_role("listitem").nth(axis).bounding_box()
    assert box is not None
    assert head is not None
    x = head["x"] + head["width"] / 2
    page.mouse.move(x, box["y"] + start * box["height"])
    page.mouse.down()
    page.mouse.move(x, box["y"] + end * box["height"], steps=4)
    page.mouse.up()


def conditions(page: Page) -> Locator:
    return page.get_by_role("list", name="Conditions").get_by_role("listitem")


def count(page: Page) -> int:
    """How many runs pass; they are fewer than all."""
    text = page.get_by_role("status").filter(has_text=re.compile(rf"^\d+ of {RUNS} runs"))
    expect(text).to_be_visible()
    return int(text.inner_text().split()[0])


def brushes(page: Page) -> dict[str, dict[str, float]]:
    """The brushes in the page's address."""
    query = parse_qs(urlsplit(page.url).query)
    found: dict[str, dict[str, float]] = json.loads(query.get("par.brush", ["{}"])[0])
    return found


def test_brushes_on_two_axes_hold_together_and_the_table_follows(page: Page) -> None:
    brush(page, 2, 0.5, 0.9)
    one = count(page)
    brush(page, 0, 0.1, 0.6)
    expect(conditions(page)).to_have_count(2)
    both = count(page)
    assert 0 < both < one < RUNS
    assert set(brushes(page)) == {AXES[0], AXES[2]}

    page.get_by_role("button", name=f"Select {both}").click()
    page.get_by_role("button", name="Use as filter").click()
    expect(page.get_by_role("img", name=f"{both} runs on 3 axes")).to_be_visible()
    expect(conditions(page)).to_have_count(0)
    page.get_by_role("navigation").get_by_role("link", name="Runs").click()
    chosen = page.get_by_role("toolbar", name="Selected runs")
    expect(chosen).to_contain_text(f"{both} selected")
    chosen.get_by_role("button", name="None").click()
    expect(page.get_by_role("toolbar", name="Table")).to_contain_text(f"{both} runs match the filter")


def test_an_address_brings_the_same_brushes_to_another_browser(
    page: Page, board: str, person: Callable[..., Person]
) -> None:
    brush(page, 2, 0.5, 0.9)
    brush(page, 0, 0.1, 0.6)
    expect(conditions(page)).to_have_count(2)
    both, seen = count(page), conditions(page).all_inner_texts()
    other = person(board).open(page.url.removeprefix(board.rstrip("/")))
    expect(conditions(other)).to_have_text(seen, use_inner_text=True)
    assert count(other) == both
    assert brushes(other) == brushes(page)


def test_a_brush_is_drawn_anew_and_removed_by_itself_and_with_all(page: Page) -> None:
    brush(page, 2, 0.5, 0.9)
    first = brushes(page)[AXES[2]]
    brush(page, 2, 0.1, 0.3)
    expect(conditions(page)).to_have_count(1)
    assert brushes(page)[AXES[2]] != first
    brush(page, 0, 0.1, 0.6)
    expect(conditions(page)).to_have_count(2)

    brush(page, 0, 0.3, 0.3)  # a click
    expect(conditions(page)).to_have_count(1)
    assert set(brushes(page)) == {AXES[2]}
    brush(page, 0, 0.1, 0.6)
    page.get_by_role("button", name="Remove the condition on lr").click()
    expect(conditions(page)).to_have_count(1)

    brush(page, 0, 0.1, 0.6)
    page.get_by_role("button", name="Remove all").click()
    expect(conditions(page)).to_have_count(0)
    expect(page.get_by_role("status").filter(has_text=re.compile(rf"^{RUNS} runs"))).to_be_visible()
    assert brushes(page) == {}

    brush(page, 2, 0.5, 0.9)
    expect(conditions(page)).to_have_count(1)
    page.keyboard.press("Escape")
    expect(conditions(page)).to_have_count(0)
