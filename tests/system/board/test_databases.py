"""The databases of a folder, of which each page shows one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from board_browser import Person
from board_process import board_of
from older_databases import OlderDatabase
from track.tracker import Tracker


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the board of a folder with two experiments of ours and one of the older system."""
    folder: Path = tmp_path_factory.mktemp("experiments")
    OlderDatabase(folder / "old.db").add(
        "older", records=[("loss", step, 1 / step, 1.5) for step in range(1, 9)]
    )
    with Tracker(folder) as tracker:
        for name in ("mnist & more", "cifar"):
            tracker.set_experiment(name)
            with tracker.run(f"a run of {name}"):
                tracker.record("loss", 1.0, 0)
    with board_of("-e", str(folder), named="simpleboard") as board:
        yield board.url


def test_the_page_offers_all_databases_and_its_address_names_the_one_it_shows(
    board: str, person: Callable[..., Person]
) -> None:
    page = person(board).open()
    chooser = page.get_by_role("button", name="Database: cifar.db")
    expect(chooser).to_be_visible()
    assert page.url == f"{board}?db=cifar.db"
    chooser.click()
    expect(page.get_by_role("menuitemradio")).to_have_text(["cifar.db", "mnist & more.db", "old.db"])
    page.get_by_role("menuitemradio", name="mnist & more.db").click()
    page.get_by_role("link", name="mnist & more", exact=True).first.click()
    expect(page.get_by_role("link", name="a run of mnist & more").first).to_be_visible()
    page.get_by_role("navigation").get_by_role("link", name="Charts").click()
    expect(page.get_by_role("article", name="Chart loss").get_by_role("img")).to_be_visible()

    other = person(board).open(page.url.removeprefix(board.rstrip("/")))
    expect(other.get_by_role("button", name="Database: mnist & more.db")).to_be_visible()
    expect(other.get_by_role("article", name="Chart loss").get_by_role("img")).to_be_visible()
    # Another project is in the same database.
    other.get_by_role("button", name="Project: mnist & more").click()
    other.get_by_role("menuitemradio", name="All projects").click()
    assert "db=mnist+%26+more.db" in other.url


def test_tabs_of_two_databases_hear_of_their_own_changes(board: str, person: Callable[..., Person]) -> None:
    someone = person(board)
    pages = [someone.open(f"/runs?db={name}") for name in ("cifar.db", "old.db")]
    for page, name in zip(pages, ("a run of cifar", "older"), strict=True):
        expect(page.get_by_role("grid", name="Runs").get_by_role("link", name=name)).to_be_visible()
        expect(page.get_by_role("button", name="Live")).to_be_visible()


def test_what_an_older_system_wrote_is_shown_without_controls_that_write(
    board: str, person: Callable[..., Person]
) -> None:
    page = person(board).open("/runs?db=old.db")
    row = page.get_by_role("grid", name="Runs").get_by_role("row").filter(has_text="older")
    expect(row).to_be_visible()
    row.get_by_role("checkbox").check()
    bar = page.get_by_role("toolbar", name="Selected runs")
    expect(bar.get_by_role("button", name="Draw only these")).to_be_visible()
    expect(bar.get_by_role("button", name="Delete")).to_have_count(0)


def test_a_database_that_is_gone_is_named_and_the_others_are_offered(
    board: str, person: Callable[..., Person]
) -> None:
    page = person(board).open("/runs?db=gone.db")
    expect(page.get_by_role("alert")).to_contain_text("there is no database 'gone.db'")
    page.get_by_role("navigation", name="Databases").get_by_text("cifar.db").click()
    expect(page.get_by_role("button", name="Database: cifar.db")).to_be_visible()
