from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from track.demo import coordinator
from track.demo.coordinator import Plan, run_demo
from track.demo.folder import Folder, new_folder
from track.demo.verification import Verification
from track_protocol.errors import TrackError


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return new_folder(tmp_path / "demo", datetime.now(UTC))


def test_workers_that_do_nothing_for_long_are_named(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordinator, "_STALLED_SECONDS", 0.1)  # less than a worker needs to begin
    with pytest.raises(TrackError, match="worker-1, worker-2: no new point"):
        run_demo(Plan(workers=2, trials=1, epochs=1), folder, Console(file=io.StringIO()))


def test_a_store_with_other_points_than_the_logged_ones_fails_the_demo(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coordinator, "verify", lambda *_: Verification(lost=1, faults=["1 lost"]))
    assert run_demo(Plan(workers=1, trials=1, epochs=1), folder, Console(file=io.StringIO())) == 1
