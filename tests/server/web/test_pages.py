"""The board's first page, its frame and its table of runs, in a real browser."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, Route, expect

from board_visits import Visit
from running_server import Served
from track import TrackClient
from track_protocol.model.entities import Project, Status, Trial
from track_protocol.wire.roles import Role
from track_server.accounts.users import UserStore

pytestmark = pytest.mark.timeout(300)

Open = Callable[..., Page]


def log_run(
    client: TrackClient,
    name: str,
    loss: float = 0.5,
    status: Status | None = Status.Completed,
    **parameters: Any,
) -> None:
    """One run of the project `vision` with a point of a loss; it goes on if `status` is None."""
    client.set_project("vision", force=True)
    client.new_trial(name, parameters, force=True)
    client.start()
    client.log(step=1, loss=loss)
    if status is not None:
        client.set_status(status)
    client.protocol.flush()


@pytest.fixture
def runs(client: TrackClient) -> TrackClient:
    """A client that has logged thirty runs: `run 00` to `run 29`, of which the first has the highest loss."""
    for number in range(30):
        log_run(
            client, f"run {number:02}", 3.0 - number / 10, lr=0.1 / (number + 1), net={"depth": number % 3}
        )
    return client


def rows(page: Page) -> Locator:
    """Rows of the table below its head."""
    return page.get_by_role("grid", name="Runs").locator("[role=row][aria-rowindex]:not([aria-rowindex='1'])")


def names(page: Page) -> list[str]:
    """Names of the runs in sight, from above."""
    found = (
        page.get_by_role("grid")
        .get_by_role("row")
        .evaluate_all(
            "rows => rows.slice(1).map(row => [row.ariaRowIndex, row.querySelector('a')?.textContent])"
            ".sort((a, b) => a[0] - b[0]).map(row => row[1])"
        )
    )
    return [str(name) for name in found]


def row(page: Page, name: str) -> Locator:
    """The row of a run."""
    return rows(page).filter(has=page.get_by_role("link", name=name, exact=True))


def run_id(page: Page) -> str:
    """The id of the run in a page's address."""
    return str(page.url.partition("trial=")[2])


def test_an_empty_board_shows_how_to_log_a_first_run_which_then_appears_by_itself(
    page: Page, client: TrackClient
) -> None:
    expect(page.get_by_role("heading", name="No runs yet")).to_be_visible()
    expect(page.get_by_text("track.init(")).to_be_visible()
    log_run(client, "first", status=None)
    expect(page.get_by_role("region", name="Running now")).to_contain_text("first")
    expect(page.get_by_role("row", name="vision")).to_contain_text("1 running")
    page.get_by_role("link", name="vision", exact=True).click()
    expect(row(page, "first")).to_contain_text("running")


def test_a_value_that_changes_is_seen_without_a_reload(open_page: Open, client: TrackClient) -> None:
    log_run(client, "live", 0.25, status=None)
    page = open_page("/runs?project=vision")
    expect(row(page, "live")).to_contain_text("0.25")
    client.log(step=2, loss=0.125)
    client.protocol.flush()
    expect(row(page, "live")).to_contain_text("0.125")
    client.set_status(Status.Interrupted)
    client.protocol.flush()
    expect(row(page, "live")).to_contain_text("interrupted")


def test_the_columns_are_what_differs_and_the_metrics(open_page: Open, runs: TrackClient) -> None:
    page = open_page("/runs?project=vision")
    for name in ("Name", "Status", "loss", "lr", "net.depth"):
        expect(page.get_by_role("columnheader", name=name, exact=False).first).to_be_visible()
    expect(page.get_by_role("toolbar", name="Table").get_by_role("status")).to_have_text("30 runs")


