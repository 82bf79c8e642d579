"""``track.board()``: a process of its own, in a frame of a notebook, for reading."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import track
from board_visits import SECONDS, Visit
from browser import browser, built  # noqa: F401 - fixtures
from command_runner import fill
from running_server import environment
from track_protocol.errors import ItemNotFound, TrackError
from waiting import wait_until


@pytest.fixture
def uri(tmp_path: Path) -> str:
    uri = f"sqlite:{tmp_path / 'runs.db'}"
    fill(uri)
    return uri


def test_a_notebook_shows_a_frame_that_its_own_pages_may_show_and_no_others(uri: str) -> None:
    with track.board(uri, height=500, origin="http://localhost:9999") as board:
        (source,) = re.findall(r'<iframe src="([^"]+)" width="100%" height="500"', board._repr_html_())
        assert re.fullmatch(r"http://localhost:\d+/embed#login=[\w-]+", source)
        page = Visit(board.url.removesuffix("/embed")).get("/embed")
        policy = page.headers["content-security-policy"]
        assert (page.status, "frame-ancestors http://localhost:9999;" in policy) == (200, True)


def test_what_is_in_a_frame_only_reads(uri: str) -> None:
    with track.board(uri) as board:
        visit = Visit(board.url.removesuffix("/embed"))
        assert visit.log_in(code=board._fragment.removeprefix("login="), embed=True).json["role"] == "reader"
        (trial, *_) = visit.call("fetch_trials", query={}).json
        assert visit.call("delete_trial", trial=trial["id"]).status == 403


def test_the_origin_is_that_of_the_notebook(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_SERVER_URL", "http://127.0.0.1:8890/lab?token=x")
    with track.board(uri) as board:
        page = Visit(board.url.removesuffix("/embed")).get("/embed")
        assert "frame-ancestors http://127.0.0.1:8890;" in page.headers["content-security-policy"]
        assert board.url.startswith("http://127.0.0.1:")


@pytest.fixture
def notebook(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A page of another origin: its file and its address."""
    folder = tmp_path / "notebook"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SilentHandler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield folder / "index.html", f"http://localhost:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


class SilentHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_said: object) -> None:
        pass


def test_its_pages_are_shown_in_a_page_of_a_notebook(
    uri: str,
    notebook: tuple[Path, str],
    browser: Any,  # noqa: F811 - the fixture
) -> None:
    file, origin = notebook
    with track.board(uri, origin=origin) as board:
        file.write_text(f"<!doctype html>{board._repr_html_()}", encoding="utf-8")
        page = browser.new_page()
        page.goto(origin)
        frame = page.frame_locator("iframe")
        frame.get_by_text("vision").first.click()
        frame.get_by_role("link", name="Charts").click()
        frame.get_by_role("article", name="Chart loss").wait_for()
        page.close()


def test_it_ends_with_its_process(uri: str) -> None:
    script = f"import track; board = track.board({uri!r}); print(board._process.pid, flush=True)"
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment(), capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 0, done.stderr
    wait_until(lambda: not Path(f"/proc/{done.stdout.strip()}").exists(), "the board has ended")


@pytest.mark.parametrize("forks", [False, True], ids=["alone", "forked"])
def test_it_ends_when_its_process_is_killed(uri: str, forks: bool) -> None:
    script = f"""
import os, signal, track
board = track.board({uri!r})
child = os.fork() if {forks} else None
if child != 0:
    print(board._process.pid, child or os.getpid(), flush=True)
signal.pause()
"""
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        board, child = map(int, process.stdout.readline().split())
        process.kill()
        process.wait(SECONDS)
        try:
            wait_until(lambda: has_ended(board), "the board has ended")
        finally:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("Z")
    except FileNotFoundError:
        return True


def test_a_store_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ItemNotFound):
        track.board(f"sqlite:{tmp_path / 'nothing.db'}")


def test_a_board_that_does_not_start_says_why(uri: str) -> None:
    with pytest.raises(TrackError, match=r"did not start.*an origin is http"):
        track.board(uri, origin="nowhere")
