"""A store for the current run, and no current run before and after a test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import track
from track.api.session import _Session


@pytest.fixture(autouse=True)
def uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The store, which the environment names."""
    uri = f"sqlite:{tmp_path / 'runs.db'}"
    monkeypatch.setenv("TRACK_URI", uri)
    monkeypatch.chdir(tmp_path)
    yield uri
    track.finish()
    if _Session.client is not None:
        _Session.client.close()
    _Session.client = _Session.last = None
