"""Integers that a browser's own numbers are too short for, on the board's pages."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from playwright.sync_api import Page, expect

from track import TrackClient

pytestmark = pytest.mark.timeout(300)

Open = Callable[..., Page]


@pytest.fixture
def seeds(client: TrackClient) -> list[int]:
    """Long integers, in pairs that are one float; a run each has it as a parameter, twice, and as points."""
    random = Random(12)
    middle = [random.randrange(2**54, 2**62) * random.choice((1, -1)) for _ in range(4)]
    # The ends of the range are in no pair: their neighbours would be another float, or too long.
    seeds = [-(2**63), 2**63 - 1, *(each | 1 for each in middle), *(each & ~1 for each in middle)]
    client.set_project("long", force=True)
    for seed in seeds:
        client.new_trial(f"run {seed}", {"seed": seed, "model": {"salt": [seed]}}, force=True)
        client.log(step=0, big=seed)
        client.finish()
    client.protocol.flush()
    return seeds


def grouped(number: int) -> str:
    """As a page writes a number."""
    return f"{number:,}".replace("-", "−")


def test_the_table_shows_sorts_and_filters_them_to_the_last_digit(open_page: Open, seeds: list[int]) -> None:
    page = open_page("/runs?project=long&columns=parameters.seed,metrics.big.last&order=parameters.seed")
    rows = page.get_by_role("grid").get_by_role("row")
    expect(rows).to_have_count(len(seeds) + 1)
    for at, seed in enumerate(sorted(seeds), start=1):
        expect(rows.nth(at).get_by_text(grouped(seed), exact=True)).to_have_count(2)
    # The query of a filter goes through the browser, too.
    page.get_by_role("searchbox", name="Filter").first.fill(f"seed = {seeds[2]}")
    page.keyboard.press("Enter")
    expect(rows).to_have_count(2)
    expect(rows.nth(1)).to_contain_text(f"run {seeds[2]}")


def test_the_pages_of_a_run_and_of_a_comparison_show_each_digit(open_page: Open, seeds: list[int]) -> None:
    page = open_page(f'/runs?project=long&filter=name+%3D+"run {seeds[2]}"+or+name+%3D+"run {seeds[6]}"')
    rows = page.get_by_role("grid").get_by_role("row")
    expect(rows).to_have_count(3)
    for at in (1, 2):
        rows.nth(at).get_by_role("checkbox").check()
    page.get_by_role("link", name="Compare", exact=True).first.click()
    table = page.get_by_role("table").first
    expect(table.get_by_role("row", name="seed")).to_contain_text(str(seeds[2]))
    expect(table.get_by_role("row", name="seed")).to_contain_text(str(seeds[6]))
    best = table.get_by_role("row", name="big last").get_by_role("cell").filter(has_text=grouped(seeds[2]))
    expect(best).to_be_visible()
    page.goto(page.url.split("/compare")[0] + "/runs?project=long")
    page.get_by_role("link", name=f"run {seeds[0]}").first.click()
    facts = page.get_by_role("table", name="Parameters")
    expect(facts.get_by_role("row", name="seed")).to_contain_text(str(seeds[0]))
    expect(facts.get_by_role("row", name="model.salt")).to_contain_text(f"[{seeds[0]}]")
    expect(page.get_by_role("table", name="Summary")).to_contain_text(grouped(seeds[0]))


def test_all_points_of_a_chart_are_saved_to_the_last_digit(
    open_page: Open, seeds: list[int], tmp_path: Path
) -> None:
    page = open_page("/charts?project=long", accept_downloads=True)
    chart = page.get_by_role("article", name="Chart big", exact=True)
    chart.get_by_role("button", name="More of big").click()
    with page.expect_download() as saved:
        page.get_by_role("menuitem", name="Save all points as CSV").click()
    saved.value.save_as(tmp_path / "all.csv")
    lines = list(csv.DictReader((tmp_path / "all.csv").read_text().splitlines()))
    assert sorted(int(line["value"]) for line in lines) == sorted(seeds)
