"""A server in the test's own process, and peers at its port that speak byte by byte."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from running_server import Served, serving
from socket_peers import Peer, peer
from track_server.app import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(backend="ephemeral:", port=0, home=tmp_path / "home")


@pytest.fixture
def served(settings: Settings) -> Iterator[Served]:
    with serving(settings) as served:
        yield served


@pytest.fixture
def unauthenticated(served: Served) -> Iterator[Peer]:
    with peer(served) as unauthenticated:
        yield unauthenticated
