"""Fixtures: a server with a board as a process of its own, and browsers of people who look at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from playwright.sync_api import Browser

from board_browser import Person
from browser import browser, built
from running_server import ServerProcess
from track import TrackClient

__all__ = ["browser", "built", "client", "person", "server", "uri"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server; tests that share it keep to projects of their own."""
    folder = tmp_path_factory.mktemp("server")
    with ServerProcess(f"sqlite:{folder / 'runs.db'}", folder / "home", "--http", "0") as server:
        yield server


@pytest.fixture(scope="module")
def uri(server: ServerProcess) -> str:
    """What scripts log in with."""
    return server.served.join("script")


@pytest.fixture
def client(uri: str) -> Iterator[TrackClient]:
    """A script that logs into the server's store."""
    with TrackClient(uri) as client:
        yield client


@pytest.fixture
def person(browser: Browser) -> Iterator[Callable[..., Person]]:
    """Makes people's browsers for a board's URL; on none of their pages may anything be wrong at the end."""
    with ExitStack() as stack:
        people: list[Person] = []

        def make(url: str, **options: Any) -> Person:
            made = Person(browser, url, **options)
            stack.callback(made.close)
            people.append(made)
            return made

        yield make
        assert [fault for each in people for fault in each.faults] == []