def test_a_click_on_a_column_sorts_all_runs_and_stays_in_the_address(
    open_page: Open, runs: TrackClient
) -> None:
    page = open_page("/runs?project=vision")
    sort = page.get_by_role("columnheader", name="loss").get_by_role("button").first
    sort.click()
    expect(rows(page).first).to_contain_text("run 29")
    sort.click()
    expect(page.get_by_role("columnheader", name="loss")).to_have_attribute("aria-sort", "descending")
    expect(rows(page).first).to_contain_text("run 00")
    assert "order=-metrics.loss.last" in page.url
    page.go_back()
    expect(page).not_to_have_url(re.compile("order="))


def test_another_statistic_of_a_metric_is_chosen_in_its_column(open_page: Open, client: TrackClient) -> None:
    log_run(client, "one", 0.5, status=None)
    client.log(step=2, loss=0.75)
    client.protocol.flush()
    page = open_page("/runs?project=vision")
    expect(row(page, "one")).to_contain_text("0.75")
    page.get_by_role("button", name="Column loss").click()
    page.get_by_role("menuitemradio", name="min").click()
    expect(row(page, "one")).to_contain_text("0.5")
    assert "metrics.loss.min" in page.url


def test_the_address_shows_another_person_the_same(open_page: Open, runs: TrackClient) -> None:
    page = open_page("/runs?project=vision&filter=lr+<+0.05&order=parameters.lr&columns=status,parameters.lr")
    expect(rows(page).first).to_contain_text("run 29")
    row(page, "run 27").get_by_role("checkbox").check()
    expect(page.get_by_text("1 selected")).to_be_visible()
    other = open_page(page.url.removeprefix(f"{urlsplit(page.url).scheme}://{urlsplit(page.url).netloc}"))
    expect(rows(other).first).to_contain_text("run 29")
    expect(row(other, "run 27").get_by_role("checkbox")).to_be_checked()
    expect(other.get_by_role("searchbox", name="Filter")).to_have_value("lr < 0.05")
    expect(other.get_by_role("columnheader")).to_have_count(3)
    assert names(other) == names(page)


def test_a_filter_is_completed_by_the_keyboard(open_page: Open, runs: TrackClient) -> None:
    page = open_page("/runs?project=vision")
    expect(rows(page).first).to_be_visible()
    page.keyboard.press("/")
    page.keyboard.type("dep")
    expect(page.get_by_role("option", name="parameters.net.depth")).to_be_visible()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.get_by_role("searchbox", name="Filter")).to_have_value("parameters.net.depth ")
    page.keyboard.type("= 2")
    page.keyboard.press("Enter")
    expect(page.get_by_role("toolbar", name="Table")).to_contain_text("10 runs match the filter")


def test_a_fault_in_a_filter_is_shown_and_the_runs_stay(open_page: Open, runs: TrackClient) -> None:
    page = open_page("/runs?project=vision")
    expect(rows(page).first).to_be_visible()
    box = page.get_by_role("searchbox", name="Filter")
    box.fill("lr < < 3")
    box.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("Expected a value")
    expect(box).to_have_attribute("aria-invalid", "true")
    expect(rows(page).first).to_be_visible()
    box.fill("lr < 3")
    expect(page.get_by_role("alert")).to_have_count(0)


def test_a_filter_that_leaves_nothing_tells_what_each_part_leaves(open_page: Open, runs: TrackClient) -> None:
    page = open_page("/runs?project=vision&filter=lr+<+0.05+and+status+=+suspended")
    expect(page.get_by_role("heading", name="No run matches the filter")).to_be_visible()
    expect(page.get_by_role("row", name="lr < 0.05")).to_contain_text("28")
    page.get_by_role("row", name="status = suspended").get_by_role("button", name="Leave it out").click()
    expect(page.get_by_role("toolbar", name="Table")).to_contain_text("28 runs match the filter")


