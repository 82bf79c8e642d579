"""What changes in the store is on the page without a reload, and moves nothing that a person has set."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from board_browser import Person, call_of, row_of
from running_server import ServerProcess
from script_runner import ScriptRunner
from track import TrackClient

TABS = 8
"""More than the six connections that a browser allows to one host."""

SILENCE_MS = 60_000
"""Longer than a page waits for a sign of life."""

ATTEMPTS = 30
"""More than are made to connect in a minute, if they are made less and less often."""

SEEN = """(seen) => {
    Object.defineProperty(document, "hidden", { configurable: true, get: () => !seen });
    document.dispatchEvent(new Event("visibilitychange"));
}"""
"""Tells a page that its tab came into sight or left it: without a window every tab is in sight."""

RUN = """
with client.new_trial(name="worker", arguments={"a": 1}) as trial:
    trial.log_metrics(loss=0.5)
    client.save()
    ready()
    rest()
"""


def log_empty(client: TrackClient, name: str) -> None:
    """A trial that has nothing but its name."""
    with client.new_trial(name=name, force=True):
        pass


def scrolled(page: Page) -> float:
    """How far the view is scrolled."""
    return float(page.locator("#view").evaluate("(view) => view.scrollTop"))


def test_points_that_arrive_move_neither_zoom_nor_scroll_nor_an_open_menu(
    server: ServerProcess, client: TrackClient, person: Callable[..., Person]
) -> None:
    project = client.set_project(name="zoomed", force=True)
    with client.new_trial(name="runs on", force=True) as trial:
        for step in range(50):
            trial.log_metrics(step=step, **{f"m{number:02}": float(step) for number in range(30)})
        client.save()
        page = person(server.board).open(f"/charts?project={project.uid}&zoom=10,20")
        chart = page.get_by_role("article", name="Chart m15")
        chart.scroll_into_view_if_needed()
        expect(chart.get_by_role("img")).to_be_visible()
        chart.get_by_role("button", name="More of m15").click()
        menu = page.get_by_role("menuitem", name="Save as SVG")
        menu.focus()
        place = scrolled(page)
        assert place > 0

        for step in range(50, 55):
            with page.expect_response(call_of("fetch_tails")):
                trial.log_metrics(step=step, m15=float(step), m14=float(step))
                client.save()

        expect(menu).to_be_focused()
        assert scrolled(page) == place
        expect(page).to_have_url(re.compile("zoom=10,20"))
        expect(page.get_by_role("button", name="10 – 20")).to_be_visible()
        page.keyboard.press("Escape")
        page.keyboard.press("z")
        chart.get_by_role("button", name="More of m15").click()
        page.get_by_role("menuitemradio", name="Table of values").click()
        expect(chart.get_by_role("row").nth(1).get_by_role("cell").first).to_have_text("54")


def test_rows_that_change_move_neither_scroll_nor_selection_nor_what_is_typed(
    server: ServerProcess, client: TrackClient, person: Callable[..., Person]
) -> None:
    project = client.set_project(name="typed", force=True)
    for number in range(60):
        with client.new_trial(name=f"old {number}", force=True):
            pass
    with client.new_trial(name="runs on", force=True) as trial:
        trial.log_metrics(step=0, loss=100.0)
        client.save()
        watched = person(server.board)
        page = watched.open(f"/runs?project={project.uid}&columns=metrics.loss.last,created&order=created")
        page.get_by_role("grid", name="Runs").evaluate("(table) => { table.scrollTop = 600; }")
        row_of(page, "old 30").get_by_role("checkbox").check()
        box = page.get_by_role("searchbox", name="Filter")
        box.press_sequentially("los")

        page.get_by_role("grid", name="Runs").evaluate("(table) => { table.scrollTop = table.scrollHeight; }")
        loss = row_of(page, "runs on").get_by_role("gridcell").first
        expect(loss).to_have_text("100")
        place = page.get_by_role("grid", name="Runs").evaluate("(table) => table.scrollTop")
        for step in range(1, 6):
            trial.log_metrics(step=step, loss=100.0 + step)
            client.save()
            expect(loss).to_have_text(str(100 + step))

        expect(box).to_be_focused()
        expect(box).to_have_value("los")
        assert page.get_by_role("grid", name="Runs").evaluate("(table) => table.scrollTop") == place
        expect(page.get_by_role("toolbar", name="Selected runs")).to_contain_text("1 selected")
        watched.forgive("400 (Bad Request)")  # half of a filter


def test_a_paused_page_stays_as_it_is_until_it_goes_on(
    server: ServerProcess, client: TrackClient, person: Callable[..., Person]
) -> None:
    project = client.set_project(name="stopped page", force=True)
    with client.new_trial(name="runs on", force=True) as trial:
        trial.log_metrics(step=0, loss=1.0)
        client.save()
        watched = person(server.board)
        address = f"/runs?project={project.uid}&columns=metrics.loss.last"
        paused, other = watched.open(address), watched.open(address)
        paused.bring_to_front()
        expect(row_of(paused, "runs on")).to_be_visible()
        paused.keyboard.press(".")
        expect(paused.get_by_role("button", name="Paused", exact=True)).to_be_visible()

        trial.log_metrics(step=1, loss=2.0)
        client.save()

        expect(row_of(other, "runs on")).to_contain_text("2")
        expect(row_of(paused, "runs on").get_by_role("gridcell").first).to_have_text("1")
        paused.keyboard.press(".")
        expect(row_of(paused, "runs on").get_by_role("gridcell").first).to_have_text("2")


def test_a_row_stays_in_its_place_when_the_value_changes_by_which_it_is_sorted(
    server: ServerProcess, client: TrackClient, person: Callable[..., Person]
) -> None:
    project = client.set_project(name="sorted", force=True)
    with client.new_trial(name="ends", force=True) as trial:
        trial.log_metrics(step=0, loss=2.0)
    with client.new_trial(name="runs on", force=True) as trial:
        trial.log_metrics(step=0, loss=1.0)
        client.save()
        address = f"/runs?project={project.uid}&columns=metrics.loss.last&order=metrics.loss.last"
        page = person(server.board).open(address)
        expect(row_of(page, "runs on")).to_have_attribute("aria-rowindex", "2")

        trial.log_metrics(step=1, loss=3.0)
        client.save()

        expect(row_of(page, "runs on").get_by_role("gridcell").first).to_have_text("3")
        again = page.get_by_role("button", name="Values have changed: sort again")
        expect(again).to_be_visible()
        expect(row_of(page, "runs on")).to_have_attribute("aria-rowindex", "2")
        again.click()
        expect(row_of(page, "runs on")).to_have_attribute("aria-rowindex", "3")


def test_a_page_out_of_sight_asks_nothing_until_it_is_seen(
    server: ServerProcess, client: TrackClient, person: Callable[..., Person]
) -> None:
    project = client.set_project(name="hidden page", force=True)
    with client.new_trial(name="runs on", force=True) as trial:
        trial.log_metrics(step=0, loss=1.0)
        client.save()
        address = f"/runs?project={project.uid}&columns=metrics.loss.last"
        away, watched = person(server.board), person(server.board)
        hidden, seen = away.open(address), watched.open(address)
        expect(row_of(hidden, "runs on").get_by_role("gridcell").first).to_have_text("1")
        expect(hidden.get_by_role("columnheader")).to_have_count(2)
        hidden.evaluate(SEEN, False)
        before = len(away.calls)

        for loss in (2.0, 3.0):
            trial.log_metrics(step=int(loss), loss=loss)
            client.save()
            expect(row_of(seen, "runs on").get_by_role("gridcell").first).to_have_text(f"{loss:g}")

        assert away.calls[before:] == []
        hidden.evaluate(SEEN, True)
        expect(row_of(hidden, "runs on").get_by_role("gridcell").first).to_have_text("3")


def test_a_chart_that_has_grown_much_is_cut_anew(
    server: ServerProcess, client: TrackClient, person: Callable[..., Person]
) -> None:
    project = client.set_project(name="grows", force=True)
    with client.new_trial(name="runs on", force=True) as trial:
        trial.log_metrics(step=0, loss=1.0)
        client.save()
        page = person(server.board).open(f"/charts?project={project.uid}")
        expect(page.get_by_role("img", name="loss of 1 curves")).to_be_visible()

        # Beyond what a picture shows, each point would cost the page memory for ever.
        with page.expect_response(call_of("fetch_columns")):
            for step in range(1, 1_000):
                trial.log_metrics(step=step, loss=1.0)
            client.save()


def test_a_look_that_fails_leaves_what_is_shown(
    server: ServerProcess, client: TrackClient, person: Callable[..., Person]
) -> None:
    project = client.set_project(name="fails", force=True)
    with client.new_trial(name="runs on", force=True) as trial:
        trial.log_metrics(step=0, loss=1.0)
        client.save()
        page = person(server.board).open(f"/charts?project={project.uid}")
        expect(page.get_by_role("img", name="loss of 1 curves")).to_be_visible()
        page.route("**/call/fetch_fields", lambda route: route.abort())

        with page.expect_event("requestfailed"):
            trial.log_metrics(step=1, loss=1.0)
            client.save()

        expect(page.get_by_role("img", name="loss of 1 curves")).to_be_visible()
        expect(page.get_by_role("alert")).to_have_count(0)


def test_a_server_that_is_silent_counts_as_unreachable_until_it_is_heard_again(
    tmp_path: Path, person: Callable[..., Person]
) -> None:
    with ServerProcess(f"sqlite:{tmp_path / 'runs.db'}", tmp_path / "home", "--http", "0") as server:
        page = person(server.board).context.new_page()
        page.clock.install()
        page.goto(server.board)
        expect(page.get_by_role("button", name="Live")).to_be_visible()
        server.process.send_signal(signal.SIGSTOP)
        try:
            page.clock.fast_forward(SILENCE_MS)
            expect(page.get_by_role("alert")).to_contain_text("The server cannot be reached")
        finally:
            server.process.send_signal(signal.SIGCONT)
        page.get_by_role("button", name="Try now").click()
        expect(page.get_by_role("button", name="Live")).to_be_visible()


def test_eight_tabs_load_and_stay_live(
    server: ServerProcess, client: TrackClient, person: Callable[..., Person]
) -> None:
    project = client.set_project(name="tabs", force=True)
    watched = person(server.board)
    with client.new_trial(name="runs on", force=True) as trial:
        trial.log_metrics(step=0, loss=1.0)
        client.save()
        pages = [watched.open(f"/runs?project={project.uid}&columns=metrics.loss.last") for _ in range(TABS)]
        for page in pages:
            expect(row_of(page, "runs on")).to_contain_text("1")
        trial.log_metrics(step=1, loss=2.0)
        client.save()
        for page in pages:
            expect(row_of(page, "runs on").get_by_role("gridcell").first).to_have_text("2")
        pages[0].close()  # it read the events for all
        trial.log_metrics(step=2, loss=3.0)
        client.save()
        for page in pages[1:]:
            expect(row_of(page, "runs on").get_by_role("gridcell").first).to_have_text("3")
    assert watched.calls.count("/api/v1/events") == 2


def test_sigterm_ends_a_server_while_tabs_are_open(tmp_path: Path, person: Callable[..., Person]) -> None:
    with ServerProcess(f"sqlite:{tmp_path / 'runs.db'}", tmp_path / "home", "--http", "0") as server:
        watched = person(server.board)
        for page in [watched.open() for _ in range(TABS)]:
            expect(page.get_by_role("heading", name="No runs yet")).to_be_visible()
        assert server.stop() == 0
    expect(watched.context.pages[0].get_by_role("alert")).to_contain_text("The server cannot be reached")


def test_a_worker_that_is_killed_is_lost_on_the_page(
    tmp_path: Path, person: Callable[..., Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACK_SYNC", "manual")  # no other process sends what the killed one has left
    options = ("--http", "0", "--lease", "1")
    with ServerProcess(f"sqlite:{tmp_path / 'runs.db'}", tmp_path / "home", *options) as server:
        page = person(server.board).open("/runs")
        with ScriptRunner(tmp_path, server.served.join("ann")).script(RUN) as process:
            expect(row_of(page, "worker").get_by_role("gridcell").first).to_contain_text("running")
            process.send_signal(signal.SIGKILL)
            expect(row_of(page, "worker").get_by_role("gridcell").first).to_contain_text("lost")


def test_a_page_is_grey_while_its_server_restarts_and_live_again_without_a_reload(
    tmp_path: Path, person: Callable[..., Person]
) -> None:
    store, home = f"sqlite:{tmp_path / 'runs.db'}", tmp_path / "home"
    with ServerProcess(store, home, "--http", "0") as server:
        board, port, uri = server.board, server.served.port, server.served.join("script")
        with TrackClient(uri) as client:
            log_empty(client, "first")
        watched = person(board)
        page = watched.open("/runs")
        expect(row_of(page, "first")).to_be_visible()
        expect(page.get_by_role("button", name="Live")).to_be_visible()
        loaded = page.evaluate("() => performance.timeOrigin")
        server.kill()
    expect(page.get_by_role("alert")).to_contain_text(re.compile(r"what is shown is \d+ s old"))
    expect(page.locator("html.stale")).to_be_attached()
    expect(row_of(page, "first")).to_be_visible()
    with TrackClient(store) as client:
        log_empty(client, "meanwhile")

    with ServerProcess(store, home, "--http", str(urlsplit(board).port), port=port):
        expect(page.get_by_role("button", name="Live")).to_be_visible()
        expect(page.get_by_role("alert")).to_have_count(0)
        expect(row_of(page, "meanwhile")).to_be_visible()
        assert watched.calls.count("/api/v1/events") < ATTEMPTS
        with TrackClient(uri) as client:
            log_empty(client, "second")
        expect(row_of(page, "second")).to_be_visible()
        assert page.evaluate("() => performance.timeOrigin") == loaded
