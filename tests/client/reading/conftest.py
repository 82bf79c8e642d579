"""A store with trials in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from track import TrackClient


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TrackClient]:
    with TrackClient(f"sqlite:{tmp_path / 'runs.db'}") as client:
        client.set_project(name="p")
        yield client
