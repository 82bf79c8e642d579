"""A person's browser at the board, which notes whatever should not happen on a page."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Dialog,
    Locator,
    Page,
    Request,
)

from browser import SECONDS

__all__ = ["Person", "call_of", "plot_of", "row_of"]


class Person:
    """A browser's profile at one board, with cookies of its own.

    Args:
        browser: the browser.
        url: of the board.
        options: of the context, such as the size of the window.

    Attributes:
        faults: errors on the console and in scripts, dialogs, and requests to other origins. What the
            content security policy refuses is on the console, too.
        calls: paths of the requests to the board's interface, in their order.
    """

    def __init__(self, browser: Browser, url: str, **options: Any) -> None:
        self.url = url.rstrip("/")
        self.faults: list[str] = []
        self.calls: list[str] = []
        settings = {"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce", **options}
        self.context: BrowserContext = browser.new_context(**settings)
        self.context.set_default_timeout(1e3 * SECONDS)
        self.context.on("page", self._watch)
        self.context.on("request", self._note)

    def open(self, path: str = "/") -> Page:
        """A new tab with a page of the board, once its frame is there."""
        page = self.context.new_page()
        page.goto(self.url + path)
        return page

    def count(self, method: str) -> int:
        """How often a method was called."""
        return sum(path.endswith(f"/call/{method}") for path in self.calls)

    def forgive(self, text: str) -> None:
        """Drop the faults that a test has caused on purpose."""
        self.faults[:] = [fault for fault in self.faults if text not in fault]

    def close(self) -> None:
        """End all tabs."""
        self.context.close()

    def _watch(self, page: Page) -> None:
        page.on("console", self._read_console)
        page.on("pageerror", lambda error: self.faults.append(f"error in a script: {error}"))
        page.on("dialog", self._dismiss)

    def _read_console(self, message: ConsoleMessage) -> None:
        # The server may be gone at the end of a test, and in some of them before.
        if message.type in {"error", "warning"} and "net::ERR_" not in message.text:
            self.faults.append(f"{message.type} on the console: {message.text}")

    def _dismiss(self, dialog: Dialog) -> None:
        self.faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _note(self, request: Request) -> None:
        parts, own = urlsplit(request.url), urlsplit(self.url)
        if parts.scheme in {"http", "https", "ws", "wss"} and parts.netloc != own.netloc:
            self.faults.append(f"request to another origin: {request.url}")
        elif "/api/" in parts.path:
            self.calls.append(parts.path)


def call_of(method: str) -> Any:
    """A condition for `expect_response`: an answer of this method."""
    return lambda response: response.url.endswith(f"/call/{method}") and response.ok


def row_of(page: Page, name: str) -> Locator:
    """The row of a run in the table."""
    table = page.get_by_role("grid", name="Runs")
    return table.get_by_role("row").filter(has=page.get_by_role("link", name=name, exact=True))


def plot_of(page: Page, name: str) -> Locator:
    """What a chart shows between its axes."""
    return page.get_by_role("article", name=f"Chart {name}", exact=True).locator(".u-over")