def test_what_arrives_moves_neither_scroll_nor_selection_nor_text(open_page: Open, runs: TrackClient) -> None:
    page = open_page("/runs?project=vision", viewport={"width": 1280, "height": 420})
    row(page, "run 28").get_by_role("checkbox").check()
    table = page.get_by_role("grid")
    table.evaluate("table => { table.scrollTop = 300 }")
    expect(row(page, "run 15")).to_be_visible()
    box = page.get_by_role("searchbox", name="Filter")
    box.focus()
    page.keyboard.type("lr < 1 and ")
    seen = row(page, "run 15").bounding_box()
    log_run(runs, "another", 0.01, lr=0.3)
    expect(page.get_by_text("2 runs match").or_(page.get_by_text("31 runs"))).not_to_have_count(0)
    expect(page.get_by_role("region", name="Runs")).to_contain_text("another")
    assert row(page, "run 15").bounding_box() == seen
    expect(box).to_be_focused()
    expect(box).to_have_value("lr < 1 and ")
    table.evaluate("table => { table.scrollTop = 0 }")
    expect(row(page, "run 28").get_by_role("checkbox")).to_be_checked()


def test_numbers_that_are_not_finite_are_written(open_page: Open, client: TrackClient) -> None:
    log_run(client, "odd", math.nan)
    log_run(client, "endless", math.inf)
    page = open_page("/runs?project=vision")
    expect(row(page, "odd")).to_contain_text("NaN")
    expect(row(page, "endless")).to_contain_text("∞")


def test_names_and_values_are_texts_whatever_they_hold(open_page: Open, client: TrackClient) -> None:
    trap = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    for number in (1, 2):
        log_run(client, f"{trap} {number}", note=f"{trap} {number}")
        client.add_tags({trap: number})
    client.protocol.flush()
    page = open_page("/runs?project=vision")
    expect(row(page, f"{trap} 1")).to_be_visible()
    expect(page.get_by_role("columnheader", name=trap)).to_be_visible()
    expect(page.locator("img, #app script")).to_have_count(0)


def test_runs_are_grouped_by_a_value_with_count_best_and_mean(open_page: Open, runs: TrackClient) -> None:
    page = open_page("/runs?project=vision&by=parameters.net.depth")
    first = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="0", exact=True))
    expect(first).to_contain_text("10")
    expect(first).to_contain_text("0.3")
    expect(first).to_contain_text(re.compile(r"1\.65 ± 0\.\d+"))
    first.get_by_role("button", name="0").click()
    expect(page.get_by_role("toolbar", name="Table")).to_contain_text("10 runs match the filter")


def test_a_run_is_renamed_tagged_and_hidden_from_the_table(open_page: Open, runs: TrackClient) -> None:
    page = open_page("/runs?project=vision")
    row(page, "run 03").get_by_role("checkbox").check()
    page.get_by_role("button", name="Rename", exact=True).click()
    page.get_by_label("Name", exact=True).fill("the best one")
    page.get_by_role("button", name="Save").click()
    expect(row(page, "the best one")).to_be_visible()
    page.get_by_role("toolbar").get_by_role("button", name="Tag").click()
    page.get_by_label("Tag", exact=True).fill("good")
    page.keyboard.press("Enter")
    expect(page.get_by_text("1 run tagged good.")).to_be_visible()
    page.get_by_role("button", name="Hide").click()
    expect(row(page, "the best one")).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    expect(row(page, "the best one")).to_be_visible()


def test_a_hidden_run_is_seen_only_where_hidden_ones_are_asked_for(
    served: Served, open_page: Open, client: TrackClient
) -> None:
    log_run(client, "shown", status=None)
    with TrackClient(served.join("another")) as other:
        log_run(other, "out of sight", status=None)
        other.log_metadata(hidden=True)
        other.protocol.flush()
        page = open_page("/")
        expect(page.get_by_role("region", name="Running now")).to_contain_text("shown")
        expect(page.get_by_text("out of sight")).to_have_count(0)
        expect(page.get_by_role("row", name="vision")).to_contain_text("1 running")
    for view in ("runs", "charts", "compare"):
        page = open_page(f"/{view}?project=vision")
        expect(page.locator("#view").get_by_text("shown").or_(page.get_by_role("img")).first).to_be_visible()
        expect(page.get_by_role("region", name="Runs", exact=True)).to_contain_text("1 run")
        expect(page.get_by_text("out of sight")).to_have_count(0)
    page = open_page("/runs?project=vision&hidden=1")
    expect(row(page, "out of sight")).to_be_visible()


