"""From an empty store to a curve that moves, as somebody sees it who has just installed Track."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import expect

from board_browser import Person
from running_server import ServerProcess, environment

STEP_BY_STEP = "    input()\n    track.log("
"""In place of the snippet's log call: training that goes on when the test says so."""


@contextmanager
def training(folder: Path, snippet: str) -> Iterator[Callable[[int], None]]:
    """Run the snippet as a script; the function that is given makes it do some steps."""
    script = folder / "first.py"
    script.write_text(snippet.replace("    track.log(", STEP_BY_STEP))
    with subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, cwd=folder, text=True, env=environment()
    ) as process:
        assert process.stdin is not None
        stdin = process.stdin

        def steps(count: int) -> None:
            stdin.write("\n" * count)
            stdin.flush()

        yield steps
        steps(100)
        stdin.close()
        assert process.wait(60) == 0


def test_an_empty_board_shows_what_to_run_and_then_the_run_as_it_trains(
    tmp_path: Path, person: Callable[..., Person]
) -> None:
    with ServerProcess(f"sqlite:{tmp_path / 'runs.db'}", tmp_path / "home", "--http", "0") as server:
        page = person(server.board).open()
        expect(page.get_by_role("heading", name="No runs yet")).to_be_visible()
        snippet = page.locator("pre code").inner_text()
        loaded = page.evaluate("() => { window.isTheSame = true; return performance.timeOrigin; }")

        with training(tmp_path, snippet) as steps:
            steps(5)
            expect(page.get_by_role("region", name="Running now").get_by_role("link")).to_be_visible()
            page.get_by_role("table").get_by_role("link", name="first").click()
            expect(
                page.get_by_role("grid", name="Runs").get_by_role("gridcell", name="running")
            ).to_be_visible()
            page.get_by_role("navigation").get_by_role("link", name="Charts").click()
            chart = page.get_by_role("article", name="Chart loss")
            chart.get_by_role("button", name="More of loss").click()
            page.get_by_role("menuitemradio", name="Table of values").click()
            points = chart.get_by_role("row").nth(1).get_by_role("cell").nth(4)
            expect(points).to_have_text("5")
            steps(7)
            expect(points).to_have_text("12")

        expect(points).to_have_text("100")
        page.get_by_role("navigation").get_by_role("link", name="Runs").click()
        expect(page.get_by_role("gridcell", name="completed")).to_be_visible()
        expect(page.get_by_role("gridcell", name="0.01", exact=True)).to_be_visible()
        assert page.evaluate("() => window.isTheSame && performance.timeOrigin") == loaded
