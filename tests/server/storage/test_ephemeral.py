"""Where an ephemeral store is, and that nothing of it stays."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from stored_trials import add_trials, committed_values, log_points, points_of
from track_protocol.errors import StoreReadOnly
from track_server.storage.ephemeral import EphemeralFolder, EphemeralStore


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go, also those of other processes."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def folders(place: Path) -> list[Path]:
    return list(place.glob("track-ephemeral-*"))


def test_a_store_is_in_a_private_folder_until_it_is_closed(place: Path) -> None:
    store = EphemeralStore()
    add_trials(store, 1)
    (folder,) = folders(place)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    store.close()
    store.close()
    assert folders(place) == []


def test_a_commit_does_not_wait_for_the_disk() -> None:
    store = EphemeralStore()
    assert store._db.execute("PRAGMA synchronous").get == 0
    store.reopen()
    assert store._db.execute("PRAGMA synchronous").get == 0
    store.close()


def test_a_shared_folder_holds_one_store_that_outlives_those_who_open_it(place: Path) -> None:
    folder = EphemeralFolder()
    first = EphemeralStore(folder=folder)
    add_trials(first, 1)
    log_points(first, points_of([0.5]))
    second = EphemeralStore(folder=folder)
    first.close()
    assert committed_values(second) == [0.5]
    second.close()
    third = EphemeralStore(folder=folder)
    assert committed_values(third) == [0.5]
    third.close()
    assert len(folders(place)) == 1
    del first, second, third, folder
    assert folders(place) == []


LEAVES = """
import os, signal, sys
from track_server.storage.ephemeral import EphemeralFolder, EphemeralStore
folder = EphemeralFolder()
store = EphemeralStore(folder=folder)
"""


@pytest.mark.parametrize(
    ("end", "left"),
    [
        ("", 0),
        ("sys.exit(1)", 0),
        ("child = os.fork()\nif child:\n    os.waitpid(child, 0)\n    assert os.path.exists(folder.path)", 0),
        ("os.kill(os.getpid(), signal.SIGKILL)", 1),
    ],
)
def test_the_process_that_made_a_folder_removes_it_at_its_end(place: Path, end: str, left: int) -> None:
    subprocess.run([sys.executable, "-c", LEAVES + end], check=False)
    assert len(folders(place)) == left


def test_what_a_killed_process_has_left_is_removed_by_the_next(place: Path) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", LEAVES + "os.kill(os.getpid(), signal.SIGKILL)"], check=False
    )
    assert killed.returncode == -signal.SIGKILL
    (left,) = folders(place)
    living = EphemeralFolder()
    for folder in folders(place):
        os.utime(folder, (0, 0))
    store = EphemeralStore()
    assert not left.exists()
    assert Path(living.path).exists()
    store.close()


def test_without_a_place_for_it_there_is_no_store(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(place / "nowhere"))
    with pytest.raises(StoreReadOnly, match="set TMPDIR to one"):
        EphemeralStore()