def test_deleting_asks_and_says_that_a_process_still_writes(open_page: Open, runs: TrackClient) -> None:
    log_run(runs, "still going", status=None)
    page = open_page("/runs?project=vision")
    row(page, "still going").get_by_role("checkbox").check()
    page.get_by_role("button", name="Delete").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("still written by a process")
    dialog.get_by_role("button", name="Cancel").click()
    expect(row(page, "still going")).to_be_visible()
    page.get_by_role("button", name="Delete").click()
    dialog.get_by_role("button", name="Delete").click()
    expect(row(page, "still going")).to_have_count(0)


def test_a_reader_sees_no_control_that_writes(
    served: Served, url: str, open_page: Open, runs: TrackClient
) -> None:
    token = UserStore(served.home).add("rita", Role.READER)
    visit = Visit(url)
    answer = visit.log_in(name="rita", token=token)
    assert answer.status == 200
    # Not from a page of the board: one whose session is replaced logs in again as its own user.
    page = open_page("/favicon.svg")
    page.evaluate(
        "async given => { const r = await fetch('api/v1/login', {method: 'POST', body: JSON.stringify(given),"
        " headers: {'Content-Type': 'application/json', 'X-Track-Key': localStorage.getItem('track.key')}});"
        " localStorage.setItem('track.key', (await r.json()).key) }",
        {"name": "rita", "token": token},
    )
    page.goto(f"{url}runs?project=vision")
    row(page, "run 03").get_by_role("checkbox").check()
    expect(page.get_by_text("1 selected")).to_be_visible()
    for name in ("Delete", "Hide", "Tag", "Rename"):
        expect(page.get_by_role("toolbar").get_by_role("button", name=name)).to_have_count(0)


def test_a_view_is_saved_for_everybody_and_opened_by_its_link(open_page: Open, runs: TrackClient) -> None:
    page = open_page("/runs?project=vision&filter=lr+<+0.05&order=parameters.lr")
    page.get_by_role("button", name="Views").click()
    page.get_by_label("Name of the view").fill("small")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Copy a link to small")).to_be_visible()
    other = open_page("/runs?project=vision")
    other.get_by_role("button", name="Views").click()
    other.get_by_role("menuitem", name="small").click()
    expect(other.get_by_role("searchbox", name="Filter")).to_have_value("lr < 0.05")
    expect(rows(other).first).to_contain_text("run 29")


