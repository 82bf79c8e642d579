"""What others have written does nothing in a browser, and other pages and people reach nothing."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import expect

from board_browser import Person, row_of
from board_visits import Visit
from other_user import as_other_user, needs_two_users
from rich_runs import HOSTILE, log_hostile_runs
from running_server import ServerProcess
from track import TrackClient
from track_protocol.wire.roles import Role
from track_server.accounts.users import UserStore

VIEWS = ("runs", "charts", "compare", "parallel", "media", "graph")


@contextmanager
def site(folder: Path) -> Iterator[str]:
    """Another server of this machine, with the pages of a folder; its origin."""
    handler = partial(QuietHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        try:
            yield f"http://localhost:{http.server_port}"
        finally:
            http.shutdown()
            thread.join()


def address_in_network() -> str:
    """An address of this machine that is not its loopback's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # of no machine; nothing is sent
        except OSError:
            pytest.skip("this machine is in no network")
        return str(probe.getsockname()[0])


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


@pytest.fixture(scope="module")
def hostile(uri: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A project in which every text would be a script where it was taken for markup."""
    with TrackClient(uri) as client:
        return log_hostile_runs(client, tmp_path_factory.mktemp("files"))


@pytest.mark.parametrize("view", VIEWS)
def test_no_name_of_others_runs_as_a_script(
    server: ServerProcess, hostile: str, person: Callable[..., Person], view: str
) -> None:
    page = person(server.board).open(f"/{view}?project={quote(hostile)}")

    expect(page.get_by_role("list").get_by_text(f"{HOSTILE} 0", exact=True).first).to_be_visible()
    expect(page.locator("#view .loading")).to_have_count(0)
    expect(page.locator("img[onerror], #app script")).to_have_count(0)


def test_nothing_of_a_run_runs_as_a_script_on_its_page(
    server: ServerProcess, hostile: str, person: Callable[..., Person]
) -> None:
    page = person(server.board).open(f"/runs?project={quote(hostile)}")
    row_of(page, f"{HOSTILE} 0").get_by_role("link").click()

    run = page.get_by_role("article", name=f"{HOSTILE} 0")
    for part in ("Notes", "Parameters", "Metadata", "Summary"):
        expect(run.get_by_role("region", name=part)).to_contain_text(HOSTILE)
    expect(page.locator("img[onerror], #app script")).to_have_count(0)


def test_home_shows_hostile_names_as_texts(
    server: ServerProcess, hostile: str, person: Callable[..., Person]
) -> None:
    page = person(server.board).open()

    expect(page.get_by_role("link", name=HOSTILE, exact=True)).to_be_visible()
    expect(page.locator("img, #app script")).to_have_count(0)


def test_a_file_of_others_is_downloaded_and_not_shown(
    server: ServerProcess, hostile: str, person: Callable[..., Person]
) -> None:
    page = person(server.board).open(f"/runs?project={quote(hostile)}")
    row_of(page, f"{HOSTILE} 0").get_by_role("link").click()

    with page.expect_download() as download:
        page.get_by_role("table", name="Files").get_by_role("button").first.click()

    assert Path(download.value.path()).read_text() == HOSTILE
    expect(page.get_by_role("table", name="Files")).to_be_visible()


def test_a_page_of_another_origin_changes_and_reads_nothing(
    server: ServerProcess, client: TrackClient, person: Callable[..., Person], tmp_path: Path
) -> None:
    client.set_project(name="kept", force=True)
    with client.new_trial(name="kept", force=True) as trial:
        client.save()
    trial_id = trial.trial.id
    assert trial_id is not None
    watched = person(server.board)
    expect(row_of(watched.open("/runs?project=kept"), "kept")).to_be_visible()  # he has a session
    (tmp_path / "index.html").write_text("<!doctype html><title>Elsewhere</title>")
    with site(tmp_path) as origin:
        page = watched.context.new_page()
        page.goto(origin)
        outcome = page.evaluate(
            """async ([url, id]) => {
                const body = JSON.stringify({ trial: id, force: true });
                const path = `${url}/api/v1/call/delete_trial`;
                const plain = { method: "POST", mode: "no-cors", credentials: "include", body };
                await fetch(path, plain).catch(() => {});
                const headers = { "Content-Type": "application/json", "X-Track-Key": "guess" };
                const read = await fetch(path, { ...plain, mode: "cors", headers }).then(
                    () => "read", () => "refused",
                );
                const frame = document.createElement("iframe");
                frame.src = url;
                const shown = await new Promise((resolve) => {
                    frame.onload = () => resolve(frame.contentDocument === null ? "blocked" : "shown");
                    document.body.append(frame);
                });
                return [read, shown];
            }""",
            [watched.url, trial_id.hex()],
        )
    assert outcome == ["refused", "blocked"]
    assert [found.name for found in client.protocol.fetch_trials({"project_id": "kept"})] == ["kept"]
    watched.faults.clear()  # the other page made requests to the board, which were refused


def test_a_session_needs_its_cookie_and_its_key_and_the_right_host(server: ServerProcess) -> None:
    whole = Visit(server.board)
    assert whole.log_in().status == 200
    for visit, status in (
        (whole, 200),
        (Visit(server.board, key=whole.key), 401),
        (Visit(server.board, cookie=whole.cookie), 401),
        (Visit(server.board, key=whole.key, cookie=whole.cookie, extra={"Host": "example.org"}), 421),
        (
            Visit(server.board, key=whole.key, cookie=whole.cookie, extra={"Origin": "http://example.org"}),
            403,
        ),
        (
            Visit(server.board, key=whole.key, cookie=whole.cookie, extra={"Sec-Fetch-Site": "cross-site"}),
            403,
        ),
    ):
        assert visit.call("fetch_projects", query={}).status == status, visit


@needs_two_users
def test_another_user_of_this_machine_has_to_log_in(server: ServerProcess) -> None:
    def visit() -> None:
        other = Visit(server.board)
        assert other.log_in().status == 401
        assert other.call("fetch_projects", query={}).status == 401

    as_other_user(visit)


def test_over_a_network_a_reader_logs_in_and_sees_no_control_that_writes(
    tmp_path: Path, person: Callable[..., Person]
) -> None:
    host = address_in_network()
    store, home = f"sqlite:{tmp_path / 'runs.db'}", tmp_path / "home"
    with ServerProcess(store, home, "--http", "0.0.0.0:0") as server:
        uri = server.served.join("script")
        with TrackClient(uri) as client, client.new_trial(name="a run", force=True):
            client.save()
        token = UserStore(home).add("rita", Role.READER)
        port = server.board.rstrip("/").rpartition(":")[2]
        watched = person(f"https://{host}:{port}", ignore_https_errors=True)
        page = watched.open("/runs#login=used")
        form = page.get_by_role("dialog", name="Log in")
        expect(form.get_by_role("alert")).to_contain_text("code")
        assert "login" not in page.url
        for _ in range(3):  # there is nothing behind it
            page.keyboard.press("Escape")
        expect(form).to_be_visible()
        page.get_by_label("Name").fill("rita")
        page.get_by_label("Token").fill("wrong")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("alert")).to_be_visible()
        page.get_by_label("Token").fill(token)
        page.get_by_role("button", name="Log in").click()
        row_of(page, "a run").get_by_role("checkbox").check()
        tools = page.get_by_role("toolbar", name="Selected runs")
        expect(tools).to_contain_text("1 selected")
        for control in ("Delete", "Hide", "Rename", "Tag"):
            expect(tools.get_by_role("button", name=control)).to_have_count(0)
        row_of(page, "a run").get_by_role("link").click()
        expect(page.get_by_role("article", name="a run")).to_be_visible()
        for control in ("Delete", "Hide", "Rename", "Tag"):
            expect(page.get_by_role("main").get_by_role("button", name=control)).to_have_count(0)
        watched.forgive("401 (Unauthorized)")
