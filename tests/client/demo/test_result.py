from __future__ import annotations

import io
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from track.demo.folder import new_folder
from track.demo.observation import Observation, Phase, Row
from track.demo.result import show_result, show_way_to_the_board
from track.demo.verification import Verification

PARAMETERS = {"learning_rate": 0.01, "hidden": 16, "alpha": 0.1, "seed": 0}
SEEN = Observation((Row(7, "aa_0", PARAMETERS, Phase.FINISHED, ("worker-3",), 0.25, 0.9750, 184),))


def reported(folder: Path, proof: Verification) -> str:
    console = Console(file=io.StringIO(), width=40, _environ={})
    assert isinstance(console.file, io.StringIO)
    show_result(console, new_folder(folder, datetime.now(UTC)), SEEN, proof, 31.4)
    return console.file.getvalue()


def test_the_result_lists_the_verified_points_and_the_paths(tmp_path: Path) -> None:
    text = reported(tmp_path / "demo", Verification(trials=1, logged=1184, stored=1184))
    assert "1 trials, each claimed by exactly one worker" in text
    assert "1,184 points logged, 1,184 stored" in text
    assert f"{tmp_path}/demo/server/track.db\n" in text
    assert f"{tmp_path}/demo/server.log\n" in text


def test_differences_are_reported_and_the_result_is_not_verified(tmp_path: Path) -> None:
    text = reported(tmp_path / "demo", Verification(trials=1, lost=2, faults=["trial aa_0: 2 lost"]))
    assert "WRONG" in text
    assert "trial aa_0: 2 lost" in text
    assert "verified" not in text
    assert "exactly one worker" not in text


def test_many_faults_are_cut_short(tmp_path: Path) -> None:
    text = reported(tmp_path / "demo", Verification(faults=[f"fault {number}" for number in range(100)]))
    assert text.count("fault ") == 20
    assert "… and 80 more" in text


def test_a_store_below_the_current_folder_has_a_path_to_paste(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "TrackClient('sqlite:demo/server/track.db')" in reported(Path("demo"), Verification())


def way_to_the_board(folder: Path) -> str:
    console = Console(file=io.StringIO(), width=40, _environ={})
    assert isinstance(console.file, io.StringIO)
    show_way_to_the_board(console, new_folder(folder, datetime.now(UTC)))
    return " ".join(console.file.getvalue().split())


def test_the_way_to_the_board_is_a_line_to_paste(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "venv" / "bin" / "track"
    script.parent.mkdir(parents=True)
    script.touch(mode=0o755)
    monkeypatch.setattr(sys, "argv", ["venv/bin/track", "demo"])
    monkeypatch.setenv("PATH", "/usr/bin")
    assert way_to_the_board(Path("a")).endswith("venv/bin/track board sqlite:a/server/track.db")
    monkeypatch.setenv("PATH", str(script.parent))
    assert way_to_the_board(Path("my demo")).endswith("it track board 'sqlite:my demo/server/track.db'")