def test_the_link_to_a_view_opens_it_however_its_project_is_called(
    open_page: Open, client: TrackClient
) -> None:
    client.set_project("a & b #1", force=True)
    client.new_trial("one", {"lr": 0.1}, force=True)
    client.protocol.flush()
    page = open_page("/", permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("link", name="a & b #1").click()
    box = page.get_by_role("searchbox", name="Filter")
    box.fill("lr < 0.5")
    box.press("Enter")
    expect(page).to_have_url(re.compile("filter="))
    page.get_by_role("button", name="Views").click()
    page.get_by_label("Name of the view").fill("small")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Copy a link to small").click()
    expect(page.get_by_text("The link is in the clipboard.")).to_be_visible()
    link = str(page.evaluate("navigator.clipboard.readText()"))
    other = open_page(link.removeprefix(page.evaluate("location.origin")))
    expect(other.get_by_role("searchbox", name="Filter")).to_have_value("lr < 0.5")
    expect(row(other, "one")).to_be_visible()


def test_the_table_works_by_keyboard_alone(open_page: Open, runs: TrackClient) -> None:
    page = open_page("/runs?project=vision")
    expect(rows(page).first).to_be_visible()
    page.keyboard.press("j")
    page.keyboard.press("x")
    page.keyboard.press("j")
    page.keyboard.press("x")
    expect(page.get_by_text("2 selected")).to_be_visible()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_contain_text("Select the run")
    page.keyboard.press("Escape")
    page.keyboard.press("c")
    expect(page.get_by_role("link", name="Compare", exact=True).first).to_have_attribute(
        "aria-current", "page"
    )


def test_the_last_row_of_many_is_the_right_one(open_page: Open, client: TrackClient) -> None:
    client.set_project("vision", force=True)
    for number in range(450):
        client.new_trial(f"run {number:03}", {"number": number}, force=True)
    client.protocol.flush()
    page = open_page("/runs?project=vision&order=parameters.number")
    expect(rows(page).first).to_contain_text("run 000")
    page.get_by_role("grid").evaluate("table => { table.scrollTop = table.scrollHeight }")
    expect(page.locator("[aria-rowindex='451']")).to_contain_text("run 449")
    assert rows(page).count() < 80, "rows out of sight do not exist"


def test_without_the_server_the_data_stays_and_comes_back_to_life(open_page: Open, runs: TrackClient) -> None:
    page = open_page("/runs?project=vision")
    expect(rows(page).first).to_be_visible()
    page.route("**/api/**", lambda route: route.abort())
    page.reload()
    expect(page.get_by_role("heading", name="The server cannot be reached")).to_be_visible()
    page.unroute("**/api/**")
    page.get_by_role("button", name="Try again").click()
    expect(rows(page).first).to_be_visible()


def test_a_session_that_ended_begins_anew_on_ones_own_machine(open_page: Open, runs: TrackClient) -> None:
    page = open_page("/runs?project=vision")
    expect(rows(page).first).to_be_visible()
    page.context.clear_cookies()
    page.get_by_role("columnheader", name="loss").get_by_role("button").first.click()
    expect(rows(page).first).to_contain_text("run 29")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_a_session_that_ended_elsewhere_is_asked_for_over_the_page_that_stays(
    served: Served, open_page: Open, runs: TrackClient
) -> None:
    page = open_page("/runs?project=vision&order=parameters.lr")
    expect(rows(page).first).to_contain_text("run 29")
    expect(page.get_by_role("columnheader", name="net.depth")).to_be_visible()
    expect(page.locator("[aria-busy=true]")).to_have_count(0)
    page.route("**/api/v1/login", lambda route: route.fulfill(status=401, body="{}"))
    page.context.clear_cookies()
    page.get_by_role("columnheader", name="lr").get_by_role("button").first.click()
    form = page.get_by_role("dialog", name="Log in")
    expect(form).to_be_visible()
    expect(rows(page).first).to_contain_text("run 29")
    page.unroute("**/api/v1/login")
    form.get_by_label("Name").fill("rita")
    form.get_by_label("Token").fill(UserStore(served.home).add("rita", Role.READER))
    form.get_by_role("button", name="Log in").click()
    expect(form).to_have_count(0)
    expect(rows(page).first).to_contain_text("run 00")


def test_a_code_that_logs_in_no_more_changes_nothing_for_who_needs_none(
    open_page: Open, runs: TrackClient
) -> None:
    page = open_page("/runs?project=vision#login=used")
    expect(rows(page).first).to_be_visible()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert "login" not in page.url
    # As if the address was entered once more where the board is open already.
    page.evaluate("location.hash = '#login=again'")
    expect(page).not_to_have_url(re.compile("login"))
    expect(rows(page).first).to_be_visible()
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_an_address_that_is_wrong_in_parts_is_right_in_the_others(open_page: Open, runs: TrackClient) -> None:
    page = open_page("/runs?project=vision&columns=,nonsense,parameters.lr,&order=nonsense,-parameters.lr")
    expect(rows(page).first).to_contain_text("run 00")
    expect(page.get_by_role("columnheader")).to_have_count(2)
    own = '{"loss":{"more":7,"big":true},"other":null}'
    for wrong in (f"own={own}", "own=null", "own=[1]", "zoom=b,a", "smooth=x", "draw=x", "size=x", "x=x"):
        page = open_page(f"/charts?project=vision&{wrong}")
        expect(page.get_by_role("img", name="loss of 20 curves")).to_be_visible()
        expect(page.get_by_role("button", name="Reset the zoom")).to_have_count(0)


def test_what_fails_while_it_is_drawn_leaves_the_rest_of_the_page(open_page: Open, runs: TrackClient) -> None:
    page = open_page("/runs?project=vision")
    expect(rows(page).first).to_be_visible()
    # An answer that this page does not understand, as of another version of the server.
    page.route("**/call/fetch_trials", lambda route: route.fulfill(json=[{"id": run_id(page)}]))
    row(page, "run 29").get_by_role("link").click()
    expect(page.get_by_role("alert")).to_contain_text("This part of the page has failed")
    page.get_by_role("navigation").get_by_role("link", name="Runs").click()
    expect(rows(page).first).to_be_visible()


def test_no_server_for_the_stream_is_said_above_the_data(
    open_page: Open, runs: TrackClient, url: str
) -> None:
    page = open_page("/")
    page.route("**/api/v1/events", lambda route: route.abort())
    page.goto(f"{url}runs?project=vision")
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
    expect(rows(page).first).to_be_visible()
    # Still without a server: with one, the page connects by itself, and the button may be gone too early.
    with page.expect_request("**/api/v1/events"):
        page.get_by_role("button", name="Try now").click()
    page.unroute("**/api/v1/events")
    expect(page.get_by_role("alert")).to_have_count(0)


def test_what_changes_before_a_page_listens_is_shown_once_it_does(
    open_page: Open, runs: TrackClient, url: str
) -> None:
    page = open_page("/")
    held: list[Route] = []
    page.route("**/api/v1/events", lambda route: held.append(route))  # noqa: PLW0108 - it needs a function
    page.goto(f"{url}runs?project=vision")
    expect(rows(page).first).to_be_visible()
    expect(page.locator("[aria-busy=true]")).to_have_count(0)
    log_run(runs, "in between", 0.01, lr=0.3)
    for route in held:
        route.continue_()
    expect(row(page, "in between")).to_be_visible()


def test_eight_pages_at_once_load_and_follow(open_page: Open, runs: TrackClient, url: str) -> None:
    first = open_page("/runs?project=vision")
    pages = [first, *(first.context.new_page() for _ in range(7))]
    for page in pages[1:]:
        page.goto(f"{url}runs?project=vision")
    for page in pages:
        page.bring_to_front()
        expect(rows(page).first).to_be_visible()
    log_run(runs, "seen by all", 0.01, lr=0.3)
    for page in pages:
        page.bring_to_front()
        expect(row(page, "seen by all")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "path", ["/", "/runs?project=vision", "/runs?project=vision&by=parameters.net.depth"]
)
def test_nothing_keeps_people_with_disabilities_out(
    open_page: Open, runs: TrackClient, path: str, scheme: str
) -> None:
    page = open_page(path, color_scheme=scheme)
    expect(page.get_by_role("row").nth(1)).to_be_visible()
    expect(page.locator("[aria-busy=true]")).to_have_count(0)
    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]})
    assert found.violations_count == 0, found.generate_report()


