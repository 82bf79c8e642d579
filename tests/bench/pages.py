"""What a person waits for at the board: pages of a real browser, with much behind them."""

from __future__ import annotations

import importlib.util
import math
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from unittest.mock import patch

from board_process import board_of
from large_stores import fill_with_trials, long_series
from running_server import serving
from tables import Table
from track import TrackClient
from track_server.app import Settings
from track_server.board import changes
from track_server.http.settings import HttpSettings

if TYPE_CHECKING:
    from playwright.sync_api import CDPSession, Locator

__all__ = ["measure_pages"]

_SPIKE: Final = 0.7
"""Where in the long series one value stands out."""

_UPDATES: Final = (8_640, 20)
"""Updates of a page, in full and quick: those of a day that shows a run which logs each ten seconds."""

_SPEED: Final = 20
"""How many times faster the day goes by, on the page and at the server."""

_WARM: Final = 20
"""Updates before, which make what is made once."""

_WAIT_MS: Final = 60_000.0


def measure_pages(folder: Path, many: Path, quick: bool) -> None:
    """Print what the pages take.

    Args:
        folder: for further stores.
        many: a store with very many trials of 20 metrics.
        quick: a fraction of the work.
    """
    if importlib.util.find_spec("playwright") is None or shutil.which("chromium") is None:
        print("pages: not measured, for Chromium or the package playwright is not installed\n")
        return
    from browser import running_browser

    pages = Table("from the click on", "ms", "requests", "heap MB")
    with running_browser("--js-flags=--expose-gc") as browser:
        with board_of(f"sqlite:{many}") as board:
            _table_of_runs(pages, browser, board.url)
            _groups(pages, browser, board.url)
        charts, points = folder / "charts.db", 500 if quick else 5_000
        fill_with_trials(charts, 50, 20, points)
        with board_of(f"sqlite:{charts}") as board:
            _charts(pages, browser, board.url, f"50 runs x 20 metrics x {points:,} points")
        series, points = folder / "series.db", 100_000 if quick else 1_000_000
        spike = int(points * _SPIKE)
        long_series(series, points, lambda step: 100.0 if step == spike else math.sin(step / 5e4))
        with board_of(f"sqlite:{series}") as board:
            _long(pages, browser, board.url, points, spike)
        pages.print("pages: the time until what was asked for is drawn, in a browser without a window")
        _growth(browser, folder, _UPDATES[quick])
    print()


def _table_of_runs(pages: Table, browser: Any, url: str) -> None:
    from board_browser import Person

    person = Person(browser, url)
    page = person.open("/favicon.svg")
    rows = page.get_by_role("grid", name="Runs").get_by_role("link")
    columns = ",".join(["metrics.loss.min", *(f"metrics.m{number}.min" for number in range(1, 20))])
    address = f"{person.url}/runs?columns={columns}"
    _row(pages, person, "the first rows of the table", lambda: page.goto(address), rows.first)
    sizes = page.evaluate(
        "() => performance.getEntriesByType('resource').concat(performance.getEntriesByType('navigation'))"
        ".filter((one) => !one.name.includes('/api/')).reduce((sum, one) => sum + one.encodedBodySize, 0)"
    )
    header = page.get_by_role("columnheader", name="loss")
    sort = header.get_by_role("button", name="loss min")
    # The link is of another row then; a table that waits for its answer is still the one before.
    sorted_by = page.locator("[role=columnheader][aria-sort=ascending]")
    settled = page.locator("[role=grid][aria-busy=false]").filter(has=sorted_by)
    _row(pages, person, "sorting them by a metric", sort.click, settled)
    grid = page.get_by_role("grid", name="Runs")
    total = int(str(grid.get_attribute("aria-rowcount"))) - 1
    last = page.locator(f"[aria-rowindex='{total + 1}']").get_by_role("link")
    to_end = "(grid) => { grid.scrollTop = grid.scrollHeight; }"
    _row(pages, person, f"scrolling to row {total:,}", lambda: grid.evaluate(to_end), last)
    person.close()
    print(f"first view: {sizes / 1e3:.0f} KB of pages, scripts and styles, as they are sent\n")


def _charts(pages: Table, browser: Any, url: str, what: str) -> None:
    from board_browser import Person

    person = Person(browser, url)
    page = person.open("/favicon.svg")
    drawn = page.get_by_role("img", name=re.compile("of 50 curves"))
    _row(pages, person, what, lambda: page.goto(f"{person.url}/charts?draw=50"), drawn.nth(5))
    person.close()


def _groups(pages: Table, browser: Any, url: str) -> None:
    from board_browser import Person

    person = Person(browser, url)
    page = person.open("/favicon.svg")
    drawn = page.get_by_role("img", name=re.compile("of 3 curves"))
    address = f"{person.url}/charts?by=parameters.opt.name"
    _row(pages, person, "charts of all of them in three groups", lambda: page.goto(address), drawn.nth(5))
    person.close()


