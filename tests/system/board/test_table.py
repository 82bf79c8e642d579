"""The table of runs in a browser, with ten thousand of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import expect

from board_browser import Person, row_of
from board_process import board_of
from large_stores import fill_with_trials
from track import TrackClient

TRIALS = 10_000

LONGEST_ADDRESS = 8_000
"""Proxies and chats refuse or cut longer ones."""

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("many") / "runs.db"
    fill_with_trials(path, TRIALS, metrics=2)
    return f"sqlite:{path}"


@pytest.fixture(scope="module")
def url(store: str) -> Iterator[str]:
    with board_of(store) as board:
        yield board.url


def best_of(store: str) -> list[str]:
    """Names of the trials with the smallest losses, the smallest first."""
    with TrackClient(store) as client:
        table = client.protocol.fetch_table({}, ["name"], ["metrics.loss.min"], limit=5)
        return [str(name) for name in table["columns"][0]]


def test_the_last_of_ten_thousand_rows_is_there_when_it_is_scrolled_to(
    url: str, person: Callable[..., Person]
) -> None:
    watched = person(url)
    page = watched.open("/runs?order=created&columns=created,parameters.lr,metrics.loss.min")
    table = page.get_by_role("grid", name="Runs")
    expect(row_of(page, "trial 0")).to_be_visible()
    expect(page.get_by_role("status").filter(has_text="10,000 runs")).to_be_visible()

    table.evaluate("(table) => { table.scrollTop = table.scrollHeight; }")

    last = row_of(page, f"trial {TRIALS - 1}")
    expect(last).to_be_visible()
    expect(last).to_have_attribute("aria-rowindex", str(TRIALS + 1))
    assert table.get_by_role("row").count() < 200  # those in sight, not all
    assert watched.count("fetch_table") < 20  # pages in sight, not those that were scrolled past


def test_sorting_by_a_statistic_puts_the_best_of_all_first(
    store: str, url: str, person: Callable[..., Person]
) -> None:
    page = person(url).open("/runs?columns=status,metrics.loss.min")
    header = page.get_by_role("columnheader", name="loss")

    header.get_by_role("button", name="loss min").click()
    expect(header).to_have_attribute("aria-sort", "ascending")

    for place, name in enumerate(best_of(store), start=2):
        expect(row_of(page, name)).to_have_attribute("aria-rowindex", str(place))
    header.get_by_role("button", name="loss min").click()
    expect(header).to_have_attribute("aria-sort", "descending")
    expect(row_of(page, best_of(store)[0])).to_have_count(0)


def test_the_address_of_ten_thousand_selected_runs_is_short_and_brings_them_back(
    url: str, person: Callable[..., Person]
) -> None:
    page = person(url).open("/runs?columns=status")
    expect(row_of(page, f"trial {TRIALS - 1}")).to_be_visible()
    page.get_by_role("grid", name="Runs").get_by_role("checkbox", name="Select all").click()
    tools = page.get_by_role("toolbar", name="Selected runs")
    expect(tools).to_contain_text("10,000 selected")
    assert len(page.url) < LONGEST_ADDRESS
    # What the browser stores for other pages leaves room for a few selections.
    page.evaluate("localStorage.setItem('another', 'x'.repeat(4_000_000))")
    for number in range(1, 7):
        row_of(page, f"trial {TRIALS - number}").get_by_role("checkbox").uncheck()
    expect(tools).to_contain_text("9,994 selected")
    page.reload()
    expect(tools).to_contain_text("9,994 selected")


def test_each_metric_column_has_a_statistic_of_its_own(url: str, person: Callable[..., Person]) -> None:
    page = person(url).open("/runs?columns=metrics.loss.min,metrics.m1.max")

    page.get_by_role("button", name="Column loss").click()
    page.get_by_role("menuitemradio", name="mean").click()

    expect(page.get_by_role("columnheader", name="loss mean")).to_be_visible()
    expect(page.get_by_role("columnheader", name="m1 max")).to_be_visible()


def test_a_filter_that_matches_nothing_says_which_part_leaves_how_many(
    url: str, person: Callable[..., Person]
) -> None:
    page = person(url).open("/runs")

    page.get_by_role("searchbox", name="Filter").fill("status = running and lr > 5")

    expect(page.get_by_role("heading", name="No run matches the filter")).to_be_visible()
    parts = page.get_by_role("table", name="Each part alone would leave")
    expect(parts.get_by_role("row", name="status = running")).to_contain_text("5,000")
    expect(parts.get_by_role("row", name="lr > 5")).to_contain_text("0")
    parts.get_by_role("row", name="lr > 5").get_by_role("button", name="Leave it out").click()
    expect(page.get_by_role("status").filter(has_text="5,000 runs match the filter")).to_be_visible()


def test_a_fault_in_a_filter_is_shown_at_its_place_and_the_rows_stay(
    url: str, person: Callable[..., Person]
) -> None:
    watched = person(url)
    page = watched.open("/runs")
    expect(row_of(page, f"trial {TRIALS - 1}")).to_be_visible()
    box = page.get_by_role("searchbox", name="Filter")

    box.fill("status == = running")
    box.press("Enter")

    expect(box).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#filter-fault")).to_be_visible()
    expect(row_of(page, f"trial {TRIALS - 1}")).to_be_visible()
    watched.forgive("400 (Bad Request)")


def test_grouped_runs_show_their_number_and_the_mean_of_each_group(
    store: str, url: str, person: Callable[..., Person]
) -> None:
    page = person(url).open("/runs?by=parameters.opt.name&columns=metrics.loss.min")

    with TrackClient(store) as client:
        groups = client.protocol.fetch_groups_of({}, ["parameters.opt.name"], ["metrics.loss.min"], limit=10)
    assert len(groups) == 3
    for group in groups:
        row = page.get_by_role("row").filter(has_text=str(group["by"][0]))
        expect(row).to_contain_text(f"{group['count']:,}")