def test_paper_is_white_whatever_the_theme(open_page: Open, runs: TrackClient) -> None:
    page = open_page("/runs?project=vision", color_scheme="dark")
    expect(rows(page).first).to_be_visible()
    page.evaluate(
        "addEventListener('beforeprint', () => { window.printed = document.documentElement.dataset.theme })"
    )
    page.pdf()
    assert page.evaluate("window.printed") == "light"
    expect(page.locator("html[data-theme=dark]")).to_be_attached()


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_window(open_page: Open, runs: TrackClient, width: int) -> None:
    for path in ("/", "/runs?project=vision"):
        page = open_page(path, viewport={"width": width, "height": 800})
        expect(page.get_by_role("row").nth(1)).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [390, 1280])
def test_names_of_any_length_are_no_wider_than_the_window(
    open_page: Open, client: TrackClient, width: int
) -> None:
    name = "w" * 250
    client.set_project(name, description=name, force=True)
    for number in range(2):
        with client.new_trial(f"{number}{name}", {name: name}, force=True, description=name) as trial:
            trial.add_tags({name: name})
            trial.log(step=1, **{name: number})
    client.protocol.flush()
    for view in ("", "runs", "charts", "compare", "parallel", "run"):
        page = open_page("/", viewport={"width": width, "height": 800})
        link = page.get_by_role("row").get_by_role("link")
        expect(link).to_be_visible()
        if view:
            link.click()
            expect(rows(page).first).to_be_visible()
        if view == "run":
            rows(page).first.get_by_role("link").click()
            expect(page.get_by_role("article").first).to_be_visible()
            # The values beside a long name are there, too.
            last = page.get_by_role("table", name="Summary").get_by_role("cell").first.bounding_box()
            assert last is not None
            assert last["x"] + last["width"] <= width
        elif view not in ("", "runs"):
            page.goto(page.url.replace("/runs?", f"/{view}?"))
            expect(page.locator("#view").get_by_role("img").first).to_be_visible()
        seen = page.locator("#view")
        assert seen.evaluate("view => view.scrollWidth") <= seen.evaluate("view => view.clientWidth"), view


