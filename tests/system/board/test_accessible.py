"""Every page for everybody: in both themes, on a wide and a narrow window, without a violation of WCAG AA."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from board_browser import Person, row_of
from rich_runs import RUNS, log_rich_runs
from running_server import ServerProcess
from track import TrackClient

RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}
WIDTHS = {"wide": 1280, "narrow": 390}
VIEWS = ("", "runs", "charts", "run", "compare", "parallel", "media", "graph")


@pytest.fixture(scope="module")
def project(uri: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Runs that have something of everything."""
    with TrackClient(uri) as client:
        return log_rich_runs(client, tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def trial(uri: str, project: str) -> str:
    """The id of the run that failed."""
    with TrackClient(uri) as client:
        (found,) = client.protocol.fetch_trials({"project_id": project, "name": RUNS[-1]})
        assert found.id is not None
        return found.id.hex()


@pytest.fixture(params=["light", "dark"])
def theme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def shown(made: Person, view: str, project: str, trial: str) -> Page:
    """A view with its data."""
    page = made.open(f"/{view}?project={project}&trial={trial}" if view else "/")
    ready = {
        "": page.get_by_role("table"),
        "runs": row_of(page, RUNS[0]),
        "charts": page.get_by_role("img", name="of 4 curves").first,
        "run": page.get_by_role("article", name=RUNS[-1]),
        "compare": page.get_by_role("region", name="Runs side by side"),
        "parallel": page.get_by_role("img", name="4 runs on"),
        "media": page.locator("#view img").first,
        "graph": page.locator("#view")
        .get_by_role("heading")
        .or_(page.locator("#view canvas, #view svg"))
        .first,
    }
    expect(ready[view]).to_be_visible()
    expect(page.locator("#view .loading")).to_have_count(0)
    return page


def violations(page: Page) -> list[Any]:
    """What axe finds wrong: the rule, and where."""
    found = Axe().run(page, options=RULES).response["violations"]
    return [(each["id"], each["help"], [node["target"] for node in each["nodes"]][:4]) for each in found]


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
@pytest.mark.parametrize("view", VIEWS)
def test_a_page_violates_no_rule_and_is_no_wider_than_the_window(
    server: ServerProcess,
    project: str,
    trial: str,
    person: Callable[..., Person],
    view: str,
    width: int,
    theme: str,
) -> None:
    made = person(server.board, viewport={"width": width, "height": 844}, color_scheme=theme)
    page = shown(made, view, project, trial)

    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    assert violations(page) == []


def test_an_open_menu_a_dialog_and_the_keys_violate_no_rule(
    server: ServerProcess, project: str, trial: str, person: Callable[..., Person], theme: str
) -> None:
    page = shown(person(server.board, color_scheme=theme), "runs", project, trial)
    page.get_by_role("button", name="Columns").click()
    assert violations(page) == []
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    assert violations(page) == []
    page.keyboard.press("Escape")
    row_of(page, RUNS[0]).get_by_role("checkbox").check()
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert violations(page) == []


def test_an_empty_store_and_a_filter_without_a_match_violate_no_rule(
    server: ServerProcess, project: str, person: Callable[..., Person], theme: str
) -> None:
    page = person(server.board, color_scheme=theme).open(f"/runs?project={project}&filter=batch+>+500")
    expect(page.get_by_role("heading", name="No run matches the filter")).to_be_visible()
    assert violations(page) == []
