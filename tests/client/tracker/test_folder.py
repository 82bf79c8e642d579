"""The stores of a folder: how many of them are open at once."""

from __future__ import annotations

import os
import sys
from contextlib import closing, suppress
from pathlib import Path

import pytest

from older_databases import OlderDatabase
from track.tracker import Tracker
from track.tracker.folder import FolderStores
from track_protocol.errors import ItemNotFound

DATABASES = 12
QUERY = {"query": {}, "limit": 10, "fields": ["name"]}


def open_files(folder: Path) -> set[str]:
    """Databases below a folder that this process has open."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            path = Path(os.readlink(f"/proc/self/fd/{number}"))
            if path.parent == folder and path.suffix == ".db":
                found.add(path.name)
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="open files are looked for in /proc")
def test_of_many_databases_few_are_open_at_once(tmp_path: Path) -> None:
    with Tracker(tmp_path) as tracker:
        for number in range(DATABASES):
            tracker.set_experiment(f"e{number}")
            with tracker.run("run"):
                tracker.record("loss", 1.0, 0)
    before = open_files(tmp_path)
    with closing(FolderStores(lambda: sorted(tmp_path.glob("*.db")))) as stores:
        for name in stores.names():
            assert stores.store(name).call("fetch_trials", QUERY)
            assert len(open_files(tmp_path) - before) <= 8
        assert open_files(tmp_path) - before
    assert open_files(tmp_path) == before


def test_the_database_that_was_written_to_last_comes_first(tmp_path: Path) -> None:
    for number, name in enumerate(("b", "c", "a")):
        OlderDatabase(tmp_path / f"{name}.db")
        os.utime(tmp_path / f"{name}.db", (number, number))
    stores = FolderStores(lambda: sorted(tmp_path.glob("*.db")))
    assert stores.names() == ["a.db", "c.db", "b.db"]
    with pytest.raises(ItemNotFound, match="there is no database"):
        stores.store("d.db")
