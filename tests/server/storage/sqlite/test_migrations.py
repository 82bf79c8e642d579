"""The steps of the tables, and the stores that each version left."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from frozen_store import VERSIONS, check_holds_everything, thawed
from track_server.storage.sqlite.admin import SqliteAdmin
from track_server.storage.sqlite.migrations import MIGRATIONS, current_version
from track_server.storage.sqlite.store import open_store


def test_there_is_a_step_from_each_version_to_the_next() -> None:
    assert list(MIGRATIONS) == list(range(current_version()))
    assert all(MIGRATIONS.values())


def tables(path: Path) -> list[tuple[str, str]]:
    db = apsw.Connection(str(path), apsw.SQLITE_OPEN_READONLY)
    found = db.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name").fetchall()
    db.close()
    return [(str(name), str(sql)) for name, sql in found]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_store_that_each_version_left_opens_and_holds_everything(tmp_path: Path, version: int) -> None:
    store = open_store(thawed(tmp_path / "runs.db", version))
    check_holds_everything(store)
    store.close()
    assert SqliteAdmin().check(tmp_path / "runs.db").findings == ()


def test_the_tables_of_a_version_stay_as_they_were_left(tmp_path: Path) -> None:
    open_store(tmp_path / "new.db").close()
    frozen = thawed(tmp_path / "frozen.db", current_version())
    assert tables(tmp_path / "new.db") == tables(frozen), (
        "a released version of the tables has changed: add a step; one that is not released is made anew by "
        "python tests/support/frozen_store.py"
    )
