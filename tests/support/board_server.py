"""Fixtures: a server with its board in the test's own process, and browsers of its users."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from board_visits import Visit
from running_server import Served, serving
from track import TrackClient
from track_protocol.wire.roles import Role
from track_server.accounts.users import UserStore
from track_server.app import Settings
from track_server.http.settings import HttpSettings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(backend="ephemeral:", port=0, home=tmp_path / "home", http=HttpSettings(port=0))


@pytest.fixture
def served(settings: Settings) -> Iterator[Served]:
    with serving(settings) as served:
        yield served


@pytest.fixture
def url(served: Served) -> str:
    assert served.server is not None
    assert served.server.board_url is not None
    return served.server.board_url


@pytest.fixture
def own(url: str) -> Visit:
    """The server's own user."""
    visit = Visit(url)
    assert visit.log_in().status == 200
    return visit


def joined(served: Served, url: str, name: str, role: Role) -> Visit:
    """A user who has logged in by name and token."""
    visit = Visit(url)
    assert visit.log_in(name=name, token=UserStore(served.home).add(name, role)).status == 200
    return visit


@pytest.fixture
def reader(served: Served, url: str) -> Visit:
    return joined(served, url, "rita", Role.READER)


@pytest.fixture
def writer(served: Served, url: str) -> Visit:
    return joined(served, url, "will", Role.WRITER)


@pytest.fixture
def client(served: Served) -> Iterator[TrackClient]:
    """A script that logs into the server's store."""
    with TrackClient(served.join("script")) as client:
        yield client


@pytest.fixture
def network(settings: Settings) -> Iterator[tuple[Served, str]]:
    """A server whose board listens on every address, with its URL."""
    everywhere = replace(settings, http=HttpSettings("0.0.0.0", 0))  # noqa: S104 - what is tested
    with serving(everywhere) as served:
        assert served.server is not None
        assert served.server.board_url is not None
        yield served, served.server.board_url