def test_every_view_of_a_project_without_a_run_shows_how_to_log_one_to_it(
    open_page: Open, client: TrackClient
) -> None:
    client.set_project("empty", force=True)
    client.protocol.flush()
    for view in ("runs", "charts", "compare", "parallel", "media", "graph"):
        page = open_page(f"/{view}?project=empty", viewport={"width": 390, "height": 800})
        expect(page.get_by_role("heading", name="No runs yet")).to_be_visible()
        snippet = page.get_by_text('track.init("empty"').bounding_box()
        assert snippet is not None
        assert snippet["x"] >= 0


def test_a_view_that_is_fetched_later_has_its_styles(open_page: Open, runs: TrackClient) -> None:
    page = open_page("/runs?project=vision")
    page.get_by_role("link", name="Charts", exact=True).click()
    expect(page.locator(".uplot").first).to_be_visible()
    # What uPlot lies on top of its plot is positioned by its own sheet alone.
    assert page.locator(".u-over").first.evaluate("over => getComputedStyle(over).position") == "absolute"


def test_a_read_that_takes_long_says_what_is_read_and_offers_less(open_page: Open, runs: TrackClient) -> None:
    def hold_up_all_runs(route: Route) -> None:
        if "created" in (route.request.post_data or ""):
            route.continue_()

    page = open_page()
    page.route("**/call/fetch_fields", hold_up_all_runs)
    page.goto(page.url.split("?")[0] + "charts?project=vision")
    expect(page.get_by_text("Still reading the names of metrics")).to_be_visible()
    page.get_by_role("button", name="Only runs of the last week").click()
    expect(page.get_by_role("searchbox", name="Filter", exact=True)).to_have_value("created > 7d")
    expect(page.get_by_role("article").first).to_be_visible()


def test_the_first_page_counts_the_runs_of_more_than_a_thousand_projects(
    open_page: Open, client: TrackClient
) -> None:
    for number in range(1_050):
        project = Project(name=f"p{number:04}")
        client.protocol.new_project(project)
        client.protocol.new_trial(Trial(name=f"t{number}", project_id=project.uid))
    client.protocol.flush()
    page = open_page("/")
    rows = page.get_by_role("main").get_by_role("row")
    expect(rows).to_have_count(1_051)
    odd = [text for text in rows.all_inner_texts()[1:] if text.split()[1] != "1"]
    assert odd == []