def _long(pages: Table, browser: Any, url: str, points: int, spike: int) -> None:
    from board_browser import Person

    person = Person(browser, url)
    page = person.open("/favicon.svg")
    chart = page.get_by_role("img", name="loss of 1 curves")
    _row(pages, person, f"a series of {points:,} points", lambda: page.goto(f"{person.url}/charts"), chart)
    zoomed = f'{person.url}/charts?zoom={spike - 50},{spike + 50}&own={{"loss":{{"table":true}}}}'
    exact = page.get_by_role("cell", name="101", exact=True)
    _row(pages, person, "the same, 101 points of it", lambda: page.goto(zoomed), exact)
    person.close()


def _row(pages: Table, person: Any, what: str, act: Callable[[], Any], drawn: Locator) -> None:
    """Time from an act until something is drawn."""
    calls = len(person.calls)
    began = time.perf_counter()
    act()
    drawn.wait_for(timeout=_WAIT_MS)
    seconds = time.perf_counter() - began
    heap = _heap_of(person.context.new_cdp_session(drawn.page))["JSHeapUsedSize"]
    pages.add(what, f"{1e3 * seconds:.0f}", str(len(person.calls) - calls), f"{heap / 1e6:.1f}")


def _heap_of(session: CDPSession) -> dict[str, float]:
    """Bytes, nodes and listeners that a page holds on to."""
    session.send("HeapProfiler.enable")
    session.send("HeapProfiler.collectGarbage")
    session.send("Performance.enable")
    found = session.send("Performance.getMetrics")["metrics"]
    return {str(each["name"]): float(each["value"]) for each in found}


def _growth(browser: Any, folder: Path, updates: int) -> None:
    """How much more a page holds after the updates of a day."""
    table = Table(
        f"after {updates:,} updates", "heap MB", "grown MB", "first half", "nodes", "listeners", "s"
    )
    settings = Settings(
        backend=f"sqlite:{folder / 'live.db'}", home=folder / "home", http=HttpSettings(port=0)
    )
    with (
        # A server tells a page of changes a few times a second, so that a day's would take hours.
        patch.object(changes, "_INTERVAL_S", changes._INTERVAL_S / _SPEED),
        serving(settings) as served,
        TrackClient(served.join("script")) as client,
    ):
        assert served.server is not None
        board = served.server.board_url
        for view, options in (
            ("charts", 'own={"loss":{"table":true}}'),
            ("runs", "columns=metrics.loss.count"),
        ):
            project = client.set_project(name=view, force=True)
            address = f"/{view}?project={project.uid}&{options}"
            table.add(view, *_grown(browser, board, address, client, updates))
    table.print(
        "pages: what a page holds on to after a day, when garbage was collected; the aim is below 20 MB"
    )


def _grown(browser: Any, url: str | None, address: str, client: TrackClient, updates: int) -> list[str]:
    """The heap after updates, and what it, the nodes and the listeners have grown by."""
    from board_browser import Person

    assert url is not None
    person = Person(browser, url)
    person.context.add_init_script(_FASTER)
    with client.new_trial(name="a day", force=True) as trial:
        trial.log_metrics(step=0, loss=1.0)
        client.save()
        page = person.open(address)
        shown = page.locator("td, [role=gridcell]")
        shown.filter(has_text=re.compile("^1$")).first.wait_for(timeout=_WAIT_MS)

        def show(steps: range) -> None:
            for step in steps:
                trial.log_metrics(step=step, loss=1.0 / step)
                client.save()
                count = re.compile(f"^({step + 1}|{step + 1:,})$")
                shown.filter(has_text=count).first.wait_for(timeout=_WAIT_MS)

        show(range(1, _WARM))
        session = person.context.new_cdp_session(page)
        before, began = _heap_of(session), time.perf_counter()
        middle = _WARM + updates // 2
        show(range(_WARM, middle))
        half = _heap_of(session)
        show(range(middle, _WARM + updates))
        after, seconds = _heap_of(session), time.perf_counter() - began
    person.close()
    grown = {name: after[name] - before[name] for name in after}
    return [
        f"{after['JSHeapUsedSize'] / 1e6:.1f}",
        f"{grown['JSHeapUsedSize'] / 1e6:+.2f}",
        f"{(half['JSHeapUsedSize'] - before['JSHeapUsedSize']) / 1e6:+.2f}",
        f"{grown['Nodes']:+.0f}",
        f"{grown['JSEventListeners']:+.0f}",
        f"{seconds:.0f}",
    ]


_FASTER: Final = f"""for (const name of ["setTimeout", "setInterval"]) {{
    const real = window[name];
    window[name] = (act, ms = 0, ...rest) => real(act, ms / {_SPEED}, ...rest);
}}"""
"""Makes the timers of a page faster."""
