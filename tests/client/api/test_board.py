"""``track.board()``: a process of its own, in a frame of a notebook, for reading."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import track
from board_visits import SECONDS, Visit
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


def test_it_ends_with_its_process(uri: str) -> None:
    script = f"import track; board = track.board({uri!r}); print(board._process.pid, flush=True)"
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment(), capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 0, done.stderr
    wait_until(lambda: not Path(f"/proc/{done.stdout.strip()}").exists(), "the board has ended")


def test_a_store_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ItemNotFound):
        track.board(f"sqlite:{tmp_path / 'nothing.db'}")


def test_a_board_that_does_not_start_says_why(uri: str) -> None:
    with pytest.raises(TrackError, match=r"did not start.*an origin is http"):
        track.board(uri, origin="nowhere")
