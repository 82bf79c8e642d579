"""Fixtures: a real browser at the board's pages, which must report no error."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

__all__ = ["SECONDS", "browser", "built", "open_page", "page", "running_browser"]

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "server" / "web" / "build.py"
SECONDS = 30.0
"""As long as a page may take on a machine that does much else."""

_FEATURES_OF_PLAYWRIGHT = (
    "AimEnabled,AvoidUnnecessaryBeforeUnloadCheckSync,DestroyProfileOnBrowserClose,"
    "HttpsFirstBalancedModeAutoEnable,HttpsUpgrades,LensOverlay,MediaRouter,NetworkTimeServiceQuerying,"
    "OptimizationHints,PaintHolding,PreconnectToSearch,ThirdPartyStoragePartitioning"
)
"""Those that Playwright switches off itself: the browser takes only the last list that it is given."""

_ARGUMENTS = [
    "--no-sandbox",  # tests run as root in containers, where Chromium's own sandbox cannot
    # Each window would load two pages for the suggestions below its address bar, and a renderer for them:
    # two thirds of the processor time of a window.
    f"--disable-features={_FEATURES_OF_PLAYWRIGHT},WebUIOmniboxAimPopup,WebUIOmniboxPopup",
]


@pytest.fixture(scope="session")
def built() -> Path:
    """The folder of the bundle, up to date."""
    if subprocess.run([sys.executable, BUILD, "node"], capture_output=True).returncode != 0:
        pytest.skip("node is not installed")
    done = subprocess.run([sys.executable, BUILD, "build"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return ROOT / "server" / "track_server" / "web"


@contextmanager
def running_browser(*options: str) -> Iterator[Browser]:
    """Chromium of this machine; its event loop occupies the thread, so nothing asynchronous may run there."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("chromium is not installed")
    library = pytest.importorskip("playwright.sync_api")
    library.expect.set_options(timeout=SECONDS * 1e3)
    with library.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=[*_ARGUMENTS, *options])
        try:
            yield browser
        finally:
            browser.close()


@pytest.fixture(scope="module")
def browser(built: Path) -> Iterator[Browser]:
    """A browser, which is closed before another module's asynchronous tests."""
    with running_browser() as browser:
        yield browser


@pytest.fixture
def open_page(browser: Browser, url: str) -> Iterator[Callable[..., Page]]:
    """Open a path of the board in a browser of its own; errors of the page fail the test.

    Refused requests are no errors of a page: it says what the server said.
    """
    errors: list[str] = []
    contexts: list[BrowserContext] = []

    root = url.rstrip("/")

    def opened(path: str = "/", **options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        context.set_default_timeout(SECONDS * 1e3)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("dialog", lambda dialog: errors.append(f"a dialog: {dialog.message}"))
        page.on("console", lambda said: note(said.type, said.text))
        page.on(
            "request",
            lambda request: (
                errors.append(request.url) if not request.url.startswith((url, "blob:")) else None
            ),
        )
        page.goto(root + path)
        return page

    def note(kind: str, text: str) -> None:
        if kind == "error" and "Failed to load resource" not in text:
            errors.append(text)

    yield opened
    for context in contexts:
        context.close()
    assert errors == []


@pytest.fixture
def page(open_page: Callable[..., Page]) -> Page:
    """The board's first page."""
    return open_page()
